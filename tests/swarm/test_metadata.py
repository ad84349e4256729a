"""Metadata from an honest peer to the last byte, and from every kind of bad peer not at all."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.swarm.assembly import MemoryBudget, MemoryConfig, OverBudgetError, verify
from crawler.swarm.connection import PeerConnection, PeerFault
from crawler.swarm.metadata import MetadataConfig, MetadataFetch, VerifiedMetadata
from crawler.swarm.pex import PexConfig, PexInbox
from crawler.swarm.serving import MetadataCache, ServedPeer, ServingConfig
from crawler.wire import extensions, peer
from crawler.wire.extensions import MetadataReject, MetadataRequest, PexMessage, PexPeer
from tests.swarm.fake_wire import (
    OURS,
    THEIR_METADATA_ID,
    THEIRS,
    data,
    deliver,
    handshake,
    introduction,
    messages,
    pieces,
    talk,
)
from tests.wire import torrent_vectors as vectors

INFO = bytes(range(256)) * 200  # 51,200 bytes: three full pieces and a short one
HASH = hashlib.sha1(INFO).digest()  # noqa: S324 - BEP 3's choice
ADDRESS = b"\x01\x02\x03\x04\x1a\xe1"


def sha1(info: bytes) -> bytes:
    """Return the v1 infohash of ``info``."""
    return hashlib.sha1(info).digest()  # noqa: S324 - BEP 3's choice


def fetch_of(infohash: bytes = HASH, **options: object) -> MetadataFetch:
    """Return a fetch whose connection was made just now."""
    return MetadataFetch(PeerConnection(OURS, infohash, now=0.0), **options)  # type: ignore[arg-type] # each test knows


def begun(size: int | None = len(INFO), infohash: bytes = HASH, **options: object) -> MetadataFetch:
    """Return a fetch that has shaken hands with a scripted peer which claims ``size`` bytes."""
    fetch = fetch_of(infohash, **options)
    fetch.receive_data(handshake(infohash) + introduction(size), 0.0)
    return fetch


def served(info: bytes = INFO, infohash: bytes = HASH, config: ServingConfig | None = None) -> ServedPeer:
    """Return an honest peer that has ``info``."""
    cache = MetadataCache(1 << 25)
    assert cache.add(infohash, info)
    return ServedPeer(PeerConnection(THEIRS, None, now=0.0), cache, config=config)


def asked(fetch: MetadataFetch) -> list[int]:
    """Return the pieces that the fetch asks for now, checking that it uses the peer's id."""
    found = []
    for message in messages(fetch.data_to_send(0.0)):
        if isinstance(message, peer.Extended) and message.id:
            assert message.id == THEIR_METADATA_ID
            request = extensions.decode_metadata(message.payload)
            assert isinstance(request, MetadataRequest)
            found.append(request.piece)
    return found


def reason_of(fetch: MetadataFetch, received: bytes, *, step: int | None = None) -> str:
    """Return why the fetch gives up."""
    with pytest.raises(PeerFault) as caught:
        deliver(fetch, received, step=step)
    return caught.value.reason


@pytest.mark.parametrize(
    ("size", "step"),
    [(size, step) for size in (1, 103, 16384, 16385, 32768, 100_000) for step in (None, 1000)]
    + [(103, 1), (16385, 1)],
)
def test_every_size_arrives_byte_exact(size: int, step: int | None) -> None:
    """From one byte to many pieces, full last piece or not: the very bytes come over, however cut."""
    info = (INFO * 2)[:size]
    fetch = fetch_of(sha1(info))

    talk(fetch, served(info, sha1(info)), step=step)

    assert fetch.result == VerifiedMetadata(sha1(info), info)


@pytest.mark.parametrize(
    ("info", "asked_by"),
    [
        (vectors.V1_INFO, vectors.V1_HASH),
        (vectors.V2_INFO, vectors.V2_HASH[:20]),
        (vectors.HYBRID_INFO, vectors.HYBRID_HASH_V1),
        (vectors.HYBRID_INFO, vectors.HYBRID_HASH_V2[:20]),
    ],
)
def test_both_kinds_of_hash_are_accepted(info: bytes, asked_by: bytes) -> None:
    """Twenty bytes may be a SHA-1 or the head of a SHA-256; either proves the bytes (BEP 52)."""
    fetch = fetch_of(asked_by)

    talk(fetch, served(info, asked_by))

    assert fetch.result == VerifiedMetadata(asked_by, info)


