"""Whether B is faster than A, by how much, and how sure that is.

The run is the unit: items of one run depend on each other and are never pooled. Each point has one
primary metric, tested at 5 %; the others are corrected for their number (Holm). A p value never stands
without the ratio and its interval, and too few runs are said to be too few.
"""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streambench.arm import Arm, Measured, higher_is_better, is_metric
from streambench.comparability import match, notes, refusals
from streambench.errors import ConfigError
from streambench.ranks import (
    ALPHA,
    MIN_REPEATS,
    Ratio,
    holm,
    ratio,
    repeats_needed,
    smallest_p,
    two_sided_p,
)

FASTER = 'faster'
SLOWER = 'slower'
NO_DIFFERENCE = 'no difference found'
INCONCLUSIVE = 'inconclusive'

MARGIN = 0.1
LEAST_MISSED = 0.001

# Below load 1 the schedule decides how long a run takes, so latency is what can change there; at load 1
# and above latency describes the length of the run.
AT_LOAD_1 = ('makespan_s', 'throughput_per_s')
# Where the arrivals or the count differ from run to run, so does the makespan, whatever was changed.
DRAWN = ('efficiency', 'throughput_per_s', 'makespan_s')
BELOW_LOAD_1 = ('sojourn_p50_s', 'makespan_s', 'throughput_per_s')
CLOSED_LOOP = ('throughput_per_s', 'makespan_s')
# At one point these are one figure in different words; testing two of them says nothing more.
SAME_FIGURE = ('makespan_s', 'throughput_per_s', 'efficiency', 'bytes_per_s')
OTHERS = (
    'makespan_s',
    'sojourn_p50_s',
    'sojourn_p95_s',
    'sojourn_p99_s',
    'put_p50_s',
    'delivery_p50_s',
    'queue_wait_p50_s',
    'dispatch_p50_s',
    'resolve_p50_s',
    'verify_p50_s',
    'return_p50_s',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one point in A and B.

    Attributes:
        metric: Column of results.csv.
        primary: Whether it is the metric that was chosen before looking.
        a: A figure for each run of A.
        b: The same of B.
        ratio: B/A with its interval, or None where a ratio has no meaning.
        p: Two-sided p value of this metric alone.
        corrected_p: The same for the primary; for the others corrected for their number.
        missed: The change that could be there and be missed, as a share, where none was found.
        outcome: `faster`, `slower`, `no difference found` or `inconclusive`.
        why: What is to be said with the outcome.
    """

    metric: str
    primary: bool
    a: tuple[float, ...]
    b: tuple[float, ...]
    ratio: Ratio | None = None
    p: float | None = None
    corrected_p: float | None = None
    missed: float | None = None
    outcome: str = INCONCLUSIVE
    why: str = ''

    @property
    def words(self) -> str:
        """The outcome with what is to be said with it."""
        return f'{self.outcome} ({self.why})' if self.why else self.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point that both sides have, its primary metric first."""

    parameters: Mapping[str, Any]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that was compared, and what to know before believing it."""

    points: tuple[Point, ...]
    notes: tuple[str, ...]


def compare(
    a: Arm,
    b: Arm,
    *,
    metrics: Sequence[str] = (),
    force: bool = False,
    margin: float = MARGIN,
) -> Comparison:
    """Compare two sides, point by point.

    Args:
        a: What is compared with.
        b: What is asked about.
        metrics: The primary metric and, if there are more, the others, in place of the default ones.
            The unit's suffix may be left out.
        force: Whether to compare what isn't comparable, and say so.
        margin: Where no difference is found, the change that must not have been missed for saying so,
            as a share.

    Raises:
        ConfigError: If they aren't comparable, or there is no such metric.
    """
    against = refusals(a, b)
    if against and not force:
        raise ConfigError(
            f'A and B are not comparable: {"; ".join(against)}; measure both alike, or compare all the '
            'same with --force.'
        )
    chosen = _metrics(metrics, a, b)
    points = tuple(
        Point(
            parameters=parameters,
            differences=_differences(parameters, of_a, of_b, metrics=chosen, margin=margin),
        )
        for parameters, of_a, of_b in match(a, b)
    )
    found = [f'{arm.name} is {arm.path}, {len(arm.runs)} runs' for arm in (a, b)]
    found += [f'compared by force although {reason}' for reason in against]
    found += notes(a, b)
    if len(points) > 1:
        found.append(
            f'{len(points)} points, each tested at {ALPHA:.0%}: if nothing had changed, '
            f'chance alone would call {len(points) * ALPHA:.2g} of them faster or slower on average'
        )
    return Comparison(points=points, notes=tuple(found))


def _metrics(names: Sequence[str], a: Arm, b: Arm) -> list[str]:
    """Return metrics by the names of their columns.

    Raises:
        ConfigError: If both sides don't have one; names the nearest ones.
    """
    known = sorted(
        name
        for name in set(a.runs[0].figures) & set(b.runs[0].figures)
        if is_metric(name) and all(any(run.figures[name] for run in arm.runs) for arm in (a, b))
    )
    found = []
    for name in names:
        column = next((entry for entry in (name, f'{name}_s', f'{name}_per_s') if entry in known), None)
        if column is None:
            if any({name, f'{name}_s', f'{name}_per_s'} & arm.runs[0].figures.keys() for arm in (a, b)):
                raise ConfigError(
                    f'--metric: {name!r} is absent in all runs of A or of B; choose another, or '
                    'measure with more items.'
                )
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
            raise ConfigError(
                f'--metric: {name!r} is no metric that A and B both have; try {", ".join(near)}.'
            )
        found.append(column)
    return list(dict.fromkeys(found))


def primary_metrics(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what to judge a point by, the first that its runs have.

    Args:
        parameters: The point.
    """
    closed = parameters.get('closed_loop')
    if closed or (closed is None and not parameters.get('task_sleep')):
        return CLOSED_LOOP
    # Without a sleep there is no load, and a rate that was given decides how long a run takes.
    load = parameters.get('load', 1)
    if load is None or load < 1:
        return BELOW_LOAD_1
    drawn = parameters.get('arrival') not in (None, 'constant')
    return DRAWN if drawn or parameters.get('task_count', 0) is None else AT_LOAD_1


def _differences(
    parameters: Mapping[str, Any],
    a: Sequence[Measured],
    b: Sequence[Measured],
    *,
    metrics: Sequence[str],
    margin: float,
) -> tuple[Difference, ...]:
    def has(metric: str) -> bool:
        return any(run.figures.get(metric) for run in (*a, *b))

    if metrics:
        primary, others = metrics[0], list(metrics[1:])
    else:
        order = primary_metrics(parameters)
        primary = next(filter(has, order), order[0])
        same = SAME_FIGURE if primary in SAME_FIGURE else ()
        others = [name for name in OTHERS if name != primary and name not in same and has(name)]
    drafts = [_measure(name, a, b, primary=name == primary) for name in (primary, *others)]
    testable = [draft for draft in drafts[1:] if draft.p is not None]
    corrected = holm([draft.p for draft in testable if draft.p is not None])
    by_metric = {draft.metric: p for draft, p in zip(testable, corrected, strict=True)}
    return tuple(
        _judged(
            draft,
            corrected_p=by_metric.get(draft.metric, draft.p),
            tests=1 if draft.primary else len(testable),
            margin=margin,
        )
        for draft in drafts
    )


def _measure(metric: str, a: Sequence[Measured], b: Sequence[Measured], *, primary: bool) -> Difference:
    """Return ratio and p of a metric, without a judgement."""
    of_a, of_b = (
        tuple(found for run in runs if (found := run.figures.get(metric)) is not None)
        for runs in (a, b)
    )
    absent = len(a) + len(b) - len(of_a) - len(of_b)
    if absent:
        # Runs that lack a figure do so for a reason, so the others are not a fair sample.
        why = f'absent in {absent} of {len(a) + len(b)} runs'
    elif min(*of_a, *of_b) <= 0:
        why = 'not above 0 in every run, so it has no ratio'
    else:
        return Difference(
            metric=metric,
            primary=primary,
            a=of_a,
            b=of_b,
            ratio=ratio(of_a, of_b),
            p=two_sided_p(of_a, of_b),
        )
    return Difference(metric=metric, primary=primary, a=of_a, b=of_b, why=why)


def _judged(draft: Difference, *, corrected_p: float | None, tests: int, margin: float) -> Difference:
    """Return a difference with its outcome."""
    found, n, m = draft.ratio, len(draft.a), len(draft.b)
    if found is None or corrected_p is None:
        return draft
    least = smallest_p(n, m)
    if min(n, m) < MIN_REPEATS or found.low is None or found.high is None:
        why = f'needs ≥ {MIN_REPEATS} repeats: smallest possible p is {least:.2g} for {n} + {m}'
        return replace(draft, corrected_p=corrected_p, why=why)
    away = not found.low <= 1 <= found.high
    if away and corrected_p <= ALPHA:
        better = (found.value > 1) == higher_is_better(draft.metric)
        return replace(draft, corrected_p=corrected_p, outcome=FASTER if better else SLOWER)
    if away or draft.p is None or draft.p <= ALPHA:
        if tests * least > ALPHA:
            why = (
                f'needs ≥ {repeats_needed(tests)} repeats: smallest possible p is {tests * least:.2g} '
                f'for {n} + {m} and {tests} metrics'
            )
        else:
            why = f'p is {corrected_p:.2g} when corrected for {tests} metrics'
        return replace(draft, corrected_p=corrected_p, why=why)
    missed = max(found.high - 1, 1 - found.low, LEAST_MISSED)
    if missed > margin:
        return replace(
            draft,
            corrected_p=corrected_p,
            missed=missed,
            why=f'could have missed up to {share_text(missed)}: more repeats would tell',
        )
    return replace(
        draft,
        corrected_p=corrected_p,
        missed=missed,
        outcome=NO_DIFFERENCE,
        why=f'could have missed less than {share_text(missed)}',
    )


def share_text(share: float) -> str:
    """Return a share in per cent, rounded up to two figures."""
    percent = share * 100
    digits = 1 - math.floor(math.log10(percent))
    return f'{math.ceil(percent * 10**digits - 1e-9) / 10**digits:g} %'


def median(values: Sequence[float]) -> float | None:
    """Return the median, or None of nothing."""
    return statistics.median(values) if values else None
