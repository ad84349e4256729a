from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.config import SECTIONS
from crawler.settings import Meaning, meaning_of, setting

BOUNDS = st.one_of(st.none(), st.integers(-5, 5))


@attrs.frozen
class Section:
    """A section as the daemon's parts define them."""

    rate: float = setting(10.0, unit="queries/s", help="How fast.", above=0, maximum=100)
    tries: int = setting(3, unit="", help="How often.", minimum=1)
    level: str = setting("info", unit="", help="How loud.", choices=["debug", "info"])
    places: tuple[str, ...] = setting(("a",), unit="", help="Where.")
    limit: int | None = setting(None, unit="s", help="How long.", minimum=5)
    plain: int = attrs.field(default=0)


def test_defaults_and_values_within_bounds() -> None:
    """A section is an ordinary frozen class; bounds include the minimum and the maximum."""
    assert (Section().rate, Section().tries, Section().limit) == (10.0, 3, None)
    section = Section(rate=100, tries=1, level="debug", places=(), limit=5)
    assert (section.rate, section.tries, section.level, section.limit) == (100, 1, "debug", 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "rate = 0: allowed is above 0 and at most 100"),
        ({"rate": 100.5}, "rate = 100.5: allowed is above 0 and at most 100"),
        ({"rate": math.nan}, "rate = nan: allowed is above 0 and at most 100"),
        ({"rate": math.inf}, "rate = inf: allowed is above 0 and at most 100"),
        ({"tries": 0}, "tries = 0: allowed is at least 1"),
        ({"level": "loud"}, "level = 'loud': allowed is one of debug, info"),
        ({"limit": 4}, "limit = 4: allowed is at least 5"),
    ],
)
def test_a_value_out_of_bounds_is_one_clear_line(values: dict[str, Any], message: str) -> None:
    """The error names the setting, the value and what is allowed."""
    with pytest.raises(ValueError, match="allowed") as caught:
        Section(**values)
    assert str(caught.value) == message


def test_evolving_checks_again() -> None:
    """A changed copy keeps to the bounds as well."""
    with pytest.raises(ValueError, match="tries"):
        attrs.evolve(Section(), tries=-1)


def test_a_setting_says_what_it_is() -> None:
    """Unit, help and bounds can be read off the class; a field that is no setting has none."""
    fields = attrs.fields_dict(Section)
    assert meaning_of(fields["rate"]) == Meaning("queries/s", "How fast.", above=0, maximum=100)
    assert meaning_of(fields["level"]).choices == ("debug", "info")
    with pytest.raises(KeyError):
        meaning_of(fields["plain"])


def test_a_field_with_foreign_metadata_is_no_setting() -> None:
    """Metadata of another kind under our key is not taken for a meaning."""

    @attrs.frozen
    class Foreign:
        odd: int = attrs.field(default=0, metadata={"setting": "yes"})

    with pytest.raises(KeyError, match="odd"):
        meaning_of(attrs.fields_dict(Foreign)["odd"])


@given(BOUNDS, BOUNDS, BOUNDS, st.floats(-7, 7, allow_nan=False))
def test_admits_what_the_words_allow(
    minimum: int | None, above: int | None, maximum: int | None, value: float
) -> None:
    """Exactly the values between the bounds are admitted, and the words name exactly the bounds there are."""
    meaning = Meaning("", "", minimum=minimum, above=above, maximum=maximum)
    low = minimum is None or value >= minimum
    high = maximum is None or value <= maximum
    assert meaning.admits(value) == (low and high and (above is None or value > above))
    words = meaning.allowed.split(" and ")
    expected = [
        f"{word} {bound}"
        for word, bound in (("above", above), ("at least", minimum), ("at most", maximum))
        if bound is not None
    ]
    assert words == (expected or ["any value"])


def test_none_is_always_admitted() -> None:
    """A setting that may be absent needs no bound for that."""
    assert Meaning("", "", minimum=3).admits(None)
    assert Meaning("", "", choices=("a",)).admits(None)


@pytest.mark.parametrize("section", [pytest.param(each, id=name) for name, each in SECTIONS.items()])
def test_every_section_of_the_daemon_explains_itself(section: type) -> None:
    """Each field is a setting with a sentence, its default is allowed, and a number has a lower bound."""
    section()
    for field in attrs.fields(section):
        meaning = meaning_of(field)
        assert meaning.help.endswith((".", ")"))
        assert meaning.help[0].isupper()
        assert meaning.admits(field.default)
        if isinstance(field.default, float | int) and not isinstance(field.default, bool):
            assert meaning.minimum is not None or meaning.above is not None, field.name