def test_verify_is_exact() -> None:
    """One wrong bit, a shortened hash or another length of hash proves nothing."""
    whole = hashlib.sha256(INFO).digest()

    assert verify(HASH, INFO)
    assert verify(whole[:20], INFO)
    assert verify(whole, INFO)
    for wrong in (HASH[:19], b"", whole[:31], whole[:19] + b"x", whole[:31] + b"x", HASH[:-1] + b"\0"):
        assert not verify(wrong, INFO)
    assert not verify(HASH, INFO + b"\0")


def test_a_known_long_hash_is_demanded() -> None:
    """When all 32 bytes are known, its head alone is not enough."""
    fetch = begun(len(vectors.V2_INFO), vectors.V2_HASH[:20], infohashes=[vectors.V2_HASH[:31] + b"x"])

    assert reason_of(fetch, pieces(vectors.V2_INFO)) == "wrong_hash"


def test_a_few_requests_are_in_flight() -> None:
    """Pieces are asked for in order, no more at once than configured, one more for each that comes."""
    fetch = begun(config=MetadataConfig(requests_in_flight=2))

    assert asked(fetch) == [0, 1]
    fetch.receive_data(data(1, INFO[16384:32768], len(INFO)), 0.0)
    assert asked(fetch) == [2]
    fetch.receive_data(data(0, INFO[:16384], None) + data(2, INFO[32768:49152], len(INFO)), 0.0)
    assert asked(fetch) == [3]
    fetch.receive_data(data(3, INFO[49152:], len(INFO)), 0.0)
    assert fetch.result == VerifiedMetadata(HASH, INFO)


# Each way to be of no use: what comes behind the handshakes, and the reason it is counted under.
BAD = [
    (
        "rejects everything",
        peer.encode(peer.Extended(1, extensions.encode_metadata(MetadataReject(0)))),
        "rejected",
    ),
    ("wrong bytes", pieces(INFO[:-1] + b"x"), "wrong_hash"),
    ("another torrent", pieces(bytes(len(INFO))), "wrong_hash"),
    ("a short piece", data(0, INFO[:16383], len(INFO)), "bad_piece_size"),
    ("a long last piece", data(3, INFO[49152:] + b"x", len(INFO)), "bad_piece_size"),
    ("an empty piece", data(0, b"", len(INFO)), "bad_piece_size"),
    ("another total", data(0, INFO[:16384], len(INFO) + 1), "size_mismatch"),
    ("a negative total", data(0, INFO[:16384], -1), "size_mismatch"),
    ("all in one blob", data(0, INFO, len(INFO)), "message_too_large"),
    ("no dict", peer.encode(peer.Extended(1, b"junk")), "bad_metadata_message"),
    ("no piece number", peer.encode(peer.Extended(1, b"d8:msg_typei1ee")), "bad_metadata_message"),
    ("bad frame", b"\x7f" * 5, "message_too_large"),
]


@pytest.mark.parametrize("step", [None, 3])
@pytest.mark.parametrize(("received", "reason"), [pytest.param(*row[1:], id=row[0]) for row in BAD])
def test_bad_peers_are_dropped_with_a_reason(received: bytes, reason: str, step: int | None) -> None:
    """Every way to lie about the pieces ends this peer's fetch, whole or in small bits alike."""
    assert reason_of(begun(), received, step=step) == reason


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (handshake(HASH, has_extensions=False), "no_extension_protocol"),
        (handshake(HASH, b"-SD0100-xunlei______"), "no_extension_protocol"),
        (handshake(HASH) + introduction(5, {}), "no_metadata_extension"),
        (handshake(HASH) + introduction(5, {b"ut_metadata": 0}), "no_metadata_extension"),
        (handshake(HASH) + introduction(None), "no_metadata"),
        (handshake(HASH) + introduction(0), "no_metadata"),
        (handshake(HASH) + introduction(-1), "no_metadata"),
        (handshake(HASH) + introduction(2**31), "no_metadata"),
        (handshake(HASH) + introduction((10 << 20) + 1), "metadata_too_large"),
        (handshake(HASH) + introduction(2**31 - 1), "metadata_too_large"),
        (handshake(b"o" * 20), "wrong_infohash"),
        (handshake(HASH, OURS), "self_connection"),
        (b"\x05\x00", "not_bittorrent"),
    ],
)
def test_useless_peers_are_dropped_early(theirs: bytes, reason: str) -> None:
    """Who cannot have the metadata, or claims an impossible size, is dropped before anything is asked."""
    assert reason_of(fetch_of(), theirs) == reason


