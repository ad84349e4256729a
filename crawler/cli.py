"""The command line: arguments in, an exit code out. What a word means is said here; what it does is not.

Whatever needs time to import is imported by the command that needs it, so that `--help` and `health` are
quick and the daemon starts where the simulated network can't.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations when the program runs
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from crawler import __version__
from crawler.commands.complaint import complain, refuse
from crawler.commands.manual import MANUALS, TRACKER
from crawler.commands.plain_help import PlainHelp
from crawler.settings.sources import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from crawler.config import Config

FINE, CRASHED, INTERRUPTED = 0, 1, 130

_ABOUT = """Crawl the BitTorrent Mainline DHT.

Writes every infohash and peer that it finds as a line of JSON.

A long-running, polite node: it answers others, asks no node again before its
time, and stays within --max-rate, whose default is safe behind a home router.
Stop it with Ctrl-C or SIGTERM.
"""
# Lines of at most 79 characters: wider ones would be folded.
_EPILOGUE = """Examples:
  dht-crawler --out peers.jsonl                  crawl until stopped
  dht-crawler --out - --no-peers | jq .infohash  infohashes to another program
  dht-crawler --out peers.jsonl --state state    next time, go on from here
  dht-crawler --out all.jsonl --metadata         names and files too
  dht-crawler --listen 0.0.0.0:6881              IPv4 only
  dht-crawler --http 127.0.0.1:9100              with figures for Prometheus
  dht-crawler config > my.toml                   settings to edit for --config
  dht-crawler simulate --help                    a network to try things on

Settings: a flag beats DHT_CRAWLER_<SECTION>_<KEY> in the environment, which
beats --config FILE, which beats the default; the config command shows them.

Exit codes:
  0  done
  1  a fault of our own (its traceback is in the log), or lines left unwritten
  2  bad input; one line on stderr names it and what is allowed
"""

_WRITE = Group("What is written, and what is kept", sort_key=1)
_PACE = Group("How fast and how long", sort_key=2)
_NETWORK = Group("Network", sort_key=3)
_LOG = Group("Log (on stderr), and who watches", sort_key=4)
_SETTINGS = Group("Other settings", sort_key=5)


def _flag(group: Group, metavar: str, text: str, *, hyphen: bool = False) -> Parameter:
    """Return a flag that is off or empty unless given; `config` knows its default and what is allowed."""
    return Parameter(
        group=group,
        metavar=metavar,
        help=text,
        negative=(),
        show_default=False,
        allow_leading_hyphen=hyphen,
    )


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Flags:
    """What the crawl's command line says: text as it was typed, since `config` judges it like any source."""

    out: Annotated[
        list[str] | None,
        _flag(
            _WRITE, "PATH", "append records to PATH; - is stdout; repeat for more (peers.jsonl)", hyphen=True
        ),
    ] = None
    no_peers: Annotated[bool, _flag(_WRITE, "", "write infohashes only, seek no peers")] = False
    metadata: Annotated[
        bool, _flag(_WRITE, "", "fetch and verify the metadata of what peers have, by dialling them")
    ] = False
    serve_metadata: Annotated[
        bool, _flag(_WRITE, "", "let peers dial us (TCP, same port) for metadata; with --metadata")
    ] = False
    state: Annotated[
        str | None, _flag(_WRITE, "DIR", "keep id, nodes, due times and infohashes seen here")
    ] = None
    resighting: Annotated[
        str | None, _flag(_WRITE, "HOURS", "write an infohash again when it is seen so long after (never)")
    ] = None
    max_rate: Annotated[
        str | None, _flag(_PACE, "QUERIES_PER_S", "send at most so many queries a second (100)")
    ] = None
    duration: Annotated[str | None, _flag(_PACE, "SECONDS", "stop after so long (never)")] = None
    listen: Annotated[
        list[str] | None,
        _flag(
            _NETWORK, "ADDR:PORT", "receive here; repeat for more; port 0 picks one (0.0.0.0:6881, [::]:6881)"
        ),
    ] = None
    bootstrap: Annotated[
        list[str] | None, _flag(_NETWORK, "HOST:PORT", "ask these for the way in; repeat for more")
    ] = None
    allow_private: Annotated[
        bool, _flag(_NETWORK, "", "talk to private and loopback addresses too; for tests")
    ] = False
    http: Annotated[
        str | None,
        _flag(_LOG, "ADDR:PORT", "serve /metrics, /healthz, /readyz and /status here (off)"),
    ] = None
    log_level: Annotated[
        str | None, _flag(_LOG, "LEVEL", "debug, info, warning, error or critical (info)")
    ] = None
    log_format: Annotated[
        str | None, _flag(_LOG, "FORMAT", "console for people, json for machines (console)")
    ] = None
    status_interval: Annotated[
        str | None, _flag(_LOG, "SECONDS", "log all counters this often (60); a terminal has a live line")
    ] = None
    config: Annotated[Path | None, _flag(_SETTINGS, "FILE", "read settings from this TOML file")] = None

    def given(self) -> dict[str, object]:
        """Return flag → value of those that were given.

        Raises:
            ConfigError: --out took the next flag for a path.
        """
        for out in self.out or ():
            if out.startswith("--"):
                raise ConfigError(f"--out needs a path, not {out}; a file of that name is ./{out}")
        values = attrs.asdict(self, filter=lambda field, value: field.name != "config" and value)
        if self.no_peers:
            values["no_peers"] = False
        return {f"--{name.replace('_', '-')}": value for name, value in values.items()}


