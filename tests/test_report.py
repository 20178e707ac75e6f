"""What a person sees: sizes, durations, tables, the moving line, verdict and notes."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from streambench.notes import notes_text
from streambench.plan import make_plan
from streambench.progress import ProgressLine
from streambench.records import RunRow
from streambench.report import plan_text, runs_text, screen, verdict_text
from streambench.results_table import results_text
from streambench.session import Progress
from streambench.tables import text_table
from streambench.wording import ms_text, numbers_text, seconds_text, size_text

GOOD: dict[str, Any] = {
    'method': 'default',
    'data_size_bytes': 100_000,
    'task_count': 100,
    'completed_tasks': 100,
    'workers': 4,
    'workers_proven': 3,
    'task_sleep': 0.1,
    'stream': 'redis',
    'executor_plugin': 'thread',
    'load': 1.0,
    'efficiency': 0.987,
    'makespan_s': 3.4,
    'throughput_per_s': 29.6,
    'bytes_per_s': 2.96e6,
    'publish_delay_p50_s': 0.0001,
    'sojourn_n': 100,
    'sojourn_p50_s': 0.1012,
    'sojourn_p50_low_s': 0.1002,
    'sojourn_p50_high_s': 0.1022,
    'sojourn_p95_s': 0.11,
    'verdict': 'valid',
    'ended': 'complete',
}


def row(**changes: Any) -> RunRow:
    """Return the row of a good run, changed."""
    return RunRow(**(GOOD | changes))


@pytest.mark.parametrize(
    ('size', 'text'),
    [(0, '0 B'), (999, '999 B'), (100_000, '100 kB'), (1_500_000, '1.5 MB'), (10**10, '10 GB')],
)
def test_sizes(size: int, text: str) -> None:
    """Sizes are shown as people write them."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ('seconds', 'text'), [(None, '–'), (0.0123, '12.3 ms'), (1, '1 s'), (61.23, '61.2 s')]
)
def test_durations(seconds: float | None, text: str) -> None:
    """Durations have three figures."""
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ('seconds', 'text'), [(0.00012, '0.12 ms'), (0.0123, '12 ms'), (0.123, '123 ms'), (6.15, '6150 ms')]
)
def test_milliseconds(seconds: float, text: str) -> None:
    """Two figures, and no power of ten however long it is."""
    assert ms_text(seconds) == text
    assert ms_text(seconds, sign='+') == f'+{text}'


def test_numbers() -> None:
    """Three and more that follow each other are a stretch."""
    assert numbers_text([]) == ''
    assert numbers_text([1, 2, 4, 6, 7, 8, 9, 11]) == '1, 2, 4, 6–9, 11'


def test_a_table_is_aligned() -> None:
    """Words stand to the left, figures to the right."""
    lines = text_table(('method', 'size', 'n'), [('default', '1 kB', '10'), ('proxy', '10 kB', '9')])
    assert lines.splitlines() == [
        'method   size    n',
        'default  1 kB   10',
        'proxy    10 kB   9',
    ]


def test_two_loads_are_one_line() -> None:
    """Efficiency is of the higher load, sojourn of the lower; the items of both are counted."""
    rows = [
        row(point=0, load=1.0, sojourn_growth_s=0.001),
        row(point=1, load=0.8, efficiency=0.8, sojourn_p50_s=0.2, lost=1, completed_tasks=99),
    ]
    head, line, note = results_text(rows).splitlines()
    assert head.split()[:3] == ['method', 'size', 'items']
    assert '199 / 1' in line
    assert '0.987' in line
    assert '200.0 ms' in line
    assert 'at load 1; sojourn at load 0.8' in note


def test_repetitions_are_one_line() -> None:
    """A point is a line, with the medians of its repetitions."""
    rows = [row(repeat=number, efficiency=value) for number, value in enumerate((0.9, 0.5, 0.8))]
    (line,) = results_text(rows).splitlines()[1:]
    assert '0.800' in line
    assert '300 / 0' in line


def test_axes_without_a_column_get_one() -> None:
    """What varies in a sweep is in the table of the plan and in that of the results."""
    plan = make_plan(
        {'stream_method': 'default', 'data_size_bytes': 100_000, 'task_sleep': 1},
        sweep={'executor': ['thread', 'parsl'], 'parsl_executor': ['thread', 'htex-local']},
    )
    head, *lines = plan_text(plan).splitlines()[2:6]
    assert head.split()[:4] == ['run', 'method', 'executor', 'parsl_executor']
    assert [line.split()[1:4] for line in lines] == [
        ['default', 'thread', '–'],
        ['default', 'parsl', 'thread'],
        ['default', 'parsl', 'htex-local'],
    ]
    closed = make_plan(
        {'stream_method': 'default', 'data_size_bytes': 10, 'task_sleep': 0, 'executor': 'thread'},
        sweep={'max_outstanding': [64, 128], 'task_count': [5, 6]},
    )
    head, *lines = results_text([row(point=run.point) for run in closed.runs], closed).splitlines()
    assert head.split()[:3] == ['method', 'max_outstanding', 'task_count']
    assert [line.split()[1:3] for line in lines] == [
        ['64', '5'],
        ['64', '6'],
        ['128', '5'],
        ['128', '6'],
    ]
    rows = [row(run=run.run, point=run.point, executor_plugin=run.config.executor) for run in plan.runs]
    head, *lines = results_text(rows, plan).splitlines()
    assert head.split()[:3] == ['method', 'executor', 'parsl_executor']
    assert [line.split()[2] for line in lines] == ['–', 'thread', 'htex-local']