def test_noise_between_the_steps_does_no_harm() -> None:
    """Bitfields, haves and unchokes anywhere, and a second introduction, are passed over."""
    noise = (
        peer.encode(peer.Bitfield(bytes(70_000))) + peer.encode(peer.Have(1)) + peer.encode(peer.Unchoke())
    )
    fetch = fetch_of()
    fetch.receive_data(handshake(HASH) + noise + introduction(len(INFO)) + noise, 0.0)

    fetch.receive_data(introduction(77) + noise + pieces(INFO), 0.0)

    assert fetch.result == VerifiedMetadata(HASH, INFO)


def test_the_peers_port_and_name_are_kept() -> None:
    """What a peer says about its client and its DHT node is there for whoever wants it."""
    fetch = fetch_of()
    payload = extensions.encode_handshake(
        extensions.ExtensionHandshake({b"ut_metadata": 1}, 5, client=b"C 1")
    )
    fetch.receive_data(
        handshake(HASH) + peer.encode(peer.Port(6881)) + peer.encode(peer.Extended(0, payload)), 0.0
    )

    assert (fetch.dht_port, fetch.client) == (6881, b"C 1")


def test_unrequested_and_repeated_pieces_are_ignored() -> None:
    """Pieces nobody asked for, a second copy, and an empty one past the end move a counter, no more."""
    fetch = begun(config=MetadataConfig(requests_in_flight=1))
    first = data(0, INFO[:16384], len(INFO))

    fetch.receive_data(data(3, b"x", 1) + first + data(0, b"again", None) + data(4, b"", len(INFO)), 0.0)
    assert (fetch.unrequested, asked(fetch)) == (3, [0, 1])
    for number in (1, 2, 3):
        fetch.receive_data(data(number, INFO[number * 16384 :][:16384], len(INFO)), 0.0)

    assert fetch.result == VerifiedMetadata(HASH, INFO)


def test_pieces_before_the_introduction_are_ignored() -> None:
    """Data from a peer that never said how much there is cannot be asked-for data."""
    fetch = fetch_of()
    fetch.receive_data(handshake(HASH) + pieces(INFO), 0.0)

    assert (fetch.unrequested, fetch.result) == (4, None)


def test_unrequested_pieces_without_end_are_a_flood() -> None:
    """A peer that keeps sending what nobody asked for is dropped."""
    assert reason_of(begun(), data(99, bytes(16384), None) * 300) == "flood"


def test_a_reject_out_of_the_blue_is_ignored() -> None:
    """Rejecting what was never asked tells us nothing."""
    fetch = begun()

    fetch.receive_data(peer.encode(peer.Extended(1, extensions.encode_metadata(MetadataReject(99)))), 0.0)

    assert fetch.result is None


def test_requests_to_us_are_rejected() -> None:
    """While we have nothing to give, whoever asks us for metadata is told so, under its own id."""
    fetch = begun()
    fetch.data_to_send(0.0)

    fetch.receive_data(peer.encode(peer.Extended(1, extensions.encode_metadata(MetadataRequest(5)))), 0.0)

    [answer] = messages(fetch.data_to_send(0.0))
    assert answer == peer.Extended(THEIR_METADATA_ID, extensions.encode_metadata(MetadataReject(5)))


def test_silence_after_the_handshake_has_a_deadline() -> None:
    """A peer that shakes hands and then never introduces itself is dropped ten seconds later."""
    fetch = fetch_of()
    fetch.receive_data(handshake(HASH), 3.0)

    assert fetch.next_timer() == 13.0
    fetch.handle_timer(12.9)
    with pytest.raises(PeerFault, match="extensions_timeout"):
        fetch.handle_timer(13.0)


def test_a_trickle_is_too_slow() -> None:
    """A byte a second, within one piece that never ends, is found out after ten seconds."""
    fetch = begun()
    stream = pieces(INFO)
    for second in range(1, 10):
        fetch.receive_data(stream[second - 1 : second], float(second))

    assert fetch.next_timer() == 10.0
    with pytest.raises(PeerFault, match="too_slow"):
        fetch.handle_timer(10.0)


