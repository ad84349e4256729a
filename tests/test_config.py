"""The configuration as its users meet it: what wins, what is refused, and with which words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import config
from crawler.config import Config, ConfigError, load
from crawler.settings import setting, sources, toml_text

ROOT = Path(__file__).resolve().parent.parent


@attrs.frozen
class Kitchen:
    """A section that has one setting of every type."""

    heat: float = setting(180.0, unit="degC", help="How hot.", above=0, maximum=300)
    eggs: int = setting(2, unit="eggs", help="How many.", minimum=0)
    lid: bool = setting(False, unit="", help="Whether it is covered.")
    style: str = setting("soft", unit="", help="How it ends.", choices=("soft", "hard"))
    names: tuple[str, ...] = setting(("a", "b"), unit="", help="Who eats.")
    times: tuple[float, ...] = setting((1.0,), unit="s", help="When to look.")
    timer: float | None = setting(None, unit="s", help="When it rings.", above=0)
    book: Path | None = setting(None, unit="", help="Where it is.")  # noqa: RUF009 - setting() is a field
    endless: float = setting(float("inf"), unit="s", help="How long it keeps.")


@attrs.frozen
class House:
    """A configuration of one section."""

    kitchen: Kitchen = attrs.field(factory=Kitchen)


OPTIONS = sources.options_of({"kitchen": Kitchen})


def from_text(key: str, text: str) -> Any:
    """Return what the environment's text for a key of the kitchen becomes."""
    (value,) = sources.read_environment({f"DHT_CRAWLER_KITCHEN_{key.upper()}": text}, OPTIONS)
    return value.value


