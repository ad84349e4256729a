"""The scene of `test_namespace`: real and lying nodes on public-looking addresses, and the daemon among them.

Run as ``unshare -rn python -m tests.interop.namespace_scene DIRECTORY``. Prints what was seen as one line of
JSON, which the test judges; leaves with `namespace.REFUSED` where it must not run.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.interop import namespace, plain_krpc
from tests.interop.daemon_process import DaemonProcess, wait_for
from tests.interop.scripted_nodes import Manners, ScriptedNetwork, ScriptedNode
from tests.interop.swarm import SwarmProcess
from tests.interop.swarm_crawl import invented, missing, peers_in
from tests.interop.transmission import Transmission

if TYPE_CHECKING:
    import socket

    from tests.interop.plain_krpc import Address

DAEMON_HOST = "62.80.5.9"
TRANSMISSION_HOST = "81.20.30.40"
ASKER_HOST = "77.1.2.3"
SWARM_HOSTS = [f"{number * 10 + 5}.{number * 7}.{number}.1" for number in range(4, 12)]
LIAR_HOSTS = ["91.10.7.1", "93.44.8.1"]
HONEST_PEER = ("185.21.216.9", 51_413)
TORRENTS = 16
PORT = 6881
NOTHING: tuple[set[str], set[str]] = (set(), set())
# It takes a fifth of that; on a loaded machine an announce may miss a sample, and the next is a minute later.
SECONDS = 100

# What a liar names: one address of each kind that no daemon may ever send to.
FORBIDDEN = [
    ("10.1.2.3", PORT),
    ("127.0.0.5", PORT),
    ("192.168.1.7", PORT),
    ("172.16.9.9", PORT),
    ("169.254.3.3", PORT),
    ("100.64.1.1", PORT),
    ("0.0.0.7", PORT),
    ("224.0.0.9", PORT),
    ("240.1.1.1", PORT),
    ("255.255.255.255", PORT),
    ("198.18.4.4", PORT),
    ("192.0.2.44", PORT),
    ("88.99.11.22", 0),
]


def _add_liars(network: ScriptedNetwork, rng: random.Random) -> list[ScriptedNode]:
    """Add nodes that name forbidden addresses as nodes and as peers, beside one that is right."""
    rumours = plain_krpc.pack_nodes((rng.randbytes(20), address) for address in FORBIDDEN)
    values = tuple(plain_krpc.pack_address(address) for address in [*FORBIDDEN, HONEST_PEER])
    return [
        network.add(host, Manners(samples=(rng.randbytes(20),), rumours=rumours, values=values), port=PORT)
        for host in LIAR_HOSTS
    ]


def _listeners() -> list[socket.socket]:
    """Open a socket on every forbidden address that can have one."""
    opened = []
    for host, port in FORBIDDEN:
        try:
            sock = plain_krpc.bound_socket((host, port))
        except OSError:
            continue
        sock.setblocking(False)
        opened.append(sock)
    return opened


def _received(sock: socket.socket) -> list[Address]:
    """Return the senders of all that waits in a socket."""
    senders: list[Address] = []
    while True:
        try:
            senders.append(sock.recvfrom(plain_krpc.RECEIVE_BYTES)[1])
        except BlockingIOError:
            return senders


def _lists(node: Address, wanted: Address) -> bool:
    """Tell whether ``node`` hands out ``wanted`` as the node closest to that one's own id."""
    with plain_krpc.bound_socket((ASKER_HOST, 0)) as sock:
        pong = plain_krpc.ask(sock, wanted, b"ping") or {}
        if b"r" not in pong:
            return False
        entry = pong[b"r"][b"id"] + plain_krpc.pack_address(wanted)
        answer = plain_krpc.ask(sock, node, b"find_node", target=pong[b"r"][b"id"]) or {}
        return entry in answer.get(b"r", {}).get(b"nodes", b"")


