"""The scene of `test_tracker_ssrf`: trackers, redirects and names that lead inwards, and our client.

Run as ``unshare -rnm python -m tests.interop.tracker_scene DIRECTORY``. Every address is local here, and
every first packet of a connection and every datagram is seen. Prints what was seen as one line of JSON, which
the test judges; leaves with `namespace.REFUSED` where it must not run.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from crawler.client.tracking import open_trackers
from crawler.net.tracker_guard import TrackerError
from crawler.wire.tracker import AnnounceAnswer, AnnounceRequest, Event
from crawler.wire.tracker_http import encode_announce
from crawler.wire.tracker_url import parse_tracker_url
from tests.interop import namespace

if TYPE_CHECKING:
    from crawler.net.trackers import TrackerClient

TRACKER: Final = "62.80.5.9"
RESOLVER: Final = "9.9.9.9"
INWARDS: Final = (
    *("10.0.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("0.0.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
)
INWARDS_6: Final = (
    "::1",
    "fe80::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "ff02::1",
)
NAMES: Final = {
    "good.example": [[TRACKER]],
    "inner.example": [["10.0.0.1"]],
    "mixed.example": [["10.0.0.1", TRACKER]],
    # Each look-up gets the next answer: what was judged must be what is connected to.
    "rebind.example": [[TRACKER], ["10.0.0.1"]],
    "rebound.example": [["127.0.0.1"], [TRACKER]],
}
_TCP: Final = 6
_SYN, _ACK = 0x02, 0x10
_ETH_P_ALL: Final = 0x0003
_BODY: Final = encode_announce(AnnounceAnswer(interval=1800, peers=(bytes((1, 2, 3, 4, 26, 225)),)))


class SynSniffer(threading.Thread):
    """Sees the first packet of every TCP connection; ``seen`` has the addresses that were dialled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))

    def run(self) -> None:
        """Listen until the program ends."""
        while True:
            packet, (_, _, kind, *_) = self._socket.recvfrom(65_535)
            if kind == socket.PACKET_OUTGOING:
                continue  # loopback shows each packet twice
            version, head = packet[0] >> 4, (packet[0] & 15) * 4
            if version == 4 and packet[9] == _TCP and packet[head + 13] & (_SYN | _ACK) == _SYN:
                self.seen[socket.inet_ntoa(packet[16:20])] += 1
            elif version == 6 and packet[6] == _TCP and packet[53] & (_SYN | _ACK) == _SYN:
                self.seen[socket.inet_ntop(socket.AF_INET6, packet[24:40])] += 1


def serve_names(asked: Counter[str]) -> None:
    """Answer A queries from `NAMES`, one list after the other; everything else has no address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((RESOLVER, 53))
        while True:
            query, source = sock.recvfrom(512)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            name, kind = ".".join(labels), int.from_bytes(query[at + 1 : at + 3], "big")
            answers = []
            if kind == 1 and name in NAMES:
                choices = NAMES[name]
                answers = choices[min(asked[name], len(choices) - 1)]
                asked[name] += 1
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(answers), 0, 0)
            records = [
                b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(one) for one in answers
            ]
            sock.sendto(head + query[12 : at + 5] + b"".join(records), source)


def serve_http() -> None:
    """Redirect ``/to/ADDRESS`` to ``http://ADDRESS/announce``, and answer everything else as a tracker."""
    with socket.create_server(("0.0.0.0", 80), backlog=64) as server:  # noqa: S104 - within the namespace
        while True:
            connection, _ = server.accept()
            with connection:
                target = connection.recv(65_535).split(b" ")[1].partition(b"?")[0]
                _, to, place = target.rpartition(b"/to/")
                if to:
                    answer = b"HTTP/1.1 302 Found\r\nLocation: http://%s/announce\r\n" % place
                    connection.sendall(answer + b"Content-Length: 0\r\n\r\n")
                else:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY)


def urls() -> dict[str, str]:
    """Return what is announced to: name of the case to URL."""
    found = {f"http {host}": f"http://{host}/announce" for host in INWARDS}
    found |= {f"udp {host}": f"udp://{host}:6969/announce" for host in INWARDS}
    found |= {f"http {host}": f"http://[{host}]/announce" for host in INWARDS_6}
    found |= {f"udp {host}": f"udp://[{host}]:6969/announce" for host in INWARDS_6}
    found |= {f"redirect to {host}": f"http://{TRACKER}/to/{host}" for host in INWARDS}
    found |= {f"redirect to {host}": f"http://{TRACKER}/to/[{host}]" for host in INWARDS_6}
    found |= {
        f"number {text}": f"http://{text}/announce" for text in ("2130706433", "0x7f000001", "017700000001")
    }
    found |= {
        f"name {name}": f"http://{name}/announce"
        for name in ("localhost", "inner.example", "rebound.example")
    }
    found["redirect to a name"] = f"http://{TRACKER}/to/inner.example"
    found["good literal"] = f"http://{TRACKER}/announce"
    found["good redirect"] = f"http://{TRACKER}/to/{TRACKER}"
    found["good name"] = "http://good.example/announce"
    found["good of mixed"] = "http://mixed.example/announce"
    found["good before rebinding"] = "http://rebind.example/announce"
    return found


async def announce(client: TrackerClient, outcomes: dict[str, str], name: str, url: str) -> None:
    """Announce once, and note what came of it."""
    request = AnnounceRequest(b"a" * 20, b"-XX0001-abcdefghijkl", 6881, left=1, event=Event.STARTED)
    try:
        await client.announce(parse_tracker_url(url), request)
    except TrackerError as error:
        outcomes[name] = error.reason
    else:
        outcomes[name] = "answered"


async def play() -> dict[str, str]:
    """Announce to all of them; return what came of each."""
    outcomes: dict[str, str] = {}
    async with open_trackers() as client, trio.open_nursery() as nursery:
        for name, url in urls().items():
            nursery.start_soon(announce, client, outcomes, name, url)
    return outcomes


def main(directory: Path) -> None:
    """Play the scene and print what was seen."""
    namespace.enter()
    configuration = directory / "resolv.conf"
    configuration.write_text(f"nameserver {RESOLVER}\noptions timeout:2 attempts:2\n")
    mounted = subprocess.run(
        ["mount", "--bind", str(configuration), "/etc/resolv.conf"], check=False, capture_output=True
    )
    if mounted.returncode:
        raise SystemExit(namespace.REFUSED)
    asked: Counter[str] = Counter()
    sniffer = SynSniffer()
    for thread in (
        sniffer,
        threading.Thread(target=serve_names, args=(asked,), daemon=True),
        threading.Thread(target=serve_http, daemon=True),
    ):
        thread.start()
    with namespace.Sniffer() as datagrams:
        outcomes = trio.run(play)
    seen: dict[str, Any] = {
        "outcomes": outcomes,
        "dialled": dict(sniffer.seen),
        "sent_to": sorted({datagram.destination[0] for datagram in datagrams.seen}),
        "asked": dict(asked),
    }
    print(json.dumps(seen))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(Path(sys.argv[1]))