def test_the_plan_says_what_it_does_not_know() -> None:
    """A closed loop has no rate; without a sleep its time is unknown."""
    plan = make_plan({'stream_method': 'default', 'data_size_bytes': 10, 'task_sleep': 0})
    text = plan_text(plan)
    assert '1 run in 1 session' in text
    assert ' max ' in text
    assert 'expected time: unknown' in text
    assert runs_text(plan).startswith('1 run, as fast as it can')


def test_the_verdict_is_the_gravest() -> None:
    """One invalid run makes the plan invalid; equal reasons are told once, with their runs."""
    assert verdict_text([row()]).startswith('valid · every item seen once')
    doubtful = [row(run=number, verdict='caution', reasons='late') for number in range(2)]
    assert verdict_text([row(), *doubtful]) == 'caution\n  runs 1, 2: late'
    grave = row(run=2, verdict='invalid', reasons='1 lost')
    assert verdict_text([*doubtful, grave]).splitlines()[0] == 'invalid'


def test_notes_say_how_the_load_was_made() -> None:
    """A closed loop and limits that stand for workers are named."""
    assert notes_text([row()]) == []
    (closed,) = notes_text([row(closed_loop=True, max_outstanding=64)])
    assert '64 credits' in closed
    (limited,) = notes_text([row(slots=1)])
    assert 'limit' in limited


def test_the_screen_ends_with_where_and_how() -> None:
    """The last line says where the results are and how to repeat."""
    said: list[str] = []
    screen([row()], head='head', directory='runs/x', again='streambench run', say=said.append)
    assert said[0] == 'head'
    assert said[-1] == 'results: runs/x        again: streambench run'


def test_the_screen_has_forms() -> None:
    """For programs one document with raw values, a row per point; for a page tables and a list."""
    rows = [
        row(point=0, load=1.0, sojourn_growth_s=0.001, sojourn_p50_s=None),
        row(point=1, load=0.8, sojourn_p50_s=0.2, verdict='caution', reasons='late: wait'),
    ]

    def shown(form: str) -> tuple[str, list[str]]:
        said: list[str] = []
        beside: list[str] = []
        screen(
            rows,
            head='4 workers',
            directory='runs/x',
            again='streambench run',
            say=said.append,
            aside=beside.append,
            form=form,
        )
        return '\n'.join(said), beside

    text, beside = shown('json')
    found = json.loads(text)
    assert beside == []
    assert [(entry['point'], entry['load'], entry['verdict']) for entry in found['rows']] == [
        (0, 1.0, 'valid'),
        (1, 0.8, 'caution'),
    ]
    assert [entry['sojourn_p50_s'] for entry in found['rows']] == [None, 0.2]
    assert found['rows'][0]['sojourn_growth_s'] == 0.001
    assert found['notes'][0] == '4 workers'
    assert 'caution' in found['notes']
    text, beside = shown('csv')
    first, second = csv.DictReader(text.splitlines())
    assert (first['makespan_s'], second['throughput_per_s']) == ('3.4', '29.6')
    assert beside == found['notes']
    text, beside = shown('md')
    assert '| method | size | items | done / lost | efficiency |' in text
    assert '- caution' in text
    assert beside == []


def test_the_lateness_stands_beside_the_floor() -> None:
    """How late the generator was, and the smallest interval that it can keep, in any verdict."""
    paced = row(offered_rate_per_s=10.0, pacing_floor_s=0.0001)
    late = 'generator ≤ 0.1 ms late (median, pacing floor 0.1 ms)'
    assert verdict_text([paced]) == f'valid · every item seen once · {late} · all 3 workers proven'
    doubtful = row(offered_rate_per_s=10.0, pacing_floor_s=0.0001, verdict='caution', reasons='late')
    assert verdict_text([doubtful]).splitlines()[0] == f'caution · {late}'


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_the_line_moves_in_a_terminal_and_stands_in_a_pipe() -> None:
    """A terminal gets one line that is written over; a pipe a line per run or interval."""
    (spec,) = make_plan({'stream_method': 'default', 'data_size_bytes': 10, 'task_count': 9}).runs
    for stream in (Terminal(), io.StringIO()):
        line = ProgressLine(stream, runs=1, moving=stream.isatty())
        for completed in range(5):
            line(Progress(doing='measuring', run=spec, completed=completed, total=9))
        line.clear()
        text = stream.getvalue()
        assert 'run 1 of 1: default 10 B at load 1, 0 of 9 items' in text
        assert text.count('\n') == (not stream.isatty())


def test_a_line_that_nobody_reads_is_no_error() -> None:
    """A broken pipe behind standard error doesn't end a run."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    ProgressLine(Broken(), runs=1, moving=False).say('text')
