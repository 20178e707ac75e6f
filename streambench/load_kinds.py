"""Kinds of the options that set the load."""

from __future__ import annotations

from typing import Any

from streambench.kinds import Kind, number

RATE_MAX = 'max'
LEAST = 1e-6
MOST_PER_S = 1e9


def rate_kind() -> Kind:
    """Return the kind of a number of items per second, and of `max`."""
    items = number(minimum=LEAST, maximum=MOST_PER_S)

    def parse(value: Any) -> float | str:
        if value == RATE_MAX:
            return RATE_MAX
        try:
            return float(items.parse(value))
        except ValueError:
            raise ValueError(
                f'must be a number of items per second above 0 ({LEAST:g} to {MOST_PER_S:g}), or max'
            ) from None

    return Kind(metavar='ITEMS/S', parse=parse)
