from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.records import InfohashesFound, PeersFound, Record, timestamp
from crawler.wire.compact import pack_address, parse_address

SCHEMA = json.loads((Path(__file__).parent.parent / "config" / "records.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NODE = pack_address(("1.2.3.4", 6881))
HASH = bytes(range(20))
AT = 1767323045.678

# Port 0 is nobody's address; everything that could be one is here.
PORTS = st.integers(1, 65535).map(lambda port: port.to_bytes(2, "big"))
IPS = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
ADDRESSES = st.builds(bytes.__add__, IPS, PORTS)
HASHES = st.binary(min_size=20, max_size=20)
MOMENTS = st.floats(0, 4e9)
FOUND = st.builds(
    InfohashesFound,
    MOMENTS,
    st.sampled_from(["sample", "announce", "get_peers"]),
    ADDRESSES,
    st.lists(HASHES, max_size=20).map(tuple),
)
PEERS = st.builds(
    PeersFound,
    MOMENTS,
    HASHES,
    st.sampled_from(["get_peers", "announce"]),
    st.lists(ADDRESSES, min_size=1, max_size=20, unique=True).map(tuple),
)


def objects(record: Record) -> list[dict[str, Any]]:
    lines = record.lines()
    assert not lines or lines.endswith(b"\n")
    return [json.loads(line) for line in lines.splitlines()]


def is_valid(line: dict[str, Any]) -> bool:
    return VALIDATOR.is_valid(line)


def test_the_schema_is_one() -> None:
    """The schema itself keeps to the draft that it names."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_infohash_lines_to_the_byte() -> None:
    """The lines are those that the README shows, one for each infohash."""
    record = InfohashesFound(AT, "sample", NODE, (HASH, bytes(20)))
    rest = b'","source":"sample","node":"1.2.3.4:6881"}\n'
    head = b'{"type":"infohash","ts":"2026-01-02T03:04:05.678Z","infohash":"'
    assert record.lines() == head + HASH.hex().encode() + rest + head + b"0" * 40 + rest
    assert len(record) == 2


def test_peers_line_to_the_byte() -> None:
    """All peers of one message stand in one line, both families in their usual text."""
    peers = (NODE, pack_address(("2001:db8::1", 51413)))
    assert PeersFound(AT, HASH, "get_peers", peers).lines() == (
        b'{"type":"peers","ts":"2026-01-02T03:04:05.678Z","infohash":"' + HASH.hex().encode() + b'",'
        b'"source":"get_peers","peers":["1.2.3.4:6881","[2001:db8::1]:51413"]}\n'
    )
    assert len(PeersFound(AT, HASH, "get_peers", peers)) == 1


@given(st.one_of(FOUND, PEERS))
def test_every_line_keeps_to_the_schema(record: Record) -> None:
    """Whatever is found makes as many valid lines as it says, in printable ASCII, with the type first."""
    lines = objects(record)
    assert len(lines) == len(record)
    for line in lines:
        VALIDATOR.validate(line)
        assert next(iter(line)) == "type"
    assert set(record.lines().decode()) <= set(string.printable)
    assert b"\r" not in record.lines()


@given(FOUND)
def test_infohash_lines_say_what_was_found(record: InfohashesFound) -> None:
    """Read back, the lines give the same infohashes, node and source."""
    lines = objects(record)
    assert [bytes.fromhex(line["infohash"]) for line in lines] == list(record.infohashes)
    for line in lines:
        assert pack_address(parse_address(line["node"])) == record.node
        assert (line["type"], line["source"]) == ("infohash", record.source)


@given(PEERS)
def test_peers_lines_say_what_was_found(record: PeersFound) -> None:
    """Read back, the line gives the same peers in the same order."""
    (line,) = objects(record)
    assert [pack_address(parse_address(peer)) for peer in line["peers"]] == list(record.peers)
    assert (line["type"], line["source"], line["infohash"]) == ("peers", record.source, record.infohash.hex())


@given(MOMENTS, MOMENTS)
def test_timestamps_are_utc_milliseconds_in_order(one: float, other: float) -> None:
    """A timestamp reads back to within a millisecond, and sorts as text as it does as time."""
    earlier, later = sorted((one, other))
    assert timestamp(earlier) <= timestamp(later)
    read = datetime.strptime(timestamp(one), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert 0 <= one - read.timestamp() + 1e-6 < 1.001e-3
    assert len(timestamp(one)) == 24


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (0.9994, "1970-01-01T00:00:00.999Z"),
        (0.99999999, "1970-01-01T00:00:01.000Z"),
        (1709164800.0, "2024-02-29T00:00:00.000Z"),
        (2147483648.5, "2038-01-19T03:14:08.500Z"),
    ],
)
def test_timestamps_at_the_edges(at: float, text: str) -> None:
    """Whole seconds keep their zeros, rounding carries over, and the year 2038 is a year like others."""
    assert timestamp(at) == text


@given(st.one_of(FOUND.filter(len), PEERS), st.data())
def test_the_schema_refuses_what_we_never_write(record: Record, data: st.DataObject) -> None:
    """A line with any field missing, of another kind, or beside a field of its own is not valid."""
    line = objects(record)[0]
    field = data.draw(st.sampled_from(sorted(line)))
    assert not is_valid({key: value for key, value in line.items() if key != field})
    assert not is_valid({**line, field: data.draw(st.sampled_from(["", "x", None, 7, [], [""], {}]))})
    assert not is_valid({**line, "name": "x"})


@pytest.mark.parametrize(
    "peers",
    [
        [],
        ["1.2.3.4:0"],
        ["1.2.3.4"],
        ["2001:db8::1:6881"],
        ["1.2.3.4:6881", "1.2.3.4:6881"],
        ["1.2.3.4:123456"],
        ["example.org:80"],
    ],
)
def test_the_schema_knows_an_address(peers: list[str]) -> None:
    """Empty lists, repeats, port 0, names and addresses without brackets or port are not valid."""
    (line,) = objects(PeersFound(AT, HASH, "get_peers", (NODE,)))
    assert is_valid(line)
    assert not is_valid({**line, "peers": peers})


def test_a_sample_is_no_source_of_peers() -> None:
    """Each type has its own sources."""
    (line,) = objects(PeersFound(AT, HASH, "get_peers", (NODE,)))
    assert not is_valid({**line, "source": "sample"})


def test_timestamps_cost_once_per_message() -> None:
    """The lines of one answer share a timestamp; the cache that makes it cheap is small."""
    timestamp.cache_clear()
    for _ in range(3):
        InfohashesFound(AT, "sample", NODE, (HASH,) * 20).lines()
    assert timestamp.cache_info().misses == 1
    assert timestamp.cache_info().maxsize == 64