def test_a_kilobyte_a_second_is_patience_enough() -> None:
    """A peer just above the least rate is heard to the end."""
    fetch = begun()
    stream = pieces(INFO)
    for second, at in enumerate(range(0, len(stream), 1100), start=1):
        fetch.receive_data(stream[at : at + 1100], float(second))
        fetch.handle_timer(float(second))

    assert fetch.result == VerifiedMetadata(HASH, INFO)


def test_stopping_midway_is_too_slow() -> None:
    """A fast beginning buys no time for a hang later on."""
    fetch = begun()
    fetch.receive_data(data(0, INFO[:16384], len(INFO)), 1.0)

    fetch.handle_timer(10.0)
    assert fetch.next_timer() == 20.0
    with pytest.raises(PeerFault, match="too_slow"):
        fetch.handle_timer(20.0)


def test_memory_grows_with_what_arrives() -> None:
    """A claim takes nothing, pieces beyond the allowance take what they are, and all is given back."""
    budget = MemoryBudget(MemoryConfig(allowance=16384, shared=20_000))
    fetch = begun(10 << 20, budget=budget)
    assert budget.used == 0

    fetch.receive_data(data(0, bytes(16384), None), 0.0)
    assert budget.used == 0
    fetch.receive_data(data(1, bytes(16384), None), 0.0)
    assert budget.used == 16384
    with pytest.raises(OverBudgetError):
        fetch.receive_data(data(2, bytes(16384), None), 0.0)

    fetch.close()
    fetch.close()
    assert (budget.used, budget.peak, budget.refused) == (0, 16384, 1)


def test_small_metadata_needs_no_shared_memory() -> None:
    """Honest fetches of a few kilobytes succeed though greedy ones hold the whole pool."""
    budget = MemoryBudget(MemoryConfig(allowance=65536, shared=0))
    fetch = fetch_of(budget=budget)

    talk(fetch, served())

    assert fetch.result is not None


def test_finished_fetches_hold_no_memory() -> None:
    """Once verified or refuted, pieces and their budget are released without being asked."""
    budget = MemoryBudget(MemoryConfig(allowance=16384))
    good, bad = begun(budget=budget), begun(budget=budget)

    good.receive_data(pieces(INFO), 0.0)
    assert reason_of(bad, pieces(bytes(len(INFO)))) == "wrong_hash"

    assert good.result is not None
    assert budget.used == 0
    assert budget.peak > 0


def test_serving_only_what_is_known() -> None:
    """An unknown torrent is closed without a word; one we take part in is answered, its metadata rejected."""
    cache = MetadataCache(1000)
    stranger = ServedPeer(PeerConnection(THEIRS, None, now=0.0), cache)
    with pytest.raises(PeerFault, match="unknown_infohash"):
        stranger.receive_data(handshake(HASH)[:48], 0.0)
    assert stranger.data_to_send(0.0) == b""

    member = ServedPeer(
        PeerConnection(THEIRS, None, now=0.0), cache, takes_part=lambda infohash: infohash == HASH
    )
    with pytest.raises(PeerFault, match="no_metadata"):
        talk(fetch_of(), member)
    request = peer.encode(peer.Extended(1, extensions.encode_metadata(MetadataRequest(0))))
    member.receive_data(introduction(None) + request, 0.0)
    assert member.rejected == 1


@pytest.mark.parametrize("piece", [4, 99, 2**31 - 1])
def test_pieces_past_the_end_are_rejected(piece: int) -> None:
    """Asking beyond the last piece gives a reject and nothing else."""
    giver = served()
    giver.receive_data(handshake(HASH, OURS) + introduction(None), 0.0)
    giver.data_to_send(0.0)

    giver.receive_data(peer.encode(peer.Extended(1, extensions.encode_metadata(MetadataRequest(piece)))), 0.0)

    [answer] = messages(giver.data_to_send(0.0))
    assert answer == peer.Extended(THEIR_METADATA_ID, extensions.encode_metadata(MetadataReject(piece)))


