"""Reads a long bencoded document value by value, without ever building it.

Made for metadata: ten megabytes of ``de`` would become half a gigabyte of Python objects if they were
decoded, and no limit on depth or tokens that leaves room for honest torrents prevents that. Here the caller
walks to what it wants and skips the rest; what is kept is what the caller keeps.

Tolerant where real documents are: keys in any order, repeated keys (the caller decides), leading zeros, bytes
after the end. Strict in all else. Nothing recurses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGITS: Final = frozenset(b"0123456789")
_INTEGER, _LIST, _DICT, _END = b"ilde"
_MAX_LENGTH_DIGITS: Final = 10
_MAX_INTEGER_DIGITS: Final = 64
_MAX_USEFUL_DIGITS: Final = 20

_OUTSIDE, _IN_LIST, _AT_KEY, _AT_VALUE = range(4)  # in a dict, ^1 moves from key to value and back


class BencodeReadError(ValueError):
    """The document is no bencode, or beyond the limits; ``reason`` is a short token to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BencodeReader:
    """A position in a bencoded document.

    Args:
        data: the document.
        max_depth: lists and dicts that may be open at once.
        max_tokens: values and keys that may be read or skipped in all.

    Every method that reads raises :class:`BencodeReadError`, its reason being ``not_bencode``, ``too_deep``
    or ``too_many_tokens``.

    Attributes:
        position: offset of the next byte to read.
    """

    __slots__ = ("_data", "_depth", "_max_depth", "_tokens_left", "position")

    def __init__(self, data: bytes, *, max_depth: int = 100, max_tokens: int = 1_000_000) -> None:
        self._data = data
        self._max_depth = max_depth
        self._tokens_left = max_tokens
        self._depth = 0
        self.position = 0

    def at_dict(self) -> bool:
        """Whether the next value is a dict."""
        return self._peek() == _DICT

    def at_list(self) -> bool:
        """Whether the next value is a list."""
        return self._peek() == _LIST

    def fields(self) -> Iterator[bytes]:
        """Enter the dict that is next, and yield its keys; read or skip one value after each."""
        self._enter(_DICT)
        while self._peek() != _END:
            yield self._string()
        self._leave()

    def items(self) -> Iterator[None]:
        """Enter the list that is next, and yield before each item; read or skip one value after each."""
        self._enter(_LIST)
        while self._peek() != _END:
            yield
        self._leave()

    def value(self, max_tokens: int = 256) -> object:
        """Read the next value: bytes, int, list or dict with byte keys, the last of repeated keys counting.

        An integer of more than 20 digits becomes None, and so does a value of more than ``max_tokens`` values
        and keys, which is then skipped instead.
        """
        start, tokens_left, depth = self.position, self._tokens_left, self._depth
        self._tokens_left = min(max_tokens, tokens_left)
        try:
            found = self._build()
        except BencodeReadError as error:
            if error.reason != "too_many_tokens":
                raise
            self.position, self._tokens_left, self._depth = start, tokens_left, depth
            self.skip()
            return None
        self._tokens_left += tokens_left - min(max_tokens, tokens_left)
        return found

    def _build(self) -> object:
        parents: list[tuple[list[Any] | dict[bytes, Any], bytes | None]] = []
        container: list[Any] | dict[bytes, Any] | None = None
        key: bytes | None = None
        while True:
            here = self._peek()
            found: object
            if here in _DIGITS:
                found = self._string()
                if container.__class__ is dict and key is None:
                    key = found
                    continue
            elif here == _END and container is not None and key is None:
                self._leave()
                found = container
                container, key = parents.pop()
            elif container.__class__ is dict and key is None:
                raise BencodeReadError("not_bencode")
            elif here in (_DICT, _LIST):
                self._enter(here)
                parents.append((container, key))  # type: ignore[arg-type] # the outermost has None for a parent
                container, key = {} if here == _DICT else [], None
                continue
            else:
                found = self._integer()
            if isinstance(container, dict):
                container[key] = found  # type: ignore[index] # the loop has seen to it that there is a key
                key = None
            elif container is None:
                return found
            else:
                container.append(found)

    def skip(self) -> None:
        """Skip the next value, however large, and check its form on the way."""
        if self._peek() in _DIGITS:
            self._string()
        elif self._data[self.position] == _INTEGER:
            self._integer()
        else:
            self._skip_container()

    def _skip_container(self) -> None:  # noqa: C901 - one loop on purpose, see below
        # The one loop that a hostile document can make long (0.3 µs a token), so it calls nothing.
        data, position, tokens_left = self._data, self.position, self._tokens_left
        room = self._max_depth - self._depth
        states: list[int] = []
        state = _OUTSIDE
        while True:
            if tokens_left < 0:
                raise BencodeReadError("too_many_tokens")
            here = data[position : position + 1]
            if here == b"e" and state in (_IN_LIST, _AT_KEY):
                position += 1
                state = states.pop()
                if state == _OUTSIDE:
                    break
                continue
            tokens_left -= 1
            if here.isdigit():
                colon = data.find(b":", position, position + _MAX_LENGTH_DIGITS + 1)
                digits = data[position:colon] if colon > 0 else b""
                if not digits.isdigit():
                    raise BencodeReadError("not_bencode")
                position = colon + 1 + int(digits)
            elif state == _AT_KEY:
                raise BencodeReadError("not_bencode")
            elif here == b"i":
                position = _end_of_integer(data, position)
            elif here in (b"d", b"l"):
                if len(states) >= room:
                    raise BencodeReadError("too_deep")
                states.append(state ^ 1 if state > _IN_LIST else state)
                state = _AT_KEY if here == b"d" else _IN_LIST
                position += 1
                continue
            else:
                raise BencodeReadError("not_bencode")
            if state > _IN_LIST:
                state ^= 1
        self.position, self._tokens_left = position, tokens_left

    def _peek(self) -> int:
        try:
            return self._data[self.position]
        except IndexError:
            raise BencodeReadError("not_bencode") from None

    def _enter(self, opener: int) -> None:
        if self._peek() != opener:
            raise BencodeReadError("not_bencode")
        self._count()
        self._depth += 1
        if self._depth > self._max_depth:
            raise BencodeReadError("too_deep")
        self.position += 1

    def _leave(self) -> None:
        self._depth -= 1
        self.position += 1

    def _string(self) -> bytes:
        data, start = self._data, self.position
        colon = data.find(b":", start, start + _MAX_LENGTH_DIGITS + 1)
        digits = data[start:colon] if colon > 0 else b""
        if not digits.isdigit():
            raise BencodeReadError("not_bencode")
        end = colon + 1 + int(digits)
        if end > len(data):
            raise BencodeReadError("not_bencode")
        self._count()
        self.position = end
        return data[colon + 1 : end]

    def _integer(self) -> int | None:
        start, end = self.position + 1, _end_of_integer(self._data, self.position)
        self._count()
        self.position = end
        digits = self._data[start : end - 1]
        return int(digits) if len(digits) <= _MAX_USEFUL_DIGITS else None

    def _count(self) -> None:
        self._tokens_left -= 1
        if self._tokens_left < 0:
            raise BencodeReadError("too_many_tokens")


def _end_of_integer(data: bytes, position: int) -> int:
    end = data.find(b"e", position, position + _MAX_INTEGER_DIGITS)
    if end < 0 or data[position] != _INTEGER or not data[position + 1 : end].removeprefix(b"-").isdigit():
        raise BencodeReadError("not_bencode")
    return end + 1
