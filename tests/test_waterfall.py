"""Where the time went: stages that add up, and a saving that is named where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from streambench import configure, open_session
from streambench.records import RunRow
from streambench.stages import CHAIN
from streambench.waterfall import absent_tails, savings, split, waterfall


def row(method: str, **stages_s: float) -> RunRow:
    """Return a row whose stages around the median are given, the others 0."""
    values: dict[str, Any] = {
        f'{stage.name}_at_p50_s': stages_s.get(stage.name, 0.0) for stage in CHAIN
    }
    return RunRow(method=method, data_size_bytes=1_000_000, **values | {'at_p50_n': 3})


def test_a_saving_is_named_where_it_is() -> None:
    """What proxy saves at the median is told with the stages that changed most."""
    points = [
        [row('default', delivery=0.005, dispatch=0.004, task_sleep=0.05)],
        [row('proxy', put=0.001, delivery=0.001, resolve=0.001, task_sleep=0.05)],
    ]
    assert savings(points) == ['→ at 1 MB proxy saves 6.0 ms: delivery -4.0, dispatch -4.0, put +1.0']
    _, lines = waterfall(points)
    assert [line[:2] for line in lines] == [['default 1 MB', 'p50'], ['proxy 1 MB', 'p50']]
    assert [line[-2:] for line in lines] == [['59.0', '3'], ['53.0', '3']]


def test_a_saving_is_not_told_by_stages_that_clocks_can_not_tell_apart() -> None:
    """Where another host's clock is known too badly, dispatch and return count together."""
    known: dict[str, Any] = {
        'clock_shift_bound_s': 0.02,
        'dispatch_p50_s': 0.004,
        'return_p50_s': 0.002,
    }
    points = [
        [replace(row('default', dispatch=0.012, **{'return': -0.004}), **known)],
        [replace(row('proxy', dispatch=-0.001, **{'return': 0.003}), **known)],
    ]
    (line,) = savings(points)
    assert line.startswith('→ at 1 MB proxy saves 6.0 ms: dispatch + return -6.0, ')


def test_points_are_told_apart() -> None:
    """Lines and savings say which point they are of: loads, and axes without a column."""
    loads = [
        [replace(row(method, delivery=seconds), point=point, load=load)]
        for point, (method, load, seconds) in enumerate(
            [
                ('default', 0.5, 0.004),
                ('proxy', 0.5, 0.001),
                ('default', 0.8, 0.009),
                ('proxy', 0.8, 0.002),
            ]
        )
    ]
    assert [line[0] for line in waterfall(loads)[1]] == [
        'default 1 MB load 0.5',
        'proxy 1 MB load 0.5',
        'default 1 MB load 0.8',
        'proxy 1 MB load 0.8',
    ]
    one, two = savings(loads)
    assert one.startswith('→ at 1 MB, load 0.5 proxy saves 3.0 ms')
    assert two.startswith('→ at 1 MB, load 0.8 proxy saves 7.0 ms')
    axes = {0: ('3',), 1: ('3',), 2: ('9',), 3: ('9',)}
    queues = [[replace(rows[0], load=1.0)] for rows in loads]
    assert [line[0] for line in waterfall(queues, axes)[1]] == [
        'default 1 MB 3',
        'proxy 1 MB 3',
        'default 1 MB 9',
        'proxy 1 MB 9',
    ]
    assert [line.partition(' proxy')[0] for line in savings(queues, axes)] == [
        '→ at 1 MB, 3',
        '→ at 1 MB, 9',
    ]


def test_what_n_can_not_carry_is_absent() -> None:
    """A point without items around a quantile has no line for it, and the reason is said."""
    assert split([RunRow(method='default')], 'p99') is None
    assert waterfall([[RunRow(method='default')]])[1] == []
    short = [[replace(row('default'), sojourn_n=n)] for n in (64, 80)]
    assert absent_tails(short) == ['(p99 needs 299 items in a run; there are 64 to 80)']
    assert absent_tails([[replace(row('default'), sojourn_growth_s=0.1)]]) == []


async def test_stages_of_a_run_add_up(tmp_path: Path) -> None:
    """The means of the stages are those of the sojourn, and those around the median add up to it."""
    config = configure(executor='thread', stream='memory', task_count=80, task_sleep=0.004, load=0.5)
    async with open_session(config, directory=tmp_path) as session:
        found = (await session.run()).row
    mean = sum(getattr(found, f'{stage.name}_mean_s') for stage in CHAIN)
    assert abs(mean - getattr(found, 'sojourn_mean_s')) < 1e-9  # noqa: B009
    around = split([found], 'p50')
    assert around is not None
    assert found.sojourn_p50_s is not None
    assert found.sojourn_max_s is not None
    assert abs(sum(around.values()) - found.sojourn_p50_s) < 0.2 * found.sojourn_p50_s
    assert getattr(found, 'p99_n', None) is None
    assert getattr(found, 'sojourn_p99_s') is None  # noqa: B009
    assert getattr(found, 'task_sleep_p50_s') >= 0.0039  # noqa: B009
