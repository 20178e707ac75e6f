"""Tables, verdict and files: what was found, and never more than that."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from streambench.loop_monitor import LoopMonitor, LoopReport, StallEvent
from streambench.loop_monitor.culprits import charges, culprits, is_user_file, user_frame
from streambench.loop_monitor.exports import plain, speedscope, trace_events
from streambench.loop_monitor.figures import METRICS, figures
from streambench.loop_monitor.garbage import GarbageWatch
from streambench.loop_monitor.report import Frame, WeightedStack
from streambench.loop_monitor.verdict import lints, verdict
from tests.loop_monitor import made
from tests.loop_monitor.blocks import culprit_sleep, culprit_spin

STALLS = {
    'callback': made.stall(),
    'half a stack': made.stall(stacks=(WeightedStack(frames=(made.OWN,), weight_s=0.02),)),
    'two stacks': made.stall(
        stacks=(
            WeightedStack(frames=(made.OWN, made.INNER), weight_s=0.03),
            WeightedStack(frames=(made.OWN,), weight_s=0.02),
        )
    ),
    'without a core for a part': made.stall(starved_s=0.02),
    'without a core for long': made.stall(cause='cpu-starved', starved_s=0.04),
    'gc': made.stall(cause='gc', gc_s=0.04),
    'gil': made.stall(cause='gil', other_threads=(made.thread('hog', 0.045),)),
    'gil by nobody known': made.stall(cause='gil', stacks=()),
    'cpu-starved': made.stall(cause='cpu-starved', stacks=(), task=None, coroutine=None),
    # A stack was seen, but it isn't what held the loop up.
    'unattributed': made.stall(cause='unattributed'),
}


GC_AT_THREE_PLACES = (
    made.stall(cause='gc', gc_s=0.04),
    made.stall(
        cause='gc', gc_s=0.03, stacks=(WeightedStack(frames=(made.OWN, made.INNER), weight_s=0.05),)
    ),
    made.stall(cause='gc', gc_s=0.05, stacks=()),
)

DUMPS = Frame(function='dumps', file=json.__file__, line=231)
CALLED = made.stall(
    stacks=(
        WeightedStack(frames=(made.OWN, DUMPS), weight_s=0.02),
        WeightedStack(frames=(made.OWN, made.INNER), weight_s=0.03),
    ),
)


async def watched() -> LoopReport:
    """Return the report of a loop that was blocked twice, and collected its garbage."""
    async with LoopMonitor(exact=True) as monitor:
        await asyncio.sleep(0.05)
        culprit_sleep(0.06)
        await asyncio.sleep(0.05)
        gc.collect()
        # Else the two would be one stall, mostly of garbage collection.
        await asyncio.sleep(0.05)
        culprit_spin(0.04)
        await asyncio.sleep(0.05)
    return monitor.report()


@pytest.mark.parametrize('name', STALLS)
def test_nobody_is_charged_with_more_than_was_seen(name: str) -> None:
    stall = STALLS[name]
    parts = list(charges(stall))
    assert sum(part.time_s for part in parts) <= stall.duration_s + 1e-12
    *known, nobody = culprits([made.report(stall)])
    assert nobody.cause == 'unattributed'
    assert sum(each.total_s for each in known) + nobody.total_s == pytest.approx(stall.duration_s)
    assert sum(each.share for each in known) + nobody.share == pytest.approx(1)
    left = {'half a stack': 0.03, 'gc': 0.01, 'gil': 0.005}.get(name, 0.0)
    if name in ('unattributed', 'gil by nobody known'):
        left = 0.05
        assert known == []
    assert nobody.total_s == pytest.approx(left)


@pytest.mark.parametrize(
    ('name', 'machine_s'), [('without a core for a part', 0.02), ('without a core for long', 0.04)]
)
def test_time_without_a_core_is_the_machine_s(name: str, machine_s: float) -> None:
    """Whoever stood there is charged with the rest only."""
    found = {each.cause: each.total_s for each in culprits([made.report(STALLS[name])])}
    assert found['cpu-starved'] == pytest.approx(machine_s)
    assert found['callback'] == pytest.approx(0.05 - machine_s)


def test_the_table_sums_up_by_cause_and_place() -> None:
    """Lines don't tell rows apart, loops neither; the lines of the longest are shown."""
    other = Frame(function='handle', file=made.HOME, line=11)
    longer = made.stall(
        duration_s=0.09,
        stacks=(WeightedStack(frames=(other,), weight_s=0.09, task='Task-8', coroutine='handle'),),
        task='Task-8',
    )
    found = culprits([made.report(made.stall(), STALLS['gil']), made.report(longer)])
    first, second, _ = found
    assert first.total_s == pytest.approx(0.14)
    assert (first.count, first.max_s) == (2, 0.09)
    assert (first.leaf, first.user, first.tasks) == (other, other, ('handle',))
    assert (second.cause, second.thread, second.leaf) == ('gil', 'hog', made.INNER)


