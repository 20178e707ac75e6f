"""Where a verdict changes: every bound of the measurement with its default.

README's table is derived from here, and `--bound NAME=NUMBER` sets each of them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any


def _bound(default: float, doc: str) -> Any:
    return field(default=default, metadata={'doc': doc})


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Where a caution or an invalid verdict begins, and what a figure has to exceed to be told."""

    late_caution_s: float = _bound(0.005, 'Median lateness of the generator, caution.')
    late_caution_share: float = _bound(
        0.2, 'The same as a share of the interval; the larger of the two counts.'
    )
    late_invalid_s: float = _bound(0.05, 'Median lateness of the generator, invalid.')
    late_invalid_share: float = _bound(
        1.0, 'The same as a share of the interval; the larger of the two counts.'
    )
    pacing_share: float = _bound(0.1, 'Pacing floor as a share of the interval, caution.')
    machine_busy: float = _bound(
        0.5, "Share of the machine's cores that others kept busy before the run, caution."
    )
    machine_stolen: float = _bound(
        0.05, "Share of the run's time that the host gave to other machines, caution."
    )
    loop_busy: float = _bound(
        0.9, 'Share of the time in which the loop was busy, invalid; in a closed loop caution.'
    )
    bottleneck_busy: float = _bound(
        0.9, 'Share of the time in which the busiest station is busy; then it is the bottleneck.'
    )
    window: float = _bound(
        0.02, 'What doubling the credits of a closed loop may still add, as a share, caution.'
    )
    rounds: float = _bound(2.0, 'Items per credit of a closed loop, fewer are a caution.')
    growth_interval: float = _bound(
        0.02,
        'Growth of the sojourn per item, as a share of the interval; it then stands for percentiles.',
    )
    growth_first: float = _bound(
        0.2, 'Growth from the first to the last quarter as a share of the first; both must be exceeded.'
    )
    sticks_out_s: float = _bound(
        0.002, 'Unexplained waiting beyond the median; from there on an item may stick out.'
    )
    sticks_out_sigmas: float = _bound(
        6.0, 'The same in robust standard deviations; the larger of the two counts.'
    )
    loop_stalled: float = _bound(0.05, 'Share of the time in which the loop was held, caution.')
    bookkeeping: float = _bound(
        0.001, 'Difference between live counters and rows, as a share, invalid.'
    )


BOUNDS = Bounds()


def bounds_table() -> list[tuple[str, float, str]]:
    """Return name, default and sentence of every bound."""
    return [
        (entry.name, getattr(BOUNDS, entry.name), entry.metadata['doc']) for entry in fields(Bounds)
    ]


def bounds_of(pairs: Iterable[tuple[str, str]]) -> Bounds:
    """Return the bounds with some of them set.

    Args:
        pairs: Names and numbers.

    Raises:
        ValueError: If a name is none of them or a number isn't one; says what it must be.
    """
    known = {entry.name for entry in fields(Bounds)}
    found: dict[str, float] = {}
    for name, text in pairs:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean {near[0]}?' if near else f'must be one of {", ".join(sorted(known))}'
            raise ValueError(f'must name a bound, and {name!r} is none; {hint}')
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise ValueError(f'must be a number of at least 0, and {name} is {text!r}')
        found[name] = number
    return Bounds(**found)
