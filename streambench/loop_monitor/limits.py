"""Thresholds on a loop's figures, in the grammar that the benchmark has for its own.

    threshold := metric comparison number [unit]
    comparison := `<` | `<=` | `>` | `>=` | `==` | `!=`

such as `loop_lag_p99 < 5ms`, `loop_stall_time_fraction <= 1%`, `loop_stalls == 0`; blanks are allowed
anywhere between the parts. Durations take `ns us ms s` and can't do without, unless they are 0;
shares take `%` or nothing, counts nothing. What is absent is inconclusive, never passed.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isinf

from streambench.loop_monitor.figures import COUNT, METRICS, SECONDS, SHARE, Value
from streambench.loop_monitor.refusals import LoopMonitorError

PASS, FAIL, INCONCLUSIVE = 'pass', 'fail', 'inconclusive'
EXIT_THRESHOLD = 99

_UNITS: Mapping[str, Mapping[str, str]] = {
    SECONDS: {'ns': '1e-9', 'us': '1e-6', 'µs': '1e-6', 'ms': '1e-3', 's': '1'},
    SHARE: {'%': '0.01'},
    COUNT: {},
}
_FORM = re.compile(
    r'\s*(?P<metric>[A-Za-z_]\w*)\s*(?P<operator><=|>=|==|!=|<|>)\s*'
    r'(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(?P<unit>[^\W\d]\w*|%)?\s*'
)
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    '<': operator.lt,
    '<=': operator.le,
    '>': operator.gt,
    '>=': operator.ge,
    '==': operator.eq,
    '!=': operator.ne,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A limit and what became of it.

    Attributes:
        limit: The limit.
        grade: `pass`, `fail` or `inconclusive`.
        value: The figure in s, as share or count, or None.
    """

    limit: Limit
    grade: str
    value: Value

    @property
    def text(self) -> str:
        """One line: the grade, the limit, and the figure in the limit's unit."""
        line = f'{self.grade}: {self.limit.text}'
        if self.value is None:
            return f'{line} · absent: this run has no such figure'
        shown = f'{self.value / self.limit.scale:.6g}'
        if float(shown) * self.limit.scale == self.limit.limit and self.value != self.limit.limit:
            # Rounding must not show a missed limit as met.
            shown = repr(self.value / self.limit.scale)
        return f'{line} · {shown}{self.limit.unit}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit on a figure.

    Attributes:
        metric: What is limited.
        operator: One of < <= > >= == !=.
        limit: In s, as share or count.
        unit: Unit as it was written.
        scale: One of that unit in s.
        text: The limit in its plain form.
    """

    metric: str
    operator: str
    limit: float
    unit: str
    scale: float
    text: str

    def evaluate(self, figures: Mapping[str, Value]) -> Outcome:
        """Hold the limit against the figures."""
        value = figures.get(self.metric)
        if value is None:
            grade = INCONCLUSIVE
        else:
            grade = PASS if _HOLDS[self.operator](value, self.limit) else FAIL
        return Outcome(limit=self, grade=grade, value=value)


def parse(text: str) -> Limit:
    """Read a threshold.

    Args:
        text: As it stands on the command line.

    Raises:
        LoopMonitorError: If it can't be read, or names a metric or a unit that there isn't.
    """
    where = f'threshold {text!r}'
    match = _FORM.fullmatch(text)
    if match is None:
        raise LoopMonitorError(
            f"{where} can't be read: write METRIC < NUMBER UNIT with one of < <= > >= == !=, "
            "such as 'loop_lag_p99 < 5ms'."
        )
    name, unit = match['metric'], match['unit'] or ''
    kind = METRICS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, METRICS, n=3, cutoff=0.5)
        hint = f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(METRICS)}.'
        raise LoopMonitorError(f'{where}: {name!r} is not a metric; {hint}')
    units, number = _UNITS[kind], Decimal(match['number'])
    if unit not in units and (unit or (kind == SECONDS and number)):
        said = f'{unit!r} is not a unit of {name}' if unit else f'{name} needs a unit'
        remedy = f'write one of {", ".join(units)}' if units else 'write a plain number'
        raise LoopMonitorError(f'{where}: {said}; {remedy}.')
    scale = Decimal(units.get(unit, '1'))
    limit = float(number * scale)
    if isinf(limit):
        raise LoopMonitorError(f'{where}: {match["number"]} is too large; write a finite number.')
    return Limit(
        metric=name,
        operator=match['operator'],
        limit=limit,
        unit=unit,
        scale=float(scale),
        text=f'{name} {match["operator"]} {match["number"]}{unit}',
    )


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 99 if a threshold failed, else 0: what can't be decided doesn't fail a build."""
    return EXIT_THRESHOLD if any(outcome.grade == FAIL for outcome in outcomes) else 0
