"""Whatever a peer sends, whenever: progress, a PeerFault, or our own memory limit. Nothing else, ever."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.swarm.assembly import MemoryBudget, MemoryConfig, OverBudgetError
from crawler.swarm.connection import ConnectionConfig, PeerConnection, PeerFault
from crawler.swarm.metadata import MetadataConfig, MetadataFetch
from crawler.swarm.pex import PexInbox
from crawler.swarm.serving import MetadataCache, ServedPeer
from crawler.wire import peer
from crawler.wire.extensions import UT_METADATA, UT_PEX
from tests.swarm.fake_wire import OURS, THEIRS, data, handshake, introduction, pieces

if TYPE_CHECKING:
    from random import Random

INFO = bytes(range(200)) * 100  # 20,000 bytes: two pieces
HASH = hashlib.sha1(INFO).digest()  # noqa: S324 - BEP 3's choice

PARTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            introduction(len(INFO)),
            introduction(None),
            introduction(len(INFO) + 1, {UT_METADATA: 255, UT_PEX: 0}),
            pieces(INFO),
            data(0, INFO[:16384], len(INFO)),
            data(1, INFO[16384:], None),
            data(0, b"", 0),
            peer.encode(peer.Bitfield(bytes(5000))),
            peer.encode(peer.Piece(0, 0, bytes(500))),
            peer.encode(peer.Request(0, 0, 1)),
            peer.encode(peer.Port(1)),
            peer.encode(peer.Extended(2, b"d5:added6:abcdefe")),
            peer.encode(peer.Extended(1, b"d8:msg_typei0e5:piecei0ee")),
            peer.encode(peer.Extended(1, b"d8:msg_typei2e5:piecei0ee")),
            bytes(4),
        ]
    ),
    st.builds(
        lambda number, body: peer.encode(peer.Extended(number, body)),
        st.integers(0, 3),
        st.binary(max_size=60),
    ),
)


def mutated(stream: bytes, rng: Random, flips: int) -> bytes:
    """Return ``stream`` with some bytes changed."""
    changed = bytearray(stream)
    for _ in range(flips):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def run(stream: bytes, step: int) -> tuple[str, bytes | None, bytes]:
    """Drive a fetch with ``stream``; return how it ended, what it got, and what it said."""
    connection = PeerConnection(OURS, HASH, now=0.0, config=ConnectionConfig(max_waste=1 << 20))
    budget = MemoryBudget(MemoryConfig(allowance=16384, shared=65536))
    fetch = MetadataFetch(
        connection, budget, pex=PexInbox(lambda _address: True), config=MetadataConfig(requests_in_flight=2)
    )
    ended, said = "open", b""
    try:
        for at in range(0, len(stream), step):
            fetch.receive_data(stream[at : at + step], 0.0)
            said += fetch.data_to_send(0.0)
            assert connection.partial <= max(peer.MAX_KEPT + 4, step)
    except (PeerFault, OverBudgetError) as fault:
        ended = str(fault)
    fetch.close()
    assert budget.used == 0
    return ended, fetch.result.info if fetch.result else None, said + fetch.data_to_send(0.0)


@given(
    parts=st.lists(PARTS, max_size=8),
    shaken=st.booleans(),
    flips=st.integers(0, 3),
    rng=st.randoms(use_true_random=False),
    step=st.integers(1, 5000),
)
@settings(max_examples=300, deadline=None)
def test_any_stream_ends_well(parts: list[bytes], shaken: bool, flips: int, rng: Random, step: int) -> None:
    """Any stream, however cut, ends in verified bytes, a reason, or waiting; and memory is given back."""
    stream = mutated((handshake(HASH) if shaken else b"") + b"".join(parts), rng, flips)

    ended, info, said = run(stream, len(stream) or 1)

    assert info in (None, INFO)
    assert run(stream, step)[:2] == (ended, info)
    assert len(said) < 68 + 4000 + 40 * len(stream)


@given(
    parts=st.lists(PARTS, max_size=8),
    times=st.lists(st.floats(0, 200), max_size=8),
    rng=st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_any_stream_to_a_served_peer_ends_well(parts: list[bytes], times: list[float], rng: Random) -> None:
    """Whoever dials us and sends whatever, whenever, is answered or dropped with a reason."""
    cache = MetadataCache(1 << 20)
    cache.add(HASH, INFO)
    giver = ServedPeer(PeerConnection(THEIRS, None, now=0.0), cache)
    now = 0.0
    try:
        for part, pause in zip([handshake(HASH), *parts], [0.0, *times], strict=False):
            now += pause
            if now >= giver.next_timer():
                giver.handle_timer(now)
            giver.receive_data(mutated(part, rng, rng.randrange(2)), now)
            assert len(giver.data_to_send(now)) < 200_000
    except PeerFault:
        return
