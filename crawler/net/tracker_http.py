"""HTTP(S) trackers over httpx2, on a short leash: our own resolver, our own redirects, our own inflating.

httpx2 is given a URL with the address literal that the guard has judged, and beside it the host's name for
the `Host` header, TLS and the certificate; so it resolves nothing. Each exchange has a client of its own: no
cookie, connection or proxy setting outlives it. How much is read, inflated and waited for is bounded.
"""

from __future__ import annotations

import ssl
import zlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import trio

from crawler import __version__
from crawler.net.tracker_guard import TrackerError
from crawler.wire.compact import Family, format_address
from crawler.wire.tracker_url import TrackerUrl, TrackerUrlError, parse_tracker_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from crawler.net.tracker_config import TrackerClientConfig
    from crawler.net.tracker_guard import Guard

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRIED_ADDRESSES: Final = 3
_INFLATE_ANY: Final = zlib.MAX_WBITS | 32  # zlib's and gzip's headers, told apart by themselves
_INFLATE_RAW: Final = -zlib.MAX_WBITS
_ENCODINGS: Final = {"": False, "identity": False, "gzip": True, "x-gzip": True, "deflate": True}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_USER_AGENT: Final = f"dht-crawler/{__version__}"


class TrackerSupportError(ValueError):
    """HTTP trackers need a package that is not installed; the message is one line for a person."""


def load_httpx() -> ModuleType:
    """Return the module httpx2.

    Raises:
        TrackerSupportError: it is not installed.
    """
    try:
        import httpx2  # noqa: PLC0415 - an extra that most runs do without
    except ImportError:
        raise TrackerSupportError(
            'HTTP trackers need the package httpx2: pip install "dht-crawler[trackers]"; '
            "UDP trackers (udp://) work without it"
        ) from None
    return httpx2


