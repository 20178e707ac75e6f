"""Quantities as people write them; figures are rounded here and in `report`, nowhere below."""

from __future__ import annotations

from streambench.run_spec import RunSpec


def size_text(size_bytes: int) -> str:
    """Return a size as people write it: 100 kB, 1 MB."""
    for unit, factor in (('GB', 10**9), ('MB', 10**6), ('kB', 10**3)):
        if size_bytes >= factor:
            return f'{size_bytes / factor:g} {unit}'
    return f'{size_bytes} B'


def seconds_text(seconds: float | None) -> str:
    """Return a duration with three figures, in ms below a second."""
    if seconds is None:
        return '–'
    return f'{seconds:.3g} s' if seconds >= 1 else f'{seconds * 1e3:.3g} ms'


def about_text(seconds: float) -> str:
    """Return how long something will take, in the unit in which a person thinks of it."""
    for unit, length, up_to in (('s', 1, 120), ('min', 60, 120), ('h', 3600, 48)):
        if seconds < up_to * length:
            return f'about {max(1, round(seconds / length))} {unit}'
    return f'about {seconds / 86400:.0f} days'


def workers_text(row: RunSpec) -> str:
    """Return how the workers are divided."""
    config = row.config
    if config.workers == 1:
        return '1 worker, which computes (the generator needs none on the loop)'
    generators = '1 generator' if config.generators == 1 else f'{config.generators} generators'
    return f'{config.workers} workers = {generators} + {config.compute_workers} compute'
