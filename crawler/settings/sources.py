"""Reading settings out of a TOML file, the environment and flags, strictly.

Everything here works on any set of sections: it reads each section's fields (made with ``settings.setting``),
converts what a source says to the field's type, and refuses the rest with one line that names the source, the
value and what is allowed. Which sections there are, and what must hold between them, is `config`'s.
"""

from __future__ import annotations

import difflib
import math
import tomllib
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any

import attrs

from crawler.settings.meaning import Meaning, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ENVIRONMENT_PREFIX = "DHT_CRAWLER_"
_SHOWN = 80  # characters of a refused value that are repeated in the message
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class ConfigError(ValueError):
    """What somebody asked for can't be done as asked; the message is one line for that person."""


@attrs.frozen
class Option:
    """One key of one section, as every source and every printed form sees it."""

    section: str
    key: str
    kind: Any
    """The type of a value: bool, int, float, str, Path, or a tuple of one of them."""
    item: Any
    """The type of one element where `kind` is tuple, else None."""
    optional: bool
    default: Any
    meaning: Meaning

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.key}".upper()

    @property
    def allowed(self) -> str:
        """What it may be, in words, such as ``"a number, at least 1 (queries/s)"``."""
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
        words = [names[self.kind] if self.item is None else f"a list, each {names[self.item]}"]
        if self.meaning.choices:
            words = [self.meaning.allowed]
        elif self.meaning.allowed != "any value":
            words.append(self.meaning.allowed)
        if self.optional:
            words.append('or "" for none')
        unit = f" ({self.meaning.unit})" if self.meaning.unit else ""
        return ", ".join(words) + unit


@attrs.frozen
class Given:
    """One value that a source gave, converted, with the words that name the place it stands at."""

    option: Option
    value: Any
    place: str


Options = dict[str, dict[str, Option]]


def options_of(sections: Mapping[str, type]) -> Options:
    """Return section name → key → option for attrs classes whose fields are settings.

    Raises:
        TypeError: a field has a type that no source could give; the owner of the section has to change it.
    """
    return {
        name: {option.key: option for option in _section_options(name, section)}
        for name, section in sections.items()
    }


def _section_options(name: str, section: type) -> Iterator[Option]:
    hints = typing.get_type_hints(section, localns={"Path": Path})
    for field in attrs.fields(section):
        kind, item, optional = _shape(hints[field.name])
        if (item if kind is tuple else kind) not in {bool, int, float, str, Path}:
            raise TypeError(f"[{name}] {field.name}: no source can give a value of type {hints[field.name]}")
        yield Option(name, field.name, kind, item, optional, field.default, meaning_of(field))


def _shape(hint: Any) -> tuple[Any, Any, bool]:
    """Return (kind, item, optional) of a type hint."""
    if typing.get_origin(hint) in {UnionType, typing.Union}:
        rest = [part for part in typing.get_args(hint) if part is not NoneType]
        kind, item, _ = _shape(rest[0]) if len(rest) == 1 else (hint, None, False)
        return kind, item, True
    if typing.get_origin(hint) is tuple:
        return tuple, typing.get_args(hint)[0], False
    return hint, None, False