def _met_through_us(sniffer: namespace.Sniffer, daemon: Address, transmission: Address) -> list[str]:
    """Return the nodes that transmission asked something after we had named them to it."""
    named = b""
    met: set[Address] = set()
    for datagram in list(sniffer.seen):
        message = plain_krpc.decode(datagram.payload) if plain_krpc.is_canonical(datagram.payload) else {}
        if (datagram.source, datagram.destination) == (daemon, transmission):
            named += message.get(b"r", {}).get(b"nodes", b"")
        elif datagram.source == transmission and message.get(b"y") == b"q":
            entries = [named[start + 20 : start + 26] for start in range(0, len(named), 26)]
            if plain_krpc.pack_address(datagram.destination) in entries:
                met.add(datagram.destination)
    return ["{}:{}".format(*address) for address in sorted(met)]


def _play(directory: Path, swarm: SwarmProcess, liars: list[ScriptedNode], sniffer: namespace.Sniffer) -> Any:
    """Run the daemon among them and transmission behind it; return what was seen."""
    out = directory / "peers.jsonl"
    settings = directory / "settings.toml"
    # In a bucket of 8 the swarm may leave no place for transmission; that it gets one is what is looked at.
    settings.write_text("[routing]\nbucket_size = 32\n", encoding="utf-8")
    extra = ["--state", str(directory / "state"), "--duration", "150", "--config", str(settings)]
    bootstrap = [swarm.nodes[0], *(liar.text for liar in liars)]
    lies = {liar.manners.samples[0].hex(): ["{}:{}".format(*HONEST_PEER)] for liar in liars}
    truth = {**swarm.peers, **lies}
    with DaemonProcess(out=out, listen=DAEMON_HOST, bootstrap=bootstrap, extra=extra) as daemon:
        address, _ = daemon.listening()
        with Transmission(directory / "transmission", TRANSMISSION_HOST, address) as transmission:
            started = time.monotonic()

            listed: list[bool] = []

            def done() -> bool:
                if not any(listed):
                    listed.append(_lists(address, transmission.address))
                met = _met_through_us(sniffer, address, transmission.address)
                asked = all(liar.queries(b"get_peers") for liar in liars)
                return any(listed) and bool(met) and asked and missing(daemon.records(), truth) == NOTHING

            wait_for(done, SECONDS, every=0.5)
            seconds = time.monotonic() - started
            facts = {
                "transmission_listed": any(listed),
                "transmission_met_through_us": _met_through_us(sniffer, address, transmission.address),
                "from_transmission": len(sniffer.between(transmission.address, address)),
                "to_transmission": len(sniffer.between(address, transmission.address)),
            }
        ended = daemon.terminate()
    unfound, peerless = missing(daemon.records(), truth)
    return facts | {
        "seconds": seconds,
        "unfound": sorted(unfound),
        "peerless": sorted(peerless),
        "invented": sorted(invented(daemon.records(), truth)),
        "peers": sorted({peer for peers in peers_in(daemon.records()).values() for peer in peers}),
        "destinations": sorted({datagram.destination for datagram in sniffer.sent_by(address)}),
        "asked_liars": [len(liar.queries(b"get_peers")) for liar in liars],
        "exit_code": ended.code,
        "exit_seconds": ended.seconds,
        "log": daemon.log_tail(),
    }


def main() -> None:
    """Enter the namespace, play the scene, print the facts."""
    namespace.enter()
    directory = Path(sys.argv[1])
    rng = random.Random(11)
    network = ScriptedNetwork(rng)
    liars = _add_liars(network, rng)
    listeners = _listeners()
    with (
        namespace.Sniffer() as sniffer,
        network,
        SwarmProcess(SWARM_HOSTS, directory, TORRENTS, stored=0) as swarm,
    ):
        with plain_krpc.bound_socket((ASKER_HOST, 0)) as control:
            control.sendto(b"control", FORBIDDEN[0])
            control_address = control.getsockname()
        facts = _play(directory, swarm, liars, sniffer)
        facts["control_seen"] = len(sniffer.between(control_address, FORBIDDEN[0]))
    heard = {sock.getsockname()[0]: [host for host, _ in _received(sock)] for sock in listeners}
    facts["listeners"] = len(listeners)
    facts["listeners_heard"] = {host: senders for host, senders in heard.items() if senders}
    print(json.dumps(facts))  # noqa: T201 - the script's answer


if __name__ == "__main__":
    main()
