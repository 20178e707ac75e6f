"""One side of a comparison: the runs of a directory or CSV file, and where they were made.

Reads results.csv of ours and psbench's own, which has eleven columns. Nothing is compared here.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.clocks import ACROSS, inseparable_within_s
from streambench.errors import ConfigError
from streambench.newest import newest_hint
from streambench.records import PSBENCH_COLUMNS, SCHEMA_VERSION
from streambench.schemas import other_version
from streambench.verdict import CAUTION, INVALID

RESULTS = 'results.csv'
ENVIRONMENT = 'environment.json'

# What makes two runs runs of one point, in the order in which it is shown. What a file lacks is left
# out; numbers of runs, seeds and what was found out about the machine are no parameters.
PARAMETERS = (
    'method',
    'data_size_bytes',
    'data_size_dist',
    'executor',
    'executor_plugin',
    'connector',
    'connector_plugin',
    'stream',
    'workers',
    'compute_workers',
    'task_count',
    'duration',
    'duration_s',
    'warmup_s',
    'task_sleep',
    'load',
    'offered_rate_per_s',
    'arrival',
    'trace_speed',
    'closed_loop',
    'max_outstanding',
    'generator',
    'generators',
    'loop',
    'verify',
    'record',
    'fresh_executor',
    'slots',
    'max_in_flight',
    'queue_size',
    'queue_bytes',
    'redis_shared',
)
NO_METRICS = (
    'pacing_floor_s',
    'ideal_makespan_s',
    'offered_rate_per_s',
    'duration_s',
    'warmup_s',
    'clock_bound_s',
    'clock_shift_bound_s',
)
# How well clocks of other hosts are known.
CLOCK_BOUNDS = ('clock_shift_bound_s', 'clock_bound_s')
# Of a load that a run can't carry.
GROWING = ('sojourn_', 'uncorrected_sojourn_')
STAYING = ('sojourn_growth_s', 'sojourn_min_s')
SHARES = ('efficiency', 'utilization')


def is_metric(column: str) -> bool:
    """Whether a column is a figure of which a ratio makes sense."""
    if column in NO_METRICS or column.endswith(('_low_s', '_high_s', '_timestamp')):
        return False
    return column in SHARES or column.endswith(('_s', '_per_s'))


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is faster: rates and shares; the others are durations."""
    return metric in SHARES or metric.endswith('_per_s')


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run as it stands in a file.

    Attributes:
        line: Line of the file.
        parameters: Values of `PARAMETERS`, those that the file has.
        figures: Metrics by column; None where the run has none.
        trouble: Why it is not to be believed; empty if it is.
        caution: Why to take it with care; empty if there is no reason.
        start_s: First intended send, seconds since the epoch.
    """

    line: int
    parameters: Mapping[str, Any]
    figures: Mapping[str, float | None]
    trouble: str
    caution: str
    start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: `A` or `B`.
        path: The CSV file.
        runs: Its runs.
        versions: Schema versions in it; empty for psbench's.
        environment: Content of environment.json beside it, or None if there is none.
    """

    name: str
    path: Path
    runs: tuple[Measured, ...]
    versions: frozenset[str]
    environment: Mapping[str, Any] | None

    @property
    def psbench(self) -> bool:
        """Whether psbench wrote it."""
        return not self.versions

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that it has."""
        return tuple(name for name in PARAMETERS if name in self.runs[0].parameters)


def read_arm(path: str | Path, *, name: str) -> Arm:
    """Read one side.

    Args:
        path: Run directory or CSV file.
        name: What to call it.

    Raises:
        ConfigError: If there is nothing to read, or something else.
    """
    file = Path(path)
    if file.is_dir():
        file = file / RESULTS
        if not file.exists():
            hint = newest_hint(Path(path), result=RESULTS) or 'name a run directory or a CSV file'
            raise ConfigError(f'{name}: {str(path)!r} holds no {RESULTS}; {hint}.')
    lines = _lines(file, name)
    head = [cell.strip() for cell in lines[0][1]]
    missing = [column for column in PSBENCH_COLUMNS if column not in head]
    if missing:
        raise ConfigError(
            f'{name}: {str(path)!r} has no column {missing[0]!r}, so it is no {RESULTS} of streambench '
            'or of psbench; name one that is.'
        )
    if len(lines) == 1:
        raise ConfigError(f'{name}: {str(path)!r} holds no run; measure first.')
    rows = [(line, _row(head, cells, file, line)) for line, cells in lines[1:]]
    versions = frozenset(row['schema_version'] for _, row in rows if 'schema_version' in row)
    for version in versions:
        if not version.isdecimal() or int(version) > SCHEMA_VERSION:
            raise other_version(
                f'{name}: {str(path)!r}',
                version,
                does='compare',
                reads=range(1, SCHEMA_VERSION + 1),
                environment=_environment(file.parent / ENVIRONMENT),
            )
    return Arm(
        name=name,
        path=file,
        runs=tuple(_run(row, file, line) for line, row in rows),
        versions=versions,
        environment=_environment(file.parent / ENVIRONMENT) if versions else None,
    )


def _lines(file: Path, name: str) -> list[tuple[int, list[str]]]:
    try:
        with file.open(newline='', encoding='utf-8-sig') as opened:
            reader = csv.reader(opened)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise ConfigError(
            f'{name}: {str(file)!r} can not be read ({error.strerror}); name a run directory or a '
            f'{RESULTS}.'
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise ConfigError(
            f'{name}: {str(file)!r} is no CSV file; name a run directory or a {RESULTS}.'
        ) from None
    if not lines:
        raise ConfigError(f'{name}: {str(file)!r} is empty; measure first.')
    return lines


def _row(head: Sequence[str], cells: Sequence[str], file: Path, line: int) -> dict[str, str]:
    if len(cells) != len(head):
        raise ConfigError(
            f'{str(file)!r}, line {line}: {len(cells)} cells under {len(head)} headings; remove the '
            'line if its run was cut short, or keep runs of different versions in files of their own.'
        )
    return {name: cell.strip() for name, cell in zip(head, cells, strict=True)}


def _environment(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _value(cell: str) -> Any:
    """Return a parameter so that 1 and 1.0 are the same, and an empty one is None."""
    if cell in ('', 'None'):
        return None
    if cell in ('True', 'False'):
        return cell == 'True'
    try:
        number = float(cell)
    except ValueError:
        return cell
    if not math.isfinite(number):
        return cell
    # A rate that was computed twice may differ in its last digits.
    return int(number) if number == int(number) else float(f'{number:.9g}')


def _run(row: Mapping[str, str], file: Path, line: int) -> Measured:
    def number(column: str) -> float | None:
        if not row[column]:
            return None
        try:
            found = float(row[column])
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise ConfigError(
                f'{str(file)!r}, line {line}: {column} is {row[column]!r} and must be a number; '
                'correct or remove the line.'
            )
        return found

    parameters = {name: _value(row[name]) for name in PARAMETERS if name in row}
    if parameters.get('duration') or parameters.get('duration_s'):
        # Then the count is what came of it, and differs from run to run.
        parameters['task_count'] = None
    figures = {name: number(name) for name in row if is_metric(name)}
    start, end = number(PSBENCH_COLUMNS[9]) or 0.0, number(PSBENCH_COLUMNS[10]) or 0.0
    asked, done = number('task_count') or 0, number('completed_tasks') or 0
    if 'schema_version' not in row:
        figures |= _derived(end - start, done)
        if parameters['task_sleep']:
            # psbench has one schedule only: the load at which its workers are just kept busy.
            parameters |= {'load': 1, 'closed_loop': False}
    if figures.get('sojourn_growth_s') is not None:
        # Then a sojourn, but for the first, describes how long the run was.
        figures |= {name: None for name in figures if name.startswith(GROWING) and name not in STAYING}
    known = {name: number(name) for name in CLOCK_BOUNDS if name in row}
    if inseparable_within_s(figures | known) is not None:
        # Then these have no meaning.
        figures |= {name: None for name in figures if name.partition('_')[0] in ACROSS}
    verdict, reasons = row.get('verdict', ''), row.get('reasons', '')
    trouble = caution = ''
    if verdict == INVALID:
        trouble = reasons or 'invalid'
    elif not verdict and done < asked:
        trouble = f'{done:.0f} of {asked:.0f} items completed'
    elif verdict == CAUTION:
        caution = reasons or verdict
    return Measured(
        line=line,
        parameters=parameters,
        figures=figures,
        trouble=trouble,
        caution=caution,
        start_s=start,
    )


def _derived(makespan_s: float, completed: float) -> dict[str, float | None]:
    """Return the figures that psbench's two timestamps and its count hold."""
    if makespan_s <= 0:
        return {'makespan_s': None, 'throughput_per_s': None}
    return {'makespan_s': makespan_s, 'throughput_per_s': completed / makespan_s}