_NOTHING = Flags()

application = App(
    name="dht-crawler",
    usage="dht-crawler [OPTIONS]\n       dht-crawler COMMAND [OPTIONS]",
    help=_ABOUT,
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    help_formatter=PlainHelp(),
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _name, _manual in MANUALS.items():
    application.command(
        f"crawler.commands.{_name}:{_name}",
        name=_name,
        usage=f"dht-crawler {_name} {_manual.usage}",
        help=_manual.about,
        help_epilogue=_manual.epilogue,
    )
application.command(
    "crawler.commands.tracker:tracker",
    name="tracker",
    help=TRACKER.about,
    help_epilogue=TRACKER.epilogue,
)
application.command(
    "crawler.simnet.command:simulate",
    name="simulate",
    help="Serve a simulated DHT on this machine to crawl (Linux only).",
    help_epilogue="",
)
application.command(
    "crawler.commands.health:health",
    name="health",
    help="Tell whether the daemon on this machine is alive, or ready.",
    help_epilogue="",
)


@application.command(name="config", help_epilogue="")
def show_config(flags: Flags = _NOTHING) -> int:
    """Print the settings in force as TOML, each with its meaning."""
    from crawler.config import to_toml  # noqa: PLC0415 - it imports the whole daemon

    print(to_toml(_configuration(flags)), end="")  # noqa: T201 - the command's output
    return FINE


@application.default
def crawl(flags: Flags = _NOTHING) -> int:
    """Crawl until stopped."""
    return run(_configuration(flags), lambda: _configuration(flags))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (else the process's arguments) asks for and return the exit code."""
    try:
        code = application(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        code = refuse(_words(error))
    except ConfigError as error:
        code = refuse(error)
    except BrokenPipeError:  # `dht-crawler config | head`: the reader has what it wanted
        code = FINE
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        trouble = _let_go_of_stdout()
    if trouble and not code:
        complain(f"dht-crawler: error: cannot write to standard output: {trouble}")
        return CRASHED
    return code if isinstance(code, int) else FINE


def run(config: Config, reload: Callable[[], Config] | None = None) -> int:
    """Run the daemon under Trio and return its exit code; log a crash with all its tracebacks.

    Args:
        config: everything that is set.
        reload: reads it again from the same sources, for a daemon that is asked to.

    Raises:
        ConfigError: the daemon could not begin what it was asked for.
    """
    import structlog  # noqa: PLC0415 - `--help` needs none of these
    import trio  # noqa: PLC0415

    from crawler import app, log  # noqa: PLC0415

    with log.started(config.log):
        try:
            return trio.run(partial(app.run, config, reload=reload))
        except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:  # noqa: BLE001 - all of it is logged
            causes = list(_causes(error))
            for cause in causes:
                if isinstance(cause, ConfigError):
                    raise cause from None
            if all(isinstance(cause, KeyboardInterrupt) for cause in causes):
                return INTERRUPTED
            structlog.get_logger().critical("crawler.crashed", exc_info=error)
            return CRASHED


def _configuration(flags: Flags) -> Config:
    from crawler import config  # noqa: PLC0415 - it imports the whole daemon

    return config.load(flags.config, os.environ, flags.given())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that a nursery wrapped in groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def _words(error: CycloptsError) -> str:
    """Return what is wrong with the arguments as part of one line."""
    if isinstance(error, UnusedCliTokensError) and error.argument is None:
        tokens = getattr(error, "unused_tokens", [])
        return f"unknown argument {' '.join(map(repr, tokens))}; see dht-crawler --help"
    return " ".join(str(error).split())


def _let_go_of_stdout() -> str:
    """Flush stdout; when it takes no more, point it elsewhere, or the interpreter would complain.

    Returns:
        why it takes no more, unless its reader just went away; else nothing.
    """
    if sys.stdout is None:
        return ""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
    return ""
