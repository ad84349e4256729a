"""The ledger's saved form: pieces of rows that msgpack knows, with times that outlive the process.

A row is [address, id, standing, due, num, named, failures]; `due` is in epoch seconds. Untried contacts are
saved too, so that a restart goes on where the crawl stopped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from crawler.crawl.frontier import Contact, Phase, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from crawler.crawl.frontier import Frontier

PIECE = 2000
_ADDRESS_SIZES = {6, 18}
_ID_SIZES = {20}


class LedgerFormError(ValueError):
    """A saved row is not what this version writes."""


def to_pieces(frontier: Frontier, wall_minus_now: float) -> Iterator[list[list[Any]]]:
    """Yield the rows of ``frontier`` in pieces; ``wall_minus_now`` turns its times into epoch seconds."""
    contacts = list(frontier)
    for start in range(0, len(contacts), PIECE):
        yield rows(contacts[start : start + PIECE], wall_minus_now)


def rows(contacts: Iterable[Contact], wall_minus_now: float) -> list[list[Any]]:
    """Return the rows of ``contacts``."""
    return [_row(contact, wall_minus_now) for contact in contacts]


def restore(
    frontier: Frontier,
    pieces: Iterable[Any],
    wall_minus_now: float,
    *,
    admits: Callable[[bytes], bool] = lambda _address: True,
    latest: float = math.inf,
) -> None:
    """Put saved rows back into ``frontier``.

    Args:
        frontier: takes the contacts.
        pieces: as :func:`to_pieces` made them.
        wall_minus_now: turns epoch seconds into the frontier's time.
        admits: whether a compact address may be contacted in this run; others are left out.
        latest: no contact waits beyond this, whatever a wrong clock once said.

    Raises:
        LedgerFormError: at the first row that makes no sense; those before it are restored.
    """
    for piece in pieces:
        try:
            for row in piece:
                contact = _contact(row, wall_minus_now)
                contact.due = min(contact.due, latest)
                if admits(contact.address):
                    frontier.restore(contact)
        except (TypeError, ValueError, OverflowError) as error:
            raise LedgerFormError(f"a row is malformed: {error}") from error


def _row(contact: Contact, wall_minus_now: float) -> list[Any]:
    return [
        contact.address,
        contact.id,
        int(contact.standing),
        # One that was forgotten since the snapshot keeps its rest, too.
        contact.due + wall_minus_now if contact.phase in {Phase.WAITING, Phase.GONE} else 0.0,
        contact.num,
        contact.named,
        contact.failures,
    ]


def _contact(row: Any, wall_minus_now: float) -> Contact:
    address, node_id, standing, due, num, named, failures = row
    if not (_is_bytes(address, _ADDRESS_SIZES) and _is_bytes(node_id, _ID_SIZES)):
        raise ValueError("an address or id is not bytes of the right size")
    if not math.isfinite(due):
        raise ValueError("a time is not a number")
    if not all(isinstance(count, int) and count >= 0 for count in (num, named, failures)):
        raise ValueError("a count is not a whole number")
    return Contact(
        address,
        node_id,
        Standing(standing),
        due=float(due) - wall_minus_now,
        num=num,
        named=named,
        failures=failures,
    )


def _is_bytes(value: Any, sizes: Container[int]) -> bool:
    return isinstance(value, bytes) and len(value) in sizes
