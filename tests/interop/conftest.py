"""Fixtures of the benches: a libtorrent swarm and one crawl of it, shared by every test that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop import loopback
from tests.interop.swarm import SwarmProcess
from tests.interop.swarm_crawl import Crawl, crawl

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSIONS = 32
TORRENTS = 64


@pytest.fixture(scope="session")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmProcess]:
    """A ready swarm of libtorrent sessions on loopback, each in a /24 of its own, seeding every kind."""
    pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")
    network = loopback.own_network()
    addresses = [f"{network}.{number}.1" for number in range(1, SESSIONS + 1)]
    with SwarmProcess(addresses, tmp_path_factory.mktemp("swarm"), TORRENTS, kinds=True) as running:
        yield running


@pytest.fixture(scope="session")
def swarm_crawl(swarm: SwarmProcess, tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    """One finished crawl of the swarm by the daemon, started as a user starts it."""
    return crawl(swarm, tmp_path_factory.mktemp("crawl"))
