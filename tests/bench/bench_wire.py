"""Prints what wire/ costs in microseconds: good datagrams, hostile ones, and the hot path's small functions.

Run by hand: ``.venv/bin/python tests/bench/bench_wire.py``. Each figure is the best of several rounds,
since noise only ever adds. The second column is what it would be on the machine of the design's figures, on
which fastbencode takes 0.95 µs for a full sample answer: that is timed here in turn with every case, so a
busy machine cancels out. A hostile datagram may cost 10 µs, a full sample answer 2 µs.
"""

from __future__ import annotations

import math
import random
import sys
import timeit
from functools import partial
from typing import TYPE_CHECKING, Any

from fastbencode import bdecode  # type: ignore[attr-defined] # typed, but exports nothing by name

from crawler.wire import bencode, compact, krpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 150
CALLS = 100
REFERENCE_MICROSECONDS = 0.95

_rng = random.Random(1)
_bytes = _rng.randbytes


def show(name: str, call: Callable[[], object]) -> float:
    """Print what one call takes, as it is and scaled; return the scaled figure."""
    best, best_reference = math.inf, math.inf
    for _ in range(ROUNDS):
        best_reference = min(best_reference, timeit.timeit(REFERENCE, number=CALLS))
        best = min(best, timeit.timeit(call, number=CALLS))
    scaled = best / best_reference * REFERENCE_MICROSECONDS
    sys.stdout.write(f"{best / CALLS * 1e6:8.2f} {scaled:8.2f}  {name}\n")
    return scaled


def sample_answer() -> bytes:
    """A full answer to sample_infohashes: 20 infohashes, 8 nodes, `ip` and `v`."""
    body: dict[bytes, Any] = {b"id": _bytes(20), b"interval": 21600, b"nodes": _bytes(208), b"num": 5000}
    body[b"samples"] = _bytes(400)
    return krpc.response(_bytes(4), body, _bytes(6))


def peers_answer(count: int, address_bytes: int = 6) -> bytes:
    """An answer to get_peers with `count` values, nodes and a token."""
    values = [_bytes(address_bytes) for _ in range(count)]
    body = {b"id": _bytes(20), b"nodes": _bytes(208), b"token": _bytes(8), b"values": values}
    return krpc.response(_bytes(4), body, _bytes(6))


REFERENCE = partial(bdecode, sample_answer(), max_depth=16)


def unsorted(message: bytes) -> bytes:
    """The same message with `y` in front, which a strict decoder refuses at the second key."""
    return b"d1:y1:r" + message[1:-7] + b"e"


def disordered_at_the_end(message: bytes) -> bytes:
    """The same message with a key out of order at its very end, so that a strict decoder reads it all."""
    return message[:-1] + b"1:a0:e"


def good() -> Iterator[tuple[str, bytes]]:
    """Datagrams that must decode."""
    own = _bytes(20)
    yield "ping answer", krpc.response(b"abcd", {b"id": own}, _bytes(6))
    yield "find_node answer, 8 nodes", krpc.response(b"abcd", {b"id": own, b"nodes": _bytes(208)}, _bytes(6))
    yield "sample answer, 20 + 8", sample_answer()
    yield "get_peers answer, 50 values", peers_answer(50)
    yield "get_peers answer, 100 values", peers_answer(100)
    yield "get_peers answer, 100 v6 values", peers_answer(100, 18)
    yield "get_peers query", krpc.get_peers(b"abcd", own, _bytes(20), scrape=True)
    yield "error 203", krpc.error(b"abcd", 203, b"Protocol Error")
    yield "sample answer, trailing bytes", sample_answer() + b"\0\0\0"
    yield "sample answer, unsorted", unsorted(sample_answer())
    yield "sample answer, disordered at the end", disordered_at_the_end(sample_answer())
    yield "get_peers, 100 values, unsorted", unsorted(peers_answer(100))


