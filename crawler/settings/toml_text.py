"""Settings written out as TOML, each with what it means: the file that people start from and diff against."""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crawler.settings.sources import Options

_WIDTH = 100


def render(config: object, options: Options, flags: Mapping[str, str], heading: str) -> str:
    """Return every setting of ``config`` as commented TOML that reads back as the same configuration.

    Args:
        config: the object with one attribute a section.
        options: what `sources.options_of` says of its sections.
        flags: flag → ``section.key``, to name the flag beside the key.
        heading: the comment at the top, any length.
    """
    flag_of = {target: flag for flag, target in flags.items()}
    parts = [_comment(heading)]
    for name, keys in options.items():
        section = getattr(config, name)
        summary = (inspect.getdoc(type(section)) or "").partition("\n")[0]
        parts += ["", _comment(summary), f"[{name}]"]
        for option in keys.values():
            flag = flag_of.get(f"{name}.{option.key}")
            parts.append(_comment(option.meaning.help))
            parts.append(_comment(f"Allowed: {option.allowed}." + (f" Flag: {flag}." if flag else "")))
            parts.append(f"{option.key} = {_value(getattr(section, option.key))}")
    return "\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _value(value: Any) -> str:
    """Return a value in TOML; none is the empty string, since TOML has no word for it."""
    match value:
        case None:
            return '""'
        case bool():
            return str(value).lower()
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            items = [_value(item) for item in value]
            line = f"[{', '.join(items)}]"
            return line if len(line) < _WIDTH else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
        case _:
            return repr(value)
