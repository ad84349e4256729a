"""Three info dicts of one file, ``a.txt``: 20000 times ``a`` in pieces of 16384 bytes, with their hashes.

The v2 dict was cross-checked with BEP 52's own creator.
"""

from __future__ import annotations

from typing import Final

PIECES: Final = bytes.fromhex(
    "12ff347b4f27d69e1f328e6f4b5573e3666e122f6c8964dd8a32a82b5817e845ce3be033d64534ca"
)
ROOT: Final = bytes.fromhex("4e15d8ed29f74ed4b4953e205673b4b46c63f7a717d693a6d27e7e8373354d48")

V1_INFO: Final = b"d6:lengthi20000e4:name5:a.txt12:piece lengthi16384e6:pieces40:" + PIECES + b"e"
V1_HASH: Final = bytes.fromhex("a8a8e4abd7ea0ce39b5e5b2ded34b631de2df51c")

_TREE: Final = b"9:file treed5:a.txtd0:d6:lengthi20000e11:pieces root32:" + ROOT + b"eee"

V2_INFO: Final = b"d" + _TREE + b"12:meta versioni2e4:name5:a.txt12:piece lengthi16384ee"
V2_HASH: Final = bytes.fromhex("d4792757eefa02241ccfde3cf7abb29ba93a60e4d16b9c464efce8440b89fa27")

HYBRID_INFO: Final = (
    b"d"
    + _TREE
    + b"6:lengthi20000e12:meta versioni2e4:name5:a.txt12:piece lengthi16384e6:pieces40:"
    + PIECES
    + b"e"
)
HYBRID_HASH_V1: Final = bytes.fromhex("ff03877eb324a78189682c7395a22bf15dc9d21e")
HYBRID_HASH_V2: Final = bytes.fromhex("2c7e7a87aa50acd3bbcbe7394e6caa7ffb973cf988844ef92ce1bc4c0914000e")
