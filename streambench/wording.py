"""Quantities as people write them; figures are rounded here and in `report`, nowhere below."""

from __future__ import annotations

from collections.abc import Iterable

from streambench.run_spec import RunSpec
from streambench.tables import figure


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
    return f'{figure(seconds, 3)} s' if seconds >= 1 else f'{figure(seconds * 1e3, 3)} ms'


def ms_text(seconds: float, *, digits: int = 2, sign: str = '') -> str:
    """Return a duration in milliseconds, never as a power of ten.

    Args:
        seconds: The duration.
        digits: Figures of what is below their number's size.
        sign: `+` where a plus is to be shown.
    """
    value = seconds * 1e3
    text = f'{value:{sign}.{digits}g}'
    return f'{f"{value:{sign}.0f}" if "e+" in text else text} ms'


def numbers_text(numbers: Iterable[int]) -> str:
    """Return ascending numbers as people list them: `1–4, 6, 7`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    words: list[str] = []
    for span in spans:
        # Two that follow each other are no stretch.
        words += [f'{span[0]}–{span[-1]}'] if len(span) > 2 else map(str, span)
    return ', '.join(words)


def run_numbers_text(numbers: Iterable[int]) -> str:
    """Return ascending numbers of runs, which begin at 0, as people count them: `runs 1–4, 6, 7`."""
    text = numbers_text(number + 1 for number in numbers)
    return f'run {text}' if text.isdigit() else f'runs {text}'


def about_text(seconds: float) -> str:
    """Return how long something will take, in the unit in which a person thinks of it."""
    for unit, length, up_to in (('s', 1, 120), ('min', 60, 120), ('h', 3600, 48)):
        if seconds < up_to * length:
            return f'about {max(1, round(seconds / length))} {unit}'
    return f'about {seconds / 86400:.0f} days'


def workers_text(run: RunSpec) -> str:
    """Return how the workers of a run are divided."""
    config = run.config
    return division_text(config.workers, config.generators, config.compute_workers)


def division_text(workers: int, generators: int, compute_workers: int) -> str:
    """Return how workers are divided.

    Args:
        workers: All of them.
        generators: Those that generate, or stand for the generator on the loop.
        compute_workers: Those that compute.
    """
    if workers == 1:
        return '1 worker, which computes (the generator needs none on the loop)'
    generating = '1 generator' if generators == 1 else f'{generators} generators'
    return f'{workers} workers = {generating} + {compute_workers} compute'
