"""`compare` on runs that were made: the same thing twice is the same, a tenth more is found.

How often it errs on generated figures stands in `tests/test_comparison.py`, and at length in
`scripts/proofs`; here the figures are those of real runs, with the noise and the ties that they have.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from streambench import configure, open_session
from streambench.arm import Arm, read_arm
from streambench.comparison import FASTER, SLOWER, compare
from streambench.ranks import ALPHA, smallest_p
from tests.proofs.stations import SecretlyLateServers

RUNS = 8
SLEEP_S = 0.01
LONGER = 0.1
TRIALS = 500


def late_by(seconds: float) -> Callable[[int], float]:
    """Return how long servers sit on any item."""
    return lambda sequence: seconds


async def sides(directory: Path, *, held_s: dict[str, float], runs: int) -> dict[str, Path]:
    """Make runs of each side in turns, in sessions that are open side by side.

    The closed loop keeps all servers busy, so the makespan is theirs. What distinguishes the sides
    stands in no parameter: their servers sit on each item before they begin.

    Args:
        directory: Where the sides get a run directory each.
        held_s: How long the servers of each side sit on an item.
        runs: Runs of each.
    """
    plain = configure(
        executor='simulated',
        stream='memory',
        workers=5,
        rate='max',
        task_count=20,
        task_sleep=SLEEP_S,
        data_size_bytes=100,
        seed=2,
    )
    places = {side: directory / side for side in held_s}
    async with AsyncExitStack() as stack:
        sessions = []
        for side, place in places.items():
            await asyncio.to_thread(place.mkdir)
            servers = SecretlyLateServers(held_s=late_by(held_s[side]))
            config = replace(plain, executor_plugin=servers)
            sessions.append(await stack.enter_async_context(open_session(config, directory=place)))
        for number in range(runs):
            for session in sessions[:: -1 if number % 2 else 1]:
                await session.run()
    return places


def test_real_repeats_are_told_apart_if_they_differ(tmp_path: Path) -> None:
    """8 + 8 real runs of one thing aren't called different more often than promised.

    Sixteen runs of one thing are dealt to two sides in many ways: a rank test's level is the share of
    deals that it calls different. With a tenth more work hidden in the servers of one side, the runs as
    they were made differ, by a tenth, and so do resampled ones in at least 90 %.
    """
    held = {'same': 0.0, 'again': 0.0, 'longer': LONGER * SLEEP_S}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        places = runner.run(sides(tmp_path, held_s=held, runs=RUNS))
    arms = {side: read_arm(place, name=side) for side, place in places.items()}
    assert [len(arm.runs) for arm in arms.values()] == [RUNS] * 3

    (point,) = compare(arms['same'], arms['longer']).points
    found = point.differences[0]
    assert (found.metric, found.outcome) == ('throughput_per_s', SLOWER)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1 / (1 + LONGER), rel=0.03)

    draw = random.Random(1)
    same, again, longer = arms.values()
    pool = [*same.runs, *again.runs]
    alarms = hits = 0
    for _ in range(TRIALS):
        draw.shuffle(pool)
        first, second = tuple(pool[:RUNS]), tuple(pool[RUNS:])
        alarms += called_different(replace(same, runs=first), replace(again, runs=second))
        first, second = (tuple(draw.choices(runs, k=RUNS)) for runs in (pool, longer.runs))
        hits += called_different(replace(same, runs=first), replace(longer, runs=second))
    error = 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
    assert smallest_p(RUNS, RUNS) < ALPHA
    assert alarms / TRIALS <= ALPHA + error
    assert hits / TRIALS >= 0.9


def called_different(a: Arm, b: Arm) -> bool:
    """Return whether the primary metric of the only point is called faster or slower."""
    (point,) = compare(a, b).points
    return point.differences[0].outcome in (FASTER, SLOWER)
