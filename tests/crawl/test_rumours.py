from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.crawl import rumours
from crawler.crawl.rumours import RumourGuard, RumoursConfig

VICTIM = bytes((45, 1, 2, 3))
OTHER = bytes((45, 1, 2, 4))


def guard(contacts: int = 8, window: float = 600.0) -> RumourGuard:
    return RumourGuard(RumoursConfig(contacts_per_ip=contacts, window=window))


def test_an_ip_is_knocked_at_so_often_in_a_window() -> None:
    """Listed under a thousand ports, an address gets the allowed first contacts; the rest are counted."""
    ours = guard()
    assert sum(ours.allows(VICTIM, second / 10) for second in range(1000)) == 8
    assert ours.refused == 992


def test_a_new_window_allows_as_much_again() -> None:
    """When the window is over the counts are forgotten, all at once."""
    ours = guard(contacts=1)
    assert ours.allows(VICTIM, 0.0)
    assert not ours.allows(VICTIM, 600.0)
    assert ours.allows(VICTIM, 600.1)
    assert not ours.allows(VICTIM, 1200.1)


def test_others_are_not_punished() -> None:
    """One address that is named too often leaves the others what is theirs, but for a rare shared counter."""
    ours = guard(contacts=1)
    for _ in range(100):
        ours.allows(VICTIM, 0.0)
    others = [number.to_bytes(4, "big") for number in range(1, 5001)]
    assert sum(ours.allows(other, 1.0) for other in others) >= 4950


def test_ipv6_addresses_are_counted_whole() -> None:
    """An IPv6 address is a key like any other."""
    ours = guard(contacts=2)
    assert [ours.allows(bytes(15) + b"\7", 0.0) for _ in range(3)] == [True, True, False]


def test_the_largest_count_fits_its_byte() -> None:
    """At the highest setting a counter is full before it could overflow."""
    ours = guard(contacts=255)
    assert sum(ours.allows(VICTIM, 0.0) for _ in range(300)) == 255
    with pytest.raises(ValueError, match="contacts_per_ip"):
        guard(contacts=256)


@given(st.lists(st.tuples(st.sampled_from([VICTIM, OTHER]), st.floats(0, 20)), max_size=100))
def test_no_two_windows_allow_more_than_twice(contacts: list[tuple[bytes, float]]) -> None:
    """Whatever comes, what one address gets within any stretch of a window's length is bounded."""
    ours, now = guard(contacts=3, window=30.0), 0.0
    allowed: list[tuple[bytes, float]] = []
    asked = Counter[bytes]()
    for ip, pause in contacts:
        now += pause
        asked[ip] += 1
        if ours.allows(ip, now):
            allowed.append((ip, now))
    for ip, start in allowed:
        assert sum(other == ip and start <= at <= start + 30.0 for other, at in allowed) <= 2 * 3
    assert ours.refused + len(allowed) == sum(asked.values())


def test_a_network_names_so_many_in_a_window() -> None:
    """Of what one network names, only so many new nodes are taken, then none until the window is over."""
    ours = RumourGuard(RumoursConfig(named_per_prefix=50, window=600.0))
    liar, honest = bytes((45, 1, 2)), bytes((45, 1, 3))
    assert [ours.takes(liar, 32, 0.0), ours.takes(liar, 32, 1.0), ours.takes(liar, 32, 2.0)] == [32, 18, 0]
    assert ours.names_refused == 46
    assert ours.takes(honest, 8, 3.0) == 8
    assert ours.takes(liar, 32, 600.1) == 32


def test_memory_is_what_it_says() -> None:
    """The tables never grow: one byte for each of four million counters, two for each of a million."""
    ours = guard()
    for number in range(1000):
        ours.allows(number.to_bytes(4, "big"), float(number))
        ours.takes(number.to_bytes(3, "big"), 8, float(number))
    assert len(ours._counts) == rumours._COUNTERS == 1 << 22
    assert (len(ours._named), ours._named.itemsize) == (rumours._NAMERS, 2)