def test_dropped_stalls_are_nobodys() -> None:
    report = made.report(made.stall(), stall_s=1.0, stall_count=20, dropped_stalls=19)
    nobody = culprits([report])[-1]
    assert nobody.count == 19
    assert nobody.total_s == pytest.approx(0.95)
    assert 'what did it is not known for 95 % of that' in verdict([report])
    assert '19 stalls were too many to keep' in verdict([report])


def test_user_code_is_neither_standard_library_nor_installed() -> None:
    standard = Frame(function='loads', file=json.__file__, line=1)
    package = Frame(function='main', file=pytest.__file__, line=1)
    frozen = Frame(function='run', file='<frozen runpy>', line=1)
    assert [is_user_file(each.file) for each in (standard, package, frozen)] == [False] * 3
    assert user_frame([made.OWN, made.INNER, package, standard, frozen]) == made.INNER
    assert user_frame([standard, package]) is None


@pytest.mark.parametrize(
    ('stalls', 'said'),
    [
        ((), 'never held up: no block of 15.0 ms or more'),
        ((STALLS['callback'],), '100 % of it by /home/somebody/program.py:10 handle'),
        ((STALLS['gc'],), '80 % of it by garbage collection, in /home/somebody/program.py:10 handle'),
        # Found at two places and under no name, but it is one collector.
        (
            (STALLS['callback'], *GC_AT_THREE_PLACES),
            '60 % of it by garbage collection, mostly in /home/somebody/program.py:10 handle',
        ),
        # One function of the user's is one party, whatever it called and stood in.
        ((STALLS['callback'], CALLED), '70 % of it by /home/somebody/program.py:10 handle'),
        ((STALLS['gil'],), '90 % of it by thread hog, which held the GIL'),
        ((STALLS['cpu-starved'],), 'there was no core to run on'),
        ((STALLS['unattributed'],), 'what did it is not known for 100 % of that'),
        ((STALLS['half a stack'],), 'what did it is not known for 60 % of that'),
    ],
)
def test_the_verdict_blames_only_whom_it_knows(stalls: tuple[StallEvent, ...], said: str) -> None:
    text = verdict([made.report(*stalls)])
    assert said in text.splitlines()[0]
    assert max(map(len, text.splitlines())) <= 160
    assert len(text.splitlines()) <= 24
    if stalls:
        table = text.split('\n\n')[1].splitlines()
        assert 'unattributed' in table[-1]
        if stalls[0].cause == 'unattributed':
            assert 'handle' not in text.partition('\n- ')[0]


def test_lint_lines() -> None:
    tasks = [made.stall(task=f'Task-{number}') for number in range(3)]
    assert '3 tasks blocked the loop ≥ 20 ms: handle' in lints([made.report(*tasks)])
    short = made.stall(duration_s=0.018)
    assert lints([made.report(short)]) == []
    (line,) = lints([made.report(STALLS['gil'], STALLS['gil'])])
    assert line == "thread 'hog' held the GIL while the loop was due: 2 stalls"
    pile = made.stall(
        task=None, stacks=tuple(WeightedStack(frames=(made.OWN,), weight_s=0.015) for _ in range(3))
    )
    assert any('without a dominant stack' in line for line in lints([made.report(pile)]))
    assert any('garbage collection' in line for line in lints([made.report(STALLS['gc'])]))


def test_figures_of_several_loops() -> None:
    """Times add up, shares are weighted; what one loop can't tell is not known of all."""
    one = made.report(made.stall(), utilization=0.5, noncpu_active=0.3)
    two = made.report(wall_s=6.0, utilization=0.1, noncpu_active=0.0, cpu_utilization=0.1)
    found = figures([one, two])
    assert list(found) == list(METRICS)
    assert found['loop_utilization'] == pytest.approx(0.2)
    assert found['loop_cpu_utilization'] == pytest.approx(0.125)
    assert (found['loop_lag_ticks'], found['loop_wall']) == (400, 8.0)
    assert found['loop_stall_time_fraction'] == pytest.approx(0.05 / 8)
    assert found['loop_lag_p99'] == pytest.approx(0.0001, rel=0.01)
    assert figures([one, made.report()])['loop_utilization'] is None
    assert set(figures([]).values()) == {None}


def check_speedscope(content: Mapping[str, Any]) -> None:
    """Hold a file against what speedscope's schema requires of sampled profiles."""
    assert content['$schema'] == 'https://www.speedscope.app/file-format-schema.json'
    frames = content['shared']['frames']
    for frame in frames:
        assert isinstance(frame['name'], str)
        assert set(frame) <= {'name', 'file', 'line', 'col'}
        assert isinstance(frame.get('line', 0), int)
    assert content['profiles']
    for profile in content['profiles']:
        assert profile['type'] == 'sampled'
        assert profile['unit'] in ('microseconds',)
        assert isinstance(profile['name'], str)
        assert profile['startValue'] <= profile['endValue']
        assert len(profile['samples']) == len(profile['weights'])
        assert all(0 <= number < len(frames) for stack in profile['samples'] for number in stack)
        assert all(weight >= 0 for weight in profile['weights'])


