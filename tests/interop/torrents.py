"""What libtorrent makes of a torrent: the second opinion on what we read and save."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop import plain_krpc

lt = pytest.importorskip("libtorrent", reason="libtorrent has no wheel for this Python")


def hashes_of(torrent_file: bytes) -> tuple[str, str]:
    """Return the v1 and v2 infohashes (hex) under which libtorrent loads a .torrent file; empty for none."""
    loaded = lt.load_torrent_buffer(torrent_file).ti
    assert loaded is not None
    hashes: Any = loaded.info_hashes()
    return str(hashes.v1) * hashes.has_v1(), str(hashes.v2) * hashes.has_v2()


def listed_by_libtorrent(info: bytes) -> tuple[str, list[tuple[str, int]]]:
    """Return the name of an info dict, and its files without padding: path below that name, and size."""
    loaded = lt.load_torrent_buffer(plain_krpc.encode({b"info": lt.bdecode(info)})).ti
    assert loaded is not None
    files: Any = loaded.layout()
    listed = [
        (files.file_path(index), files.file_size(index))
        for index in range(files.num_files())
        if not files.file_flags(index) & lt.file_storage.flag_pad_file
    ]
    name = files.name()
    return name, [(path.removeprefix(f"{name}/"), size) for path, size in listed]
