"""What keeps one event from filling the log: so many of a name in a second, the rest counted on the next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
from structlog import DropEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

_ALWAYS = "critical"
_MOST_NAMES = 1000


@attrs.define
class _Second:
    """What happened to the events of one name since ``began``."""

    began: float
    passed: int = 0
    suppressed: int = 0


class Sampler:
    """Lets so many events of each name through in a second, and every critical one.

    Attributes:
        suppressed: events left out so far.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        """Let ``most`` through (0: all); ``clock`` gives seconds. Events may come from any thread."""
        self.suppressed = 0
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[str, _Second] = {}

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """Return the event, with ``suppressed`` when others of its name were left out before it.

        What is logged with ``sampled=False``, as the lines of a list that was asked for, always passes.

        Raises:
            DropEvent: there were enough of them in this second.
        """
        is_one_of_many = not event.pop("sampled", True)
        if not self._most or is_one_of_many or event.get("level") == _ALWAYS:
            return event
        name, now = str(event.get("event")), self._clock()
        with self._lock:
            left_out = self._admit(name, now)
        if left_out:
            event["suppressed"] = left_out
        return event

    def _admit(self, name: str, now: float) -> int:
        second = self._seconds.get(name)
        if second is None or now - second.began >= 1.0:
            if len(self._seconds) >= _MOST_NAMES:
                self._seconds.clear()
            left_out = 0 if second is None else second.suppressed
            self._seconds[name] = _Second(now, passed=1)
            return left_out
        if second.passed >= self._most:
            second.suppressed += 1
            self.suppressed += 1
            raise DropEvent
        second.passed += 1
        return 0
