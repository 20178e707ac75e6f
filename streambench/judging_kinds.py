"""The kinds of the options that judge a run: the bounds of its verdict and its thresholds."""

from __future__ import annotations

from typing import Any

from streambench.bounds import bounds_of
from streambench.kinds import Kind, assignments


def bounds_kind() -> Kind:
    """Return the kind of `NAME=NUMBER`, several of them, each a bound."""
    pairs = assignments()

    def parse(value: Any) -> tuple[tuple[str, str], ...]:
        found: tuple[tuple[str, str], ...] = pairs.parse(value)
        bounds_of(found)
        return found

    return Kind(metavar=pairs.metavar, parse=parse, several=True, table=True)


def thresholds_kind() -> Kind:
    """Return the kind of thresholds, several of them; what can't be read says itself why."""

    def parse(value: Any) -> tuple[str, ...]:
        # They bring the schema of results, which `--help` can do without.
        from streambench.thresholds import parse as parse_threshold

        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list | tuple) or not all(isinstance(e, str) for e in entries):
            raise ValueError("must be texts such as 'sojourn_p95 < 50ms'")
        for entry in entries:
            parse_threshold(entry)
        return tuple(dict.fromkeys(entry.strip() for entry in entries))

    return Kind(metavar='THRESHOLD', parse=parse, several=True)
