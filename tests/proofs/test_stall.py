"""A stall of the loop that everything runs on: what it costs whom, computed item by item."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from streambench import configure, open_session
from streambench.clock import NS_PER_S, now_ns
from tests.proofs.experiments import figure_s, measured_items
from tests.proofs.idle_timer import IdleTimer
from tests.proofs.majority import majority

RATE = 1000
COUNT = 10_000
STALL_S = 0.2
STALL_AFTER_S = 5.0
MS = 1_000_000


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile between the two order statistics around n - 1 times its share."""
    ordered = sorted(values)
    whole, part = divmod(share * (len(ordered) - 1), 1)
    low, high = ordered[int(whole)], ordered[min(int(whole) + 1, len(ordered) - 1)]
    return low + part * (high - low)


def delays_ns(due_ns: Sequence[int], begin_ns: int, end_ns: int) -> list[int]:
    """Return how much later each item is done because the loop stands from `begin` to `end`.

    What is due in the stall leaves at its end; what needs no time at all is done when it leaves.
    """
    return [end_ns - due if begin_ns <= due < end_ns else 0 for due in due_ns]


@pytest.mark.parametrize('phase_ns', [0, 1, MS // 2, MS - 1])
def test_the_arithmetic_of_a_stall(phase_ns: int) -> None:
    """200 ms hit 200 of 10,000 items at 1,000/s: they are 2 %, and half of them wait 100 ms or more.

    Wherever between two items it begins: p99 is 100 ms less at most one interval, p98 is nothing.
    """
    due_ns = range(0, COUNT * MS, MS)
    begin_ns = 5000 * MS + phase_ns
    delays = delays_ns(due_ns, begin_ns, begin_ns + 200 * MS)
    assert sum(delay > 0 for delay in delays) == 200
    assert 99 * MS <= quantile(delays, 0.99) <= 100.02 * MS
    assert quantile(delays, 0.98) <= 0.021 * MS
    assert quantile(delays, 0.95) == 0


@pytest.mark.asyncio(loop_factories=['uvloop'])
async def test_a_stall_is_charged_to_whom_it_hits(tmp_path: Path, blockbuster: BlockBuster) -> None:
    """The corrected p99 is that of the arithmetic; the uncorrected one hardly knows of the stall."""
    blockbuster.functions['time.sleep'].deactivate()
    await majority(charged_to_whom_it_hits, tmp_path)


async def charged_to_whom_it_hits(directory: Path) -> None:
    """Let the loop stand still, and hold every percentile against what is computed item by item.

    No item can be done before the arithmetic allows it, so no percentile may be below. Above, it may
    be by the time in which the backlog of 200 items is worked off, which the items themselves tell.
    """
    stood_ns: list[int] = []

    def stall() -> None:
        stood_ns.append(now_ns())
        time.sleep(STALL_S)
        stood_ns.append(now_ns())

    config = configure(
        executor='simulated',
        stream='memory',
        rate=RATE,
        task_count=COUNT,
        task_sleep=0,
        data_size_bytes=100,
    )
    async with open_session(config, directory=directory) as session:
        asyncio.get_running_loop().call_later(STALL_AFTER_S, stall)
        async with IdleTimer() as timer:
            row = (await session.run()).row
    assert (row.completed_tasks, row.lost, row.sojourn_n) == (COUNT, 0, COUNT)
    items = await asyncio.to_thread(measured_items, directory)
    begin_ns, end_ns = stood_ns
    due_ns = [item['intended_ns'] for item in items]
    expected = delays_ns(due_ns, begin_ns, end_ns)
    # What was under way when the loop stood still is done when it goes on, too: an item or a few.
    under_way = [
        item for item in items if item['intended_ns'] < begin_ns and item['complete_ns'] > end_ns
    ]
    assert len(under_way) <= 20
    for item in under_way:
        expected[item['sequence']] = end_ns - item['intended_ns']
    hit = [item for item in items if begin_ns <= item['intended_ns'] < end_ns]
    assert len(hit) == pytest.approx((end_ns - begin_ns) / MS, abs=1)
    p98, p99 = (quantile(expected, share) for share in (0.98, 0.99))
    half_ns = end_ns - begin_ns - 100 * MS
    assert half_ns - MS <= p99 <= half_ns + (1 + len(under_way)) * MS
    assert p98 <= (1 + len(under_way)) * MS + half_ns - 100 * MS

    sojourns = [item['complete_ns'] - item['intended_ns'] for item in items]
    early = [
        sojourn - delay for sojourn, delay in zip(sojourns, expected, strict=True) if sojourn < delay
    ]
    assert early == []
    backlog_ns = max(item['complete_ns'] for item in hit + under_way) - end_ns
    noise_ns = timer.late_s(0.99) * NS_PER_S
    # Some 10 ms on a quiet machine.
    assert backlog_ns < 70 * MS + noise_ns
    # Each other item that something else held for longer than the percentile lifts it by an interval.
    others = [sojourn for sojourn, delay in zip(sojourns, expected, strict=True) if not delay]
    for share, computed in ((0.98, p98), (0.99, p99)):
        lifted = sum(sojourn > max(computed, 2 * MS) for sojourn in others) * MS
        assert computed <= quantile(sojourns, share)
        assert quantile(sojourns, share) <= computed + lifted + backlog_ns + MS + noise_ns
    p99_s = figure_s(row, 'sojourn_p99_s')
    assert quantile(sojourns, 0.98) < p99_s * NS_PER_S / 2 + noise_ns
    assert quantile(sojourns, 0.95) <= 2 * MS + noise_ns
    # The row's own percentile is that of the rows.
    assert p99_s * NS_PER_S == pytest.approx(quantile(sojourns, 0.99))

    # Counted from the send, only what was under way when the loop stood still knows of it.
    blind_s = figure_s(row, 'uncorrected_sojourn_p99_s')
    assert blind_s * NS_PER_S <= backlog_ns + MS + noise_ns
    assert blind_s < p99_s / 2
    unaware = [item for item in hit if item['complete_ns'] - item['send_ns'] < (end_ns - begin_ns) / 2]
    assert len(unaware) == len(hit)
