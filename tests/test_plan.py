"""Plans: the product of the axes, repeated, seeded, grouped into sessions, and recorded."""

from __future__ import annotations

import asyncio
import itertools
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streambench.config import OPTIONS
from streambench.errors import ConfigError
from streambench.options import PLAN
from streambench.plan import Plan, make_plan, session_key
from streambench.recorder import Recorder
from streambench.session import open_session
from streambench.settings import read_toml

ONE: dict[str, Any] = {'stream_method': 'default', 'data_size_bytes': 1000, 'task_sleep': 1}


def shape(plan: Plan) -> list[tuple[Any, ...]]:
    """Return what makes a plan the same as another."""
    return [
        (run.run, run.point, run.repeat, run.seed, replace(run.config, seed=None), run.opened_slots)
        for run in plan.runs
    ]


def recorded(plan: Plan, directory: Path) -> Plan:
    """Return the plan that the recorded file of another describes."""
    Recorder(directory).write_toml('config.toml', plan.values)
    values, sweep = read_toml(str(directory / 'config.toml'))
    return make_plan(values, sweep=sweep)


def test_the_bare_plan_is_the_tour() -> None:
    """Two methods, two sizes, two loads: eight runs in one session."""
    plan = make_plan()
    assert len(plan.runs) == 8
    assert len(plan.sessions()) == 1
    assert {run.config.load for run in plan.runs} == {1.0, 0.8}
    assert {run.config.data_size_bytes for run in plan.runs} == {100_000, 1_000_000}


@pytest.mark.parametrize('name', ['task_count', 'task_sleep', 'load', 'rate'])
def test_who_sets_the_pace_gets_one_load(name: str) -> None:
    """With a count, a sleep, a load or a rate of the user's the second load of the tour is gone."""
    assert len(make_plan({name: 2}).runs) == 4


def test_the_documented_command_is_six_runs() -> None:
    """psbench's command makes six runs of an ideal 6.0 s."""
    plan = make_plan(
        {
            'stream_method': ['default', 'proxy'],
            'data_size_bytes': ['100000', '1000000', '10000000'],
            'task_count': '16',
            'task_sleep': '1.0',
        }
    )
    assert len(plan.runs) == 6
    assert {run.expected_s for run in plan.runs} == {6.0}


def test_a_plan_is_the_product_of_its_axes_times_repeat() -> None:
    """Each combination is a point, each point is run once in each repetition."""
    plan = make_plan(ONE | {'workers': [2, 3], 'load': [0.5, 0.8], 'repeat': 3})
    assert len(plan.runs) == 12
    assert [run.run for run in plan.runs] == list(range(12))
    for _, block in itertools.groupby(plan.runs, lambda run: run.repeat):
        assert sorted(run.point for run in block) == [0, 1, 2, 3]


