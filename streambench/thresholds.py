"""Thresholds: one-line expressions about a run's figures that pass, fail, or can't be decided.

Grammar, with blanks allowed anywhere between the parts:

    threshold := [`abort:`] metric comparison number [unit]
    comparison := `<` | `<=` | `>` | `>=` | `==` | `!=`

such as `sojourn_p95 < 50ms`, `efficiency >= 95%`, `abort: lost == 0`. A metric is a numeric column of
results.csv without its unit suffix. Durations take `ns us ms s`, sizes `B kB MB GB KiB MiB GiB`, rates
`per_s` or nothing, byte rates `B_per_s kB_per_s MB_per_s GB_per_s`, shares `%` or nothing, counts
nothing. Durations, sizes and byte rates can't do without a unit, unless they are 0: 50 where 50ms
was meant would always pass. With `abort:` a run ends as soon as the threshold fails; that suits figures
that don't recover, like the integrity counts.

A figure with an interval passes if all of the interval meets the threshold, fails if none of it does,
and is inconclusive otherwise. What is absent is inconclusive, never passed.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from streambench.errors import EXIT_OK, EXIT_THRESHOLD, ConfigError
from streambench.records import RunRow

PASS = 'pass'
FAIL = 'fail'
INCONCLUSIVE = 'inconclusive'

COUNT = 'count'
_SUFFIXES = {'s': '_s', 'ns': '_ns', 'bytes': '_bytes', '1/s': '_per_s', 'bytes/s': '_per_s'}
_UNITS: dict[str, dict[str, str]] = {
    's': {'ns': '1e-9', 'us': '1e-6', 'µs': '1e-6', 'ms': '1e-3', 's': '1'},
    'ns': {'ns': '1', 'us': '1e3', 'µs': '1e3', 'ms': '1e6', 's': '1e9'},
    'bytes': {
        'B': '1',
        'kB': '1e3',
        'MB': '1e6',
        'GB': '1e9',
        'KiB': '1024',
        'MiB': '1048576',
        'GiB': '1073741824',
    },
    'bytes/s': {'B_per_s': '1', 'kB_per_s': '1e3', 'MB_per_s': '1e6', 'GB_per_s': '1e9'},
    '1/s': {'per_s': '1'},
    '': {'%': '0.01'},
    COUNT: {},
}
_BARE = frozenset({'1/s', '', COUNT})
_FORM = re.compile(
    r'\s*(?P<abort>abort\s*:)?\s*(?P<metric>[A-Za-z_]\w*)\s*(?P<operator><=|>=|==|!=|<|>)\s*'
    r'(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(?P<unit>[^\W\d]\w*|%)?\s*'
)

# Figures of a stage; a mean or a maximum has no interval, and yet an n.
_STATISTIC = re.compile(r'(?P<stage>\w+?)_(?:p\d+(?:_\d+)?|mean|max)')

# Whether all values between two ends meet a limit. The second of each pair is its contrary.
_Holds = Callable[[float, float, float], bool]
_HOLDS: dict[str, tuple[_Holds, _Holds]] = {
    '<': (lambda low, high, limit: high < limit, lambda low, high, limit: low >= limit),
    '<=': (lambda low, high, limit: high <= limit, lambda low, high, limit: low > limit),
    '>': (lambda low, high, limit: low > limit, lambda low, high, limit: high <= limit),
    '>=': (lambda low, high, limit: low >= limit, lambda low, high, limit: high < limit),
    '==': (
        lambda low, high, limit: low == limit == high,
        lambda low, high, limit: not low <= limit <= high,
    ),
    '!=': (
        lambda low, high, limit: not low <= limit <= high,
        lambda low, high, limit: low == limit == high,
    ),
}


@runtime_checkable
class Interval(Protocol):
    """A figure with its interval: `summary.Estimate` and what looks like it."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""

    @property
    def n(self) -> int:
        """Items behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a threshold may be about.

    Attributes:
        name: As thresholds say it.
        column: Its column in results.csv.
        unit: Unit of the column: `s`, `ns`, `bytes`, `1/s`, `bytes/s`, `count`, or nothing.
    """

    name: str
    column: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A threshold and what became of it.

    Attributes:
        threshold: The threshold.
        grade: `pass`, `fail` or `inconclusive`.
        value: The figure in the unit of its column, or None.
        low: Lower end of its interval, or None without one.
        high: Upper end.
        n: Items behind the figure, where it is known.
        reason: Why it is inconclusive; empty otherwise.
    """

    threshold: Threshold
    grade: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    reason: str = ''

    @property
    def text(self) -> str:
        """One line: the grade, the threshold, the figure in the threshold's unit, and the reason."""
        return ' · '.join(
            [
                f'{self.grade}: {self.threshold.text}',
                *(part for part in (self.figure(), self.reason) if part),
            ]
        )

    def bare(self, digits: int = 6) -> str:
        """Return the figure in the threshold's unit; empty where it is absent."""
        return '' if self.value is None else self._said(self.value, digits)

    def figure(self, digits: int = 6) -> str:
        """Return the same with its interval and n."""
        if self.value is None:
            return ''
        shown = self.bare(digits)
        if self.low is not None and self.high is not None:
            shown += f' [{self._said(self.low, digits)}, {self._said(self.high, digits)}]'
        return shown if self.n is None else f'{shown}, n {self.n}'

    def _said(self, value: float, digits: int) -> str:
        threshold = self.threshold
        if isinstance(value, int) and threshold.scale == 1:
            return f'{value}{threshold.unit}'
        shown = f'{value / threshold.scale:.{digits}g}'
        if shown == f'{threshold.limit / threshold.scale:.{digits}g}' and value != threshold.limit:
            # Rounding must not show a missed limit as met.
            shown = repr(value / threshold.scale)
        return shown + threshold.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A limit on a figure.

    Attributes:
        metric: What is limited.
        operator: One of < <= > >= == !=.
        limit: In the unit of the metric's column.
        unit: Unit as it was written.
        scale: One of that unit in the unit of the column.
        abort: Whether a run ends as soon as it fails.
        text: The threshold in its plain form, without `abort:`.
    """

    metric: Metric
    operator: str
    limit: float
    unit: str
    scale: float
    abort: bool
    text: str

    def evaluate(
        self, figures: Mapping[str, Any], *, absent: Mapping[str, str] | None = None
    ) -> Outcome:
        """Hold the threshold against a run's figures.

        A figure is an `Estimate`, a number, or None. A number whose mapping has `<metric>_low` and
        `<metric>_high` beside it is taken with that interval; other numbers are exact. Beside figures
        of a stage stands `<stage>_n`.

        Args:
            figures: Figures by metric, or by column (a `RunRow` as a dict), in the columns' units.
            absent: By metric, why a figure is absent.
        """
        name, column = self.metric.name, self.metric.column
        found = figures.get(name, figures.get(column))
        n: int | None = None
        value: float | None = None
        low: float | None = None
        high: float | None = None
        if isinstance(found, Interval):
            value, low, high, n = found.value, found.low, found.high, found.n
        elif isinstance(found, int | float):
            suffix = column[len(name) :]
            value = found
            low = figures.get(f'{name}_low', figures.get(f'{name}_low{suffix}'))
            high = figures.get(f'{name}_high', figures.get(f'{name}_high{suffix}'))
            of_stage = _STATISTIC.fullmatch(name)
            n = figures.get(f'{of_stage["stage"]}_n') if of_stage else None
        if value is None or math.isnan(value):
            why = (absent or {}).get(name) or 'this run has no such figure'
            return Outcome(threshold=self, grade=INCONCLUSIVE, n=n, reason=f'absent: {why}')
        if low is None or high is None:
            low = high = None
            ends = (value, value)
        else:
            ends = (low, high)
        holds, fails = _HOLDS[self.operator]
        if holds(*ends, self.limit):
            grade = PASS
        elif fails(*ends, self.limit):
            grade = FAIL
        else:
            grade = INCONCLUSIVE
        return Outcome(
            threshold=self,
            grade=grade,
            value=value,
            low=low,
            high=high,
            n=n,
            reason='the limit lies inside the 95 % interval' if grade == INCONCLUSIVE else '',
        )


def metrics() -> dict[str, Metric]:
    """Return what thresholds may be about, from the numeric columns of results.csv."""
    found = {}
    for entry in fields(RunRow):
        kinds = {part.strip() for part in str(entry.type).split('|')} - {'None'}
        if not kinds <= {'int', 'float'}:
            continue
        unit = entry.metadata['unit']
        name = entry.name.removesuffix(_SUFFIXES.get(unit, ''))
        if not unit and kinds == {'int'}:
            unit = COUNT
        found[name] = Metric(name=name, column=entry.name, unit=unit)
    return found


def parse(text: str, known: Mapping[str, Metric] | None = None) -> Threshold:
    """Read a threshold.

    Args:
        text: As it stands on the command line or in TOML.
        known: Metrics by name; those of results.csv by default.

    Raises:
        ConfigError: If it can't be read, or names a metric or a unit that there isn't.
    """
    where = f'threshold {text!r}'
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{where} can't be read: write METRIC < NUMBER UNIT with one of < <= > >= == !=, "
            "such as 'sojourn_p95 < 50ms'."
        )
    known = metrics() if known is None else known
    name, unit = match['metric'], match['unit'] or ''
    metric = known.get(name)
    if metric is None:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f'did you mean {" or ".join(near)}?' if near else 'the columns of results.csv are.'
        raise ConfigError(f'{where}: {name!r} is not a metric; {hint}')
    units = _UNITS[metric.unit]
    number = Decimal(match['number'])
    if unit not in units and (unit or (metric.unit not in _BARE and number)):
        said = f'{unit!r} is not a unit of {name}' if unit else f'{name} needs a unit'
        remedy = f'write one of {", ".join(units)}' if units else 'write a plain number'
        raise ConfigError(f'{where}: {said}; {remedy}.')
    scale = Decimal(units.get(unit, '1'))
    limit = float(number * scale)
    if math.isinf(limit):
        raise ConfigError(f'{where}: {match["number"]} is too large; write a finite number.')
    return Threshold(
        metric=metric,
        operator=match['operator'],
        limit=limit,
        unit=unit,
        scale=float(scale),
        abort=match['abort'] is not None,
        text=f'{name} {match["operator"]} {match["number"]}{unit}',
    )


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 99 if a threshold failed, else 0: what can't be decided doesn't fail a build."""
    return EXIT_THRESHOLD if any(outcome.grade == FAIL for outcome in outcomes) else EXIT_OK
