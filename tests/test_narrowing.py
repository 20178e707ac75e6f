"""Repeating until figures are narrow: on the width alone, and never before there can be one."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from streambench.cli import main
from streambench.errors import EXIT_OK, ConfigError
from streambench.narrowing import narrow, narrowing_text, widths
from streambench.plan import make_plan
from streambench.records import RunRow

SPREAD = (1.0, 1.01, 0.99, 1.02, 0.98, 1.015, 0.985, 1.005)


def rows(*, repeats: int, points: int = 1, factor: float = 1.0, **changes: Any) -> list[RunRow]:
    """Return repetitions of points at load 0.8 whose median sojourn varies by some per cent."""
    values: dict[str, Any] = {'method': 'default', 'load': 0.8, 'task_sleep': 0.1, 'task_count': 9}
    return [
        RunRow(
            **({'point': point, 'sojourn_p50_s': factor * SPREAD[repeat]} | values | changes),
            repeat=repeat,
        )
        for repeat in range(repeats)
        for point in range(points)
    ]


def test_the_width_decides_and_nothing_else() -> None:
    """The same relative spread is as narrow wherever it lies."""
    for factor in (1.0, 50.0, 1e-3):
        assert not narrow(rows(repeats=8, factor=factor), 0.01, points=1)
        assert narrow(rows(repeats=8, factor=factor), 0.05, points=1)
    (width,) = widths(rows(repeats=8))
    assert width.metric == 'sojourn_p50_s'
    assert width.share == pytest.approx(0.03, abs=0.015)


def test_the_figure_is_the_one_that_is_compared() -> None:
    """The latency, also at a rate without a sleep; not where it grows with the run."""
    paced = rows(repeats=6, load=None, task_sleep=0.0, throughput_per_s=50.0)
    assert [width.metric for width in widths(paced)] == ['sojourn_p50_s']
    growing = rows(repeats=6, makespan_s=3.0, sojourn_growth_s=0.01)
    assert [width.metric for width in widths(growing)] == ['makespan_s']


def test_never_before_the_sixth() -> None:
    """However alike five runs are, they carry no 95 % interval."""
    alike: dict[str, Any] = {'sojourn_p50_s': 0.1}
    assert not narrow(rows(repeats=5, **alike), 0.99, points=1)
    assert narrow(rows(repeats=6, **alike), 0.01, points=1)
    with pytest.raises(ConfigError, match='--until-narrow 5% needs --repeat 6 or more, not 5'):
        make_plan({'until_narrow': '5%', 'repeat': 5})


def test_only_after_whole_repetitions_of_all_points() -> None:
    """A block that is under way, a point that is missing and a run without the figure say no."""
    whole = rows(repeats=6, points=2)
    assert narrow(whole, 0.1, points=2)
    assert not narrow([*whole, whole[0]], 0.1, points=2)
    assert not narrow(whole, 0.1, points=3)
    assert not narrow([*whole[:-1], *rows(repeats=1, sojourn_p50_s=None, point=1)], 0.1, points=2)


def test_it_is_told() -> None:
    """How often, how wide the widest is and of which point; and where it was not reached."""
    names = {0: 'default 1 kB', 1: 'proxy 1 kB'}
    text = narrowing_text(rows(repeats=8), 0.05, names=names)
    assert text.startswith('repeated 8 times, 95 % intervals were to be no wider than 5.0%: the widest')
    assert text.endswith('of default 1 kB (sojourn_p50_s)')
    assert 'not reached, the widest' in narrowing_text(rows(repeats=8), 0.001, names=names)
    assert 'not reached, since default 1 kB' in narrowing_text(rows(repeats=5), 0.5, names=names)


def test_a_plan_ends_when_it_is_narrow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of thirty repetitions six are made where that is enough, and the file says what was asked."""
    words = (
        '--executor simulated --stream memory --stream-method default --data-size-bytes 100 1000 '
        '--task-count 20 --task-sleep 0.005 --load 0.5 --repeat 30 --until-narrow 90% '
        # A stall of a busy machine is longer than a run.
        '--bound late_invalid_s=10 loop_busy=10'
    )
    assert main(['run', *words.split(), '--run-dir', str(tmp_path)]) == EXIT_OK
    done = capsys.readouterr()
    (directory,) = tmp_path.iterdir()
    with (directory / 'results.csv').open() as file:
        found = list(csv.DictReader(file))
    assert 12 <= len(found) < 60
    assert len(found) % 2 == 0
    assert f'repeated {len(found) // 2} times' in done.out
    assert 'at most 60 runs' in done.err
    assert 'until_narrow = 0.9' in (directory / 'config.toml').read_text()
    assert main(['check', str(directory)]) == EXIT_OK, capsys.readouterr().out
