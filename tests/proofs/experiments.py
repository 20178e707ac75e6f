"""One experiment per station: a run as it is, a run with a known delay, and what moved between them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet

from streambench import Config, configure
from streambench.records import MEASURE, RunRow
from streambench.session import Session
from streambench.stages import CHAIN
from tests.proofs.idle_timer import IdleTimer
from tests.proofs.stations import HeldBroker, HeldFiles, HeldThreads, holding

# Methodology's words are "within 5 % or 1 ms".
SHARE = 0.05
LEAST_S = 0.001
STAGES = tuple(stage.name for stage in CHAIN)

# 30 ms apart, three of four workers are enough for the longest hold; the task outlasts the station that
# holds the bridge, which would otherwise hold completions too.
POINT: Mapping[str, Any] = {
    'executor': 'thread',
    'stream': 'memory',
    'workers': 5,
    'rate': 1000 / 30,
    'task_count': 18,
    'task_sleep': 0.03,
    'data_size_bytes': 1000,
}
# Of three items at once the second waits for one hold and is the median; the first waits for none.
THREE: Mapping[str, Any] = {'arrival': 'burst:3'}
PROXY: Mapping[str, Any] = {'stream_method': 'proxy', 'ps_connector': 'file'}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A delay at one station.

    Attributes:
        stage: The stage in which the station lies.
        seconds: How long it holds every item.
        values: What the point has besides.
    """

    stage: str
    seconds: float
    values: Mapping[str, Any] = field(default_factory=dict)

    def config(self, directory: Path, **values: Any) -> Config:
        """Return the point, with stations in it.

        Args:
            directory: Where the store may keep files.
            values: What is different from the experiment's own.
        """
        proxied = {'ps_file_dir': str(directory)} if 'ps_connector' in self.values else {}
        config = configure(**{**POINT, **self.values, **proxied, **values})
        connector = config.connector_plugin and HeldFiles(ps_file_dir=str(directory))
        return replace(
            config,
            broker_plugin=HeldBroker(),
            executor_plugin=HeldThreads(),
            connector_plugin=connector,
        )

    async def wrong(self, session: Session) -> dict[str, float]:
        """Return the stages that moved otherwise than they should, the machine's noise allowed for.

        One pair of runs is enough on a quiet machine; where it isn't, the medians of five decide.
        """
        moved = await self.moved(session)
        if not moved.wrong(self.stage, self.seconds, noise_s=moved.noise_s):
            return {}
        moved = middle([moved, *[await self.moved(session) for _ in range(4)]])
        return moved.wrong(self.stage, self.seconds, noise_s=moved.noise_s)

    async def moved(self, session: Session) -> Moved:
        """Make a run as it is and one with the delay; return what moved."""
        control = await watched(session)
        with holding(self.stage, self.seconds):
            return moved_between(control, await watched(session))


EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.stage: experiment
    for experiment in (
        Experiment(stage='publish_delay', seconds=0.02, values=THREE),
        Experiment(stage='put', seconds=0.02, values=PROXY),
        Experiment(stage='delivery', seconds=0.02),
        Experiment(stage='queue_wait', seconds=0.02, values=THREE),
        Experiment(stage='dispatch', seconds=0.03),
        Experiment(stage='resolve', seconds=0.04, values=PROXY),
        Experiment(stage='return', seconds=0.02),
    )
}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How much longer the median of each stage was in the delayed run than in the control run.

    Attributes:
        by_s: By stage.
        noise_s: Median lateness of an idle timer in the worse of the two runs.
    """

    by_s: Mapping[str, float]
    noise_s: float

    def wrong(self, stage: str, seconds: float, *, noise_s: float = 0.0) -> dict[str, float]:
        """Return the stages that moved otherwise than they should, and by how much they did.

        Args:
            stage: The one that should have moved.
            seconds: How far.
            noise_s: What is allowed beyond the strict bound.
        """
        bound_s = max(SHARE * seconds, LEAST_S) + noise_s
        return {
            name: by_s
            for name, by_s in self.by_s.items()
            if (name == stage and abs(by_s - seconds) > bound_s)
            or (name != stage and abs(by_s) > LEAST_S + noise_s)
        }


def middle(pairs: Sequence[Moved]) -> Moved:
    """Return the medians of several pairs of runs."""
    return Moved(
        by_s={stage: statistics.median(pair.by_s[stage] for pair in pairs) for stage in STAGES},
        noise_s=statistics.median(pair.noise_s for pair in pairs),
    )


Watched = tuple[RunRow, float]


def moved_between(control: Watched, delayed: Watched) -> Moved:
    """Return what moved from one run to another."""
    return Moved(
        by_s={stage: median_s(delayed[0], stage) - median_s(control[0], stage) for stage in STAGES},
        noise_s=max(control[1], delayed[1]),
    )


async def watched(session: Session) -> Watched:
    """Make a run; return its row and the median lateness of an idle timer meanwhile."""
    async with IdleTimer() as timer:
        result = await session.run()
    row = result.row
    assert (row.ended, row.completed_tasks) == ('complete', row.task_count), row.reasons
    return row, timer.late_s()


def figure_s(row: RunRow, column: str) -> float:
    """Return a figure that must be there, as it stands in a row of results."""
    value = getattr(row, column)
    assert isinstance(value, float), column
    return value


def median_s(row: RunRow, stage: str) -> float:
    """Return the median of a stage."""
    return figure_s(row, f'{stage}_p50_s')


def measured_items(directory: Path, *, run: int = 0) -> list[dict[str, Any]]:
    """Return the items of a run's measurement by sequence; reads files."""
    table = pyarrow.parquet.read_table(directory / 'items')
    rows = [row for row in table.to_pylist() if row['phase'] == MEASURE and row['run'] == run]
    return sorted(rows, key=lambda row: int(row['sequence']))
