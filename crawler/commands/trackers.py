"""What the commands that ask trackers have in common: the flag that names one, and how it is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Group

from crawler.commands.client import flag
from crawler.commands.text import visible
from crawler.net.tracker_http import load_httpx
from crawler.wire.tracker_url import parse_tracker_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawler.net.tracker_guard import TrackerError
    from crawler.wire.tracker_url import TrackerUrl

_MEANINGS: Final = {
    "forbidden_address": "not an address of the public Internet; --allow-private permits it",
    "no_scrape": "its URL has no /announce that /scrape could stand for (BEP 48)",
    "unresolved": "no address found for that host",
}
_TRACKERS = Group("Which trackers", sort_key=0)

TrackerFlag = Annotated[
    list[str], flag(_TRACKERS, "URL", "ask this tracker (udp://, http:// or https://); repeat for more")
]


def check_trackers(texts: Sequence[str]) -> list[TrackerUrl]:
    """Return the trackers that somebody named, each once.

    Raises:
        ValueError: one is none, or what it takes to ask it is not installed; one line for a person.
    """
    try:
        urls = {url.text: url for url in map(parse_tracker_url, texts)}
    except ValueError as error:
        raise ValueError(f"--tracker: {error}") from None
    if any(url.scheme != "udp" for url in urls.values()):
        load_httpx()
    return list(urls.values())


def problem_text(error: TrackerError | None) -> str:
    """Return why a tracker did not answer, for people; its own words cannot move the cursor."""
    if error is None:
        return "no answer"
    words = _MEANINGS.get(error.reason) or error.reason.replace("_", " ")
    return f"{words}: {visible(error.text)}" if error.text else words


def problem_fields(error: TrackerError | None) -> dict[str, Any]:
    """Return the same for programs."""
    if error is None:
        return {}
    said: dict[str, Any] = {"problem": error.reason}
    if error.text:
        said["text"] = error.text
    if error.retry_in is not None:
        said["retry_in"] = "never" if error.retry_in == float("inf") else error.retry_in
    return said


def number_text(number: int | None) -> str:
    """Return a count, or that there is none."""
    return "?" if number is None else str(number)
