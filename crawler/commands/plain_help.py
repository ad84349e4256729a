"""How `--help` looks: plain text in two columns, the same on a terminal, in a pipe and in a bug report."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_WIDTH = 79
_COLUMN = 30  # where explanations begin


class PlainHelp:
    """A formatter for cyclopts (its HelpFormatter protocol)."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG002 - the protocol's
        """Print one group of options or commands."""
        if not panel.entries:
            return
        lines = [f"{panel.title}:"]
        for entry in panel.entries:
            lines += _entry(entry)
        _say(console, "\n".join(lines))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ARG002
        """Print the usage line."""
        _say(console, "Usage: " + _text(usage).strip())

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:  # noqa: ARG002
        """Print what the command is for."""
        _say(console, _text(description))


def _entry(entry: HelpEntry) -> list[str]:
    """Return the lines of one option or command."""
    name = "  " + ", ".join(entry.display_labels_with_metavar)
    text = _text(entry.description).rstrip()
    if entry.default is not None:
        text += f" ({entry.default})"
    lines = textwrap.wrap(text, _WIDTH - _COLUMN) or [""]
    if len(name) > _COLUMN - 2:
        return [name, *(" " * _COLUMN + line for line in lines)]
    return [name.ljust(_COLUMN) + lines[0], *(" " * _COLUMN + line for line in lines[1:])]


def _text(rendered: Any) -> str:
    """Return the text in what cyclopts would have rich lay out."""
    inner = getattr(rendered, "primary_renderable", rendered)
    return str(getattr(inner, "plain", inner or ""))


def _say(console: Console, text: str) -> None:
    if text:
        console.print(text + "\n", highlight=False, markup=False, soft_wrap=True)
