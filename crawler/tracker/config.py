"""Where the `tracker` command is asked, and by whom; how it answers is `TrackerPolicy`'s."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - `config` reads the annotations when the program runs

import attrs

from crawler.settings import setting


@attrs.frozen
class TrackerServerConfig:
    """Where `dht-crawler tracker` is asked, and for what."""

    udp: tuple[str, ...] = setting(
        (),
        unit="ADDR:PORT",
        help="Announces are taken over UDP here; port 0 picks one; with none here nor in http: "
        "port 6969 of every address, IPv4 and IPv6.",
        one_is_enough=True,
    )
    http: tuple[str, ...] = setting(
        (),
        unit="ADDR:PORT",
        help="Announces are taken over HTTP here; with none here nor in udp: as there. "
        "The time limits of [http] hold here too, its listen does not.",
        one_is_enough=True,
    )
    metrics: str = setting(
        "",
        unit="ADDR:PORT",
        help='Where /metrics and /stats are served, and nowhere else; "": wherever announces are, over HTTP.',
    )
    trusted_proxies: tuple[str, ...] = setting(
        (), unit="IP", help="The X-Forwarded-For of these proxies is believed.", one_is_enough=True
    )
    allow: Path | None = setting(  # noqa: RUF009 - setting() is a field
        None, unit="", help="The only infohashes that are served stand in this file, one a line; none: all."
    )
    max_connections: int = setting(
        1000,
        unit="connections",
        help="HTTP connections at once; for one more, the one that was silent longest is closed.",
        minimum=1,
    )