def write(tmp_path: Path, text: str) -> Path:
    """Return a file with ``text``."""
    path = tmp_path / "crawl.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(file: Path | None = None, environ: dict[str, str] | None = None, **flags: object) -> str:
    """Return the one line with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load(file, environ or {}, {f"--{flag.replace('_', '-')}": value for flag, value in flags.items()})
    message = str(caught.value)
    assert message.isprintable(), message
    return message


def test_defaults_alone_are_a_configuration() -> None:
    """Nobody has to set anything."""
    assert load(None, {"HOME": "/nowhere"}, {}) == Config()


def test_each_source_beats_the_one_before(tmp_path: Path) -> None:
    """The file beats the default, the environment the file, a flag everything."""
    file = write(tmp_path, "[limits]\nmax_rate = 200\nip_rate = 0.5\nip_burst = 3\n")
    environ = {"DHT_CRAWLER_LIMITS_MAX_RATE": "300", "DHT_CRAWLER_LIMITS_IP_RATE": "0.25"}
    limits = load(file, environ, {"--max-rate": "400"}).limits
    assert (limits.max_rate, limits.ip_rate, limits.ip_burst) == (400.0, 0.25, 3.0)
    assert type(limits.max_rate) is float


def test_default_file_is_what_the_code_says() -> None:
    """config/default.toml shows every key, and no other, with the defaults in force (else: make config)."""
    assert (ROOT / "config" / "default.toml").read_text(encoding="utf-8") == config.default_toml()


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_files_are_accepted(path: Path) -> None:
    """Every profile that is shipped loads, and differs from the defaults only where it says so."""
    loaded = load(path, {}, {})
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    for name, section in attrs.asdict(loaded, recurse=False).items():
        for field in attrs.fields(type(section)):
            if field.name not in said.get(name, {}):
                assert getattr(section, field.name) == field.default


def test_server_profile_is_the_server_profile() -> None:
    """config/server.toml asks 5,000 queries a second."""
    assert load(ROOT / "config" / "server.toml", {}, {}).limits.max_rate == 5000


def test_printed_configuration_reads_back_the_same(tmp_path: Path) -> None:
    """What `dht-crawler config` prints is a file that gives the same configuration."""
    chosen = load(
        None,
        {"DHT_CRAWLER_LOG_LEVEL": "debug"},
        {
            "--listen": ["127.0.0.1:0", "[::1]:0"],
            "--max-rate": "7",
            "--allow-private": True,
            "--bootstrap": [],
        },
    )
    assert load(write(tmp_path, config.to_toml(chosen)), {}, {}) == chosen


names = st.text(max_size=20)
kitchens = st.builds(
    Kitchen,
    heat=st.floats(min_value=0, max_value=300, exclude_min=True),
    eggs=st.integers(min_value=0, max_value=2**63 - 1),
    lid=st.booleans(),
    style=st.sampled_from(["soft", "hard"]),
    names=st.lists(names, max_size=30).map(tuple),
    times=st.lists(st.floats(min_value=0, allow_infinity=False), max_size=3).map(tuple),
    timer=st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    book=st.none() | st.sampled_from([Path("a b"), Path("ü/\x1b\x7f\\"), Path('"')]),
)


@given(kitchens)
def test_every_value_survives_being_written_and_read(kitchen: Kitchen) -> None:
    """TOML that we write reads back as the value it was written from, whatever characters it has."""
    text = toml_text.render(House(kitchen), OPTIONS, {}, "x")
    read = tomllib.loads(text)["kitchen"]
    back = {key: sources._from_value(OPTIONS["kitchen"][key], value, key) for key, value in read.items()}
    assert Kitchen(**back) == kitchen


def test_a_bad_value_in_a_file_is_named(tmp_path: Path) -> None:
    """File, section, key, value, what is allowed and the unit stand in the line."""
    file = write(tmp_path, "[limits]\nmax_rate = -5\n")
    assert refusal(file) == f"{file}: [limits] max_rate = -5: allowed is a number, above 0 (queries/s)"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_rate = true", "max_rate = true: allowed is a number"),
        ('max_rate = "100"', 'max_rate = "100": allowed is a number'),
        ("max_rate = nan", "max_rate = nan: allowed is a number"),
        ("max_rate = inf", "max_rate = inf: allowed is a number"),
        ("max_tracked = 5000.0", "max_tracked = 5000.0: allowed is a whole number, at least 1000"),
        ("max_rate = 1979-05-27", "max_rate = 1979-05-27: allowed is a number"),
        ("max_rate = [1]", "max_rate = [1]: allowed is a number"),
        ("max_rates = 1", "unknown key max_rates in [limits]: did you mean max_rate?"),
        ("zebra = 1", "unknown key zebra in [limits]: known are max_rate, burst, "),
    ],
)
def test_types_in_a_file_are_not_guessed(tmp_path: Path, line: str, said: str) -> None:
    """A value of another type, or a key that nobody knows, is refused in words."""
    assert said in refusal(write(tmp_path, f"[limits]\n{line}\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limit]\n", "unknown section [limit]: did you mean [limits]?"),
        (
            "[tracker]\n",
            "unknown section [tracker]: did you mean [trackers] or [tracker_client] or [tracker_server] or ",
        ),
        ("[zebra]\n", "unknown section [zebra]: known are [output], [state], "),
        ("limits = 5\n", "limits must be a section, written as [limits]"),
        ("[limits\n", "not valid TOML: Expected ']'"),
        ('[network]\nlisten = "0.0.0.0:1"\n', '[network] listen = "0.0.0.0:1": allowed is a list, each text'),
        ("[network]\nlisten = [1]\n", "[network] listen = [1]: allowed is a list"),
        ('["a\\nb\\u001b"]\n', "unknown section [a\\nb\\x1b]"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Whatever is wrong with a file, the line begins with its path."""
    file = write(tmp_path, text)
    message = refusal(file)
    assert message.startswith(f"{file}: ")
    assert said in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a directory and a file that is no text get a line each."""
    missing, binary = tmp_path / "missing.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"a = '\xff'")
    assert refusal(missing) == f"{missing}: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory"
    assert refusal(binary) == f"{binary}: not UTF-8 text (byte 5)"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LIMITS_MAX_RATE", "fast", '= "fast": allowed is a number, above 0 (queries/s)'),
        ("LIMITS_MAX_RATE", "", '= "": allowed is a number'),
        ("LIMITS_MAX_TRACKED", "1e6", '= "1e6": allowed is a whole number'),
        ("NETWORK_ALLOW_PRIVATE", "maybe", '= "maybe": allowed is true or false'),
        ("LOG_LEVEL", "loud", '= "loud": allowed is one of debug, info, warning, error, critical'),
        ("NETWORK_LISTEN", "127.0.0.1", '"127.0.0.1" is not ADDR:PORT with a literal address'),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str, said: str) -> None:
    """The variable, its value and what is allowed stand in the line."""
    message = refusal(environ={f"DHT_CRAWLER_{variable}": value})
    assert message.startswith(f"environment variable DHT_CRAWLER_{variable}")
    assert said in message


def test_an_unknown_variable_is_refused() -> None:
    """A misspelt variable is no silent default."""
    assert refusal(environ={"DHT_CRAWLER_LIMIT_MAX_RATE": "5"}) == (
        "unknown environment variable DHT_CRAWLER_LIMIT_MAX_RATE: did you mean DHT_CRAWLER_LIMITS_MAX_RATE?"
    )


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("heat", " 2.5e2 ", 250.0),
        ("eggs", "12", 12),
        ("lid", "Yes", True),
        ("lid", "0", False),
        ("names", "a, b,,c ", ("a", "b", "c")),
        ("names", "", ()),
        ("times", "1,2.5", (1.0, 2.5)),
        ("timer", "", None),
        ("timer", "5", 5.0),
        ("book", "cakes", Path("cakes")),
        ("endless", "inf", float("inf")),
    ],
)
def test_text_becomes_the_type_of_its_setting(key: str, text: str, value: object) -> None:
    """Environment text is parsed as the setting's type, lists at their commas."""
    assert from_text(key, text) == value
    assert type(from_text(key, text)) is type(value)


