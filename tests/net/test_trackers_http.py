"""HTTP trackers on loopback: good ones, odd ones, hostile ones. Each bad one costs a counter."""

from __future__ import annotations

import contextlib
import gzip
import random
import ssl
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from crawler.net.tracker_config import TrackerClientConfig
from crawler.net.tracker_guard import TrackerError
from crawler.net.tracker_http import TrackerSupportError
from crawler.net.trackers import TrackerClient
from crawler.wire.compact import pack_address
from crawler.wire.tracker import NEVER, AnnounceAnswer, AnnounceRequest, Event, ScrapeCounts
from crawler.wire.tracker_http import encode_announce, encode_scrape, parse_announce, parse_scrape
from crawler.wire.tracker_url import parse_tracker_url
from tests.net.scripted_trackers import HttpTracker, free_port, response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from trio.testing import MockClock

HASH = bytes.fromhex("00ff" + 2 * "123456789abcdef1" + "2f26")
REQUEST = AnnounceRequest(HASH, b"-XX0001-abc~&=+ %\0\xff\xfe", 6881, left=1, event=Event.STARTED, key=7)
PEER = pack_address(("1.2.3.4", 6881))
BODY = encode_announce(AnnounceAnswer(interval=1800, seeders=3, peers=(PEER,)))


@contextlib.asynccontextmanager
async def running(*, tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[TrackerClient]:
    """Run a client for the length of the block."""
    config = attrs.evolve(TrackerClientConfig(host_rate=1000), **settings)
    client = TrackerClient(config, random.Random(1), allow_private=True, tls=tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client
        nursery.cancel_scope.cancel()


async def ask(
    answer: bytes | Callable[[trio.SocketStream], Awaitable[None]], **settings: Any
) -> AnnounceAnswer:
    """Announce to a tracker of one answer."""
    async with HttpTracker(lambda _: answer).running() as tracker, running(**settings) as client:
        return await client.announce(parse_tracker_url(tracker.url), REQUEST)


async def refused(
    answer: bytes | Callable[[trio.SocketStream], Awaitable[None]], **settings: Any
) -> TrackerError:
    """Announce to a tracker whose one answer is of no use; return what is said of it."""
    async with HttpTracker(lambda _: answer).running() as tracker, running(**settings) as client:
        with pytest.raises(TrackerError) as caught:
            await client.announce(parse_tracker_url(tracker.url), REQUEST)
    assert client.counters.failures == {caught.value.reason: 1}
    return caught.value


async def test_announce_over_http() -> None:
    """The request reads as what was asked, raw bytes and all, beside what the URL has of its own."""
    async with HttpTracker(lambda _: response(BODY)).running() as tracker, running() as client:
        answer = await client.announce(parse_tracker_url(f"{tracker.url}?passkey=a%2fb"), REQUEST)

    assert (answer.peers, answer.seeders, answer.interval) == ((PEER,), 3, 1800)
    [head] = tracker.heads
    target = head.split(" ")[1]
    assert target.startswith("/announce?passkey=a%2fb&info_hash=%00%FF%124Vx")
    assert parse_announce(target.partition("?")[2].encode()) == REQUEST
    assert f"\r\nHost: 127.0.0.1:{tracker.port}\r\n" in head
    assert "&ip" not in target
    assert "\r\nAccept-Encoding: gzip\r\n" in head


async def test_scrape_over_http() -> None:
    """Announce becomes scrape in the path, several hashes go at once, counts come by infohash."""
    hashes = [bytes([number]) * 20 for number in range(3)]
    body = encode_scrape({infohash: ScrapeCounts(n, n, n) for n, infohash in enumerate(hashes)})
    async with HttpTracker(lambda _: response(body)).running() as tracker, running() as client:
        counts = await client.scrape(parse_tracker_url(tracker.url), hashes[:2])
        with pytest.raises(TrackerError, match="no_scrape"):
            await client.scrape(parse_tracker_url(tracker.url.replace("announce", "a")), hashes)

    assert counts == {infohash: ScrapeCounts(n, n, n) for n, infohash in enumerate(hashes[:2])}
    path, _, query = tracker.heads[0].split(" ")[1].partition("?")
    assert path == "/scrape"
    assert parse_scrape(query.encode()) == tuple(hashes[:2])


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), "X-GZIP"),
        (zlib.compress(BODY), "deflate"),
        (zlib.compress(BODY)[2:-4], "deflate"),
        (BODY, "identity"),
        (BODY + b"\r\n", ""),
    ],
)
async def test_encodings(body: bytes, encoding: str) -> None:
    """Bodies may be packed in any of the usual ways, or not at all, and may end with a line break."""
    assert (await ask(response(body, f"Content-Encoding: {encoding}"))).peers == (PEER,)


