"""What a setting is: a field of a frozen attrs class that carries its unit, its meaning and what is allowed.

Each part of the daemon defines its own section beside the code that obeys it, with :func:`setting`. `config`
gathers the sections and has `sources` read files, environment and flags into them; nobody else reads any of
those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen
class Meaning:
    """What a setting says about itself, kept in its field's metadata under ``"setting"``."""

    unit: str
    help: str
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    one_is_enough: bool = False

    @property
    def allowed(self) -> str:
        """What a value may be, in words for a person, such as ``"at least 1 and at most 10"``."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bounds = []
        if self.above is not None:
            bounds.append(f"above {self.above:g}")
        if self.minimum is not None:
            bounds.append(f"at least {self.minimum:g}")
        if self.maximum is not None:
            bounds.append(f"at most {self.maximum:g}")
        return " and ".join(bounds) or "any value"

    def admits(self, value: Any) -> bool:
        """Whether ``value`` (of the right type) keeps to the bounds; ``None`` always does."""
        if value is None:
            return True
        if self.choices:
            return value in self.choices
        return (
            (self.above is None or value > self.above)
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
        )


def setting(  # noqa: PLR0913 - one keyword for each thing that a setting says of itself
    default: Any,
    *,
    unit: str,
    help: str,  # noqa: A002 - the word argparse and every reader know
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    one_is_enough: bool = False,
) -> Any:
    """Return an attrs field that explains itself and refuses what is not allowed.

    Args:
        default: the value when nobody sets it (tuples stand for lists).
        unit: the unit, such as ``"s"`` or ``"queries/s"``; ``""`` when there is none.
        help: one sentence on what it does.
        minimum: smallest value allowed.
        above: the value must be greater than this.
        maximum: largest value allowed.
        choices: the only values allowed.
        one_is_enough: of a list: one value may stand without the list around it.

    Raises:
        ValueError: from the class that has the field, when a value is out of bounds; the message names the
            field, the value and what is allowed.
    """
    meaning = Meaning(unit, help, minimum, above, maximum, tuple(choices), one_is_enough)

    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not meaning.admits(value):
            raise ValueError(f"{attribute.name} = {value!r}: allowed is {meaning.allowed}")

    return attrs.field(default=default, validator=check, metadata={"setting": meaning})


def meaning_of(attribute: attrs.Attribute[Any]) -> Meaning:
    """Return what ``attribute`` says about itself.

    Raises:
        KeyError: when the attribute is no setting.
    """
    meaning = attribute.metadata["setting"]
    if not isinstance(meaning, Meaning):
        raise KeyError(attribute.name)
    return meaning
