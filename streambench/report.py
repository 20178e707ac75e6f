"""What a person sees: the plan before, one line that moves while it runs, tables and verdict after.

Figures are rounded here and nowhere below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from streambench.narrowing import narrowing_text
from streambench.node_hours import node_hours
from streambench.notes import notes_text
from streambench.outcome_table import outcome_cells, outcome_lines
from streambench.plan import Plan
from streambench.plan_table import plan_table
from streambench.points import telling
from streambench.records import RunRow
from streambench.results_table import axes_of, merged, results_text, words_of
from streambench.tables import CSV, JSON, TABLE, Column, render
from streambench.verdict import CAUTION, INVALID, VALID
from streambench.waterfall import absent_tails, savings, waterfall
from streambench.wording import about_text, ms_text, run_numbers_text, workers_text

MOST_POINTS = 8
NUMBER = re.compile(r'\d+(?:\.\d+)?')


def runs_text(plan: Plan) -> str:
    """Return how many runs there are and how long they should take."""
    expected = plan.expected_s
    time_text = 'as fast as it can' if expected is None else about_text(expected)
    most = 'at most ' if plan.first.until_narrow is not None else ''
    return f'{most}{_counted(len(plan.runs), "run")}, {time_text}, on {_servers_text(plan)}'


def _counted(number: int, thing: str) -> str:
    return f'{number} {thing}' if number == 1 else f'{number} {thing}s'


def _servers_text(plan: Plan) -> str:
    """Return brokers and executors of a plan, each once."""
    brokers = [
        f'embedded {config.stream}' if config.broker_plugin.needs_redis_server else config.stream
        for config in (run.config for run in plan.runs)
    ]
    executors = [
        f'{config.executor} {config.executor_plugin.detail}'.strip()
        for config in (run.config for run in plan.runs)
    ]
    return f'{", ".join(dict.fromkeys(brokers))} → {", ".join(dict.fromkeys(executors))}'


def plan_text(plan: Plan, *, form: str = TABLE) -> str:
    """Return the resolved plan, for `--dry-run`, in one of the forms of `--format`."""
    sessions = len(plan.sessions())
    workers = dict.fromkeys(workers_text(run) for run in plan.runs)
    head = (
        f'{_counted(len(plan.runs), "run")} in {_counted(sessions, "session")}, seed {plan.seed}: '
        f'{_servers_text(plan)}, {"; ".join(workers)}'
    )
    expected = plan.expected_s
    time_text = (
        'expected time: unknown, since a closed loop runs as fast as it can'
        if expected is None
        else f'expected time: {about_text(expected)} with starts and warm-ups'
    )
    cost = node_hours(plan)
    if form != TABLE:
        return plan_table(plan, form=form, notes=[head, *cost, time_text])
    return '\n'.join([head, '', plan_table(plan, form=form), '', *cost, time_text])


def verdict_text(rows: Sequence[RunRow]) -> str:
    """Return the verdict on all runs in a line, and the reasons against it."""
    late = ''.join(f' · {text}' for text in _pacing(rows))
    if all(row.verdict == VALID for row in rows):
        proven = min((row.workers_proven or 0 for row in rows), default=0)
        return f'valid · every item seen once{late} · all {proven} workers proven'
    grade = INVALID if any(row.verdict == INVALID for row in rows) else CAUTION
    # Runs with the same reasons make one line, though each has its own figures: those of the first.
    alike: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.reasons:
            alike.setdefault(NUMBER.sub('#', row.reasons), []).append(row)
    lines = []
    for same in alike.values():
        differ = len({row.reasons for row in same}) > 1
        first = f' (figures of run {same[0].run + 1})' if differ else ''
        lines.append(f'  {run_numbers_text(row.run for row in same)}: {same[0].reasons}{first}')
    return '\n'.join([grade + late, *lines])


def _pacing(rows: Sequence[RunRow]) -> list[str]:
    """Return how late the generator was at most, and the smallest interval that its pacing keeps."""
    paced = [row for row in rows if row.offered_rate_per_s]
    lateness = [row.publish_delay_p50_s for row in paced if row.publish_delay_p50_s is not None]
    if not lateness:
        return []
    floor_s = max((row.pacing_floor_s or 0.0 for row in paced), default=0.0)
    floor = f', pacing floor {ms_text(floor_s)}' if floor_s else ''
    return [f'generator ≤ {ms_text(max(lateness))} late (median{floor})']


def _where(rows: Sequence[RunRow], plan: Plan | None, *, form: str, width: int | None) -> list[str]:
    """Return where the sojourns went, for as many points as a screen holds."""
    points = [low for _, low in merged(rows, axes_of(plan))]
    axes = words_of(plan)
    head, lines = waterfall(points, axes)
    if not lines:
        return []
    if len(points) > MOST_POINTS:
        return [
            f'where it went: {len(points)} points are more than a screen holds; results.csv has the '
            'stages around p50 and p99 as <stage>_at_p50_s and <stage>_at_p99_s',
            '',
        ]
    columns = [Column(name=name, head=name, left=place < 2) for place, name in enumerate(head)]
    return [
        render(columns, lines, form=form, width=width),
        *absent_tails(points),
        *savings(points, axes),
        '',
    ]


def _narrowing(rows: Sequence[RunRow], plan: Plan | None) -> list[str]:
    """Return how narrow figures have become, where that was asked."""
    share = plan.first.until_narrow if plan is not None else None
    if share is None:
        return []
    words = telling(rows, words_of(plan), always=('method', 'size'))
    names = {point: ' '.join(found) for point, found in words.items()}
    return [narrowing_text(rows, share, names=names)]


def screen(
    rows: Sequence[RunRow],
    *,
    head: str,
    directory: str,
    again: str,
    say: Callable[[str], None],
    aside: Callable[[str], None] = print,
    plan: Plan | None = None,
    form: str = TABLE,
    width: int | None = None,
) -> None:
    """Say the results: table, verdict, where the files are, and how to repeat.

    Args:
        rows: The runs.
        head: What was measured with.
        directory: The run directory.
        again: Command that repeats the plan.
        say: Takes each line.
        aside: Takes each line for which the form has no place.
        plan: Where the runs come from, for axes that are no columns of theirs.
        form: One of `tables.FORMATS`.
        width: Letters in a line of whoever reads it.
    """
    axes = words_of(plan)
    notes = [*notes_text(rows, axes), *_narrowing(rows, plan)]
    notes += verdict_text(rows).splitlines()
    where = f'results: {directory}        again: {again}'
    if form in (JSON, CSV):
        held = [' · '.join(cells) for cells in outcome_cells(rows, plan, axes)]
        notes = [head, *(f'threshold {text}' for text in held), *notes, where]
        say(results_text(rows, plan, form=form, notes=notes))
        for note in notes if form == CSV else ():
            aside(note)
        return
    say(head)
    say('')
    say(results_text(rows, plan, form=form, width=width))
    say('')
    for line in _where(rows, plan, form=form, width=width):
        say(line)
    for line in outcome_lines(rows, plan, axes, form=form):
        say(line)
    for note in (*notes, where):
        say(note if form == TABLE else f'- {note.strip()}')