@pytest.mark.parametrize("size", [2 << 20, 200 << 20])
async def test_bombs_are_not_inflated(size: int) -> None:
    """A body of a kilobyte that would become megabytes is dropped when it passes one."""
    pack = zlib.compressobj(9, wbits=31)
    packed = b"".join(pack.compress(bytes(1 << 20)) for _ in range(size >> 20)) + pack.flush()
    error = await refused(response(packed, "Content-Encoding: gzip"))
    assert error.reason == "body_too_long"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(b"<html>hello</html>"), "not_bencode"),
        (response(b""), "not_bencode"),
        (response(b"<html>", status="502 Bad Gateway"), "http_502"),
        (response(b"", status="404 Not Found"), "http_404"),
        (response(b"x" * ((1 << 20) + 1)), "body_too_long"),
        (response(BODY, "Content-Encoding: br"), "unknown_encoding"),
        (response(BODY, "Content-Encoding: gzip"), "bad_encoding"),
        (response(b"", "Location: file:///etc/passwd", status="302 Found"), "bad_redirect"),
        (response(b"", "Location: udp://127.0.0.1:1/", status="302 Found"), "bad_redirect"),
        (response(b"", "Location: http://user:pw@127.0.0.1/", status="302 Found"), "bad_redirect"),
        (response(b"", "Location: http://[bad/", status="302 Found"), "bad_redirect"),
        (response(b"", "Location: //224.0.0.1/", status="302 Found"), "forbidden_address"),
        (b"", "bad_http"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nd8:inter", "bad_http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_http"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, "bad_http"),
        (b"HTTP/1.1 999999 \xff\r\n\r\n", "bad_http"),
        (b"\0" * 200_000, "bad_http"),
    ],
)
async def test_what_is_no_answer(answer: bytes, reason: str) -> None:
    """HTML, nothing, errors, other encodings, broken HTTP, redirects to elsewhere: a counted reason each."""
    assert (await refused(answer)).reason == reason


