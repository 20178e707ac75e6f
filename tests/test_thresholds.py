"""Thresholds: what can be written, what it means, and that nobody passes for want of data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from streambench.errors import ConfigError
from streambench.outcome_table import MOST_POINTS, outcome_lines
from streambench.outcomes import outcomes
from streambench.plan import make_plan
from streambench.records import RunRow, column_names
from streambench.summary import Estimate
from streambench.thresholds import FAIL, INCONCLUSIVE, PASS, exit_code, metrics, parse

POINTS = MOST_POINTS + 2


@pytest.mark.parametrize(
    ('text', 'operator', 'limit', 'abort'),
    [
        ('sojourn_p95 < 50ms', '<', 0.05, False),
        ('sojourn_p95<50ms', '<', 0.05, False),
        ('  sojourn_p95  <=  35 ms ', '<=', 0.035, False),
        ('sojourn_p95 < 1500us', '<', 0.0015, False),
        ('sojourn_p95 < 7ns', '<', 7e-9, False),
        ('sojourn_p95 < 1e-2s', '<', 0.01, False),
        ('sojourn_growth <= 0', '<=', 0.0, False),
        ('efficiency >= 0.95', '>=', 0.95, False),
        ('efficiency >= 95%', '>=', 0.95, False),
        ('abort: lost == 0', '==', 0.0, True),
        ('abort:lost==0', '==', 0.0, True),
        ('failed != 3', '!=', 3.0, False),
        ('throughput > 100 per_s', '>', 100.0, False),
        ('throughput > 100', '>', 100.0, False),
        ('bytes > 1.5MB_per_s', '>', 1.5e6, False),
        ('data_size >= 100kB', '>=', 1e5, False),
        ('data_size >= 1MiB', '>=', 2.0**20, False),
    ],
)
def test_what_can_be_written(text: str, operator: str, limit: float, abort: bool) -> None:
    """The limit comes out in the unit of the column, rounded once."""
    found = parse(text)
    assert (found.operator, found.limit, found.abort) == (operator, limit, abort)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', "threshold '' can't be read: write METRIC < NUMBER UNIT"),
        ('sojourn_p95 50ms', "can't be read"),
        ('sojourn_p95 = 50ms', 'one of < <= > >= == !='),
        ('sojourn_p95 < ms', "can't be read"),
        ('sojourn_p95 < 50ms always', "can't be read"),
        ('sojourn_p95 < nan', "can't be read"),
        ('lost == 0 abort', "can't be read|not a unit"),
        (
            'sojourn_p59 < 50ms',
            "'sojourn_p59' is not a metric; did you mean sojourn_p99",
        ),
        ('sojourn_p95_s < 50ms', 'did you mean sojourn_p95'),
        ('executor == 0', "'executor' is not a metric"),
        ('xyzzy < 1', "'xyzzy' is not a metric; the columns of results.csv are."),
        ('sojourn_p95 < 50', 'sojourn_p95 needs a unit; write one of ns, us, µs, ms, s.'),
        ('sojourn_p95 < 50kB', "'kB' is not a unit of sojourn_p95; write one of ns, us, µs, ms, s."),
        ('lost < 1%', "'%' is not a unit of lost; write a plain number."),
        ('efficiency > 1e999', '1e999 is too large'),
    ],
)
def test_what_can_not_be_written(text: str, words: str) -> None:
    """A mistake is told in one sentence with the text, the fault and the remedy."""
    with pytest.raises(ConfigError, match=words.replace('?', r'\?')) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f'threshold {text!r}')
    assert '\n' not in message


@pytest.mark.parametrize(
    ('operator', 'grades'),
    [
        # Intervals 40 to 50, 45 to 55, 50 to 60 and 50 to 50 ms against a limit of 50 ms.
        ('<', (INCONCLUSIVE, INCONCLUSIVE, FAIL, FAIL)),
        ('<=', (PASS, INCONCLUSIVE, INCONCLUSIVE, PASS)),
        ('>', (FAIL, INCONCLUSIVE, INCONCLUSIVE, FAIL)),
        ('>=', (INCONCLUSIVE, INCONCLUSIVE, PASS, PASS)),
        ('==', (INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE, PASS)),
        ('!=', (INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE, FAIL)),
    ],
)
def test_intervals_decide(operator: str, grades: tuple[str, ...]) -> None:
    """All of an interval passes, none of it fails, and a limit inside of it decides nothing."""
    threshold = parse(f'sojourn_p95 {operator} 50ms')
    found = [
        threshold.evaluate({'sojourn_p95': Estimate(value=low, low=low, high=high, n=300)}).grade
        for low, high in ((0.04, 0.05), (0.045, 0.055), (0.05, 0.06), (0.05, 0.05))
    ]
    assert tuple(found) == grades


@pytest.mark.parametrize('operator', ['<', '<=', '>', '>=', '==', '!='])
@pytest.mark.parametrize('value', [0.04, 0.05, 0.06])
def test_exact_figures_are_never_inconclusive(operator: str, value: float) -> None:
    """A number without an interval meets the limit or doesn't, just as Python says."""
    meets = eval(f'{value} {operator} 0.05')
    found = parse(f'sojourn_p95 {operator} 50ms').evaluate({'sojourn_p95': value})
    assert found.grade == (PASS if meets else FAIL)


