"""How patient we are with trackers, whoever asks them: the crawl, the library, the commands."""

from __future__ import annotations

import attrs

from crawler.settings import setting


@attrs.frozen
class TrackerClientConfig:
    """Asking trackers."""

    udp_retries: int = setting(
        3,
        unit="",
        help="A UDP request is sent again so often, after 15, 30, 60 and so on seconds (BEP 15 allows 8).",
        minimum=0,
        maximum=8,
    )
    http_timeout: float = setting(
        30.0, unit="s", help="An HTTP tracker may take so long in all, redirects included.", above=0
    )
    http_connect: float = setting(10.0, unit="s", help="Connecting may take so long, TLS apart.", above=0)
    http_idle: float = setting(10.0, unit="s", help="An HTTP tracker may be silent for so long.", above=0)
    resolve_timeout: float = setting(10.0, unit="s", help="A host name may take so long.", above=0)
    family_patience: float = setting(
        5.0, unit="s", help="When IPv4 or IPv6 was answered, the other one is given so long.", minimum=0
    )
    max_redirects: int = setting(
        5, unit="", help="HTTP redirects followed; each address is judged anew.", minimum=0
    )
    max_body: int = setting(
        1 << 20, unit="bytes", help="Longest HTTP body, as sent and as inflated.", minimum=1024
    )
    max_peers: int = setting(
        1000, unit="peers", help="Peers taken from one answer; more are dropped.", minimum=1
    )
    host_rate: float = setting(
        3.0, unit="requests/s", help="Requests to one host, announces and scrapes together.", above=0
    )
    max_in_flight: int = setting(64, unit="requests", help="Asked at once.", minimum=1)
