"""The `simulate` command: options in, a simulated network for a while, a summary out.

Standard output is for programs as much as for people: the first line is ``bootstrap ADDR:PORT``, as soon as
queries are answered, and the last is one JSON object with all counters.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations when the program runs
from typing import Annotated, Any, Final

import attrs
import trio
from cyclopts import Parameter

from crawler.settings import setting
from crawler.simnet.population import WorldConfig
from crawler.simnet.server import ServerConfig, SimulatedNetwork
from crawler.simnet.truth import write_truth
from crawler.wire.compact import Address, parse_address

BAD_OPTIONS: Final = 2
DEFAULT_LISTEN: Final = "127.64.0.1:7001"
_MILLISECOND: Final = 0.001


@attrs.frozen
class SimulateOptions:
    """What was asked for on the command line.

    Raises:
        ValueError: a value is out of bounds; the message is one line that names it and what is allowed.
    """

    nodes: int = 2000
    infohashes: int = 10_000
    rtt: float = setting(100.0, unit="ms", help="Mean round-trip time.", minimum=0, maximum=60_000)
    dead: float = 0.3
    bep51: float = 0.7
    loss: float = 0.02
    seed: int = 1
    interval: int = 600
    listen: str = DEFAULT_LISTEN
    truth: Path | None = None
    duration: float | None = setting(
        None, unit="s", help="End after this long; without it, at SIGINT or SIGTERM.", above=0
    )

    def server_config(self) -> ServerConfig:
        """Return the network that these options describe.

        Raises:
            ValueError: as above.
        """
        host, port = _listen_address(self.listen)
        world = WorldConfig(
            nodes=self.nodes,
            infohashes=self.infohashes,
            dead=self.dead,
            bep51=self.bep51,
            loss=self.loss,
            seed=self.seed,
            interval=self.interval,
            bootstrap=host,
        )
        return ServerConfig(world=world, listen_port=port, rtt=self.rtt * _MILLISECOND)


def _listen_address(text: str) -> Address:
    try:
        host, port = parse_address(text)
    except ValueError as error:
        raise ValueError(f"listen = {text!r}: {error}") from None
    if not host.startswith("127."):
        raise ValueError(f"listen = {text!r}: allowed is ADDR:PORT with an address of 127.0.0.0/8")
    return host, port


def simulate(  # noqa: PLR0913 - one argument an option
    *,
    nodes: Annotated[int, Parameter(help="virtual nodes")] = 2000,
    infohashes: Annotated[
        int, Parameter(help="infohashes, each on the 8 living nodes closest to it")
    ] = 10_000,
    rtt: Annotated[
        float, Parameter(help="mean round-trip time in ms; each differs by up to a quarter")
    ] = 100.0,
    dead: Annotated[float, Parameter(help="share of the nodes that never answer, 0 to 1")] = 0.3,
    bep51: Annotated[
        float,
        Parameter(
            help="share of the living nodes that answer sample_infohashes; of the others, a third each"
            " answers with error 204, is silent, or answers as to find_node"
        ),
    ] = 0.7,
    loss: Annotated[float, Parameter(help="share of queries whose answer gets lost, either way")] = 0.02,
    seed: Annotated[int, Parameter(help="same seed, same network")] = 1,
    interval: Annotated[
        int, Parameter(help="the nodes' BEP 51 interval in s: how long a sample is frozen")
    ] = 600,
    listen: Annotated[
        str,
        Parameter(
            help="address of the bootstrap node, in 127.0.0.0/8, and the port of all nodes; 0: a free one"
        ),
    ] = DEFAULT_LISTEN,
    truth: Annotated[
        Path | None,
        Parameter(
            help="write what can be found to this file, a JSON object a line: infohash, reachable (in the"
            " first sample of a living node that speaks BEP 51), peers"
        ),
    ] = None,
    duration: Annotated[float | None, Parameter(help="end after so many seconds")] = None,
) -> int:
    """Serve a simulated DHT on 127.0.0.0/8 (Linux only) until SIGINT or SIGTERM.

    All nodes share one port; the address makes the node. Prints the bootstrap address when it is ready, and a
    summary at the end, whose last line is JSON.
    """
    try:
        options = SimulateOptions(
            nodes, infohashes, rtt, dead, bep51, loss, seed, interval, listen, truth, duration
        )
        options.server_config()
    except ValueError as error:
        return _fail(str(error))
    return run(options)


def run(options: SimulateOptions) -> int:
    """Serve the network that ``options`` describe and return the process's exit code."""
    try:
        network = _open(options)
    except ValueError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    with network:
        seconds = trio.run(_serve, network, options.duration)
        _print_summary(network.statistics(), seconds)
    return 0


def _open(options: SimulateOptions) -> SimulatedNetwork:
    """Bind the socket, build the world and write its truth.

    Raises:
        ValueError: an option is no good here; the message says which and why.
    """
    try:
        network = SimulatedNetwork(options.server_config())
    except OSError as error:
        raise ValueError(f"listen = {options.listen!r}: {error.strerror or error}") from error
    try:
        if options.truth is not None:
            write_truth(network.world, options.truth)
    except OSError as error:
        network.close()
        raise ValueError(f"truth = {str(options.truth)!r}: {error.strerror}") from error
    return network


async def _serve(network: SimulatedNetwork, duration: float | None) -> float:
    """Serve until a signal or for ``duration`` seconds; return how long it was."""
    start = trio.current_time()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            host, port = await nursery.start(network.serve)
            print(f"bootstrap {host}:{port}", flush=True)  # noqa: T201 - the command's output
            with trio.move_on_after(float("inf") if duration is None else duration):
                await anext(signals)
            nursery.cancel_scope.cancel()
    return trio.current_time() - start


def _print_summary(counters: dict[str, Any], seconds: float) -> None:
    summary = {"seconds": round(seconds, 3), **counters}
    kinds = ", ".join(f"{count} {kind}" for kind, count in counters["queries"].items() if count)
    lines = [
        f"served {seconds:.1f} s: {counters['received']} datagrams received, {counters['answered']} answered",
        f"queries by kind: {kinds or 'none'}",
        f"nodes asked: {counters['unique_asked']}, sampled: {counters['unique_sampled']}",
        f"samples asked for again inside the interval: {counters['sample_repeats']}",
        f"samples asked for again after a loss: {counters['sample_retries']}",
        f"queries above 1/s to one node: {counters['over_rate']}",
        json.dumps(summary),
    ]
    print("\n".join(lines), flush=True)  # noqa: T201 - the command's output


def _fail(message: str) -> int:
    print(f"dht-crawler simulate: {message}", file=sys.stderr)  # noqa: T201 - the command's output
    return BAD_OPTIONS
