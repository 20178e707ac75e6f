"""Comparing two measurements: what is found, what is missed, what is refused."""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from streambench.arm import PARAMETERS, Arm, Measured, is_metric, read_arm
from streambench.cli import compare as command
from streambench.cli.arguments import parse
from streambench.comparison import (
    FASTER,
    INCONCLUSIVE,
    NO_DIFFERENCE,
    SLOWER,
    Comparison,
    compare,
    share_text,
)
from streambench.errors import ConfigError
from streambench.records import PSBENCH_COLUMNS, SCHEMA_VERSION, RunRow

GOOD: dict[str, Any] = {
    'executor': 'ThreadPoolExecutor',
    'executor_plugin': 'thread-pool',
    'stream': 'redis',
    'data_size_bytes': 1000,
    'task_count': 100,
    'completed_tasks': 100,
    'task_sleep': 0.1,
    'method': 'default',
    'workers': 4,
    'compute_workers': 3,
    'load': 1.0,
    'offered_rate_per_s': 30.0,
    'generator': 'loop',
    'loop': 'uvloop',
    'verify': 'full',
    'ended': 'complete',
    'makespan_s': 3.5,
    'throughput_per_s': 28.6,
    'efficiency': 0.97,
    'verdict': 'valid',
}
ENVIRONMENT: dict[str, Any] = {
    'streambench': '0.1.0',
    'git_revision': 'abc1234',
    'python': '3.11.7',
    'packages': {'redis': '7.0.0', 'parsl': '2026.1.5'},
    'processor': 'a processor',
    'cores': 2,
    'clock_domain': 'boot-a/time:[1]',
    'load_average_1m': 0.3,
}
AROUND = (1.0, 1.01, 0.99, 1.02, 0.98, 1.015, 0.985, 1.005)


