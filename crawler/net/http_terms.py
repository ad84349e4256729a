"""What an HTTP server and its connections agree on: the form of an application, patience, and counters.

Apart from both, since `http` is there without the extra, and `http_connection` is not.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from crawler.settings import setting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    AsgiApp = Callable[
        [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
    ]


@attrs.frozen
class HttpConfig:
    """Where HTTP is served, and how patiently."""

    listen: str = setting("", unit="ADDR:PORT", help='Serve HTTP here; port 0 picks one; "" for nowhere.')
    max_connections: int = setting(
        64,
        unit="connections",
        help="Connections at once; for one more, the one that was silent longest is closed.",
        minimum=1,
    )
    idle_timeout: float = setting(
        30.0, unit="s", help="A connection on which no whole request comes for so long is closed.", above=0
    )
    request_timeout: float = setting(
        10.0, unit="s", help="A request must be answered, and the answer taken, within this.", above=0
    )
    max_head: int = setting(
        16_384, unit="bytes", help="A request with a longer line and headers is refused.", minimum=256
    )


@attrs.define
class HttpCounters:
    """What became of those who came: accepted = open + each way to end.

    Attributes:
        accepted: connections.
        ended: connections, by why they ended; beside them what kept some from being accepted, see `Door`.
        answers: requests answered, by status code.
        failed: requests in which our own code failed.
    """

    accepted: int = 0
    ended: Counter[str] = attrs.field(factory=Counter)
    answers: Counter[int] = attrs.field(factory=Counter)
    failed: int = 0
