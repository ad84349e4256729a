from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.dht.peers import PeerStore, PeerStoreConfig
from crawler.dht.scrape_filter import filter_of
from crawler.wire.compact import Family, pack_address

LIFETIME = 2700.0


def store(**limits: int) -> PeerStore:
    return PeerStore(PeerStoreConfig(**limits), random.Random(0))


def peer(number: int, port: int = 6881) -> bytes:
    return bytes((45, number >> 16 & 255, number >> 8 & 255, number & 255)) + port.to_bytes(2, "big")


def peer6(network: int, host: int) -> bytes:
    return bytes.fromhex("2a00") + network.to_bytes(6, "big") + host.to_bytes(8, "big") + b"\x1a\xe1"


def infohash(number: int) -> bytes:
    return number.to_bytes(20, "big")


def peers_of(ours: PeerStore, number: int, now: float = 0.0, limit: int = 999) -> set[bytes]:
    found = [address for family in Family for address in ours.get(infohash(number), family, now, limit)]
    assert len(set(found)) == len(found)
    return set(found)


def test_announced_peer_is_found() -> None:
    """A peer that announced itself is handed out for its infohash and no other."""
    ours = store()

    assert ours.announce(infohash(1), peer(1), 0.0)
    assert peers_of(ours, 1) == {peer(1)}
    assert ours.has(infohash(1))
    assert peers_of(ours, 2) == set()
    assert not ours.has(infohash(2))


def test_second_announce_refreshes() -> None:
    """An IP has one entry in a swarm; announcing again renews its port, its time and its seed flag."""
    ours = store()
    ours.announce(infohash(1), peer(1, 1000), 0.0, seed=False)
    ours.announce(infohash(1), peer(1, 2000), 2000.0, seed=True)

    assert peers_of(ours, 1, 2000.0 + LIFETIME - 1) == {peer(1, 2000)}
    assert ours.get(infohash(1), Family.IPV4, 2000.0, 9, noseed=True) == []
    statistics = ours.statistics()
    assert (statistics.announced, statistics.stored, statistics.refreshed, statistics.peers) == (2, 1, 1, 1)


def test_peers_expire() -> None:
    """A peer is handed out for 45 minutes after its announce and then forgotten, infohash and all."""
    ours = store()
    ours.announce(infohash(1), peer(1), 0.0)
    ours.announce(infohash(1), peer(2), 100.0)

    assert peers_of(ours, 1, LIFETIME - 1) == {peer(1), peer(2)}
    assert peers_of(ours, 1, LIFETIME) == {peer(2)}
    ours.expire(LIFETIME + 100)
    assert not ours.has(infohash(1))
    statistics = ours.statistics()
    assert (statistics.expired, statistics.peers, statistics.announcers, statistics.infohashes) == (
        2,
        0,
        0,
        0,
    )


def test_families_are_kept_apart() -> None:
    """Whoever asks over one family gets only peers of that family."""
    ours = store()
    ours.announce(infohash(1), peer(1), 0.0)
    ours.announce(infohash(1), peer6(1, 1), 0.0)

    assert ours.get(infohash(1), Family.IPV4, 0.0, 50) == [peer(1)]
    assert ours.get(infohash(1), Family.IPV6, 0.0, 50) == [peer6(1, 1)]


def test_choice_is_random_and_limited() -> None:
    """Of more peers than the limit a different choice is given each time, so that all are given away."""
    ours = store()
    for number in range(200):
        ours.announce(infohash(1), peer(number), 0.0)

    choices = [frozenset(peers_of(ours, 1, limit=50)) for _ in range(20)]
    assert {len(choice) for choice in choices} == {50}
    assert len(frozenset().union(*choices)) > 190


def test_noseed_leaves_out_seeds() -> None:
    """Who wants no seeds gets those that said they are not, and those that said nothing (BEP 33)."""
    ours = store()
    for number, seed in enumerate([True, False, None]):
        ours.announce(infohash(1), peer(number), 0.0, seed)

    assert set(ours.get(infohash(1), Family.IPV4, 0.0, 9, noseed=True)) == {peer(1), peer(2)}


def test_scrape_separates_seeds_from_downloaders() -> None:
    """The two filters hold the IPs of seeds and of everybody else, of both families, as they are now."""
    ours = store()
    ours.announce(infohash(1), peer(1), 0.0, seed=True)
    ours.announce(infohash(1), peer6(7, 1), 0.0)

    assert ours.scrape(infohash(1), 0.0) == (filter_of([peer(1)[:4]]), filter_of([peer6(7, 1)[:16]]))
    ours.announce(infohash(1), peer(1), 60.0, seed=False)
    assert ours.scrape(infohash(1), 60.0) == (filter_of([]), filter_of([peer(1)[:4], peer6(7, 1)[:16]]))
    assert ours.scrape(infohash(1), LIFETIME) == (filter_of([]), filter_of([peer(1)[:4]]))
    assert ours.scrape(infohash(2), 0.0) is None


def test_full_swarm_drops_the_longest_silent() -> None:
    """A full swarm takes a new peer in place of the one that was silent longest."""
    ours = store(max_peers=3)
    for number in range(3):
        ours.announce(infohash(1), peer(number), float(number))
    ours.announce(infohash(1), peer(0), 5.0)

    assert ours.announce(infohash(1), peer(9), 6.0)
    assert peers_of(ours, 1, 6.0) == {peer(0), peer(2), peer(9)}
    assert ours.statistics().displaced == 1


