"""A swarm of real libtorrent sessions in a process of its own.

Run as ``python -m tests.interop.libtorrent_swarm SPEC`` where SPEC is the JSON form of :class:`Spec`. It
prints one JSON line when the DHT stores every announce, then one for each command line that it reads (JSON,
``do`` names the command); end of input stops it. `swarm.py` is its driver. Apart from the test process,
because libtorrent brings threads and memory that no test should share.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import libtorrent as lt

from tests.interop import plain_krpc
from tests.interop.libtorrent_seeder import handmade, infos

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tests.interop.plain_krpc import Address

PIECE_BYTES = 16_384
# A loaded machine may take its time; what takes longer than this will never come.
_PATIENCE_SECONDS = 60.0

# Nothing may leave the bench: no router, no multicast, no port mapping.
_QUIET: dict[str, Any] = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_bootstrap_nodes": "",
    "dht_upload_rate_limit": 10_000_000,
    "dht_block_ratelimit": 100_000,
    "alert_mask": int(lt.alert.category_t.dht_notification)
    | int(lt.alert.category_t.dht_operation_notification)
    | int(lt.alert.category_t.stats_notification)
    | int(lt.alert.category_t.status_notification),
}
# One node per /24 and bucket leaves a small swarm's tables half empty, and loopback knows nothing of what is
# dark or verified. The rule for searches stays: without it libtorrent asks a node that has just learnt its
# address, and so lives under two ids, for ever.
_NEIGHBOURS: dict[str, Any] = {
    "dht_restrict_routing_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_ignore_dark_internet": False,
}


@attrs.frozen
class Spec:
    """What to start.

    Attributes:
        addresses: one session each, without port.
        directory: where the shared files are written.
        torrents: how many.
        kinds: whether the first of them are of every kind that libtorrent gives to strangers.
        seeders: sessions that seed and announce one torrent.
        know: ``ip:port`` of nodes that every session is told of, besides its neighbours.
        sample_interval: seconds for which a session's sample stays frozen (BEP 51).
        stored: announces that the sessions must hold together before the swarm is ready; None: 8 for each
            infohash and seeder.
        seed: of the file contents.
        both_families: whether every session is a node at [::1] too, in a DHT of its own (BEP 32).
    """

    addresses: list[str]
    directory: str
    torrents: int
    kinds: bool = False
    seeders: int = 2
    know: list[str] = attrs.Factory(list)
    sample_interval: int = 10
    stored: int | None = None
    seed: int = 1
    both_families: bool = False


class Swarm:
    """The sessions, who seeds what, and the commands."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._sessions: list[Any] = [self._start_session(address) for address in spec.addresses]
        self._handles: dict[str, list[Any]] = {}
        self._seeders: dict[str, list[str]] = {}
        self._torrents: dict[str, dict[str, str]] = {}
        self.addresses: list[Address] = []
        self.addresses6: list[Address] = []

    def _start_session(self, address: str) -> Any:
        parameters: Any = lt.session_params()
        own: dict[str, Any] = {
            "listen_interfaces": f"{address}:0",
            "dht_sample_infohashes_interval": self._spec.sample_interval,
        }
        if self._spec.both_families:
            # All are at one address there, and so none would find more than one of the others.
            own["listen_interfaces"] += ",[::1]:0"
            own["dht_restrict_search_ips"] = False
        parameters.settings = {**parameters.settings, **_QUIET, **_NEIGHBOURS, **own}
        return lt.session(parameters)

    def introduce(self) -> None:
        """Tell each session of two others and of the nodes to know, until its table has filled from there."""
        _poll(lambda: all(session.listen_port() for session in self._sessions), "listening")
        ports = [session.listen_port() for session in self._sessions]
        self.addresses = list(zip(self._spec.addresses, ports, strict=True))
        if self._spec.both_families:
            self.addresses6 = [("::1", _port_at(session, "::1")) for session in self._sessions]
        count = len(self.addresses)
        enough = min(count - 1 + len(self._spec.know), 6) * (1 + self._spec.both_families)

        def filled() -> bool:
            # A session whose DHT has not started yet forgets the nodes it is told of: so tell it again.
            sizes = self._counters("dht.dht_nodes")
            for index, size in enumerate(sizes):
                if size < enough:
                    self._introduce_one(index)
            return min(sizes) >= enough

        _poll(filled, "tables filled", every=0.3)

    def _introduce_one(self, index: int) -> None:
        neighbours = {0, (index + 1) % len(self.addresses)} - {index}
        known = [plain_krpc.parse_address(text) for text in self._spec.know]
        lists = [self.addresses, self.addresses6] if self.addresses6 else [self.addresses]
        for address in [*(addresses[n] for addresses in lists for n in neighbours), *known]:
            self._sessions[index].add_dht_node(address)

    def seed(self) -> None:
        """Make the torrents, seed and announce each from some sessions, wait until the DHT stores it."""
        count = len(self._sessions)
        for number, (kind, info) in enumerate(self._make_infos().items()):
            torrent = lt.load_torrent_buffer(plain_krpc.encode({b"info": lt.bdecode(info)}))
            hashes: Any = torrent.info_hashes
            v1, v2 = str(hashes.v1) * hashes.has_v1(), str(hashes.v2) * hashes.has_v2()
            self._torrents[kind] = {"v1": v1, "v2": v2, "info": info.hex()}
            assert torrent.ti is not None
            _fill(Path(self._spec.directory), torrent.ti.layout())
            for step in range(self._spec.seeders):
                self._seed_one(torrent, [v1, v2[:40]], (number + step * 7) % count)
        wanted = self._spec.stored
        if wanted is None:
            wanted = sum(map(len, self._seeders.values())) * min(8, count - 1)
        _poll(lambda: sum(self._counters("dht.dht_peers")) >= wanted, f"{wanted} announces stored")
        if count > 1:
            self._make_findable()

    def _make_findable(self) -> None:
        """Look every torrent up until all its seeds are found, announcing it again while one is missing.

        In a DHT this young a first announce may have met nodes that knew nobody yet.
        """
        for number, (infohash, handles) in enumerate(self._handles.items()):
            asker = (number + 3) % len(self._sessions)
            missing = set(self._seeders[infohash])
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while missing:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"swarm: nobody finds {infohash} at {sorted(missing)}")
                missing.difference_update(self._look_up(asker, infohash, 1.0, missing))
                if missing:
                    for handle in handles:
                        handle.force_dht_announce()

    def _make_infos(self) -> dict[str, bytes]:
        """Return the info dicts of all torrents; of the plain ones the content is written too."""
        directory, rng = Path(self._spec.directory), random.Random(self._spec.seed)
        made = infos(directory) if self._spec.kinds else {}
        # No program gives private metadata to strangers (BEP 27).
        made.pop("private", None)
        for number in range(self._spec.torrents - len(made)):
            name, content = f"bench-{self._spec.seed}-{number}.bin", rng.randbytes(PIECE_BYTES)
            (directory / name).write_bytes(content)
            pieces = hashlib.sha1(content).digest()  # noqa: S324 - the format's own hash (BEP 3)
            info = made[name] = handmade(name=name.encode(), length=len(content), pieces=pieces)
            (directory / f"{name}.torrent").write_bytes(plain_krpc.encode({b"info": lt.bdecode(info)}))
        return made

    def _seed_one(self, torrent: Any, infohashes: list[str], index: int) -> None:
        torrent.save_path = self._spec.directory
        # Without auto_managed, or libtorrent would queue all but five.
        torrent.flags = lt.torrent_flags.seed_mode
        handle = self._sessions[index].add_torrent(torrent)
        handle.force_dht_announce()
        for infohash in filter(None, infohashes):
            self._handles.setdefault(infohash, []).append(handle)
            self._seeders.setdefault(infohash, []).append(plain_krpc.format_address(self.addresses[index]))
            if self.addresses6:
                self._seeders[infohash].append(plain_krpc.format_address(self.addresses6[index]))

    def ready(self) -> dict[str, Any]:
        """Return the truth: the nodes, the torrents, and for each infohash the peers that announced it."""
        nodes = [plain_krpc.format_address(address) for address in self.addresses]
        nodes6 = [plain_krpc.format_address(address) for address in self.addresses6]
        told = {"nodes": nodes, "nodes6": nodes6, "peers": self._seeders, "torrents": self._torrents}
        return {"ready": True, **told}

    def routing(self, command: dict[str, Any]) -> dict[str, Any]:
        """Count the sessions whose routing table lists ``address`` under the node id ``id`` (hex) as live."""
        for session in self._sessions:
            session.pop_alerts()
            session.dht_live_nodes(lt.sha1_hash(_own_id(session)))
        listed = answered = 0
        deadline = time.monotonic() + 2
        while answered < len(self._sessions) and time.monotonic() < deadline:
            time.sleep(0.02)
            for alert in (alert for session in self._sessions for alert in session.pop_alerts()):
                if isinstance(alert, lt.dht_live_nodes_alert):
                    answered += 1
                    listed += any(_is_node(node, command) for node in alert.nodes)
        return {"listed": listed, "sessions": answered}

    def get_peers(self, command: dict[str, Any]) -> dict[str, Any]:
        """Look ``infohash`` up from session number ``session`` until there are peers, or for ``seconds``."""
        index, infohash, seconds = command["session"], command["infohash"], float(command["seconds"])
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if peers := self._look_up(index, infohash, min(left, 1.0)):
                return {"peers": sorted(peers)}
        return {"peers": []}

    def _look_up(
        self, index: int, infohash: str, seconds: float, wanted: Collection[str] = frozenset()
    ) -> set[str]:
        """Start one lookup in a session; return its peers once all ``wanted``, at least one, are among them.

        After ``seconds`` returns what was found until then.
        """
        session, target = self._sessions[index], lt.sha1_hash(bytes.fromhex(infohash))
        session.pop_alerts()
        session.dht_get_peers(target)
        found: set[str] = set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (found and found.issuperset(wanted)):
            time.sleep(0.02)
            found.update(peer for alert in session.pop_alerts() for peer in _peers_in(alert, target))
        return found

    def announce(self, _command: dict[str, Any]) -> dict[str, Any]:
        """Announce every torrent of every session again."""
        handles = [handle for handles in self._handles.values() for handle in handles]
        for handle in handles:
            handle.force_dht_announce()
        return {"announced": len(handles)}

    def _counters(self, name: str) -> list[int]:
        for session in self._sessions:
            session.post_session_stats()
        values: dict[int, int] = {}
        deadline = time.monotonic() + 2
        while len(values) < len(self._sessions) and time.monotonic() < deadline:
            time.sleep(0.02)
            for index, session in enumerate(self._sessions):
                for alert in session.pop_alerts():
                    if isinstance(alert, lt.session_stats_alert):
                        values[index] = alert.values[name]
        return [values.get(index, 0) for index in range(len(self._sessions))]


