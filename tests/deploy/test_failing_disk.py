"""The daemon as a user starts it, on a disk that fails: nothing is lost, and Prometheus is told."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.deploy.conftest import crawl_nasty
from tests.deploy.shipped import run
from tests.interop.daemon_process import read_records

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_crawl_on_a_failing_disk(tmp_path: Path) -> None:
    """A sync fails, then the disk is full: the crawl goes on to its end, and the counters have moved."""
    if run("strace", "-qq", "-o", "/dev/null", "true").returncode:
        pytest.skip("strace may not trace here")
    out = tmp_path / "run" / "peers.jsonl"
    traced = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", str(out), "-e", "trace=write,fdatasync"]
    injected = ["-e", "inject=fdatasync:error=EIO:when=1", "-e", "inject=write:error=ENOSPC:when=3"]
    crawl = crawl_nasty(tmp_path, *traced, *injected)

    records = [record for path in crawl.directory.glob("peers.jsonl*") for record in read_records(path)]
    wanted = {torrent.infohash.hex() for torrent in crawl.torrents}
    for kind in ("infohash", "metadata"):
        assert {record["infohash"] for record in records if record["type"] == kind} == wanted
    read = text_string_to_metric_families(crawl.metrics)  # type: ignore[no-untyped-call] # the library's gap
    counts = {family.name: sum(sample.value for sample in family.samples) for family in read}
    assert counts["dht_crawler_output_alarms"] >= 2
    assert counts["dht_crawler_output_failures"] >= counts["dht_crawler_output_alarms"]
    assert counts["dht_crawler_output_in_trouble"] == 0
    assert crawl.exit.code == 0, crawl.log