def test_full_store_refuses_new_infohashes_only() -> None:
    """A store full of infohashes refuses new ones, still takes peers of held ones, and frees room in time."""
    ours = store(max_infohashes=2)
    ours.announce(infohash(1), peer(1), 0.0)
    ours.announce(infohash(2), peer(2), 0.0)

    assert not ours.accepts(infohash(3), 1.0)
    assert not ours.announce(infohash(3), peer(3), 1.0)
    assert ours.accepts(infohash(1), 1.0)
    assert ours.announce(infohash(1), peer(3), 1.0)
    assert ours.statistics().refused_infohash == 1
    assert ours.accepts(infohash(3), LIFETIME)


def test_total_of_peers_is_bounded() -> None:
    """At the total bound a held swarm renews itself and a new infohash is refused."""
    ours = store(max_peers_total=3)
    for number in range(3):
        ours.announce(infohash(1), peer(number), 0.0)

    assert not ours.announce(infohash(2), peer(7), 1.0)
    assert ours.announce(infohash(1), peer(8), 1.0)
    assert ours.statistics().peers == 3


def test_one_announcer_fills_only_its_share() -> None:
    """One IP may announce 20 infohashes; more are refused until some expire, other IPs are not affected."""
    ours = store()
    verdicts = [ours.announce(infohash(number), peer(1), 0.0) for number in range(30)]

    assert verdicts == [True] * 20 + [False] * 10
    assert ours.announce(infohash(25), peer(2), 0.0)
    assert ours.announce(infohash(3), peer(1), 0.0)
    assert ours.statistics().refused_ip == 10
    ours.expire(LIFETIME)
    assert ours.announce(infohash(25), peer(1), LIFETIME)


def test_ipv6_host_cannot_multiply_within_its_64() -> None:
    """All addresses of one IPv6 /64 share one announcer's bound."""
    ours = store()

    assert sum(ours.announce(infohash(number), peer6(1, number), 0.0) for number in range(30)) == 20
    assert ours.announce(infohash(1), peer6(2, 1), 0.0)


def test_sample_is_frozen_for_an_interval() -> None:
    """The sample holds up to 20 random infohashes and does not change before the interval is over."""
    ours = store(max_per_ip=999)
    for number in range(100):
        ours.announce(infohash(number), peer(1), 0.0)
    samples, stored, interval = ours.sample(10.0)
    for number in range(100, 200):
        ours.announce(infohash(number), peer(1), 20.0)

    assert (len(samples), stored, interval) == (400, 100, 300)
    drawn = {samples[at : at + 20] for at in range(0, 400, 20)}
    assert len(drawn) == 20
    assert drawn <= {infohash(number) for number in range(100)}
    assert ours.sample(309.0) == (samples, 200, 300)
    assert ours.sample(310.0)[0] != samples


def test_empty_sample_is_not_frozen() -> None:
    """A node that just started shows its first infohash at once."""
    ours = store()

    assert ours.sample(0.0) == (b"", 0, 300)
    ours.announce(infohash(1), peer(1), 1.0)
    assert ours.sample(2.0) == (infohash(1), 1, 300)


ANNOUNCES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 12), st.booleans(), st.floats(0, 900)), max_size=120
)


@settings(deadline=None)
@given(ANNOUNCES)
def test_conservation_and_bounds(announces: list[tuple[int, int, bool, float]]) -> None:
    """Whatever is announced, every bound holds and every announce and every peer is accounted for."""
    ours = store(max_infohashes=4, max_peers=5, max_peers_total=12, max_per_ip=3)
    now, model = 0.0, dict[tuple[bytes, bytes], float]()
    for number, host, is_v6, pause in announces:
        now += pause
        address = peer6(host // 3, host) if is_v6 else peer(host)
        if ours.announce(infohash(number), address, now):
            model[infohash(number), address] = now

        figures = ours.statistics()
        assert figures.announced == sum(
            (figures.stored, figures.refreshed, figures.refused_ip, figures.refused_infohash)
        )
        assert figures.stored == figures.peers + figures.expired + figures.displaced
        assert figures.infohashes <= 4
        assert figures.peers <= 12
    held = [(infohash(number), address) for number in range(7) for address in peers_of(ours, number, now)]
    assert len(held) <= 12
    assert all(now - model[entry] < LIFETIME for entry in held)
    assert max(len(peers_of(ours, number, now)) for number in range(7)) <= 5
    ours.expire(now + LIFETIME + 1)
    assert (ours.statistics().peers, ours.statistics().announcers, ours.statistics().infohashes) == (0, 0, 0)


def test_mixed_text_addresses_round_trip() -> None:
    """Compact addresses packed from text are stored and given back unchanged."""
    ours = store()
    for text in ("1.2.3.4", "2001:db8::1"):
        ours.announce(infohash(1), pack_address((text, 51413)), 0.0)

    assert peers_of(ours, 1) == {pack_address(("1.2.3.4", 51413)), pack_address(("2001:db8::1", 51413))}