def check_trace(content: Mapping[str, Any]) -> None:
    """Hold a file against what the trace event format requires of each phase."""
    assert content['displayTimeUnit'] in ('ms', 'ns')
    for event in content['traceEvents']:
        assert isinstance(event['name'], str)
        assert isinstance(event['pid'], int)
        assert event['ph'] in ('X', 'C', 'M')
        if event['ph'] == 'M':
            assert event['name'] in ('process_name', 'thread_name')
            assert isinstance(event['args']['name'], str)
            continue
        assert event['ts'] >= 0
        if event['ph'] == 'X':
            assert event['dur'] >= 0
            assert isinstance(event['tid'], int)
        else:
            assert event['args']
            assert all(isinstance(value, int | float) for value in event['args'].values())


def test_speedscope_weighs_stall_time() -> None:
    stalls = tuple(STALLS.values())
    content = json.loads(json.dumps(speedscope([made.report(*stalls), made.report()], name='x')))
    check_speedscope(content)
    first = content['profiles'][0]
    total_us = sum(stall.duration_s for stall in stalls) * 1e6
    assert sum(first['weights']) == pytest.approx(total_us, rel=1e-6)
    names = [frame['name'] for frame in content['shared']['frames']]
    assert {'[unattributed]', '[garbage collection]', '[GIL held by thread hog]'} <= set(names)
    assert names.count('handle') == 1
    # Outermost first: the root of the flame graph.
    stack = next(stack for stack in first['samples'] if len(stack) == 2)
    assert [names[number] for number in stack] == ['handle', 'parse']


def test_trace_events_lie_where_the_stalls_were() -> None:
    late = made.START_NS + 500_000_000
    pauses = [(late, late + 3_000_000), (late, late + 1000), (0, 5_000_000)]
    reports = [made.report(*STALLS.values()), made.report(loop='uvloop')]
    content = json.loads(json.dumps(trace_events(reports, name='x', pid=7, pauses=pauses)))
    check_trace(content)
    events = content['traceEvents']
    slices = [event for event in events if event.get('cat') == 'stall']
    assert len(slices) == len(STALLS)
    assert (slices[0]['ts'], slices[0]['dur'], slices[0]['name']) == (1e5, 5e4, 'callback: handle')
    starved = slices[list(STALLS).index('without a core for a part')]
    assert starved['name'] == 'callback: handle'
    (pause,) = [event for event in events if event.get('cat') == 'gc']
    assert (pause['ts'], pause['dur'], pause['tid']) == (5e5, 3000, 3)
    assert {event['name'] for event in events if event['ph'] == 'C'} == {
        f'loop {number} {what}'
        for number in (1, 2)
        for what in ('lag p50 (ms)', 'lag p99 (ms)', 'lag max (ms)', 'busy (%)')
    }
    # Each counter ends with its loop: a viewer lets the last value stand.
    busy = [event for event in events if event['name'] == 'loop 2 busy (%)']
    assert [(event['ts'], event['args']) for event in busy] == [
        (0, {'CPU': 20}),
        (1e6, {'CPU': 20}),
        (2e6, {'CPU': 0}),
    ]
    assert {event['tid'] for event in events if event['name'] == 'thread_name'} == {1, 2, 3}


async def test_a_real_report_can_be_exported(may_block: None) -> None:
    watch = GarbageWatch()
    watch.start()
    try:
        report = await watched()
    finally:
        watch.close()
    check_speedscope(flames := speedscope([report], name='real'))
    assert {'culprit_sleep', 'culprit_spin'} <= {frame['name'] for frame in flames['shared']['frames']}
    trace = trace_events([report], name='real', pid=1, pauses=tuple(watch.recent))
    check_trace(trace)
    slices = [event for event in trace['traceEvents'] if event['ph'] == 'X']
    for row in {event['tid'] for event in slices}:
        spans = sorted((each['ts'], each['ts'] + each['dur']) for each in slices if each['tid'] == row)
        # What overlaps without being inside is dropped by viewers.
        assert all(end <= begin + 0.001 for (_, end), (begin, _) in pairwise(spans))
    content = json.loads(json.dumps(plain([report])))
    assert content['figures']['loop_stall_time_s'] == pytest.approx(report.stall_s)
    stacks = [stack for stall in content['loops'][0]['stalls'] for stack in stall['stacks']]
    assert 'culprit_sleep' in [stack['frames'][-1]['function'] for stack in stacks]
    text = verdict([report])
    assert 'culprit_sleep' in text
    assert 'culprit_spin' in text
    begin = time.perf_counter()
    for _ in range(10):
        verdict([report])
    assert time.perf_counter() - begin < 1
