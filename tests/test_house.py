"""The walls of docs/architecture.md, read off the syntax trees, so that the picture stays true."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crawler import app

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "crawler").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# A room of the house -> what it may import besides its own. A room is a package or a module directly below
# crawler/. A page of a package may have walls of its own, as "room/page", and may be all that another sees.
WALLS: dict[str, frozenset[str]] = {
    "settings": frozenset(),
    "metrics": frozenset(),
    "log": frozenset({"settings"}),
    "log/lines": frozenset(),
    "log/sampling": frozenset(),
    "log/writer": frozenset(),
    "wire": frozenset({"settings"}),
    "dht": frozenset({"wire", "settings"}),
    "swarm": frozenset({"wire", "settings"}),
    "net": frozenset({"wire", "dht", "swarm", "settings"}),
    "records": frozenset({"wire"}),
    "crawl": frozenset({"net", "dht", "swarm", "wire", "records", "settings"}),
    "sinks": frozenset({"records", "settings"}),
    "reading": frozenset({"records", "sinks", "settings"}),
    "state": frozenset({"crawl", "wire", "settings"}),
    "state/damage": frozenset(),
    "state/directory": frozenset({"settings", "state/damage"}),
    "state/journal": frozenset(),
    "simnet": frozenset({"wire", "net", "settings"}),
    "client": frozenset({"net", "swarm", "dht", "wire"}),
    "tracker": frozenset({"net", "swarm", "wire", "metrics"}),
    "tracker/config": frozenset({"settings"}),
    # tail and replay obey the settings of the daemon whose files they read and write.
    "commands": frozenset(
        {"client", "tracker", "net", "wire", "records", "reading", "sinks", "config", "log", "settings"}
    ),
    # What the command line needs at every start, or asks a daemon that may have no time, is quick to import.
    "commands/health": frozenset(),
    "commands/manual": frozenset(),
    "commands/plain_help": frozenset(),
    "config": frozenset(
        {
            "crawl",
            "net",
            "dht",
            "swarm",
            "wire",
            "sinks",
            "reading",
            "state",
            "log",
            "settings",
            "daemon/lifetime",
            "tracker/config",
        }
    ),
    # The composition root: the daemon is put together, then it is looked at, and `app` lets both live.
    "daemon": frozenset(
        {"crawl", "net", "dht", "swarm", "wire", "records", "sinks", "state", "config", "log", "settings"}
    ),
    "daemon/allocator": frozenset(),
    "daemon/lifetime": frozenset({"settings"}),
    "daemon/tasks": frozenset(),
    "monitoring": frozenset({"daemon", "crawl", "net", "dht", "wire", "sinks", "log", "metrics", "settings"}),
    "monitoring/metrics_crawl": frozenset({"metrics"}),
    "monitoring/metrics_dht": frozenset({"metrics"}),
    "monitoring/pages": frozenset(),
    "app": frozenset({"daemon", "monitoring", "config", "log", "net", "wire", "records", "sinks", "state"}),
    "cli": frozenset({"app", "commands", "config", "log", "settings", "simnet"}),
    "__main__": frozenset({"cli"}),
    "__init__": frozenset(),
    "demo": frozenset(),
}
# These take time, chance and sockets as arguments.
PURE = (
    *("wire", "dht", "swarm", "crawl/frontier", "crawl/seen", "crawl/seen_slices"),
    *(
        "crawl/credit",
        "crawl/failures",
        "crawl/fetch_job",
        "crawl/fetch_jobs",
        "crawl/lookup_queue",
        "crawl/resting",
    ),
    *("crawl/sightings", "reading/record_line", "reading/when"),
)
IMPURE_MODULES = frozenset({"trio", "socket", "time", "random", "structlog"})
# The simulated network is a network of its own, so it has a door of its own.
ROOMS_WITH_SOCKETS = frozenset({"net", "simnet"})
LONGEST_FILE = 500
LONGEST_FUNCTION = 50


def page_of(path: Path) -> str:
    """Return the path of a source file as the walls name it: ``room``, or ``room/page`` and deeper."""
    return path.relative_to(ROOT / "crawler").with_suffix("").as_posix()


def room_of(path: Path) -> str:
    """Return the room of a source file."""
    return page_of(path).partition("/")[0]


def is_pure(path: Path) -> bool:
    """Return whether a source file belongs to a part that takes time, chance and sockets as arguments."""
    return page_of(path) in PURE or room_of(path) in PURE


def imported_modules(tree: ast.AST, *, types_too: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted module) of every import, those inside functions too.

    ``from crawler import app`` yields ``crawler.app``; imports that only a type checker sees are left out
    when ``types_too`` is false.
    """
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING") and not types_too:
        for node in tree.orelse:
            yield from imported_modules(node, types_too=types_too)
        return
    if isinstance(tree, ast.Import):
        yield from ((tree.lineno, alias.name) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, f"line {tree.lineno}: relative imports hide which wall they cross"
        module = tree.module or ""
        if module == "crawler":
            yield from ((tree.lineno, f"crawler.{alias.name}") for alias in tree.names)
        else:
            yield tree.lineno, module
    for child in ast.iter_child_nodes(tree):
        yield from imported_modules(child, types_too=types_too)


def crossings(page: str, tree: ast.AST) -> list[str]:
    """Return the imports in ``tree`` that the walls of ``page``, or else of its room, forbid."""
    room = page.partition("/")[0]
    allowed = WALLS[page] if page in WALLS else WALLS[room] | {room}
    found = []
    for line, module in imported_modules(tree):
        parts = module.split(".")
        if parts[0] != "crawler" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        if parts[1] not in allowed and "/".join(parts[1:3]) not in allowed:
            found.append(f"line {line}: {page} imports {module}")
    return found


def impurities(tree: ast.AST) -> list[str]:
    """Return the imports in ``tree`` that a part without time, chance and sockets must not have."""
    return [
        f"line {line}: imports {module}"
        for line, module in imported_modules(tree, types_too=False)
        if module.split(".")[0] in IMPURE_MODULES
    ]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a tree, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parse(path: Path) -> ast.Module:
    """Return the tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def named(paths: Iterable[Path]) -> list[object]:
    """Return the paths as parameters with readable ids."""
    return [pytest.param(path, id=path.relative_to(ROOT).as_posix()) for path in paths]


@pytest.mark.parametrize("path", named(SOURCES))
def test_imports_run_one_way(path: Path) -> None:
    """No file imports a room that its own room must not know."""
    assert room_of(path) in WALLS, (
        f"{path} is in no room of the house: give it one in WALLS and in the picture"
    )
    assert crossings(page_of(path), parse(path)) == []


@pytest.mark.parametrize("path", named(filter(is_pure, SOURCES)))
def test_pure_parts_have_no_time_chance_or_socket(path: Path) -> None:
    """Protocol parts take time, chance and sockets as arguments, so that every failure has a seed."""
    assert impurities(parse(path)) == []


@pytest.mark.parametrize("path", named(SOURCES))
def test_sockets_live_in_one_place(path: Path) -> None:
    """Only the network rooms touch the socket module, so that only they need looking at for what is sent."""
    users = [line for line, name in imported_modules(parse(path), types_too=False) if name == "socket"]
    assert not users or room_of(path) in ROOMS_WITH_SOCKETS, f"{path} imports socket in lines {users}"


@pytest.mark.parametrize("path", named(SOURCES))
def test_files_and_functions_are_short(path: Path) -> None:
    """A file or a function that outgrows one idea is split before it lands."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    for function in functions(parse(path)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= LONGEST_FUNCTION, f"{function.name} (line {function.lineno}) has {lines} lines"


@pytest.mark.parametrize("path", named(TESTS))
def test_every_test_says_what_it_proves(path: Path) -> None:
    """Every test function, and every rule of a state machine, opens with the sentence that it proves."""
    for function in functions(parse(path)):
        if function.name.startswith("test_"):
            assert ast.get_docstring(function), f"{function.name} (line {function.lineno}) has no sentence"


@pytest.mark.parametrize("path", named([*SOURCES, *TESTS]))
def test_nothing_is_left_to_do(path: Path) -> None:
    """No comment promises work, since nobody reads such promises again; issues hold them."""
    text = path.read_text(encoding="utf-8")
    comments = (t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT)
    left = [t.start[0] for t in comments if re.search(r"\b(TODO|FIXME|XXX)\b", t.string)]
    assert left == []


def test_test_files_have_names_of_their_own() -> None:
    """No two test files share a name, so that a failure names one place."""
    names = [path.name for path in TESTS if path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)


def test_architecture_page_shows_the_walls() -> None:
    """The table on the page that shows the house says of every room and page what the walls say."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| room | may import |\n|---|---|\n")[2].partition("\n\n")[0]
    shown: dict[str, set[str]] = {}
    for row in table.splitlines():
        _, rooms, imports, _ = row.split("|")
        shown |= {room: set(re.findall(r"`([^`]+)`", imports)) for room in re.findall(r"`([^`]+)`", rooms)}
    assert shown == {place: set(allowed) for place, allowed in WALLS.items() if not place.startswith("__")}


def test_walls_stand_around_something() -> None:
    """Every name in the walls is a package or a file, so that none is left from before a move."""
    names = set(WALLS).union(*WALLS.values())
    assert (
        sorted(
            name
            for name in names
            if not (ROOT / "crawler" / name).is_dir() and not (ROOT / "crawler" / f"{name}.py").is_file()
        )
        == []
    )


def test_architecture_page_names_every_room() -> None:
    """Whoever picks the project up finds every room on the one page that shows the house."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {room_of(path) for path in SOURCES} - {"__init__"}
    assert sorted(room for room in rooms if not re.search(rf"\b{re.escape(room)}\b", page)) == []


@pytest.mark.parametrize(
    ("page", "source"),
    [
        ("wire", "from crawler.dht import routing"),
        ("wire", "import crawler.net.udp"),
        ("dht", "from crawler import net"),
        ("net", "def late():\n    from crawler.crawl.sample import Sampler"),
        ("sinks", "if TYPE_CHECKING:\n    from crawler.config import Config"),
        ("crawl/frontier", "from crawler.state.journal import Journal"),
        ("daemon/run", "from crawler.monitoring import status"),
        ("config", "from crawler.daemon.building import assemble"),
        ("monitoring/pages", "from crawler.daemon.run import Run"),
        ("monitoring/pages", "from crawler.monitoring import status"),
    ],
)
def test_a_crossing_is_seen(page: str, source: str) -> None:
    """The wall test is no ornament: each way of writing a forbidden import is found."""
    assert len(crossings(page, ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", 1),
        ("from trio.lowlevel import wait_readable", 1),
        ("def f():\n    import random", 1),
        ("if TYPE_CHECKING:\n    import random", 0),
        ("if typing.TYPE_CHECKING:\n    import random\nelse:\n    import socket", 1),
        ("import timeit", 0),
    ],
)
def test_an_impurity_is_seen(source: str, found: int) -> None:
    """The purity test tells imports that run from those that only a type checker sees."""
    assert len(impurities(ast.parse(source))) == found


EVENT = re.compile(r"[a-z_]+(\.[a-z_0-9]+)+")
# What takes an event's name: the methods of a logger, and the callbacks that lead to one.
TELLERS = frozenset(
    {"debug", "info", "warning", "error", "critical", "exception", "say", "tell", "report", "on_event"}
)


def events_told(tree: ast.AST) -> set[str]:
    """Return the names of the events that are told in ``tree``; those of the log itself are dicts there."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if callee.lstrip("_") in TELLERS and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            found |= {
                value.value
                for key, value in zip(keys, node.values, strict=True)
                if key == "event" and isinstance(value, ast.Constant) and isinstance(value.value, str)
            }
    return found


def test_every_event_is_documented() -> None:
    """docs/events.md has a row for each event of the daemon, with its level, and no row more."""
    rows = re.findall(
        r"(?m)^\| `(\S+)` \| (\w+) \|", (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    )
    # The commands, and what reads for them, tell people of it by words that are no events of the log.
    rooms = {"client", "commands", "reading", "simnet", "demo"}
    told = set().union(*(events_told(parse(path)) for path in SOURCES if room_of(path) not in rooms))

    assert {name for name, _ in rows} == told
    assert sorted(name for name, _ in rows) == [name for name, _ in rows]
    assert {name for name, level in rows if level == "warning"} >= app._TROUBLE
    assert {name for name, level in rows if level == "info"}.isdisjoint(app._TROUBLE)


def test_events_have_dotted_names() -> None:
    """An event is named by its part and what happened there, so that a name says whose it is."""
    told = set().union(
        *(
            events_told(parse(path))
            for path in SOURCES
            if room_of(path) in {"app", "daemon", "monitoring", "log", "net", "sinks"}
        )
    )
    assert len(told) > 20
    assert {name for name in told if not EVENT.fullmatch(name)} == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("logger.warning('a.b', x=1)", {"a.b"}),
        ("self._on_event('a.b')", {"a.b"}),
        ("say('ab')", {"ab"}),
        ("render({'event': 'log.dropped', 'lines': 1})", {"log.dropped"}),
        ("Path('a.b')", set()),
        ("logger.info(name)", set()),
    ],
)
def test_an_event_is_seen(source: str, names: set[str]) -> None:
    """The test of the events finds every way of telling one."""
    assert events_told(ast.parse(source)) == names