def write(
    directory: Path, rows: Sequence[dict[str, Any]], *, environment: dict[str, Any] | None = ENVIRONMENT
) -> Path:
    """Write a run directory as the recorder does and return it."""
    directory.mkdir()
    full = [asdict(RunRow(**(GOOD | {'run': run} | row))) for run, row in enumerate(rows)]
    with (directory / 'results.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(full[0]))
        writer.writeheader()
        writer.writerows(full)
    if environment is not None:
        (directory / 'environment.json').write_text(json.dumps(environment), encoding='utf-8')
    return directory


def repeats(
    scale: float, *, n: int = 8, metric: str = 'makespan_s', **point: Any
) -> list[dict[str, Any]]:
    """Return rows of a point whose metric lies around a value, by at most 2 %."""
    return [point | {metric: scale * AROUND[number % 8]} for number in range(n)]


def sides(a: Path, b: Path, **options: Any) -> Comparison:
    """Compare two paths."""
    return compare(read_arm(a, name='A'), read_arm(b, name='B'), **options)


def simulated(name: str, figures: Sequence[dict[str, float | None]], **parameters: Any) -> Arm:
    """Return a side without going through files."""
    runs = tuple(
        Measured(
            line=line,
            parameters={'method': 'proxy', 'data_size_bytes': 1000, 'task_sleep': 0.1, 'load': 1}
            | parameters,
            figures=entry,
            trouble='',
            caution='',
            start_s=0.0,
        )
        for line, entry in enumerate(figures)
    )
    place = Path(__file__).parent / ('conftest.py' if name == 'A' else '__init__.py')
    return Arm(name=name, path=place, runs=runs, versions=frozenset({'1'}), environment=None)


def outcome(found: Comparison) -> str:
    """Return the outcome of the only point's primary metric."""
    return found.points[0].differences[0].outcome


@pytest.mark.parametrize(
    ('metric', 'scale', 'expected'),
    [
        ('makespan_s', 0.9, FASTER),
        ('makespan_s', 1.1, SLOWER),
        ('throughput_per_s', 1.1, FASTER),
        ('throughput_per_s', 0.9, SLOWER),
        ('efficiency', 0.9, SLOWER),
        ('makespan_s', 1.0, NO_DIFFERENCE),
    ],
)
def test_direction(tmp_path: Path, metric: str, scale: float, expected: str) -> None:
    """Less time is faster, more items per second and more efficiency are."""
    a = write(tmp_path / 'a', repeats(1.0, metric=metric))
    b = write(tmp_path / 'b', repeats(scale, metric=metric))
    found = sides(a, b, metrics=[metric]).points[0].differences[0]
    assert found.metric == metric
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(scale, abs=0.005)
    assert found.outcome == expected


def test_no_difference_says_what_it_could_have_missed(tmp_path: Path) -> None:
    """Nothing found comes with the change that would have been missed, from the interval."""
    a, b = write(tmp_path / 'a', repeats(1.0)), write(tmp_path / 'b', repeats(1.0))
    (found,) = sides(a, b).points[0].differences
    assert found.ratio is not None
    assert found.ratio.high is not None
    assert found.missed == pytest.approx(found.ratio.high - 1)
    assert found.words == 'no difference found (could have missed less than 1.6 %)'
    wide = sides(a, b, margin=0.01).points[0].differences[0]
    assert wide.words == 'inconclusive (could have missed up to 1.6 %: more repeats would tell)'


@pytest.mark.parametrize(('share', 'text'), [(0.0411, '4.2 %'), (0.001, '0.1 %'), (1.234, '130 %')])
def test_shares_round_up(share: float, text: str) -> None:
    """What could have been missed is never said to be less than it is."""
    assert share_text(share) == text


@pytest.mark.parametrize(
    ('n', 'm', 'p'), [(3, 3, '0.1'), (4, 4, '0.029'), (1, 1, '1'), (4, 8, '0.004')]
)
def test_few_repeats_are_said_to_be_few(tmp_path: Path, n: int, m: int, p: str) -> None:
    """However far apart, fewer than 5 runs are no evidence, and no evidence for "no change"."""
    a, b = write(tmp_path / 'a', repeats(1, n=n)), write(tmp_path / 'b', repeats(9, n=m))
    found = sides(a, b).points[0].differences[0]
    assert found.words == (
        f'inconclusive (needs ≥ 5 repeats: smallest possible p is {p} for {n} + {m})'
    )
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(9, rel=0.02)


def test_the_primary_metric_follows_the_load(tmp_path: Path) -> None:
    """Makespan at load 1, median latency below, throughput in a closed loop."""
    rows = [
        *repeats(3.0, sojourn_p50_s=0.5),
        *repeats(3.7, sojourn_p50_s=0.2, load=0.8, offered_rate_per_s=24.0),
        *repeats(0.4, sojourn_p50_s=0.2, load=None, closed_loop=True, max_outstanding=64),
        # At a rate that was given the throughput is that rate, whatever was changed.
        *repeats(0.5, sojourn_p50_s=0.2, load=None, task_sleep=0.0, offered_rate_per_s=50.0),
    ]
    found = sides(write(tmp_path / 'a', rows), write(tmp_path / 'b', rows))
    assert [[entry.metric for entry in point.differences] for point in found.points] == [
        ['makespan_s', 'sojourn_p50_s'],
        ['sojourn_p50_s', 'makespan_s'],
        ['throughput_per_s', 'sojourn_p50_s'],
        ['sojourn_p50_s', 'makespan_s'],
    ]
    assert [point.differences[0].primary for point in found.points] == [True] * 4
    assert any('4 points, each tested at 5%' in note for note in found.notes)


@pytest.mark.parametrize('point', [{'arrival': 'poisson'}, {'duration_s': 5.0, 'task_count': None}])
def test_drawn_arrivals_are_judged_by_efficiency(point: dict[str, Any]) -> None:
    """Where arrivals or count differ from run to run, so does the makespan, and efficiency decides."""
    figures: dict[str, float | None] = {'makespan_s': 3.0, 'efficiency': 0.9}
    found = compare(simulated('A', [figures] * 5, **point), simulated('B', [figures] * 5, **point))
    assert found.points[0].differences[0].metric == 'efficiency'


def test_the_count_of_a_duration_is_no_parameter(tmp_path: Path) -> None:
    """With --duration the count comes from the schedule; runs that differ in it are of one point."""
    path = tmp_path / 'a.csv'
    write_psbench(path, [3.0])
    head, row = path.read_text(encoding='utf-8').splitlines()
    path.write_text(f'{head},duration_s,schema_version\n{row},5.0,1\n', encoding='utf-8')
    (run,) = read_arm(path, name='A').runs
    assert (run.parameters['duration_s'], run.parameters['task_count']) == (5, None)


def test_no_column_is_both_parameter_and_metric() -> None:
    """What makes a point isn't compared."""
    assert not [name for name in PARAMETERS if is_metric(name)]
    assert [name for name in ('makespan_s', 'delivery_p50_s', 'throughput_per_s') if is_metric(name)]


def test_growing_latency_is_no_latency(tmp_path: Path) -> None:
    """Where the sojourn grows with the run, its percentiles aren't compared."""
    rows = repeats(3.0, sojourn_p50_s=0.5, load=0.9, sojourn_growth_s=0.01)
    found = sides(write(tmp_path / 'a', rows), write(tmp_path / 'b', rows))
    assert [entry.metric for entry in found.points[0].differences] == ['makespan_s']
    rows = repeats(3.0, sojourn_mean_s=0.5, uncorrected_sojourn_p50_s=0.5, sojourn_growth_s=0.01)
    (run, *_) = read_arm(write(tmp_path / 'c', rows), name='A').runs
    names = ('sojourn_mean_s', 'uncorrected_sojourn_p50_s', 'sojourn_growth_s')
    assert [run.figures[name] for name in names] == [None, None, 0.01]


def test_what_clocks_can_not_tell_apart_is_absent(tmp_path: Path) -> None:
    """Dispatch and return of workers whose clock is known too badly are no figures to compare."""
    stages: dict[str, Any] = {'dispatch_p50_s': 0.002, 'return_p50_s': 0.003, 'delivery_p50_s': 0.001}
    for bound, there in ((0.0001, True), (0.01, False)):
        place = write(tmp_path / f'{bound}', repeats(5, **stages, clock_shift_bound_s=bound))
        for run in read_arm(place, name='A').runs:
            assert (run.figures['dispatch_p50_s'] is not None) is there
            assert (run.figures['return_p50_s'] is not None) is there
            assert run.figures['delivery_p50_s'] == 0.001


def test_a_figure_that_some_runs_lack_is_not_judged(tmp_path: Path) -> None:
    """Runs lack a figure for a reason, so those that have it are no fair sample."""
    rows = repeats(0.9)
    rows[3]['makespan_s'] = None
    found = sides(write(tmp_path / 'a', repeats(1.0)), write(tmp_path / 'b', rows))
    assert found.points[0].differences[0].words == 'inconclusive (absent in 1 of 16 runs)'


def test_zero_has_no_ratio(tmp_path: Path) -> None:
    """A figure that is 0 in a run can't be divided."""
    rows = repeats(0.9)
    rows[3]['makespan_s'] = 0.0
    found = sides(write(tmp_path / 'a', repeats(1.0)), write(tmp_path / 'b', rows))
    assert 'not above 0' in found.points[0].differences[0].words


def test_the_others_are_corrected() -> None:
    """8 metrics on 5 + 5 runs can't reach 5 % after Holm's correction, and that is what is said."""
    names = ['sojourn_p50_s', 'sojourn_p95_s', 'put_p50_s', 'delivery_p50_s']
    names += ['dispatch_p50_s', 'resolve_p50_s', 'return_p50_s']
    metrics = ['makespan_s', *names]
    a, b = (
        simulated(arm, [dict.fromkeys(metrics, scale * AROUND[run]) for run in range(5)])
        for arm, scale in (('A', 1.0), ('B', 0.5))
    )
    primary, *others = compare(a, b).points[0].differences
    assert primary.words == 'faster'
    assert primary.p == primary.corrected_p == pytest.approx(2 / 252)
    assert len(others) == 7
    for entry in others:
        assert entry.corrected_p == pytest.approx(14 / 252)
        assert entry.words == (
            'inconclusive (needs ≥ 6 repeats: smallest possible p is 0.056 for 5 + 5 and 7 metrics)'
        )


def noisy(
    draw: random.Random, *, n: int, sd: float, scale: float = 1.0
) -> list[dict[str, float | None]]:
    """Return simulated runs: log-normal noise, half of its variance common to all metrics of a run."""
    runs: list[dict[str, float | None]] = []
    for _ in range(n):
        common = draw.gauss(0, sd * math.sqrt(0.5))
        runs.append(
            {
                metric: scale * math.exp(common + draw.gauss(0, sd * math.sqrt(0.5)))
                for metric in ('makespan_s', 'sojourn_p50_s', 'put_p50_s', 'delivery_p50_s')
            }
        )
    return runs


@pytest.mark.parametrize(('n', 'promised'), [(5, 0.0317), (8, 0.0499)])
def test_false_alarms_at_the_promised_rate(n: int, promised: float) -> None:
    """Repeats of the same thing: the primary errs at the level of the test, the others below 5 %.

    A rank test's level is the largest attainable one up to 5 %: 8/252 for 5 + 5, 0.0499 for 8 + 8.
    The others' is that of any of them being called different in a comparison.
    """
    draw = random.Random(20 + n)
    trials, primary, any_other = 3000, 0, 0
    for _ in range(trials):
        a, b = (simulated(name, noisy(draw, n=n, sd=0.04)) for name in ('A', 'B'))
        first, *others = compare(a, b).points[0].differences
        primary += first.outcome in (FASTER, SLOWER)
        any_other += any(entry.outcome in (FASTER, SLOWER) for entry in others)
    error = 2.6 * math.sqrt(promised * (1 - promised) / trials)
    assert abs(primary / trials - promised) <= error
    assert any_other / trials <= 0.05 + error


@pytest.mark.parametrize('sd', [0.03, 0.05])
@pytest.mark.parametrize(('scale', 'expected'), [(1.1, SLOWER), (1 / 1.1, FASTER)])
def test_a_change_of_a_tenth_is_found(sd: float, scale: float, expected: str) -> None:
    """8 + 8 runs with 3 or 5 % noise from run to run find a change of 10 % in at least 90 %."""
    draw = random.Random(f'{sd} {scale}')
    trials, found = 2000, 0
    for _ in range(trials):
        a = simulated('A', noisy(draw, n=8, sd=sd))
        b = simulated('B', noisy(draw, n=8, sd=sd, scale=scale))
        found += outcome(compare(a, b, metrics=['makespan_s'])) == expected
    assert found / trials >= 0.9


def write_psbench(path: Path, makespans: Sequence[float], **changes: Any) -> Path:
    """Write a CSV as psbench's logger does."""
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, PSBENCH_COLUMNS)
        writer.writeheader()
        for number, makespan in enumerate(makespans):
            start = 1.7e9 + 100 * number
            writer.writerow(
                {name: GOOD[name] for name in PSBENCH_COLUMNS if name in GOOD}
                | {
                    'connector': 'RedisConnector',
                    'start_submit_tasks_timestamp': start,
                    'end_tasks_done_timestamp': start + makespan,
                }
                | changes
            )
    return path


