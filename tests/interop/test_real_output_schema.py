"""What a real crawl wrote, held against the published schema of the records."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema
import pytest

from tests.interop.daemon_process import REPOSITORY

if TYPE_CHECKING:
    from tests.interop.swarm_crawl import Crawl

pytestmark = pytest.mark.interop

SCHEMA = REPOSITORY / "config" / "records.schema.json"
TIMESTAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_real_output_obeys_the_schema(swarm_crawl: Crawl) -> None:
    """Every line of a crawl of real nodes validates against config/records.schema.json."""
    schema = json.loads(SCHEMA.read_text())
    validator_class = jsonschema.validators.validator_for(schema)
    validator_class.check_schema(schema)
    validator = validator_class(schema, format_checker=validator_class.FORMAT_CHECKER)
    assert {record["type"] for record in swarm_crawl.records} == {"infohash", "peers", "metadata"}
    for record in swarm_crawl.records:
        validator.validate(record)


def test_the_schema_refuses_what_we_never_write(swarm_crawl: Crawl) -> None:
    """The schema is no rubber stamp: real records with one field spoilt do not validate."""
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for kind in ("infohash", "peers"):
        record = next(record for record in swarm_crawl.records if record["type"] == kind)
        spoilt = [{**record, "type": "rumour"}, {**record, "infohash": "ab"}, {**record, "source": "dream"}]
        required = schema["$defs"][kind]["required"]
        spoilt += [{k: v for k, v in record.items() if k != field} for field in required]
        for one in spoilt:
            assert not validator.is_valid(one), one


def test_lines_are_what_a_tail_wants(swarm_crawl: Crawl) -> None:
    """Each line starts with its type, is plain ASCII and carries a UTC time with milliseconds."""
    assert swarm_crawl.lines
    for line, record in zip(swarm_crawl.lines, swarm_crawl.records, strict=True):
        assert line.startswith(b'{"type":"')
        assert line.isascii()
        assert TIMESTAMP.fullmatch(record["ts"])
