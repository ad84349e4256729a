"""A real libtorrent session that seeds torrents of every kind, in a process of its own.

Run as ``python -m tests.interop.libtorrent_seeder ADDRESS DIRECTORY``: prints one JSON line once it listens,
with the port and each torrent's exact info dict, and stays until its input ends. `seeder.py` is its driver.
No DHT, no trackers: a peer that waits to be dialled.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import libtorrent as lt

from tests.interop import plain_krpc

_PIECE = 16_384
QUIET: dict[str, Any] = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "connection_speed": 500,
    "active_limit": 10_000,
    "alert_mask": 0,
}


def handmade(**fields: Any) -> bytes:
    """Return a v1 info dict; its piece hashes need no content, for only metadata will be asked for."""
    files = fields.get("files", [{b"length": fields.get("length", 0)}])
    size = sum(file[b"length"] for file in files)
    count = -(-size // _PIECE)
    pieces = b"".join(hashlib.sha1(b"%d" % n).digest() for n in range(count))  # noqa: S324 - BEP 3's choice
    info = {
        b"piece length": _PIECE,
        b"pieces": pieces,
        **{key.encode(): value for key, value in fields.items()},
    }
    return plain_krpc.encode(info)


def without_short_piece() -> bytes:
    """Return an info dict of exactly two metadata pieces."""
    beginnings = (handmade(name=b"x" * length, length=_PIECE * 1626) for length in range(100, 999))
    return next(info for info in beginnings if len(info) == 2 * _PIECE)


def made_by_libtorrent(directory: Path, flags: int) -> bytes:
    """Return the info dict that libtorrent makes of ``directory``."""
    torrent = lt.create_torrent(lt.list_files(str(directory)), _PIECE, flags)
    lt.set_piece_hashes(torrent, str(directory.parent))
    return bytes(lt.bencode(torrent.generate()[b"info"]))


def content(directory: Path) -> Path:
    """Write a few files, one of them with a non-ASCII name, and return their directory."""
    root = directory / "Größe 日本"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a" * 20_000)
    (root / "sub" / "ü ﷽.bin").write_bytes(b"b" * 70_000)
    (root / "empty").write_bytes(b"")
    return root


def infos(directory: Path) -> dict[str, bytes]:
    """Return an info dict of each kind, by a name for the test's report."""
    root = content(directory)
    many = [
        {b"length": 100, b"path": [b"dir %d" % (n % 9), b"a rather long name %06d" % n]} for n in range(1500)
    ]
    return {
        "single": handmade(name=b"single.bin", length=40_000),
        "multi": handmade(
            name=b"multi", files=[{b"length": 5, b"path": [b"a"]}, {b"length": 6, b"path": [b"d", b"b"]}]
        ),
        "private": handmade(name=b"private", length=5, private=1),
        "non-ascii": handmade(name="имя 名".encode(), files=[{b"length": 5, b"path": ["ё".encode()]}]),
        "code page": handmade(
            name="Сборник популярных песен".encode("cp1251"),
            files=[{b"length": 5, b"path": ["Романсы.mp3".encode("cp1251")]}],
        ),
        "large": handmade(name=b"large", files=many),
        "full last piece": without_short_piece(),
        "v2": made_by_libtorrent(root, lt.create_torrent.v2_only),
        "hybrid": made_by_libtorrent(root, 0),
    }


def main() -> None:
    """Seed until the input ends."""
    address, directory = sys.argv[1], Path(sys.argv[2])
    parameters: Any = lt.session_params()
    parameters.settings = {**parameters.settings, **QUIET, "listen_interfaces": f"{address}:0"}
    session = lt.session(parameters)
    report = {}
    handles: list[Any] = []
    for kind, info in infos(directory).items():
        torrent = lt.load_torrent_buffer(plain_krpc.encode({b"info": lt.bdecode(info)}))
        torrent.save_path = str(directory)
        torrent.flags = lt.torrent_flags.seed_mode
        handles.append(session.add_torrent(torrent))
        hashes: Any = handles[-1].info_hashes()
        named = [hashes.v1.to_bytes().hex() * hashes.has_v1(), hashes.v2.to_bytes().hex() * hashes.has_v2()]
        report[kind] = {"v1": named[0], "v2": named[1], "info": info.hex()}
    # Until a torrent has been checked, libtorrent closes whoever asks for it.
    checked = {lt.torrent_status.states.downloading, lt.torrent_status.states.seeding}
    while not session.listen_port() or any(handle.status().state not in checked for handle in handles):
        time.sleep(0.01)
    sys.stdout.write(json.dumps({"port": session.listen_port(), "torrents": report}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