def test_psbench_with_psbench(tmp_path: Path) -> None:
    """Its eleven columns hold makespan and throughput; what it doesn't say is said."""
    a = write_psbench(tmp_path / 'a.csv', [6 * x for x in AROUND])
    b = write_psbench(tmp_path / 'b.csv', [5 * x for x in AROUND])
    arm = read_arm(a, name='A')
    assert arm.psbench
    assert arm.runs[0].figures == pytest.approx({'makespan_s': 6.0, 'throughput_per_s': 100 / 6})
    found = sides(a, b)
    assert outcome(found) == FASTER
    assert any('machine and versions of A and B are not known' in note for note in found.notes)


def test_psbench_with_ours(tmp_path: Path) -> None:
    """Two different makespans need --force; then the load that psbench has is matched."""
    a = write_psbench(tmp_path / 'a.csv', [6 * x for x in AROUND])
    b = write(tmp_path / 'b', repeats(5.0))
    with pytest.raises(ConfigError, match="psbench's makespan begins when its dispatcher"):
        sides(a, b)
    assert outcome(sides(a, b, force=True)) == FASTER
    lighter = write(tmp_path / 'c', [*repeats(5.0), *repeats(6.2, load=0.8)])
    forced = sides(a, lighter, force=True)
    assert len(forced.points) == 1
    assert any('such as load 0.8' in note for note in forced.notes)


