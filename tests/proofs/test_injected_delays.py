"""A known delay at each station shows in its stage, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from streambench import open_session
from tests.proofs.experiments import EXPERIMENTS, STAGES, Experiment

# One for each of the three parts that may be slow: broker, executor, store.
PARTS = ('delivery', 'dispatch', 'resolve')


async def prove(experiment: Experiment, directory: Path) -> None:
    """Compare two runs of one session; what an idle timer was late in them is added to the bounds."""
    async with open_session(experiment.config(directory)) as session:
        assert await experiment.wrong(session) == {}


@pytest.mark.parametrize('stage', PARTS)
async def test_a_slow_part_shows_in_its_stage(stage: str, tmp_path: Path) -> None:
    """The held stage's median grows by the hold, within 5 % or 1 ms, and no other's by 1 ms."""
    await prove(EXPERIMENTS[stage], tmp_path)


@pytest.mark.asyncio(loop_factories=['uvloop'])
@pytest.mark.parametrize('stage', [stage for stage in EXPERIMENTS if stage not in PARTS])
async def test_the_other_stages_show_theirs(stage: str, tmp_path: Path) -> None:
    """The same on one loop for a client that is full, a slow put, a slow submission, a slow return."""
    await prove(EXPERIMENTS[stage], tmp_path)


def test_every_stage_that_can_be_held_is() -> None:
    """No stage is left out but those that a worker's own work fills: checking and sleeping."""
    assert set(STAGES) - set(EXPERIMENTS) == {'verify', 'task_sleep'}