def test_intervals_beside_a_figure_count() -> None:
    """In a row of results.csv the interval stands in columns beside the median."""
    row = asdict(RunRow(sojourn_p50_s=0.04, sojourn_p50_low_s=0.03, sojourn_p50_high_s=0.06))
    found = parse('sojourn_p50 < 50ms').evaluate(row)
    assert (found.grade, found.low, found.high) == (INCONCLUSIVE, 0.03, 0.06)
    full = asdict(RunRow()) | {'delivery_p95_s': 0.04, 'delivery_p95_low_s': 0.03, 'delivery_n': 77}
    full |= {'delivery_p95_high_s': 0.045, 'delivery_max_s': 0.06}
    assert parse('delivery_p95 < 50ms').evaluate(full).text == (
        'pass: delivery_p95 < 50ms · 40ms [30ms, 45ms], n 77'
    )
    assert parse('delivery_max < 50ms').evaluate(full).text == 'fail: delivery_max < 50ms · 60ms, n 77'
    assert parse('lost == 0').evaluate(row).grade == PASS


@pytest.mark.parametrize('figures', [{}, {'sojourn_p99': None}, {'sojourn_p95': float('nan')}])
@pytest.mark.parametrize('operator', ['<', '!='])
def test_absent_figures_are_inconclusive(figures: dict[str, Any], operator: str) -> None:
    """What isn't there neither passes nor fails, and the reason is given."""
    threshold = parse(f'sojourn_p95 {operator} 50ms')
    found = threshold.evaluate(figures, absent={'sojourn_p95': 'p95 needs 59 items, there are 20'})
    assert found.grade == INCONCLUSIVE
    assert found.reason == 'absent: p95 needs 59 items, there are 20'
    assert threshold.evaluate(figures).reason == 'absent: this run has no such figure'


def test_each_outcome_says_its_value() -> None:
    """One line with grade, threshold, figure in the threshold's unit, interval, n, and the reason."""
    figures = {
        'sojourn_p95': Estimate(value=0.043, low=0.0412, high=0.0512, n=300),
        'lost': 1234567,
        'efficiency': 0.949999999999,
    }
    texts = [
        parse(text).evaluate(figures).text
        for text in (
            'sojourn_p95 < 50ms',
            'sojourn_p95 < 1s',
            'abort: lost == 0',
            'efficiency >= 0.95',
            'makespan < 2s',
        )
    ]
    assert texts == [
        'inconclusive: sojourn_p95 < 50ms · 43ms [41.2ms, 51.2ms], n 300 · '
        'the limit lies inside the 95 % interval',
        'pass: sojourn_p95 < 1s · 0.043s [0.0412s, 0.0512s], n 300',
        'fail: lost == 0 · 1234567',
        'fail: efficiency >= 0.95 · 0.949999999999',
        'inconclusive: makespan < 2s · absent: this run has no such figure',
    ]


def test_only_failing_has_an_exit_code() -> None:
    """99 if one fails; inconclusive ones end with 0."""
    figures = {'lost': 1, 'failed': 0}
    good, bad, open_ = (
        parse(text).evaluate(figures) for text in ('failed == 0', 'lost == 0', 'makespan < 1s')
    )
    assert [exit_code(case) for case in ([], [good, open_], [good, bad])] == [0, 0, 99]


def test_metrics_are_the_columns_without_units() -> None:
    """Each numeric column is one metric, no two share a name, and texts are none."""
    found = metrics()
    columns = [metric.column for metric in found.values()]
    assert set(columns) <= set(column_names(RunRow))
    assert len(columns) == len(set(columns))
    kinds = {name: type(getattr(RunRow(), name)) for name in column_names(RunRow)}
    numeric = {name for name, kind in kinds.items() if kind in (int, float)}
    assert numeric <= set(columns)
    assert not {name for name, kind in kinds.items() if kind in (str, bool)} & set(columns)
    assert found['throughput'].unit == '1/s'
    assert found['lost'].unit == 'count'


