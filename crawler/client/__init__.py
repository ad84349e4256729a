"""A DHT node for programs and for the short-lived commands: join, look up, announce, fetch metadata, leave.

    async with open_node() as node:
        result = await node.lookup("957b901faa247ca200f4284b142b796166bdc9a3")
        print(result.seeds, [str(peer) for peer in result.peers])

Everything runs under Trio. Nothing here has a time limit of its own but ends by itself; put
`trio.move_on_after` around what has to be over sooner. `crawl/` and the daemon know nothing of this package.
"""

from __future__ import annotations

from crawler.client.announcing import AnnounceResult
from crawler.client.fetching import FoundMetadata, MetadataNotFoundError
from crawler.client.node import ListenError, Node, open_node
from crawler.client.search import LookupResult, Peer
from crawler.client.target import parse_target

__all__ = [
    "AnnounceResult",
    "FoundMetadata",
    "ListenError",
    "LookupResult",
    "MetadataNotFoundError",
    "Node",
    "Peer",
    "open_node",
    "parse_target",
]
