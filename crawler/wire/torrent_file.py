"""A .torrent file around the exact bytes of an info dict (BEP 3, 5, 12).

The bytes are never encoded anew, so the infohash stays what it was. What an info dict does not hold cannot be
added: a v2 torrent's ``piece layers`` stay out, and programs fetch those hashes from peers as they
do for a magnet link (BEP 52).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.wire import bencode
from crawler.wire.bencode_reader import BencodeReader, BencodeReadError
from crawler.wire.file_tree import MetainfoError

if TYPE_CHECKING:
    from collections.abc import Sequence


def torrent_file(
    info: bytes,
    *,
    trackers: Sequence[str] = (),
    nodes: Sequence[tuple[str, int]] = (),
    created_by: str | None = None,
    comment: str | None = None,
) -> bytes:
    """Return the bytes of a .torrent file with the info dict ``info``.

    Args:
        info: the info dict as it was fetched, verified.
        trackers: announce URLs, each its own tier.
        nodes: (host, port) of DHT nodes to begin with.
        created_by: the program that wrote the file.
        comment: anything.

    Raises:
        MetainfoError: ``not_a_dict``: the bytes are not one bencoded dict and nothing else.
    """
    reader = BencodeReader(info)
    try:
        whole = reader.at_dict()
        reader.skip()
    except BencodeReadError:
        whole = False
    if not whole or reader.position != len(info):
        raise MetainfoError("not_a_dict")
    fields: list[tuple[bytes, object]] = []
    if trackers:
        urls = [url.encode() for url in trackers]
        fields += [(b"announce", urls[0]), (b"announce-list", [[url] for url in urls])]
    if comment is not None:
        fields.append((b"comment", comment.encode()))
    if created_by is not None:
        fields.append((b"created by", created_by.encode()))
    parts = [b"d", *(bencode.encode(key) + bencode.encode(value) for key, value in fields)]
    parts += [b"4:info", info]
    if nodes:
        parts += [b"5:nodes", bencode.encode([[host.encode(), port] for host, port in nodes])]
    return b"".join([*parts, b"e"])
