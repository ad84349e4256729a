"""What becomes of a file of the state that is not as it should be: it is kept for people, out of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def set_aside(path: Path, problem: str, on_event: Callable[..., None]) -> None:
    """Give ``path`` a name that ends with ``.damaged``, if that can be done, and tell of the ``problem``."""
    aside = path.with_name(path.name + ".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        problem += f"; and it cannot be moved: {error}"
    on_event("state.damaged", file=str(path), set_aside=str(aside), problem=problem)