def hostile() -> Iterator[tuple[str, bytes]]:
    """Datagrams made to cost; most must be refused."""
    for length in (160, 480, 1024, 1472, 5120, 65507):
        for name, unit in FLOODS.items():
            head = b"d1:al" if name != "keys" else b"d"
            flood = unit * ((length - len(head) - 2) // len(unit))
            yield f"{name} flood, {length} B", head + flood + b"ee"
            yield f"{name} flood, disordered at the end, {length} B", (head + flood + b"e1:a0:e")
        yield f"noise d…e, {length} B", b"d" + _bytes(length - 2) + b"e"
        yield f"good, then noise, {length} B", sample_answer()[:-1] + _bytes(length)
        yield f"int of digits, {length} B", b"d1:ai" + b"9" * (length - 7) + b"ee"
        yield f"length of digits, {length} B", b"d" + b"9" * (length - 1)
        yield f"zeros, {length} B", b"d1:ai" + b"0" * (length - 7) + b"ee"
    yield "1472 l", b"l" * 1472
    yield "1472 d", b"d" * 1472
    yield "368 d1:a", b"d1:a" * 368
    yield "nest of 16, then flood", b"d1:a" * 14 + b"l" + b"le" * 500
    yield "47 ends, then strings, disordered", b"d1:al" + b"le" * 45 + b"0:" * 450 + b"e1:a0:e"
    yield "47 ends, then short strings, disordered", b"d1:al" + b"le" * 45 + b"2:ab" * 225 + b"e1:a0:e"
    yield "distinct keys, disordered at the end", distinct_keys() + b"1:a0:e"
    yield "two integers of 480 digits", b"d1:ali" + b"9" * 480 + b"ei" + b"9" * 480 + b"eee"
    yield "mixed values", b"d1:al" + (b"6:abcdef" + b"18:" + b"x" * 18) * 30 + b"e1:a0:e"
    yield "runs of peers", b"d1:al" + b"6:abcdef" * 120 + b"e1:a0:e"


FLOODS = {"ints": b"i0e", "lists": b"le", "dicts": b"de", "empty strings": b"0:", "strings": b"2:ab",
          "peers": b"6:abcdef", "peers6": b"18:abcdefghijklmnopqr", "keys": b"1:k0:"}  # fmt: skip


def distinct_keys() -> bytes:
    """As many sorted keys as fit: the longest a strict decoder can be kept busy with a dict."""
    return b"d" + b"".join(b"3:%03d0:" % number for number in range(140))


def attempt(data: bytes) -> None:
    """Decode a datagram as a node does, with the error caught."""
    try:  # noqa: SIM105 - a context manager would cost more than some cases
        krpc.decode(data)
    except krpc.MalformedMessageError:
        pass


def small() -> Iterator[tuple[str, Callable[[], object]]]:
    """The small functions that run once or more a datagram."""
    v4, v6 = (
        bytes([93, 184, 216, 34, 26, 225]),
        bytes([0x20, 1, 4, 0xF0]) + bytes(10) + bytes([0, 7, 26, 225]),
    )
    template = krpc.QueryTemplate(b"sample_infohashes", _bytes(20))
    target, nodes, samples = _bytes(20), _bytes(208), _bytes(400)
    yield "QueryTemplate.fill", partial(template.fill, target, b"abcd")
    yield "split_nodes, 8", partial(compact.split_nodes, nodes, compact.Family.IPV4)
    yield "split_samples, 20", partial(compact.split_samples, samples)
    yield "split_peers, 50", partial(compact.split_peers, [v4] * 50, compact.Family.IPV4)
    yield "pack_address v4", partial(compact.pack_address, ("93.184.216.34", 6881))
    yield "unpack_address v4", partial(compact.unpack_address, v4)
    yield "format_address v4", partial(compact.format_address, v4)
    yield "is_global v4", partial(compact.is_global, v4)
    yield "is_global v4, closer look", partial(compact.is_global, bytes([192, 1, 2, 3, 26, 225]))
    yield "pack_address v6", partial(compact.pack_address, ("2001:4f0::7", 6881))
    yield "format_address v6", partial(compact.format_address, v6)
    yield "is_global v6", partial(compact.is_global, v6)
    yield "Family.of", partial(compact.Family.of, v4)
    body = {b"id": target, b"nodes": nodes, b"num": 10, b"interval": 300, b"samples": samples}
    yield "krpc.response, 20 samples", partial(krpc.response, b"abcd", body, v4)
    yield (
        "fastbencode.bdecode of a sample answer",
        partial(bdecode, sample_answer(), max_depth=16),
    )
    yield "bencode.decode_datagram of the same", partial(bencode.decode_datagram, sample_answer())


def main() -> None:
    """Print a line per case, and the dearest hostile datagrams again at the end."""
    sys.stdout.write("      µs   scaled\n")
    for name, call in small():
        show(name, call)
    for name, data in good():
        krpc.decode(data)
        show(f"{name} ({len(data)} B)", partial(krpc.decode, data))
    costs = sorted((show(name, partial(attempt, data)), name) for name, data in hostile())
    sys.stdout.write("the dearest hostile datagrams, scaled:\n")
    for cost, name in costs[-10:]:
        sys.stdout.write(f"{cost:8.2f}  {name}\n")


if __name__ == "__main__":
    main()
