"""A real Redis behind a slow wire: what its messages take longer stands in delivery alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streambench import configure, open_session
from streambench.session import Session
from tests.proofs.experiments import LEAST_S, POINT, Moved, median_s, middle, moved_between, watched
from tests.redis_server import RedisServer
from tests.slow_wire import SlowWire

WIRE_S = 0.02


@pytest.fixture(scope='module')
def redis_server() -> Iterator[RedisServer]:
    """Return a server without a password."""
    with RedisServer() as server:
        yield server


async def behind(wire: SlowWire, way: str, session: Session) -> tuple[Moved, float]:
    """Return what moves when a way takes longer, and how much later the broker's answer is."""
    control = await watched(session)
    setattr(wire, way, WIRE_S)
    slow = await watched(session)
    setattr(wire, way, 0.0)
    before_s, after_s = (median_s(row, 'publish_latency') for row, _ in (control, slow))
    return moved_between(control, slow), after_s - before_s


def wrong(pairs: list[tuple[Moved, float]]) -> dict[str, float]:
    """Return what moved otherwise than it should by the medians of pairs of runs."""
    moved = middle([pair for pair, _ in pairs])
    found = moved.wrong('delivery', WIRE_S, noise_s=moved.noise_s)
    answer_s = sorted(later_s for _, later_s in pairs)[len(pairs) // 2]
    if abs(answer_s - WIRE_S) > LEAST_S + moved.noise_s:
        found['publish_latency'] = answer_s
    return found


# The wire runs on the same loop, and on one in debug mode its own cost is as large as the bound.
@pytest.mark.asyncio(loop_factories=['uvloop'])
@pytest.mark.parametrize('way', ['there_s', 'back_s'])
async def test_a_slow_wire_is_delivery(way: str, redis_server: RedisServer) -> None:
    """20 ms on the way to Redis, or on the way back, are 20 ms of delivery, and nothing else.

    Beside the chain, the broker's answer is as much later, since it travels both ways too. One pair of
    runs is enough on a quiet machine; where it isn't, the medians of five decide.
    """
    async with SlowWire.before(redis_server.host, redis_server.port) as wire:
        values = {**POINT, 'stream': 'redis', 'stream_servers': wire.address}
        async with open_session(configure(**values)) as session:
            pairs = [await behind(wire, way, session)]
            if wrong(pairs):
                pairs += [await behind(wire, way, session) for _ in range(4)]
            assert wrong(pairs) == {}
