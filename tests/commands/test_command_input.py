"""What the commands explain and what they refuse, before anything is sent anywhere."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from crawler import cli
from crawler.client.node import DEFAULT_BOOTSTRAP
from crawler.client.target import as_magnet, parse_target
from crawler.commands import client, manual
from crawler.wire.magnet import Magnet, MagnetError

if TYPE_CHECKING:
    from pathlib import Path

HASH = "957b901faa247ca200f4284b142b796166bdc9a3"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that would go on to join a network."""

    def forbidden(*_arguments: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(trio, "run", forbidden)


ASKING = [name for name, one in manual.MANUALS.items() if one.usage.startswith("TARGET")]


@pytest.mark.parametrize("name", ASKING)
def test_help_teaches(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each command explains its flags with examples and exit codes, in lines that fit a terminal."""
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    dht = "" if name == "scrape" else "--port --bootstrap --listen --verbose"
    words = f"TARGET --timeout --allow-private --json {dht}"
    own = {
        "lookup": "--no-trackers --tracker-timeout",
        "metadata": "--save --force --no-trackers --tracker-timeout",
        "announce": "--implied-port --tracker --seed --stay",
        "scrape": "--tracker",
    }.get(name, "")
    for word in f"{words} {own}".split():
        assert re.search(rf"(?m)^  {re.escape(word)}\b", text), word
    assert text.startswith(f"Usage: dht-crawler {name} TARGET [OPTIONS]\n")
    assert f"Examples:\n  dht-crawler {name} {HASH}" in text
    assert re.search(r"Exit codes:\n  0    .*\n  1    .*\n  2    bad input.*\n  130  stopped by Ctrl-C", text)
    assert max(map(len, text.splitlines())) <= 79


def test_the_list_of_commands_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks for help finds the commands."""
    cli.main(["--help"])
    text = capsys.readouterr().out
    for name in manual.MANUALS:
        assert re.search(rf"(?m)^  {name}  +\w", text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"lookup {HASH[:-1]}", "not an infohash: '957b901f"),
        (f"lookup {HASH[:-1]}g", "40 hex or 32 base32 are needed, 64 hex for v2, or a magnet link"),
        ("metadata magnet:?dn=x", "the magnet link names no torrent"),
        ("metadata magnet:?xt=urn:btih:12", "the magnet link's btih is broken"),
        ("lookup \x1b[2J", "not an infohash: '\\x1b[2J'"),
        ("lookup", "TARGET requires an argument"),
        (f"lookup {HASH} more", "unknown argument 'more'"),
        (f"lookup {HASH} --timeout 0", "--timeout = 0: allowed is a number of seconds above 0"),
        (
            f"lookup {HASH} --tracker-timeout 0",
            "--tracker-timeout = 0: allowed is a number of seconds above 0",
        ),
        (f"lookup {HASH} --timeout nan", "--timeout = nan: allowed is"),
        (f"lookup {HASH} --timeout soon", 'unable to convert "soon"'),
        (f"lookup {HASH} --port 65536", "--port = 65536: allowed is 0 to 65535"),
        (f"lookup {HASH} --port 5 --listen 127.0.0.1:5", "--port and --listen both say where"),
        (f"lookup {HASH} --bootstrap 127.0.0.1:5", "--allow-private permits it"),
        (f"lookup {HASH} --bootstrap [fe80::1]:5", "--allow-private permits it"),
        (f"lookup {HASH} --bootstrap host", '"host" is not HOST:PORT'),
        (f"announce {HASH}", "--port requires an argument"),
        (f"announce {HASH} --port 0", "--port = 0: allowed is 1 to 65535"),
        (f"announce {HASH} --port x", 'unable to convert "x"'),
        (f"announce {HASH} --port 1 --save x", "Unknown option: --save"),
        (f"metadata {HASH} --save .", "that is a directory"),
        (f"scrape {HASH}", "--tracker requires an argument"),
        (f"scrape {HASH} {HASH[:-1]} --tracker udp://t:1", "not an infohash"),
        (f"scrape {HASH} --tracker udp://t", "it has no port from 1 to 65535"),
        (f"scrape {HASH} --tracker wss://t:1", "it must begin with http://, https:// or udp://"),
        (f"scrape {HASH} --tracker udp://\x1b[2J:1", "plain ASCII"),
        (f"scrape {HASH} --tracker udp://t:1 --timeout 0", "--timeout = 0"),
        (f"announce {HASH} --port 1 --tracker file:///etc/passwd", "it must begin with"),
        (f"announce {HASH} --port 1 --tracker udp://t:1 --implied-port", "--implied-port is for the DHT"),
        (f"announce {HASH} --port 1 --stay", "--stay is for trackers"),
    ],
)
def test_bad_input_gets_one_line(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    """Exit code 2 and one printable line that names what is wrong."""
    assert cli.main(words.split(" ")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dht-crawler: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


def test_an_existing_file_is_refused_before_the_search(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nobody waits a minute to be told that the file exists."""
    place = tmp_path / "x.torrent"
    place.write_bytes(b"precious")
    assert cli.main(["metadata", HASH, "--save", str(place)]) == 2
    assert "it exists; --force replaces it" in capsys.readouterr().err
    assert place.read_bytes() == b"precious"


def test_flags_become_options() -> None:
    """What is not said gets the defaults: the well-known hosts, any port of both families, a minute."""
    options = client.ClientFlags().options()
    assert options.bootstrap == DEFAULT_BOOTSTRAP
    assert options.listen == ("0.0.0.0:0", "[::]:0")
    assert options.timeout == 60
    assert client.ClientFlags().options(6881).listen == ("0.0.0.0:6881", "[::]:6881")
    named = client.ClientFlags(listen=["127.0.0.1:7"], bootstrap=["a.example:1"], timeout=float("inf"))
    assert (named.options().listen, named.options().bootstrap) == (("127.0.0.1:7",), ("a.example:1",))


def test_targets_are_read_in_every_form() -> None:
    """Hex, base32, a v2 hash and magnet links, as text, as bytes or parsed, mean the same."""
    v1, v2 = bytes.fromhex(HASH), bytes(range(32))
    assert parse_target(f" {HASH.upper()} ") == Magnet(infohash=v1)
    assert parse_target("SV5ZAH5KER6KEAHUFBFRIK3ZMFTL3SND") == Magnet(infohash=v1)
    assert parse_target(v2.hex()) == Magnet(infohash_v2=v2)
    assert parse_target(f"MAGNET:?xt=urn:btih:{HASH}").infohash == v1
    assert as_magnet(v1) == as_magnet(HASH) == as_magnet(Magnet(infohash=v1))
    assert as_magnet(v2) == Magnet(infohash_v2=v2)
    assert as_magnet(bytearray(v1)) == as_magnet(v1)
    with pytest.raises(TypeError, match="text, bytes or a Magnet, not int"):
        as_magnet(5)  # type: ignore[arg-type]  # what a stranger may do
    with pytest.raises(ValueError, match="20 or 32 bytes, not 5"):
        as_magnet(b"short")
    with pytest.raises(MagnetError):
        parse_target("magnet:?xt=urn:btih:xyz")


def test_a_missing_extra_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without httpx2 an HTTP tracker is refused with the command that installs it."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    assert cli.main(["scrape", HASH, "--tracker", "http://t/announce"]) == 2
    err = capsys.readouterr().err
    assert 'pip install "dht-crawler[trackers]"' in err
    assert err.count("\n") == 1