@pytest.mark.parametrize(
    ("body", "text", "retry_in"),
    [
        (b"d14:failure reason2:noe", "no", None),
        (b"d14:failure reason2:no8:retry in5:nevere", "no", NEVER),
        (b"d14:failure reason2:no8:retry in1:5e", "no", 300),
        (b"d14:failure reason9999:" + b"\x1b[2J" + b"x" * 9995 + b"e", "\x1b[2J" + "x" * 1020, None),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
async def test_refusals(body: bytes, text: str, retry_in: float | None, status: str) -> None:
    """A failure is told with its text, a kilobyte at most, and when to come again, whatever the status."""
    error = await refused(response(body, status=status))
    assert (error.reason, error.text, error.retry_in) == ("failure", text, retry_in)


async def test_redirects_are_followed_to_the_fifth() -> None:
    """Five hops lead to the answer, six do not, and a loop ends."""

    def answer(target: str) -> bytes:
        left = int(target.rpartition("=")[2] or 0) if "hops" in target else 5
        hop = f"Location: /announce?hops={left - 1}"
        return response(BODY) if not left else response(b"", hop, status="302 Found")

    async with HttpTracker(answer).running() as tracker, running() as client:
        assert (await client.announce(parse_tracker_url(tracker.url), REQUEST)).peers == (PEER,)
    assert len(tracker.heads) == 6

    loop = response(b"", "Location: /announce", status="301 Moved Permanently")
    async with HttpTracker(lambda _: loop).running() as tracker, running() as client:
        with pytest.raises(TrackerError, match="too_many_redirects"):
            await client.announce(parse_tracker_url(tracker.url), REQUEST)
    assert len(tracker.heads) == 6


async def test_slow_trackers_are_given_up(autojump_clock: MockClock) -> None:
    """A silent tracker is left after ten seconds; one that dribbles, after thirty."""

    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async def dribbling(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        while True:
            await stream.send_all(b"0")
            await trio.sleep(1)

    began = autojump_clock.current_time()
    assert (await refused(silent)).reason == "timeout"
    assert autojump_clock.current_time() - began == pytest.approx(10, abs=0.1)
    assert (await refused(dribbling)).reason == "timeout"
    assert autojump_clock.current_time() - began == pytest.approx(40, abs=0.2)


async def test_nobody_there() -> None:
    """A closed port is told as such."""
    async with running() as client:
        with pytest.raises(TrackerError, match="unreachable"):
            await client.announce(parse_tracker_url(f"http://127.0.0.1:{free_port()}/announce"), REQUEST)
    assert client.counters.failures == {"unreachable": 1}


async def test_nothing_of_the_environment_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies that the environment names are not used: they would resolve and connect for us."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await ask(response(BODY))).peers == (PEER,)


async def test_no_cookie_is_kept() -> None:
    """What a tracker sets is not sent to it again."""
    answer = response(BODY, "Set-Cookie: id=spy; Path=/")
    async with HttpTracker(lambda _: answer).running() as tracker, running() as client:
        for _ in range(2):
            await client.announce(parse_tracker_url(tracker.url), REQUEST)
    assert len(tracker.heads) == 2
    assert not any("spy" in head for head in tracker.heads)


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for ``name`` with OpenSSL; return the paths of certificate and key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {key} -out {certificate}"
    alternative = ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(["openssl", *words.split(), *alternative], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize(
    ("trusted", "name", "outcome"),
    [(True, "localhost", ""), (True, "other.example", "tls_failed"), (False, "localhost", "tls_failed")],
)
async def test_https(tmp_path: Path, trusted: bool, name: str, outcome: str) -> None:
    """The certificate must be for the host's name, though an address is connected to, and be trusted."""
    try:
        certificate, key = make_certificate(tmp_path, name)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    tls = ssl.create_default_context(cafile=str(certificate) if trusted else None)
    seen: list[bytes] = []

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            seen.append(bytes(await stream.receive_some(4096)))
            await stream.send_all(response(BODY))
            await stream.aclose()

    async with trio.open_nursery() as nursery, running(tls=tls) as client:
        listeners = await trio.open_ssl_over_tcp_listeners(0, server_side, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        inner = listeners[0].transport_listener
        assert isinstance(inner, trio.SocketListener)
        port = inner.socket.getsockname()[1]
        url = parse_tracker_url(f"https://localhost:{port}/announce")
        if outcome:
            with pytest.raises(TrackerError, match=outcome):
                await client.announce(url, REQUEST)
        else:
            assert (await client.announce(url, REQUEST)).peers == (PEER,)
            assert f"\r\nHost: localhost:{port}\r\n".encode() in seen[0]
        nursery.cancel_scope.cancel()


async def test_without_httpx2_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is named with the command that installs it."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    async with running() as client:
        with pytest.raises(TrackerSupportError, match=r'pip install "dht-crawler\[trackers\]"'):
            client.check_support(parse_tracker_url("http://127.0.0.1/announce"))
        client.check_support(parse_tracker_url("udp://127.0.0.1:1/announce"))