def test_ours_is_not_pooled_where_psbench_is_vague(tmp_path: Path) -> None:
    """Points that only one side tells apart are never thrown together, by force neither."""
    a = write_psbench(tmp_path / 'a.csv', [6 * x for x in AROUND])
    b = write(tmp_path / 'b', [*repeats(5.0), *repeats(5.0, loop='asyncio')])
    with pytest.raises(ConfigError, match='B: runs with loop uvloop, asyncio would be taken for one'):
        sides(a, b, force=True)


@pytest.mark.parametrize(
    ('rows', 'environment', 'words'),
    [
        (repeats(1, workers=8), ENVIRONMENT, 'workers is 4 in A and 8 in B'),
        (repeats(1, loop='asyncio'), ENVIRONMENT, 'loop is uvloop in A and asyncio in B'),
        (
            [*repeats(1), *repeats(1, data_size_bytes=10**6)],
            ENVIRONMENT,
            '1 of 2 points of B are not in A, such as data_size_bytes 1000000',
        ),
        (repeats(1), ENVIRONMENT | {'cores': 64}, r'different machines \(cores 2 and 64\)'),
        (repeats(1), ENVIRONMENT | {'clock_domain': 'boot-b'}, 'one before and one after a boot'),
        (
            repeats(1),
            ENVIRONMENT | {'packages': {'redis': '7.1.0', 'parsl': '2026.1.5'}},
            r'ran different \(redis 7.0.0 and 7.1.0\)',
        ),
        (
            [*repeats(1), {'makespan_s': 1.0, 'verdict': 'invalid', 'reasons': 'generator late'}],
            ENVIRONMENT,
            r'1 of 9 runs of B are invalid \(generator late\)',
        ),
        (
            repeats(1, schema_version=0),
            ENVIRONMENT,
            f'schema_version is {SCHEMA_VERSION} in A and 0 in B',
        ),
    ],
)
def test_refusals(
    tmp_path: Path, rows: list[dict[str, Any]], environment: dict[str, Any], words: str
) -> None:
    """What isn't comparable is refused in one sentence, or compared by force and said so."""
    a = write(tmp_path / 'a', repeats(1))
    b = write(tmp_path / 'b', rows, environment=environment)
    with pytest.raises(ConfigError, match=words) as caught:
        sides(a, b)
    assert str(caught.value).endswith('or compare all the same with --force.')
    assert '\n' not in str(caught.value)
    found = sides(a, b, force=True)
    assert len(found.points) == 1
    assert any('compared by force although' in note for note in found.notes)