@pytest.mark.parametrize(("key", "text"), [("times", "1,x"), ("timer", "0"), ("heat", "inf"), ("eggs", "-1")])
def test_text_keeps_to_types_and_bounds(key: str, text: str) -> None:
    """Each item of a list has its type, and a value that may be left out keeps to its bounds."""
    with pytest.raises(ConfigError, match=f"DHT_CRAWLER_KITCHEN_{key.upper()} = "):
        from_text(key, text)


def test_a_bad_flag_is_named() -> None:
    """A flag's value is judged as a file's is."""
    assert refusal(max_rate="zero") == '--max-rate = "zero": allowed is a number, above 0 (queries/s)'
    assert refusal(log_format="xml") == '--log-format = "xml": allowed is one of console, json'


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        (["localhost:6881"], '"localhost:6881" is not ADDR:PORT'),
        (["127.0.0.1:65536"], '"127.0.0.1:65536" is not ADDR:PORT'),
        (["::1:6881"], '"::1:6881" is not ADDR:PORT'),
        (["[::1]:6881", "[0::1]:6881"], '"[0::1]:6881" is there twice'),
        ([], "at least one address to listen on is needed"),
    ],
)
def test_listen_addresses_are_literal_and_single(addresses: list[str], said: str) -> None:
    """What can't be bound is refused before a socket is opened."""
    assert refusal(listen=addresses).startswith("--listen: ")
    assert said in refusal(listen=addresses)


@pytest.mark.parametrize("port", ["0", "6881", "65535"])
def test_any_port_may_be_listened_on(port: str) -> None:
    """Port 0 picks one, and may stand there once for each address."""
    addresses = (f"127.0.0.1:{port}", f"[::1]:{port}")
    assert load(None, {}, {"--listen": addresses}).network.listen == addresses


@pytest.mark.parametrize(
    "peer", ["host", "host:0", "host:65536", ":6881", "h:x", "a b:1", "::1:5", "[x]:5", "[::1]:0"]
)
def test_bootstrap_is_host_and_port(peer: str) -> None:
    """A bootstrap node is a name or address with a real port."""
    assert refusal(bootstrap=["good.example:6881", peer]) == (
        f'--bootstrap: "{peer}" is not HOST:PORT with a port from 1 to 65535'
    )


@pytest.mark.parametrize("peer", ["router.example:6881", "192.0.2.1:1", "[2001:db8::1]:65535"])
def test_bootstrap_takes_names_and_addresses(peer: str) -> None:
    """Names, IPv4 and bracketed IPv6 addresses are all fine."""
    assert load(None, {}, {"--bootstrap": [peer]}).network.bootstrap == (peer,)


def test_a_long_hostile_value_stays_one_short_line(tmp_path: Path) -> None:
    """A refused value is repeated only as far as it helps, with nothing in it that moves a cursor."""
    message = refusal(write(tmp_path, f'[limits]\nmax_rate = "\\u001b[2J{"x" * 10_000}"\n'))
    assert len(message) < 400


def test_every_setting_explains_itself() -> None:
    """Every setting has help, an admitted default and a variable that is its own."""
    options = [option for keys in config.OPTIONS.values() for option in keys.values()]
    assert len({option.variable for option in options}) == len(options)
    for option in options:
        assert option.meaning.help.endswith("."), option
        assert re.fullmatch(r"DHT_CRAWLER_[A-Z0-9_]+", option.variable)


def test_every_section_of_the_daemon_is_there() -> None:
    """No part of the daemon has settings that nobody can reach."""
    parts = [path for path in (ROOT / "crawler").rglob("*.py") if "simnet" not in path.parts]
    named = re.compile(r"(?m)^class (\w+(?:Config|Limits|Policy|Bounds))\b")
    classes = {name for path in parts for name in named.findall(path.read_text("utf-8"))}
    assert classes == {section.__name__ for section in config.SECTIONS.values()}


def test_every_flag_names_a_setting() -> None:
    """The table of flags points at settings that exist."""
    for target in [*config.FLAGS.values(), *config.TRACKER_FLAGS.values()]:
        section, key = target.split(".")
        assert key in config.OPTIONS[section]


def test_a_type_no_source_can_give_is_our_mistake() -> None:
    """A section with a field that no text can fill fails at import, not at some user's."""

    @attrs.frozen
    class Odd:
        """A section nobody could set."""

        odd: bytes = setting(b"", unit="", help="Odd.")

    with pytest.raises(TypeError, match="odd: no source can give"):
        sources.options_of({"odd": Odd})
