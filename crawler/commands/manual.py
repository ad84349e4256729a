"""What each command says about itself. Apart from the commands, so that nothing is imported to list them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Manual(NamedTuple):
    """The texts of one command's --help; the first sentence also stands in the list of commands."""

    about: str
    epilogue: str
    usage: str = "TARGET [OPTIONS]"


# Lines of at most 79 characters: wider ones would be folded.
MANUALS: Final = {
    "lookup": Manual(
        """Look up who has a torrent, and about how many.

Prints each peer once, as soon as a node of the DHT names it, and then a
summary. Peers that a magnet link names are included, and its trackers are
asked, which takes an announce and a goodbye. Nothing is verified: a node may
name anybody. The DHT is asked over IPv4 and IPv6, for both hashes of a hybrid
magnet link.
""",
        """Examples:
  dht-crawler lookup 957b901faa247ca200f4284b142b796166bdc9a3
  dht-crawler lookup 'magnet:?xt=urn:btih:957b901f...'
  dht-crawler lookup TARGET --json | jq -r 'select(.type == "peer") | .peer'
  dht-crawler lookup TARGET --bootstrap 127.64.0.1:7001 --allow-private
                                       in the network of dht-crawler simulate

Exit codes:
  0    there are peers
  1    no peer was found
  2    bad input; one line on stderr names it and what is allowed
  130  stopped by Ctrl-C; the summary tells what was found until then
""",
    ),
    "metadata": Manual(
        """Show what a torrent is, and save a .torrent of it.

Looks up peers in the DHT, asks several of them at once for the torrent's
metadata, and believes only what has the right hash. Names are whatever its
author wrote: characters that could move the cursor are shown as escapes.
""",
        """Examples:
  dht-crawler metadata 957b901faa247ca200f4284b142b796166bdc9a3
  dht-crawler metadata 'magnet:?xt=urn:btih:...&tr=...' --save it.torrent
  dht-crawler metadata TARGET --json | jq -r '.files[]? | .path'

Exit codes:
  0    here it is
  1    no peer gave it, no program could load it, or it could not be saved
  2    bad input; one line on stderr names it and what is allowed
  130  stopped by Ctrl-C; the summary tells how far it got
""",
    ),
    "announce": Manual(
        """Announce that we have a torrent.

Looks up the closest nodes of the DHT and tells the 8 closest that let us, over
IPv4 and IPv6 each, that a peer of the torrent is at this machine's address.
They keep it for about half an hour; announce again every 15 to 30 minutes.

With --tracker the trackers named are told instead of the DHT, and their peers
are printed.
""",
        """Examples:
  dht-crawler announce 957b901faa247ca200f4284b142b796166bdc9a3 --port 6881
  dht-crawler announce TARGET --port 6881 --implied-port
                                       behind a NAT that maps UDP ports
  dht-crawler announce TARGET --port 6881 --tracker udp://t.example:6969 --stay

Exit codes:
  0    at least one node or tracker accepted
  1    none accepted
  2    bad input; one line on stderr names it and what is allowed
  130  stopped by Ctrl-C; the summary tells what was reached until then
""",
    ),
    "scrape": Manual(
        """Ask trackers how large swarms are.

Prints seeders, leechers and downloads of each infohash as each tracker counts
them. Nobody is announced, and nothing of it is verified.
""",
        """Examples:
  dht-crawler scrape 957b901faa247ca200f4284b142b796166bdc9a3 --tracker URL
  dht-crawler scrape TARGET TARGET --tracker udp://t.example:6969 --json

Exit codes:
  0    a tracker told of at least one
  1    no tracker told of any
  2    bad input; one line on stderr names it and what is allowed
  130  stopped by Ctrl-C; what was told until then is printed
""",
    ),
    "tail": Manual(
        """Show the records of a file as they come.

Follows FILE like tail -F, through rotation, compression and emptying, and
waits for it if it is not there yet; --since goes back into closed files too.
Whatever strangers wrote is shown so that it cannot move the cursor; --json
lines are as they are in FILE. At the end, a summary on stderr.
""",
        """Examples:
  dht-crawler tail peers.jsonl --type metadata
  dht-crawler tail peers.jsonl --since 2h --no-follow | jq -r .infohash
  dht-crawler tail peers.jsonl.20260102T030405.678Z.gz --from-start
  ssh host tail -f peers.jsonl | dht-crawler tail -

Exit codes:
  0    the end of FILE with --no-follow, or nobody reads the output any more
  1    some of it could not be read
  2    bad input; one line on stderr names it and what is allowed
  130  stopped by Ctrl-C; the summary tells what was shown until then
""",
        "FILE [OPTIONS]",
    ),
    "replay": Manual(
        """Send files of records to a sink.

Reads FILEs in the order given and writes their records as the daemon would:
appended, locked, synced, rotated as the [output] settings say. What is no
record, such as a torn last line, is skipped and counted.
""",
        """Examples:
  dht-crawler replay peers.jsonl.2026*Z.gz --into all.jsonl
  dht-crawler replay old.jsonl.zst --into - --type metadata | jq -r .name
  dht-crawler replay a.jsonl b.jsonl --into both.jsonl --dedupe

Exit codes:
  0    every record that was wanted is in every sink, acknowledged
  1    not all of them are, or a file could not be read to its end
  2    bad input; one line on stderr names it and what is allowed
  130  stopped by Ctrl-C; what was read until then is written, unless the sink
       still takes nothing after a moment (run.drain_timeout)
""",
        "FILE... --into SINK [OPTIONS]",
    ),
}
TRACKER: Final = Manual(
    """Run a BitTorrent tracker.

Clients announce to it over UDP (BEP 15) and HTTP (BEP 3), IPv4 and IPv6, and
learn of each other. Who announces is whoever the packets come from, whatever
they say. All is kept in memory, within bounds, and begins anew at each start.
Without --udp and --http it is asked both ways at port 6969 of every address,
with either only there. Stop it with Ctrl-C or SIGTERM; SIGUSR1 logs all counters.
""",
    """Examples:
  dht-crawler tracker --udp 0.0.0.0:6969 --udp [::]:6969
                               over UDP alone, IPv4 and IPv6
  dht-crawler tracker --http 127.0.0.1:8080 --trusted-proxy 127.0.0.1
                               behind a web server that sets X-Forwarded-For
  dht-crawler tracker --allow ours.txt
                               for our own torrents; SIGHUP reads the file again
  dht-crawler tracker --metrics 127.0.0.1:9101 --config tracker.toml
                               /metrics and /stats for this machine alone
  curl -s localhost:6969/stats
                               its counters as JSON; /metrics for Prometheus

Announce URLs: udp://HOST:6969/announce and http://HOST:6969/announce

Settings: a flag beats DHT_CRAWLER_<SECTION>_<KEY> in the environment, which
beats --config FILE, which beats the default. The tracker's own sections are
[tracker_server], [tracker_policy] and [tracker_memory]; of the daemon's it
obeys [log], run.status_interval and the time limits of [http].

Exit codes:
  0  stopped
  2  bad input; one line on stderr names it and what is allowed
""",
)