def test_another_revision_is_what_is_compared(tmp_path: Path) -> None:
    """A change of our own code is said and not refused; runs that follow each other are said too."""
    early = repeats(1, start_submit_tasks_timestamp=1.0)
    late = repeats(1, start_submit_tasks_timestamp=2.0, verdict='caution', reasons='one Redis')
    a = write(tmp_path / 'a', early)
    b = write(tmp_path / 'b', late, environment=ENVIRONMENT | {'git_revision': 'def5678'})
    text = '\n'.join(sides(a, b).notes)
    assert 'git revision abc1234 in A, def5678 in B' in text
    assert '8 of 8 runs of B are to be taken with caution: one Redis' in text
    assert 'all runs of A were made before those of B' in text


def test_a_file_is_not_compared_with_itself(tmp_path: Path) -> None:
    """The same runs twice are not two measurements."""
    a = write(tmp_path / 'a', repeats(1))
    with pytest.raises(ConfigError, match='are one file'):
        sides(a, a / 'results.csv', force=True)


def test_nothing_in_common(tmp_path: Path) -> None:
    """Sides that share no point can't be forced."""
    a = write(tmp_path / 'a', [{'task_count': 10, 'workers': 4}, {'task_count': 20, 'workers': 8}])
    b = write(tmp_path / 'b', [{'task_count': 20, 'workers': 4}, {'task_count': 10, 'workers': 8}])
    with pytest.raises(ConfigError, match='no point in common'):
        sides(a, b, force=True)


