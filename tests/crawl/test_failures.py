"""The memory of failed peers: what it keeps, for whom, how long, and how much."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from crawler.crawl.failures import Failures, FailuresConfig
from crawler.wire.compact import pack_address

HASH, OTHER = b"h" * 20, b"o" * 20


def memory(*, spread: bool = True, **changes: Any) -> Failures:
    """Return an empty memory."""
    return Failures(attrs.evolve(FailuresConfig(lifetime=100.0), **changes), spread=spread)


def at(port: int, host: str = "192.0.2.1") -> bytes:
    """Return a compact address."""
    return pack_address((host, port))


@pytest.mark.parametrize(
    ("reason", "for_all"), [("refused", True), ("wrong_hash", True), ("rejected", False), ("deadline", False)]
)
def test_a_failure_counts_for_the_peer_or_for_one_torrent(reason: str, *, for_all: bool) -> None:
    """Whoever is gone or lies is left alone by all jobs; whoever lacks a torrent, by jobs for that one."""
    failures = memory()
    failures.add(at(1), HASH, reason, 0.0)

    assert failures.knows(at(1), HASH, 1.0)
    assert failures.knows(at(1), OTHER, 1.0) is for_all
    assert not failures.knows(at(2), HASH, 1.0)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_failures_are_forgotten_in_time(host: str) -> None:
    """A failure lasts as long as set, from the last time on."""
    failures = memory()
    failures.add(at(1, host), HASH, "refused", 0.0)
    failures.add(at(2, host), HASH, "refused", 0.0)
    failures.add(at(1, host), HASH, "refused", 50.0)

    assert not failures.knows(at(2, host), HASH, 100.0)
    assert failures.knows(at(1, host), HASH, 149.0)
    assert not failures.knows(at(1, host), HASH, 150.0)
    assert len(failures) == 0


def test_too_many_failures_push_out_the_oldest() -> None:
    """The memory is bounded; what is pushed out is counted, and its address is free again."""
    failures = memory(max_tracked=3)
    for number in range(5):
        failures.add(at(1, f"192.0.2.{number}"), HASH, "refused", 0.0)

    assert (len(failures), failures.evicted) == (3, 2)
    assert not failures.knows(at(1, "192.0.2.0"), HASH, 0.0)


def test_an_ip_where_port_after_port_fails_is_left_alone() -> None:
    """Naming ever new ports of a victim's address earns it a few dials, until the failures are forgotten."""
    failures = memory(max_per_ip=4)
    for port in range(1, 5):
        assert not failures.knows(at(99), HASH, 0.0)
        failures.add(at(port), HASH, "refused", 0.0)
        failures.add(at(port), HASH, "refused", 0.0)

    assert failures.knows(at(99), HASH, 0.0)
    assert not failures.knows(at(99, "192.0.2.2"), HASH, 0.0)
    assert not failures.knows(at(99), HASH, 100.0)


def test_in_a_closed_network_an_ip_may_have_many_ports() -> None:
    """Tests and closed networks have all peers at a few addresses, so that limit is lifted there."""
    failures = memory(spread=False, max_per_ip=1)
    failures.add(at(1), HASH, "refused", 0.0)

    assert not failures.knows(at(2), HASH, 0.0)
