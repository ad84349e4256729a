"""config/vector.yaml, as far as it can be judged without Vector."""

from __future__ import annotations

from crawler.config import Config
from tests.deploy.shipped import read_yaml


def test_vector_takes_the_longest_line() -> None:
    """Vector reads our output from the beginning, drops no line for its length, and reads no half files."""
    vector = read_yaml("vector.yaml")
    [source] = vector["sources"].values()

    assert source["type"] == "file"
    assert source["read_from"] == "beginning"
    assert source["max_line_bytes"] > Config().fetch.max_line
    assert {f"*{suffix}" for suffix in (".gz", ".zst", ".part", ".torn")} == {
        path.rpartition("/")[2] for path in source["exclude"]
    }
    for sink in vector["sinks"].values():
        assert set(sink["inputs"]) <= vector["sources"].keys()
        assert sink["encoding"] == {"codec": "text"}
