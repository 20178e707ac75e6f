"""Two loops and two places of the generator, side by side, with a control."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.points import telling
from streambench.records import RunRow
from streambench.side_by_side import side_by_side


def row(**changes: Any) -> RunRow:
    """Return a run's row."""
    values: dict[str, Any] = {
        'method': 'default',
        'data_size_bytes': 1000,
        'load': 0.8,
        'loop': 'uvloop',
    }
    return RunRow(**(values | changes))


def arm(factor: float, *, repeats: int, point: int, **changes: Any) -> list[RunRow]:
    """Return repetitions whose sojourn varies by a per cent, even ones longer."""
    return [
        row(
            point=point,
            repeat=number,
            sojourn_p50_s=factor * (0.0101 if number % 2 else 0.01) + number * 1e-7,
            **changes,
        )
        for number in range(repeats)
    ]


def test_loops_have_a_ratio_and_a_control() -> None:
    """uvloop against asyncio with its interval, and asyncio's repetitions against each other."""
    rows = [
        *arm(1.0, repeats=6, point=0, loop='asyncio'),
        *arm(0.8, repeats=6, point=1, loop='uvloop'),
    ]
    (line,) = side_by_side(rows, {})
    assert line.startswith('loops: uvloop/asyncio 0.800 (0.79')
    assert 'asyncio/asyncio 1.01' in line
    assert line.endswith('(sojourn_p50 of default 1 kB, 6 + 6 runs)')


def test_few_repeats_say_so() -> None:
    """Without five on each side there is no interval; with one there is no control."""
    for repeats, control in ((1, 'needs --repeat 2'), (4, '1.01')):
        rows = [
            row
            for point, loop in enumerate(('asyncio', 'uvloop'))
            for row in arm(1.0, repeats=repeats, point=point, loop=loop)
        ]
        (line,) = side_by_side(rows, {})
        assert '(an interval needs ≥ 5 repeats)' in line
        assert f'asyncio/asyncio {control}' in line


@pytest.mark.parametrize(
    ('changes', 'metric'),
    [
        ({'closed_loop': True, 'throughput_per_s': 9.0, 'load': None}, 'throughput'),
        ({'sojourn_growth_s': 0.1, 'makespan_s': 2.0}, 'makespan'),
    ],
)
def test_what_is_compared_follows_the_load(changes: dict[str, Any], metric: str) -> None:
    """A closed loop has no latency of its own, and one that grows says how long the run was."""
    rows = [
        row
        for point, loop in enumerate(('asyncio', 'uvloop'))
        for row in arm(1.0, repeats=2, point=point, loop=loop, **changes)
    ]
    (line,) = side_by_side(rows, {})
    assert f'({metric} of default 1 kB' in line


def test_interference_is_that_of_each_point() -> None:
    """Only runs that differ in nothing but the generator's place are held against each other."""
    rows = [
        row(point=0, generator='loop', sojourn_p50_s=0.012),
        row(point=1, generator='worker', sojourn_p50_s=0.010),
        row(point=2, generator='loop', sojourn_p50_s=0.052, data_size_bytes=10_000),
        row(point=3, generator='worker', sojourn_p50_s=0.050, data_size_bytes=10_000),
        row(point=4, generator='loop', sojourn_p50_s=0.9, data_size_bytes=10**6),
        # One whose latency grows says how long it was.
        row(point=5, generator='loop', sojourn_p50_s=0.9, data_size_bytes=1),
        row(point=6, generator='worker', sojourn_p50_s=0.1, data_size_bytes=1, sojourn_growth_s=0.1),
    ]
    (line,) = side_by_side(rows, {})
    assert line.startswith('interference: +2 ms (default 1 kB), +2 ms (default 10 kB) of the median')


def test_points_have_words() -> None:
    """What varies is said, and what an axis says is not said twice."""
    rows = [row(point=0, connector_plugin='file'), row(point=1, connector_plugin='redis')]
    axes = {0: ('file', '1'), 1: ('redis', '1')}
    assert telling(rows, axes) == {0: ['file 1'], 1: ['redis 1']}
    # Without a proxy there is no store.
    rows.append(row(point=2))
    axes[2] = ('file', '1')
    assert telling(rows, axes) == {0: ['file 1'], 1: ['redis 1'], 2: ['file 1']}
    del rows[2]
    assert telling(rows, {}, always=('method',)) == {0: ['default', 'file'], 1: ['default', 'redis']}
    rows = [row(point=0, generator='loop'), row(point=1, generator='worker', loop='asyncio')]
    assert telling(rows, {}) == {
        0: ['uvloop', 'generator on loop'],
        1: ['asyncio', 'generator on worker'],
    }
