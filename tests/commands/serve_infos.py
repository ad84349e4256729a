"""A peer that gives any bytes as metadata, in a process of its own, and the driver of it.

Run as ``python -m tests.commands.serve_infos``, with names and hex on the input: prints the port, and stays
until it is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import trio

from crawler.net.peer_listener import PeerListener
from crawler.swarm.serving import MetadataCache
from tests.interop.daemon_process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PEER_ID = b"-XX0000-serve_infos."


@contextlib.contextmanager
def served(infos: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """Serve ``infos``; gives, by the same names, magnet links that name the peer."""
    words = [sys.executable, "-m", "tests.commands.serve_infos", *[info.hex() for info in infos.values()]]
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield {
                name: f"magnet:?xt=urn:btih:{_name_of(info).hex()}&x.pe=127.0.0.1:{port}"
                for name, info in infos.items()
            }
        finally:
            process.kill()


def _name_of(info: bytes) -> bytes:
    return hashlib.sha1(info, usedforsecurity=False).digest()


async def main() -> None:
    """Serve what the arguments say."""
    cache = MetadataCache(1 << 20)
    for digits in sys.argv[1:]:
        info = bytes.fromhex(digits)
        cache.add(_name_of(info), info)
    listener = PeerListener("127.0.0.1:0", _PEER_ID, cache)
    print(listener.local[1], flush=True)  # noqa: T201 - what the driver waits for
    await listener.run()


if __name__ == "__main__":
    trio.run(main)