def _fill(directory: Path, files: Any) -> None:
    """Make those files that are not there, as holes; a seed without files hangs up on whoever asks."""
    for index in range(files.num_files()):
        place = directory / files.file_path(index)
        if not place.exists() and not files.file_flags(index) & lt.file_storage.flag_pad_file:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                file.truncate(files.file_size(index))


def _port_at(session: Any, host: str) -> int:
    """Return the UDP port of ``session`` at one of its addresses."""
    ports: list[int] = []

    def bound() -> bool:
        ports.extend(
            alert.port
            for alert in session.pop_alerts()
            if isinstance(alert, lt.listen_succeeded_alert)
            and alert.address == host
            and alert.socket_type == lt.socket_type_t.udp
        )
        return bool(ports)

    _poll(bound, f"listening at {host}")
    return ports[0]


def _own_id(session: Any) -> bytes:
    saved = bytes(lt.write_session_params_buf(session.session_state(lt.save_state_flags_t.save_dht_state)))
    return bytes(plain_krpc.decode(saved)[b"dht state"][b"node-id"][0][:20])


def _is_node(node: Any, command: dict[str, Any]) -> bool:
    listed = "{}:{}".format(*node["endpoint"]), str(node["nid"])
    return listed == (command["address"], command["id"])


def _peers_in(alert: Any, infohash: Any) -> list[str]:
    if not isinstance(alert, lt.dht_get_peers_reply_alert) or alert.info_hash != infohash:
        return []
    return [plain_krpc.format_address(peer) for peer in alert.peers()]


def _poll(condition: Callable[[], bool], what: str, every: float = 0.05) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"swarm: not after {_PATIENCE_SECONDS:g} s: {what}")
        time.sleep(every)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Start the swarm, say the truth, obey commands until the input ends."""
    swarm = Swarm(Spec(**json.loads(sys.argv[1])))
    swarm.introduce()
    swarm.seed()
    _say(swarm.ready())
    commands = {"routing": swarm.routing, "get_peers": swarm.get_peers, "announce": swarm.announce}
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "stop":
            break
        _say(commands[command["do"]](command))


if __name__ == "__main__":
    main()