def read_file(path: Path, options: Options) -> Iterator[Given]:
    """Yield what the TOML file at ``path`` says.

    Raises:
        ConfigError: it can't be read, is no TOML, or says something unknown or not allowed.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {_line(str(error))}") from error
    for name, table in document.items():
        keys = options.get(name)
        if keys is None:
            raise ConfigError(f"{path}: unknown section [{_line(name)}]: {_hint(name, options, '[{}]')}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} must be a section, written as [{name}]")
        for key, value in table.items():
            if key not in keys:
                raise ConfigError(f"{path}: unknown key {_line(key)} in [{name}]: {_hint(key, keys)}")
            place = f"{path}: [{name}] {key}"
            yield Given(keys[key], _from_value(keys[key], value, place), place)


def read_environment(environ: Mapping[str, str], options: Options) -> Iterator[Given]:
    """Yield what the variables ``DHT_CRAWLER_<SECTION>_<KEY>`` of ``environ`` say; lists have commas.

    Raises:
        ConfigError: a variable with our prefix is unknown, or its value is not allowed.
    """
    known = {option.variable: option for keys in options.values() for option in keys.values()}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in known:
            raise ConfigError(f"unknown environment variable {_line(variable)}: {_hint(variable, known)}")
        place = f"environment variable {variable}"
        yield Given(known[variable], _from_text(known[variable], text, place), place)


def read_flags(flags: Mapping[str, object], where: Mapping[str, str], options: Options) -> Iterator[Given]:
    """Yield what ``flags`` says; ``where`` maps each flag to the ``section.key`` that it sets.

    Raises:
        ConfigError: a flag's value is not allowed.
        KeyError: a flag is not in ``where``: our own mistake.
    """
    for flag, value in flags.items():
        section, key = where[flag].split(".")
        option = options[section][key]
        read = _from_text if isinstance(value, str) else _from_value
        yield Given(option, read(option, value, flag), flag)


def _from_text(option: Option, text: Any, place: str) -> Any:
    """Convert a value written as text: an environment variable's or a flag's."""
    if option.optional and not text:
        return None
    try:
        if option.kind is tuple:
            value: Any = tuple(_parse(option.item, part.strip()) for part in text.split(",") if part.strip())
        else:
            value = _parse(option.kind, text.strip() if option.kind in {bool, int, float} else text)
    except (ValueError, KeyError):
        raise _refusal(option, text, place) from None
    return _checked(option, value, text, place)


def _parse(kind: Any, text: str) -> Any:
    return _WORDS[text.lower()] if kind is bool else kind(text)


def _from_value(option: Option, value: Any, place: str) -> Any:
    """Convert a value that has a type of its own: TOML's or a flag's."""
    if option.optional and (value is None or value == ""):
        return None
    if option.kind is tuple:
        if option.meaning.one_is_enough and _is(option.item, value):
            value = [value]
        if not isinstance(value, list | tuple) or not all(_is(option.item, item) for item in value):
            raise _refusal(option, value, place)
        return tuple(option.item(item) for item in value)
    if not _is(option.kind, value):
        raise _refusal(option, value, place)
    return _checked(option, option.kind(value), value, place)


def _is(kind: Any, value: Any) -> bool:
    """Whether ``value`` is of ``kind`` without a guess: true is no number, and 1.0 is no whole number."""
    if kind is float:
        return type(value) in {int, float}
    return isinstance(value, str) if kind in {str, Path} else type(value) is kind


def _checked(option: Option, value: Any, said: Any, place: str) -> Any:
    """Return ``value``, which was ``said`` as the source has it, when its option admits it."""
    endless = isinstance(value, float) and not math.isfinite(value) and value != option.default
    if endless or not option.meaning.admits(value):
        raise _refusal(option, said, place)
    return value


def _refusal(option: Option, value: Any, place: str) -> ConfigError:
    return ConfigError(f"{place} = {_line(_shown(value))}: allowed is {option.allowed}")


def _shown(value: Any) -> str:
    """Return a value about as the person wrote it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _line(text: str) -> str:
    """Return ``text`` as part of one printable line, cut where it stops being of use."""
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return safe if len(safe) <= _SHOWN else safe[:_SHOWN] + "…"


def _hint(name: str, known: Iterable[str], form: str = "{}") -> str:
    """Return "did you mean …?", or what there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    longer = [each for each in names if each.startswith(f"{name}_")]
    if close or longer:
        meant = [form.format(each) for each in dict.fromkeys([*close, *longer])]
        return f"did you mean {' or '.join(meant)}?"
    return "known are " + ", ".join(form.format(each) for each in names)
