"""What became of a run's thresholds: each held against its row, with the reason where it is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from streambench.clocks import ACROSS, inseparable_within_s
from streambench.config import RECORD_NONE
from streambench.stages import LOOP_WAIT, QUANTILES, STAGES
from streambench.summary import GROWTH_ITEMS, samples_needed
from streambench.thresholds import FAIL, INCONCLUSIVE, PASS, Outcome, Threshold
from streambench.verdict import ABORTED

SEPARATOR = '; '
GROWING = ('sojourn_', 'uncorrected_sojourn_')
GROWTHS = ('sojourn_growth', 'delivery_growth')
# How the reason of an aborted run begins.
MISSED = '{} was missed with '
NOT_GROWING = ('sojourn_growth', 'sojourn_n', 'uncorrected_sojourn_n')


def outcomes(thresholds: Iterable[Threshold], row: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Hold thresholds against a run.

    Where the load exceeds what a run can carry, its sojourns say how long it was: one that is too long
    misses its limit all the same, and one that meets it would not in a longer run. Where clocks of
    other hosts are not known well enough, dispatch and return say nothing by themselves. A threshold
    that ended the run has failed, whatever the last items made of the figure.

    Args:
        thresholds: What its figures must meet.
        row: Columns of results.csv.
    """
    found = []
    for threshold in thresholds:
        name = threshold.metric.name
        outcome = threshold.evaluate(row, absent={name: _absence(name, row)})
        growth = row['sojourn_growth_s']
        if growth and outcome.grade == PASS and name.startswith(GROWING) and name not in NOT_GROWING:
            reason = f'it grows by {growth * 1e3:.2g} ms per item, so it says how long the run was'
            outcome = replace(outcome, grade=INCONCLUSIVE, reason=reason)
        if (unknown := _inseparable(name, row)) and outcome.value is not None:
            outcome = replace(outcome, grade=INCONCLUSIVE, reason=unknown)
        ended_it = row['ended'] == ABORTED and row['reason'].startswith(MISSED.format(threshold.text))
        if ended_it and outcome.grade != FAIL:
            outcome = replace(outcome, grade=FAIL, reason='missed while the run was under way')
        found.append(outcome)
    return tuple(found)


def _inseparable(name: str, row: Mapping[str, Any]) -> str:
    """Return why a figure of dispatch or return has no meaning by itself; empty if it has one."""
    stage, _, statistic = name.partition('_')
    if stage not in ACROSS or statistic == 'n':
        return ''
    bound = inseparable_within_s(row)
    if bound is None:
        return ''
    return (
        f'clocks of other hosts are known to within {bound * 1e3:.2g} ms, so only dispatch + return '
        'has a meaning'
    )


def outcomes_text(found: Iterable[Outcome]) -> str:
    """Return what results.csv says of the thresholds of a run."""
    return SEPARATOR.join(outcome.text for outcome in found)


def _absence(name: str, row: Mapping[str, Any]) -> str:
    """Return why a run has no such figure; empty where that isn't known."""
    if row['record'] == RECORD_NONE:
        return '--record none keeps none of the items'
    if row['warmup_s'] and row['sent'] and not row['window_n']:
        return 'no item was due in the measurement window'
    if name in GROWTHS:
        return f'it did not grow, or by too little to be told, or had fewer than {GROWTH_ITEMS} items'
    for stage in (*STAGES, LOOP_WAIT):
        statistic = name.removeprefix(f'{stage.name}_')
        n = row[f'{stage.name}_n'] or 0
        if statistic in QUANTILES and n:
            return f'{statistic} needs {samples_needed(QUANTILES[statistic])} items, there are {n:.0f}'
        if statistic in (*QUANTILES, 'mean', 'max') and name != statistic:
            return 'no item of this run has it'
    if name != 'efficiency':
        return ''
    return (
        'only a run whose items all completed has one' if row['task_sleep'] else 'no ideal at sleep 0'
    )