class HttpTrackers:
    """Asks trackers over HTTP(S).

    Args:
        config: patience and limits.
        guard: judges addresses.
        tls: what is trusted; None for what the system trusts.
        sources: from which address of ours to connect, by family.
    """

    def __init__(
        self,
        config: TrackerClientConfig,
        guard: Guard,
        *,
        tls: ssl.SSLContext | None = None,
        sources: Mapping[Family, str],
    ) -> None:
        self._sources = sources
        self._config = config
        self._guard = guard
        self._tls = tls

    async def get(self, url: TrackerUrl, target: str, addresses: Sequence[bytes]) -> tuple[int, bytes]:
        """Return the status and the body, inflated, of ``target`` (path and query) at ``url``'s host.

        Args:
            url: where.
            target: what.
            addresses: of that host, compact, all of one family, as the guard has judged them; where
                redirects lead is judged here.

        Raises:
            TrackerError: no answer, or none that may be read.
            TrackerSupportError: httpx2 is not installed.
        """
        httpx = load_httpx()
        if self._tls is None:
            self._tls = ssl.create_default_context()
        with trio.move_on_after(self._config.http_timeout):
            for _ in range(self._config.max_redirects + 1):
                status, body, location = await self._one_hop(httpx, url, target, addresses)
                if location is None:
                    return status, body
                url = _next_hop(url, target, location)
                target = url.target
                family = Family.of(addresses[0])
                addresses = (await self._guard.addresses(url, [family]))[family]
            raise TrackerError("too_many_redirects")
        raise TrackerError("timeout")

    async def _one_hop(
        self, httpx: ModuleType, url: TrackerUrl, target: str, addresses: Sequence[bytes]
    ) -> tuple[int, bytes, str | None]:
        """Ask at the first address that can be connected to; the last value is where to go instead."""
        addresses = addresses[:_TRIED_ADDRESSES]
        for address in addresses[:-1]:
            try:
                return await self._ask(httpx, url, target, address)
            except TrackerError as error:
                if error.reason not in {"unreachable", "connect_timeout"}:
                    raise
        return await self._ask(httpx, url, target, addresses[-1])

    async def _ask(
        self, httpx: ModuleType, url: TrackerUrl, target: str, address: bytes
    ) -> tuple[int, bytes, str | None]:
        config = self._config
        client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=self._tls,
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),
                local_address=self._sources[Family.of(address)],
            ),
            timeout=httpx.Timeout(config.http_idle, connect=config.http_connect),
            trust_env=False,
            follow_redirects=False,
        )
        host = url.place if url.port != _DEFAULT_PORTS[url.scheme] else url.place.rpartition(":")[0]
        request = httpx.Request(
            "GET",
            f"{url.scheme}://{format_address(address)}/",
            headers={
                "Host": host,
                "User-Agent": _USER_AGENT,
                "Accept-Encoding": "gzip",
                "Connection": "close",
            },
            # The target goes out as it is: escapes of raw bytes are not to be normalised.
            extensions={
                "target": target.encode("ascii"),
                "sni_hostname": url.host,
                "timeout": client.timeout.as_dict(),
            },
        )
        try:
            async with client:
                response = await client.send(request, stream=True)
                try:
                    location = _location(response)
                    body = b"" if location is not None else await self._read(response)
                finally:
                    await response.aclose()
        except httpx.HTTPError as error:
            raise TrackerError(_reason(httpx, error)) from None
        except (OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TrackerError("bad_http") from None
        return response.status_code, body, location

    async def _read(self, response: Any) -> bytes:
        """Return the body, inflated, if it is within bounds."""
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            raise TrackerError("unknown_encoding")
        body = _Body(self._config.max_body, deflated=_ENCODINGS[encoding])
        with trio.CancelScope() as reading:
            async for part in response.aiter_raw():
                body.take(part)
                if body.fault:
                    # Leaving the loop would leave httpx2's generators behind; cancelled, they end one by one.
                    reading.cancel()
        if body.fault:
            raise TrackerError(body.fault)
        return bytes(body.data)


class _Body:
    """A body that comes piece by piece, inflated as it comes, never beyond ``most`` bytes before or after.

    Attributes:
        data: what it says so far.
        fault: why it will not be read to its end; empty while it may.
    """

    def __init__(self, most: int, *, deflated: bool) -> None:
        self.data = bytearray()
        self.fault = ""
        self._most = most
        self._taken = 0
        self._zlib = zlib.decompressobj(_INFLATE_ANY) if deflated else None

    def take(self, part: bytes) -> None:
        """Add the next piece, unless there was a fault before."""
        if self.fault:
            return
        first, self._taken = not self._taken, self._taken + len(part)
        try:
            self.data += part if self._zlib is None else self._inflate(part, first=first)
        except zlib.error:
            self.fault = "bad_encoding"
        if max(self._taken, len(self.data)) > self._most:
            self.fault = "body_too_long"
            self.data.clear()

    def _inflate(self, part: bytes, *, first: bool) -> bytes:
        room = self._most - len(self.data) + 1
        assert self._zlib is not None  # noqa: S101 - its one caller looked
        try:
            return self._zlib.decompress(part, room)
        except zlib.error:
            if not first:
                raise
            # Some servers' "deflate" has no header.
            self._zlib = zlib.decompressobj(_INFLATE_RAW)
            return self._zlib.decompress(part, room)


def _location(response: Any) -> str | None:
    """Return where a response sends us; None when it does not."""
    location: str | None = response.headers.get("location")
    return location if location and response.status_code in _REDIRECTS else None


def _next_hop(url: TrackerUrl, target: str, location: str) -> TrackerUrl:
    try:
        found = parse_tracker_url(urljoin(url.origin + target, location))
    except (TrackerUrlError, ValueError):
        raise TrackerError("bad_redirect") from None
    if found.scheme not in _DEFAULT_PORTS:
        raise TrackerError("bad_redirect")
    return found


def _reason(httpx: ModuleType, error: Exception) -> str:
    if _has_cause(error, ssl.SSLError):
        return "tls_failed"
    for kind, reason in (
        (httpx.ConnectTimeout, "connect_timeout"),
        (httpx.ConnectError, "unreachable"),
        (httpx.TimeoutException, "timeout"),
        (httpx.NetworkError, "reset"),
    ):
        if isinstance(error, kind):
            return reason
    return "bad_http"


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