HEAD = ','.join(PSBENCH_COLUMNS)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'is empty'),
        (HEAD.encode(), 'holds no run'),
        (b'a,b\n1,2\n', "no column 'executor'"),
        (b'\xff\xfe\x00', 'is no CSV file'),
        (f'{HEAD}\n1,2,3\n'.encode(), 'line 2: 3 cells under 11 headings'),
        (f'{HEAD}\na,b,c,1,2,0.1,default,4,2,x,9\n'.encode(), "timestamp is 'x' and must be a number"),
        (
            f'{HEAD},schema_version\na,b,c,1,2,0.1,default,4,2,1,9,{SCHEMA_VERSION + 1}\n'.encode(),
            f"is of schema version '{SCHEMA_VERSION + 1}'",
        ),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that is something else is refused with what it is and what to do."""
    path = tmp_path / 'a.csv'
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_arm(path, name='A')


def test_no_file(tmp_path: Path) -> None:
    """A path that isn't there, or a directory without results, is named."""
    with pytest.raises(ConfigError, match='can not be read'):
        read_arm(tmp_path / 'no.csv', name='A')
    with pytest.raises(ConfigError, match=r'no results\.csv; name a run directory or a CSV'):
        read_arm(tmp_path, name='A')
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'results.csv').touch()
    with pytest.raises(ConfigError, match=r"holds no .* in it, of which '.*/a' is the newest\."):
        read_arm(tmp_path, name='A')


def test_unknown_metrics_get_the_nearest(tmp_path: Path) -> None:
    """A slip in --metric is answered with what was meant; the unit may be left out."""
    a, b = write(tmp_path / 'a', repeats(1)), write(tmp_path / 'b', repeats(1))
    assert sides(a, b, metrics=['makespan']).points[0].differences[0].metric == 'makespan_s'
    with pytest.raises(ConfigError, match=r"'sojourn_p95' is absent in all runs"):
        sides(a, b, metrics=['sojourn_p95'])
    with pytest.raises(ConfigError, match=r"'makspan' is no metric .* try makespan_s"):
        sides(a, b, metrics=['makspan'])


def parsed(*words: str) -> argparse.Namespace:
    """Return the words of a command line parsed."""
    return parse(['compare', *words])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with ratio, interval, p and words; raw values in JSON; notes of CSV on stderr; exit 0."""
    a = write(tmp_path / 'a', [*repeats(1), *repeats(2, method='proxy')])
    b = write(tmp_path / 'b', [*repeats(0.9), *repeats(2, method='proxy')])
    assert command.run(parsed(str(a), str(b))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == (
        ['method', 'bytes', 'metric', 'runs', 'A', 'B', 'B/A', '95', '%', 'interval', 'p', 'B', 'is']
    )
    assert lines[1].startswith('default   1000  makespan_s *  8 + 8')
    assert lines[1].endswith('faster')
    assert 'no difference found' in lines[2]
    command.run(parsed(str(a), str(b), '--format', 'json'))
    first = json.loads(capsys.readouterr().out)['rows'][0]
    assert first['ratio'] == pytest.approx(0.9, abs=0.005)
    assert first['ratio_low'] < first['ratio'] < first['ratio_high'] < 1
    assert (first['outcome'], first['n_a'], first['workers']) == ('faster', 8, 4)
    command.run(parsed(str(a), str(b), '--format', 'csv'))
    shown = capsys.readouterr()
    assert len(list(csv.DictReader(shown.out.splitlines()))) == 2
    assert '16 runs' in shown.err
    command.run(parsed(str(a), str(b), '--format', 'md', '--metric', 'efficiency', '--margin', '5%'))
    assert capsys.readouterr().out.startswith('| method |')


@pytest.mark.parametrize('word', ['x', '0', '-5%', 'nan', 'inf'])
def test_margins(word: str) -> None:
    """A margin is a share above 0."""
    with pytest.raises(ConfigError, match='must be a share above 0'):
        parsed('a', 'b', f'--margin={word}')


def test_inconclusive_is_a_word_of_its_own() -> None:
    """The four outcomes are four words."""
    assert len({FASTER, SLOWER, NO_DIFFERENCE, INCONCLUSIVE}) == 4