def test_a_greedy_asker_is_served_no_faster_than_it_reads() -> None:
    """A thousand requests at once put a few pieces in the buffer, the rest waits or is rejected."""
    giver = served(config=ServingConfig(max_waiting=10, max_outgoing=16384, max_pieces=50))
    giver.receive_data(handshake(HASH, OURS) + introduction(None), 0.0)
    giver.data_to_send(0.0)
    request = peer.encode(peer.Extended(1, extensions.encode_metadata(MetadataRequest(0))))

    giver.receive_data(request * 1000, 0.0)
    first = giver.data_to_send(0.0)

    assert len(first) < 16384 * 2 + 990 * 40
    assert giver.rejected == 990
    while giver.data_to_send(0.0):
        pass
    assert giver.served == 10
    for _ in range(100):
        giver.receive_data(request, 0.0)
        giver.data_to_send(0.0)
    assert giver.served == 50


def test_served_peers_have_deadlines_too() -> None:
    """Who dials us and says nothing is dropped after ten seconds."""
    giver = served()

    assert giver.next_timer() == 10.0
    with pytest.raises(PeerFault, match="handshake_timeout"):
        giver.handle_timer(10.0)


def test_cache_is_bounded_by_bytes() -> None:
    """The least recently wanted goes first; private and oversized dicts never come in."""
    cache = MetadataCache(100)
    assert cache.add(b"a", bytes(40))
    assert cache.add(b"b", bytes(40))
    assert cache.get(b"a") is not None

    assert cache.add(b"c", bytes(40))
    assert not cache.add(b"d", bytes(101))
    assert not cache.add(b"e", bytes(10), private=True)
    assert cache.add(b"c", bytes(50))

    assert (cache.get(b"b"), cache.get(b"d"), cache.get(b"e")) == (None, None, None)
    assert (cache.size, len(cache), cache.dropped) == (90, 2, 1)


def pex(*addresses: bytes) -> bytes:
    """Return a peer exchange message that adds these."""
    return extensions.encode_pex(PexMessage(tuple(PexPeer(address) for address in addresses)))


def test_pex_feeds_more_peers() -> None:
    """Peers that a peer tells of are kept once each, when they may be dialled at all, up to a limit."""
    inbox = PexInbox(lambda address: address[0] != 10, PexConfig(max_peers=3))
    fetch = begun(pex=inbox)
    private, no_port = b"\x0a\0\0\1\x1a\xe1", b"\x01\x02\x03\x04\0\0"
    crowd = [bytes([5, 5, 5, number, 0, 80]) for number in range(9)]

    fetch.receive_data(peer.encode(peer.Extended(2, pex(ADDRESS, private, no_port))), 0.0)
    assert inbox.peers == (ADDRESS,)
    assert inbox.receive(pex(ADDRESS, *crowd), 1.0) == tuple(crowd[:2])

    assert (inbox.peers, inbox.refused) == ((ADDRESS, *crowd[:2]), 2)


def test_pex_that_nobody_wants_is_waste() -> None:
    """Without an inbox exchange messages only count against the peer, whoever dialled whom."""
    flood = peer.encode(peer.Extended(2, bytes(16000))) * 300
    assert reason_of(begun(), flood) == "flood"

    giver = served()
    giver.receive_data(handshake(HASH, OURS) + introduction(None), 0.0)
    with pytest.raises(PeerFault, match="flood"):
        giver.receive_data(flood, 0.0)


def test_pex_floods_end_the_connection() -> None:
    """More than six messages within a minute are too many, and later ones are welcome again."""
    inbox = PexInbox(lambda _address: True)
    for second in range(6):
        inbox.receive(pex(ADDRESS), float(second))

    with pytest.raises(PeerFault, match="pex_flood"):
        inbox.receive(pex(ADDRESS), 59.0)
    inbox.receive(pex(ADDRESS), 60.0)
    with pytest.raises(PeerFault, match="bad_pex"):
        inbox.receive(b"junk", 65.0)


@given(cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=30))
def test_any_cutting_gives_the_same_bytes(cuts: list[int]) -> None:
    """However the network cuts an honest peer's stream, the metadata is the same."""
    stream = handshake(HASH) + introduction(len(INFO)) + pieces(INFO)
    fetch = fetch_of()
    at = 0
    for cut in cuts:
        fetch.receive_data(stream[at : at + cut], 0.0)
        at += cut
    fetch.receive_data(stream[at:], 0.0)

    assert fetch.result == VerifiedMetadata(HASH, INFO)
