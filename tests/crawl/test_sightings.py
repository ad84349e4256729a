"""What a get_peers query to us is worth."""

from __future__ import annotations

from crawler.crawl.sightings import Sightings, SightingsConfig
from crawler.wire.compact import pack_address

KEY, OTHER = b"k" * 20, b"o" * 20
HERE = pack_address(("45.1.2.3", 6881))
NEIGHBOUR = pack_address(("45.1.2.77", 6881))
ELSEWHERE = pack_address(("45.1.3.3", 6881))


def test_one_asker_is_enough_by_default() -> None:
    """Without a setting every infohash that somebody asks for is believed at once, and nothing is kept."""
    sightings = Sightings(SightingsConfig())
    assert sightings.believed(KEY, HERE)
    assert len(sightings) == 0


def test_second_asker_must_be_of_another_network() -> None:
    """Asking twice, or from next door, proves nothing; another network does, and then nothing is kept."""
    sightings = Sightings(SightingsConfig(askers=2))
    assert [sightings.believed(KEY, node) for node in (HERE, HERE, NEIGHBOUR)] == [False] * 3
    assert sightings.believed(KEY, ELSEWHERE)
    assert len(sightings) == 0


def test_infohashes_are_counted_apart() -> None:
    """Askers of one infohash do not vouch for another."""
    sightings = Sightings(SightingsConfig(askers=2))
    assert not sightings.believed(KEY, HERE)
    assert not sightings.believed(OTHER, ELSEWHERE)
    assert len(sightings) == 2


def test_flood_of_random_keys_is_bounded() -> None:
    """However many keys are looked up, only so many wait, and each that was forgotten is counted."""
    sightings = Sightings(SightingsConfig(askers=2, max_waiting=10))
    for number in range(1000):
        assert not sightings.believed(number.to_bytes(20, "big"), HERE)
    assert (len(sightings), sightings.forgotten) == (10, 990)
    assert sightings.believed((999).to_bytes(20, "big"), ELSEWHERE)
    assert not sightings.believed((0).to_bytes(20, "big"), ELSEWHERE)
