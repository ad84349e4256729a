"""What a node tells its owner: values only, each the outcome of one datagram or one deadline.

The core never calls back; it appends events and the shell hands each to whoever opened the transaction.
Outcomes are created for every answer of a crawl, so they are plain slotted classes: nobody changes one
after it was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from crawler.dht.transactions import Transaction
    from crawler.wire import krpc


@attrs.define(eq=False)
class Answered:
    """A response that matched its query by transaction id, address and deadline; ``rtt`` in seconds."""

    transaction: Transaction
    response: krpc.Response
    rtt: float


@attrs.define(eq=False)
class Refused:
    """A KRPC error in place of a response (BEP 5, errors)."""

    transaction: Transaction
    error: krpc.Error


@attrs.define(eq=False)
class TimedOut:
    """No answer before the deadline."""

    transaction: Transaction


@attrs.frozen
class Sighting:
    """An infohash that a query to us named.

    Attributes:
        infohash: 20 bytes.
        source: ``"get_peers"`` or ``"announce"``.
        node: compact address of the sender.
        peer: compact address of the announced peer, only for announces.
    """

    infohash: bytes
    source: str
    node: bytes
    peer: bytes | None


@attrs.frozen
class PingWanted:
    """A ping would tell something: whether a node that queried us is real, or a silent one still alive."""

    id: bytes
    address: bytes


Outcome = Answered | Refused | TimedOut
Event = Outcome | Sighting | PingWanted