def row_of(**columns: Any) -> dict[str, Any]:
    """Return a row with some columns set."""
    return asdict(RunRow()) | columns


@pytest.mark.parametrize(
    ('text', 'columns', 'reason'),
    [
        ('sojourn_p95 < 1s', {'sojourn_n': 20}, 'p95 needs 59 items, there are 20'),
        ('return_p99 < 1s', {'return_n': 298}, 'p99 needs 299 items, there are 298'),
        ('loop_wait_p50 < 1s', {'sojourn_n': 20}, 'no item of this run has it'),
        ('put_mean < 1s', {}, 'no item of this run has it'),
        ('efficiency > 0.9', {}, 'no ideal at sleep 0'),
        ('efficiency > 0.9', {'task_sleep': 1.0}, 'only a run whose items all completed has one'),
        (
            'efficiency > 0.9',
            {'task_sleep': 1.0, 'warmup_s': 5.0, 'sent': 9},
            'no item was due in the measurement window',
        ),
        (
            'sojourn_growth < 1ms',
            {'sojourn_n': 500.0},
            'it did not grow, or by too little to be told, or had fewer than 40 items',
        ),
        ('sojourn_p50 < 1s', {'record': 'none'}, '--record none keeps none of the items'),
        ('clock_bound < 1s', {}, 'this run has no such figure'),
    ],
)
def test_why_a_figure_is_absent(text: str, columns: dict[str, Any], reason: str) -> None:
    """What a run can't say is inconclusive, with the reason."""
    (found,) = outcomes([parse(text)], row_of(**columns))
    assert (found.grade, found.reason) == (INCONCLUSIVE, f'absent: {reason}')


def test_a_growing_sojourn_can_miss_and_not_meet() -> None:
    """Above what a run can carry, a latency that is met says only that the run was short."""
    columns = {'sojourn_growth_s': 0.002, 'sojourn_n': 300, 'delivery_max_s': 0.01}
    row = row_of(**columns, sojourn_p95_s=0.1, sojourn_p95_low_s=0.09, sojourn_p95_high_s=0.11)
    texts = ('sojourn_p95 < 50ms', 'sojourn_p95 < 1s', 'sojourn_growth > 0', 'delivery_max < 1s')
    found = outcomes(map(parse, texts), row)
    assert [outcome.grade for outcome in found] == [FAIL, INCONCLUSIVE, PASS, PASS]
    assert found[1].reason == 'it grows by 2 ms per item, so it says how long the run was'


def test_what_clocks_can_not_tell_apart_is_not_judged() -> None:
    """Dispatch alone says nothing where another host's clock is known too badly, and all else does."""
    columns = {
        'dispatch_p50_s': 0.002,
        'return_p50_s': 0.003,
        'delivery_p50_s': 0.001,
        'dispatch_n': 60,
    }
    texts = ('dispatch_p50 < 1s', 'return_p50 < 1ms', 'dispatch_n > 1', 'delivery_p50 < 1s')
    for bound, grades in (
        (0.0001, [PASS, FAIL, PASS, PASS]),
        (0.004, [INCONCLUSIVE, INCONCLUSIVE, PASS, PASS]),
    ):
        row = row_of(**columns, clock_shift_bound_s=bound)
        found = outcomes(map(parse, texts), row)
        assert [outcome.grade for outcome in found] == grades
    assert found[0].reason.startswith('clocks of other hosts are known to within 4 ms')


def test_lines_are_few() -> None:
    """What is equal in all runs is one line; else one per point, or a range over many points."""
    limits = ('lost == 0', 'throughput > 5')
    plan = make_plan({'stream_method': 'default', 'task_sleep': 1, 'threshold': limits})

    def lines(points: int) -> list[str]:
        rows = [
            RunRow(
                run=run,
                point=run % points,
                data_size_bytes=1000 * (1 + run % points),
                throughput_per_s=4.0 + run,
                lost=int(run == 3),
            )
            for run in range(2 * points)
        ]
        text, empty = outcome_lines(rows, plan, {})
        assert empty == ''
        return [' '.join(line.split()) for line in text.splitlines()]

    assert lines(2) == [
        'threshold outcome where value',
        'lost == 0 fail 1 of 4 runs 1',
        'pass 3 of 4 runs 0',
        'throughput > 5 fail 1 kB, 1 of 2 runs 4',
        # 5 is not above 5.
        'fail 2 kB, 1 of 2 runs 5',
        'pass 1 kB, 1 of 2 runs 6',
        'pass 2 kB, 1 of 2 runs 7',
    ]
    assert lines(POINTS)[-1] == f'pass {2 * POINTS - 2} of {2 * POINTS} runs 6 to {2 * POINTS + 3}'