def test_repetitions_have_their_own_order() -> None:
    """Drift can't favour a point: the order is drawn for each repetition, from the seed."""
    values = ONE | {'data_size_bytes': list(range(1, 13)), 'repeat': 3, 'seed': 1}
    plan = make_plan(values)
    orders = [[run.point for run in plan.runs if run.repeat == repeat] for repeat in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert shape(make_plan(values)) == shape(plan)
    assert shape(make_plan(values | {'seed': 2})) != shape(plan)


def test_equal_points_are_one() -> None:
    """A value given twice is run once."""
    assert len(make_plan(ONE | {'data_size_bytes': ['1kB', 1000, '1000']}).runs) == 1


def test_points_of_a_repetition_share_their_traffic() -> None:
    """Every repetition has a seed of its own, whatever its points and wherever its results go."""
    plan = make_plan(ONE | {'workers': [2, 3], 'repeat': 2, 'seed': 7})
    seeds = [run.seed for run in plan.runs]
    by_repeat = {
        run.repeat: {other.seed for other in plan.runs if other.repeat == run.repeat}
        for run in plan.runs
    }
    assert [len(found) for found in by_repeat.values()] == [1, 1]
    assert len(set(seeds)) == 2
    other = make_plan(
        ONE | {'workers': [2, 3], 'repeat': 2, 'seed': 7, 'run_dir': 'x', 'log_level': 'INFO'}
    )
    assert [run.seed for run in other.runs] == seeds


@pytest.mark.parametrize(
    ('values', 'sweep'),
    [
        ({}, {}),
        (ONE, {}),
        (ONE | {'task_sleep': 0, 'max_outstanding': 5}, {}),
        (ONE | {'rate': [1, 'max'], 'repeat': 2}, {}),
        (ONE | {'seed': 2**63 - 1, 'stream_option': ['db=1', 'socket_timeout=3']}, {}),
        (ONE, {'stream_option': [['db=1'], ['db=2', 'socket_timeout=3']]}),
        (ONE, {'parsl_executor': ['thread', 'htex-local'], 'parsl_prefetch': [0, 2]}),
        (ONE, {'executor': ['thread', 'parsl'], 'parsl_executor': ['thread', 'htex-local']}),
        (ONE | {'stream_servers': 'h:1'}, {'stream': ['redis', 'memory', 'kafka']}),
        (ONE | {'stream_method': 'proxy', 'ps_file_dir': 'd'}, {'ps_connector': ['redis', 'file']}),
        (ONE | {'loop': ['uvloop', 'asyncio']}, {'queue_size': [1, 10], 'verify': ['full', 'header']}),
    ],
)
def test_the_recorded_file_makes_the_same_plan(
    values: dict[str, Any], sweep: dict[str, list[Any]], tmp_path: Path
) -> None:
    """`config.toml` of a plan describes it: same runs, points, seeds and order."""
    plan = make_plan(values, sweep=sweep)
    again = recorded(plan, tmp_path)
    assert again.seed == plan.seed
    assert shape(again) == shape(plan)
    assert recorded(again, tmp_path).values == again.values


def test_the_recorded_file_holds_every_option(tmp_path: Path) -> None:
    """What a run depends on is in the file, plugin options included, and no secret."""
    secrets = {'stream_servers': 'h:1', 'stream_password': 'geheim', 'ps_password': 'geheim'}
    plan = make_plan(ONE | {'stream_method': 'proxy'} | secrets)
    recorded(plan, tmp_path)
    content = (tmp_path / 'config.toml').read_text()
    found = tomllib.loads(content)
    given = {name for name, entry in OPTIONS.items() if entry.default not in (None, ())}
    assert given | {'seed'} <= found.keys()
    assert {'parsl_executor', 'parsl_encrypted', 'parsl_prefetch', 'stream_servers'} <= found.keys()
    assert 'geheim' not in content
    assert 'password' not in content


@pytest.mark.parametrize('name', [name for name, entry in OPTIONS.items() if entry.scope == PLAN])
def test_what_is_the_same_for_a_plan_can_not_vary(name: str) -> None:
    """An axis of an option of the whole plan is refused."""
    with pytest.raises(ConfigError, match=f'{name} is the same for the whole plan'):
        make_plan(sweep={name: [1, 2]})


def test_an_axis_without_a_value_is_refused() -> None:
    """There is no plan without points."""
    with pytest.raises(ConfigError, match='at least one'):
        make_plan({'data_size_bytes': []})


def test_options_of_a_plugin_go_where_it_is_chosen() -> None:
    """Where the plugin is an axis, its options say nothing about the others; stray ones are refused."""
    plan = make_plan(ONE, sweep={'executor': ['thread', 'parsl'], 'parsl_prefetch': [0, 2]})
    assert [run.config.executor for run in plan.runs] == ['thread', 'parsl', 'parsl']
    with pytest.raises(ConfigError, match='--ps-file-dir'):
        make_plan(ONE | {'ps_file_dir': 'd'}, sweep={'executor': ['thread', 'parsl']})
    with pytest.raises(ConfigError, match='--parsl-prefetch'):
        make_plan(ONE | {'parsl_prefetch': 2}, sweep={'executor': ['thread', 'process']})


def test_a_session_holds_what_shares_it() -> None:
    """Runs that differ in what may vary between runs share one; another executor or loop doesn't."""
    sweep: dict[str, list[Any]] = {
        'executor': ['thread', 'parsl'],
        'loop': ['uvloop', 'asyncio'],
        'queue_size': [1, 9],
    }
    plan = make_plan(ONE | {'workers': [2, 4], 'stream_method': ['default', 'proxy']}, sweep=sweep)
    sessions = plan.sessions()
    assert len(sessions) == 4
    assert len({session_key(runs[0].config) for runs in sessions}) == 4
    assert {len(runs) for runs in sessions} == {8}
    loops = [runs[0].config.loop for runs in sessions]
    assert loops == sorted(loops, reverse=True)
    assert {run.opened_slots for run in plan.runs} == {3}
    assert {run.limited for run in plan.runs if run.config.workers == 2} == {True}


def test_limits_keep_to_the_memory() -> None:
    """What is in flight fits into the queue's memory, and fewer workers are stood for by a limit."""
    many, few = make_plan(ONE | {'data_size_bytes': ['1kB', '100MB']}).runs
    assert many.max_in_flight > few.max_in_flight > few.config.compute_workers
    small, large = make_plan(ONE | {'workers': [2, 5]}).runs
    assert small.max_in_flight == 1
    assert large.max_in_flight > 4


def test_more_runs_than_anybody_waits_for_are_refused() -> None:
    """A slip in a sweep is told at once instead of filling the memory."""
    numbers = list(range(1, 500))
    with pytest.raises(ConfigError, match='at most'):
        make_plan(ONE, sweep={'queue_size': numbers, 'task_count': numbers})


def test_each_repetition_may_have_a_session_of_its_own(tmp_path: Path) -> None:
    """A block holds all points, in sessions of its own; traffic and points are the same as without."""
    values = ONE | {'data_size_bytes': [1, 2, 3], 'repeat': 3, 'seed': 4}
    sweep = {'executor': ['thread', 'process']}
    shared, fresh = (make_plan(values | {'fresh_executor': on}, sweep=sweep) for on in (False, True))
    sessions = fresh.sessions()
    assert len(sessions) == 6
    for runs in sessions:
        assert len({(run.repeat, run.config.executor) for run in runs}) == 1
        assert len({run.point for run in runs}) == 3
    assert [run.repeat for run in fresh.runs] == [0] * 6 + [1] * 6 + [2] * 6
    assert [run.run for run in fresh.runs] == list(range(18))
    seeds = {(run.point, run.repeat): run.seed for run in shared.runs}
    assert {(run.point, run.repeat): run.seed for run in fresh.runs} == seeds
    # One session stays open from repetition to repetition where nothing else is asked.
    assert len(make_plan(values).sessions()) == 1
    assert len(make_plan(values | {'fresh_executor': True}).sessions()) == 3
    assert fresh.values['fresh_executor'] is True
    assert shape(recorded(fresh, tmp_path)) == shape(fresh)
    assert len(make_plan(values | {'fresh_executor': True, 'repeat': 1}).sessions()) == 1


def test_a_repetition_is_a_whole_block(tmp_path: Path) -> None:
    """Also where points need several sessions: both loops in each repetition, in a drawn order."""
    values = ONE | {'loop': ['uvloop', 'asyncio'], 'load': [0.5, 0.8], 'repeat': 6, 'seed': 3}
    plan = make_plan(values)
    assert [run.repeat for run in plan.runs] == [repeat for repeat in range(6) for _ in range(4)]
    blocks = [plan.runs[begin : begin + 4] for begin in range(0, 24, 4)]
    assert all({run.point for run in block} == {0, 1, 2, 3} for block in blocks)
    first = [block[0].config.loop for block in blocks]
    assert {*first} == {'uvloop', 'asyncio'}
    # Within a block, a loop's points stand together: one session each.
    assert all(block[0].config.loop == block[1].config.loop for block in blocks)
    assert shape(recorded(plan, tmp_path)) == shape(plan)


def test_two_loops_are_alike() -> None:
    """A patched selector on one side only is refused."""
    with pytest.raises(ConfigError, match='--loop-exact replaces the selector of asyncio only'):
        make_plan(ONE | {'loop': ['uvloop', 'asyncio'], 'loop_exact': True})
    assert len(make_plan(ONE | {'loop': 'asyncio', 'loop_exact': True}).runs) == 1


async def test_a_fresh_executor_has_workers_of_its_own(tmp_path: Path) -> None:
    """Repetitions ran in different worker processes, the points of one in the same."""
    values: dict[str, Any] = {
        **ONE,
        'executor': 'process',
        'stream': 'memory',
        'workers': 2,
        'task_sleep': 0.01,
        'task_count': 3,
        'data_size_bytes': [1, 2],
        'repeat': 2,
        'fresh_executor': True,
    }
    plan = make_plan(values)
    recorder = Recorder(tmp_path)
    async with recorder:
        for runs in plan.sessions():
            async with open_session(runs[0].config, recorder=recorder) as session:
                for spec in runs:
                    assert (await session.run(spec)).row.fresh_executor
    table = await asyncio.to_thread(pyarrow.parquet.read_table, tmp_path / 'items')
    rows = table.to_pylist()
    pids: dict[int, set[int]] = {}
    for row in rows:
        pids.setdefault(plan.runs[row['run']].repeat, set()).add(row['worker_pid'])
    assert len(pids[0]) == len(pids[1]) == 1
    assert pids[0] != pids[1]
