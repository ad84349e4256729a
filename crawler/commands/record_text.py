"""A record as one line for a person. All of it came from strangers, or from whoever wrote the file."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from crawler.commands.text import bytes_text, visible

_LONGEST: Final = 160  # characters of one value that are shown
_PEERS: Final = 3  # of those named, so many are shown
_COLOURS: Final = {"infohash": "36", "peers": "32", "metadata": "1;35"}
_DIM: Final = "2"

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def record_text(line: bytes, *, coloured: bool) -> str:
    """Return a line that `head_of` took for a record as text; only our own colours move anything."""
    record = _decode(line)
    kind = str(record["type"])
    ts = visible(str(record["ts"]))[:19].replace("T", " ")
    name = _short(kind).ljust(8)
    if coloured:
        ts = f"\x1b[{_DIM}m{ts}\x1b[0m"
        name = f"\x1b[{_COLOURS.get(kind, '33')}m{name}\x1b[0m"
    tell = {"infohash": _infohash, "peers": _peers, "metadata": _metadata}.get(kind, _other)
    return f"{ts}  {name}  {visible(str(record['infohash']))}  {tell(record)}"


def _infohash(record: dict[str, Any]) -> str:
    return f"{_short(record.get('source'))} from {_short(record.get('node'))}"


def _peers(record: dict[str, Any]) -> str:
    peers = record.get("peers")
    if not isinstance(peers, list):
        return _other(record)
    shown = ", ".join(map(_short, peers[:_PEERS]))
    if len(peers) > _PEERS:
        shown += f" and {len(peers) - _PEERS:,} more"
    parts = [f"{_short(record.get('source'))} {shown}"]
    parts += [f"{record[name]} {name}" for name in ("seeds", "leechers") if type(record.get(name)) is int]
    return ", ".join(parts)


def _metadata(record: dict[str, Any]) -> str:
    size, files = record.get("size"), record.get("files")
    parts = [bytes_text(size)] if type(size) is int else []
    if isinstance(files, list):
        count = record.get("file_count")
        count = count if type(count) is int else len(files)
        parts.append(f"{count:,} file" + "s" * (count != 1))
    if record.get("private") is True:
        parts.append("private")
    return f"{_short(record.get('name'))}  {', '.join(parts)}  from {_short(record.get('peer'))}"


def _other(record: dict[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name not in {"type", "ts", "infohash"}}
    return _short(msgspec.json.encode(rest).decode())


def _short(value: Any) -> str:
    """Return a value so that nothing in it moves the cursor, however long it is."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return visible(text[:_LONGEST]) + "…" * (len(text) > _LONGEST)
