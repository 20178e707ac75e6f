"""Thresholds with `abort:`, held against a run while it is under way.

Counts are taken live. They can only grow, so a threshold has failed when no larger count could meet it:
`lost == 0` fails with the first loss, `completed_tasks >= 100` can't fail before the end. Figures of
stages and rates come from the parts that are sealed so far, each read once, in a thread; rows of the
warm-up don't count. What neither says is decided at the end of the run like any other threshold.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.clock import NS_PER_S
from streambench.errors import AbortError
from streambench.outcomes import MISSED
from streambench.records import COMPLETED, MEASURE
from streambench.stages import LOOP_WAIT, QUANTILES, STAGES, Stage
from streambench.summary import estimate
from streambench.tally import rows_of
from streambench.thresholds import FAIL, Threshold

if TYPE_CHECKING:
    import pyarrow

LOOK_S = 1.0
# What is known of a run while it goes on and will only become more.
GROWING = frozenset(
    {
        *('sent', 'publish_failed', 'received', 'completed_tasks', 'failed', 'lost', 'duplicated'),
        *('reordered', 'corrupt', 'resolved_in_dispatcher', 'foreign', 'reconnects', 'backpressure_s'),
    }
)
MOST = 'max'
MEAN = 'mean'
FIGURES = {
    f'{stage.name}_{statistic}': (stage, statistic)
    for stage in (*STAGES, LOOP_WAIT)
    for statistic in (*QUANTILES, MEAN, MOST)
}


class SoFar:
    """Figures of a run's sealed parts, each of which is read once.

    Args:
        metrics: Names of the figures that are wanted; others cost nothing.
        run: Number of the run.
        seen: Parts that were sealed before the run began.
    """

    def __init__(self, metrics: Sequence[str], *, run: int, seen: int) -> None:
        self._wanted = {name: FIGURES[name] for name in metrics if name in FIGURES}
        self._run = run
        self._read = seen
        self._values: dict[Stage, list[pyarrow.Array]] = {
            stage: [] for stage, _ in self._wanted.values()
        }
        # Ends and lengths of the items that completed since the window began.
        self._done: list[pyarrow.Table] = []
        self._first_ns: int | None = None
        self._last_ns = 0

    def read(self, parts: Sequence[Path], since_ns: int) -> dict[str, Any]:
        """Return the figures, after reading the parts that are new; takes a while.

        Args:
            parts: All sealed parts of items.
            since_ns: Items due from this instant on count.
        """
        import pyarrow
        import pyarrow.compute as compute

        fresh, self._read = parts[self._read :], len(parts)
        instants = {name for stage in self._values for name in (stage.begin, stage.end) if name}
        columns = {'run', 'phase', 'status', 'size_bytes', 'intended_ns', 'complete_ns'} | instants
        table = rows_of(fresh, self._run, sorted(columns))
        if table.num_rows:
            table = table.filter(
                compute.and_(
                    compute.equal(table['phase'], MEASURE), compute.equal(table['status'], COMPLETED)
                )
            )
            ends = table.select(['complete_ns', 'size_bytes'])
            self._done.append(ends.filter(compute.greater(ends['complete_ns'], since_ns)))
            table = table.filter(compute.greater_equal(table['intended_ns'], since_ns))
        if table.num_rows:
            for stage, chunks in self._values.items():
                begin, end = table[stage.begin] if stage.begin else None, table[stage.end]
                lasting = end if begin is None else compute.subtract(end, begin)
                seconds = compute.divide(lasting.cast(pyarrow.float64()), float(NS_PER_S))
                chunks += seconds.drop_null().chunks
            first = compute.min(table['intended_ns']).as_py()
            self._first_ns = first if self._first_ns is None else min(first, self._first_ns)
            self._last_ns = max(self._last_ns, compute.max(table['complete_ns']).as_py())
        return self._figures()

    def _figures(self) -> dict[str, Any]:
        import pyarrow
        import pyarrow.compute as compute

        found: dict[str, Any] = {}
        if self._first_ns is not None and self._last_ns > self._first_ns:
            found = _growing('makespan', (self._last_ns - self._first_ns) / NS_PER_S)
            found |= self._rates(self._first_ns)
        for name, (stage, statistic) in self._wanted.items():
            values = pyarrow.chunked_array(self._values[stage], pyarrow.float64())
            if not len(values):
                continue
            if statistic == MEAN:
                found[name] = compute.mean(values).as_py()
            elif statistic == MOST:
                found |= _growing(name, compute.max(values).as_py())
            else:
                found[name] = estimate(values, QUANTILES[statistic])
        return found

    def _rates(self, first_ns: int) -> dict[str, float]:
        """Return items and bytes per second, and what they are from the first completion on.

        Until then nothing comes back, which is most of the time so far where tasks are long, and
        little of that of the whole run.

        Args:
            first_ns: When the first item that counts was due.
        """
        import pyarrow
        import pyarrow.compute as compute

        done = pyarrow.concat_tables(self._done)
        ends = done['complete_ns']
        inside = compute.and_(compute.greater(ends, first_ns), compute.less_equal(ends, self._last_ns))
        done = done.filter(inside)
        count = done.num_rows
        coming_ns = self._last_ns - compute.min(done['complete_ns']).as_py()
        found: dict[str, float] = {}
        for name, number in (('throughput', count), ('bytes', compute.sum(done['size_bytes']).as_py())):
            low = number / (self._last_ns - first_ns) * NS_PER_S
            # The first completion begins that time and doesn't lie in it.
            high = number * (count - 1) / count / coming_ns * NS_PER_S if coming_ns else math.inf
            found |= {name: low, f'{name}_low': low, f'{name}_high': max(low, high)}
        return found


def _growing(name: str, value: float) -> dict[str, float]:
    """Return a figure with everything that it may still become."""
    return {name: value, f'{name}_low': value, f'{name}_high': math.inf}


class AbortWatch:
    """Ends a run whose abort threshold fails.

    Args:
        thresholds: Thresholds of the plan; those without `abort:` are left for the end.
        run: Number of the run.
        live: Returns the columns of results.csv that are counted while the run is under way.
        parts: Returns the sealed parts of items; None if items aren't kept.
        since_ns: Returns from which instant on items count, or None before the first item.
    """

    def __init__(
        self,
        thresholds: Sequence[Threshold],
        *,
        run: int,
        live: Callable[[], Mapping[str, Any]],
        parts: Callable[[], Sequence[Path]] | None,
        since_ns: Callable[[], int | None],
    ) -> None:
        self._thresholds = [threshold for threshold in thresholds if threshold.abort]
        self._run = run
        self._live = live
        self._parts = parts
        self._since_ns = since_ns
        self._seen = len(parts()) if parts is not None else 0
        metrics = [threshold.metric.name for threshold in self._thresholds]
        self._so_far = SoFar(metrics, run=run, seen=self._seen)

    async def watch(self) -> None:
        """Look once per second, until cancelled.

        Raises:
            AbortError: If a threshold fails.
        """
        while self._thresholds:
            await asyncio.sleep(LOOK_S)
            live: dict[str, Any] = {}
            for column, value in self._live().items():
                if column in GROWING:
                    live |= _growing(column.removesuffix('_s'), value)
            self._judge(live)
            parts, since_ns = self._parts() if self._parts is not None else (), self._since_ns()
            if since_ns is not None and len(parts) > self._seen:
                self._seen = len(parts)
                self._judge(await asyncio.to_thread(self._so_far.read, parts, since_ns))

    def _judge(self, figures: Mapping[str, Any]) -> None:
        for threshold in self._thresholds:
            outcome = threshold.evaluate(figures)
            if outcome.grade == FAIL:
                missed = MISSED.format(threshold.text) + outcome.bare()
                raise AbortError(
                    f'{missed} while run {self._run + 1} was under way; leave abort: out to let it '
                    'come to its end.'
                )
