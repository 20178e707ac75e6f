"""A program: wires before servers, until SIGTERM. `SECONDS ONLY LISTEN=SERVER...`, each HOST:PORT.

What goes through them arrives so many seconds later, each way; only for connections of one host, or for
all if it is called `all`. Kernels without `netem` have no other way to put hosts apart. TCP ends at the
wire, so that its own slowness over long ways isn't there.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack

from tests.slow_wire import SlowWire


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(':')
    return host, int(port)


async def carry(delay_s: float, only: str | None, pairs: list[str]) -> None:
    """Hold the wires until SIGTERM.

    Args:
        delay_s: How long each way takes.
        only: Address of the host that is far away, or None for all.
        pairs: Where each listens, and the server behind it.
    """
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with AsyncExitStack() as stack:
        for pair in pairs:
            listen, _, server = pair.partition('=')
            wire = await stack.enter_async_context(
                SlowWire.before(*_place(server), at=_place(listen), only=only)
            )
            wire.there_s = wire.back_s = delay_s
        await ended.wait()


def main() -> None:
    """Run the command line."""
    delay, only, *pairs = sys.argv[1:]
    asyncio.run(carry(float(delay), None if only == 'all' else only, pairs))


if __name__ == '__main__':
    main()
