"""A run directory as it is found: whole, of an earlier version, or left behind by a killed process.

What is there is used, and what can't be read is told. No file in it is changed.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from streambench.bounds import BOUNDS, Bounds
from streambench.config import OPTIONS, RECORD_NONE
from streambench.errors import ConfigError, StreamBenchError
from streambench.newest import newest_hint
from streambench.packing import Row, required_of, schema_of
from streambench.plan import Plan, make_plan
from streambench.recorder import ITEMS, LAGS, LOOP, SERIES, STALLS
from streambench.records import (
    SCHEMA_VERSION,
    ItemRow,
    LagRow,
    LoopSecondRow,
    SeriesRow,
    StallRow,
)
from streambench.run_spec import RunSpec
from streambench.schemas import other_version
from streambench.settings import read_toml
from streambench.stored_rows import StoredRows, Trouble, read_results, read_summary
from streambench.thresholds import Threshold

CONFIG = 'config.toml'
ENVIRONMENT = 'environment.json'
SUMMARY = 'summary.json'

Parts = dict[Path, frozenset[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDirectory:
    """What was found.

    Attributes:
        path: The directory.
        results: Rows of results.csv.
        summary: Rows of summary.json.
        plan: What was asked, from config.toml; None if that can't be told.
        environment: Content of environment.json; empty if it can't be read.
        items: Parts of items that can be read, with the runs in each.
        series: Parts of the series that can be read, with the runs in each.
        loop: Parts of the loop's seconds that can be read, with the runs in each.
        lags: Parts of its lag's histogram that can be read, with the runs in each.
        stalls: Parts of its stalls that can be read, with the runs in each.
        troubles: What can't be read.
    """

    path: Path
    results: StoredRows
    summary: StoredRows
    plan: Plan | None
    environment: Mapping[str, Any]
    items: Mapping[Path, frozenset[int]]
    series: Mapping[Path, frozenset[int]]
    loop: Mapping[Path, frozenset[int]]
    lags: Mapping[Path, frozenset[int]]
    stalls: Mapping[Path, frozenset[int]]
    troubles: tuple[Trouble, ...]

    @property
    def own_clock(self) -> str | None:
        """Clock domain of the dispatcher, if it is known."""
        found = self.environment.get('clock_domain')
        return found if isinstance(found, str) else None

    def items_of(self, run: int) -> list[Path]:
        """Return the parts that hold items of a run."""
        return [part for part, runs in self.items.items() if run in runs]

    @property
    def kept(self) -> set[int]:
        """Runs of which there are items or states."""
        return {run for runs in (*self.items.values(), *self.series.values()) for run in runs}

    def spec(self, run: int) -> RunSpec | None:
        """Return what was asked of a run, if config.toml says so."""
        runs = self.plan.runs if self.plan else ()
        return runs[run] if 0 <= run < len(runs) else None

    def bounds(self, run: int) -> Bounds:
        """Return where the verdict of a run changes."""
        spec = self.spec(run)
        return spec.config.bounds if spec else BOUNDS

    def thresholds(self, run: int) -> Sequence[Threshold] | None:
        """Return what the figures of a run had to meet; None if that isn't known."""
        spec = self.spec(run)
        return spec.config.thresholds if spec else None

    def recorded(self, run: int) -> bool:
        """Whether the items of a run were to be kept."""
        spec = self.spec(run)
        return spec is None or spec.config.record != RECORD_NONE


@contextmanager
def open_run_directory(
    path: str | Path, *, does: str, reads: Sequence[int] = (SCHEMA_VERSION,)
) -> Iterator[RunDirectory]:
    """Find out what a directory holds.

    Args:
        path: The directory.
        does: What is to be done with it, as a verb, for what is said if that can't be.
        reads: Schema versions with which that can be done.

    Yields:
        What is there; parts of an earlier version as copies of the present one.

    Raises:
        ConfigError: If it is no run directory, holds nothing, or is of another version.
    """
    directory = Path(path)
    name = repr(str(path))
    try:
        there = {entry.name for entry in directory.iterdir()}
    except NotADirectoryError:
        raise ConfigError(f'{name} is a file; name the run directory that holds it.') from None
    except OSError as error:
        raise ConfigError(f'{name} can not be read ({error.strerror}); name a run directory.') from None
    troubles: list[Trouble] = []
    environment = _environment(directory, troubles)
    values, plan = _plan(directory, troubles)
    csv_file = str(values.get('csv_file') or OPTIONS['csv_file'].default)
    results = read_results(directory / csv_file, file=csv_file)
    summary = read_summary(directory / SUMMARY, file=SUMMARY)
    for stored in (results, summary):
        troubles += stored.troubles
    for entry in sorted(there):
        if entry.endswith('.tmp'):
            troubles.append(Trouble(entry, 'was not finished'))
    items, of_items = _parts(directory, ITEMS, ItemRow, troubles)
    series, of_series = _parts(directory, SERIES, SeriesRow, troubles)
    loop, _ = _parts(directory, LOOP, LoopSecondRow, troubles)
    lags, _ = _parts(directory, LAGS, LagRow, troubles)
    stalls, _ = _parts(directory, STALLS, StallRow, troubles)
    if not (items or series or results.rows or summary.rows):
        told = [entry for entry in troubles if entry.file != CONFIG]
        _refuse_empty(name, there, told, newest_hint(directory, result=SUMMARY))
    versions: set[Any] = {of_items, of_series} - {None}
    if not versions:
        versions = {row.get('schema_version') for row in (*results.rows, *summary.rows)} | {
            *summary.stated
        }
    versions.discard(None)
    if not versions:
        raise ConfigError(
            f'{name} holds results that name no schema version, as those of psbench, and no {ITEMS}: '
            f'there is nothing to {does}; name a run directory of streambench.'
        )
    unread = versions - {*reads}
    if unread and (items or series or unread == versions):
        version = next(iter(unread))
        raise other_version(name, version, does=does, reads=reads, environment=environment)
    with tempfile.TemporaryDirectory(prefix='streambench-') as copies:
        if of_items not in (None, SCHEMA_VERSION):
            items = _renewed(items, ItemRow, Path(copies) / ITEMS)
        if of_series not in (None, SCHEMA_VERSION):
            series = _renewed(series, SeriesRow, Path(copies) / SERIES)
        yield RunDirectory(
            path=directory,
            results=results,
            summary=summary,
            plan=plan,
            environment=environment,
            items=items,
            series=series,
            loop=loop,
            lags=lags,
            stalls=stalls,
            troubles=tuple(troubles),
        )


def _refuse_empty(name: str, there: set[str], troubles: Sequence[Trouble], hint: str) -> None:
    if not there:
        raise ConfigError(f'{name} is empty; name a run directory.')
    if troubles:
        more = f' and {len(troubles) - 1} more' if len(troubles) > 1 else ''
        raise ConfigError(f'{name} holds nothing that can be read: {troubles[0]}{more}; measure again.')
    if there & {CONFIG, ENVIRONMENT, ITEMS, SERIES}:
        raise ConfigError(
            f'{name} holds no row of any run: it was ended before the first was written; measure again.'
        )
    raise ConfigError(
        f'{name} holds nothing that streambench wrote (no results.csv, no {SUMMARY}, no {ITEMS}); '
        f'{hint or "name a run directory"}.'
    )


def _environment(directory: Path, troubles: list[Trouble]) -> Mapping[str, Any]:
    try:
        found = json.loads((directory / ENVIRONMENT).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        troubles.append(Trouble(ENVIRONMENT, "can not be read: its clock is taken for this machine's"))
        return {}
    return found


def _plan(directory: Path, troubles: list[Trouble]) -> tuple[Mapping[str, Any], Plan | None]:
    """Return the options of config.toml and the plan that they make, as far as they do."""
    path = directory / CONFIG
    if not path.exists():
        troubles.append(Trouble(CONFIG, 'is missing: what was asked is known from the rows only'))
        return {}, None
    values: Mapping[str, Any] = {}
    try:
        values, sweep = read_toml(str(path))
        if 'seed' not in values:
            troubles.append(
                Trouble(CONFIG, 'names no seed: what was asked is known from the rows only')
            )
            return values, None
        return values, make_plan(values, sweep=sweep)
    except StreamBenchError as error:
        troubles.append(Trouble(CONFIG, f'makes no plan here: {str(error).removesuffix(".")}'))
        return values, None


def _parts(
    directory: Path, kind: str, record: type[Row], troubles: list[Trouble]
) -> tuple[Parts, int | None]:
    """Return the parts that are whole, and the schema version that they state."""
    found: dict[Path, tuple[frozenset[int], int]] = {}
    numbers: list[int] = []
    for path in sorted((directory / kind).glob('part-*')):
        read = _read(path, record)
        numbers += [int(digits) for digits in re.findall(r'part-(\d+)', path.stem)]
        if read is None:
            what = 'was not finished' if path.suffix == '.tmp' else 'is damaged'
            troubles.append(Trouble(f'{kind}/{path.name}', f'{what}: its rows are not read'))
            continue
        found[path] = read
    gone = sorted({*range(max(numbers, default=-1) + 1)} - {*numbers})
    troubles += [Trouble(f'{kind}/part-{place:04d}.parquet', 'is missing') for place in gone]
    stated = Counter(version for _, version in found.values())
    # One process writes a directory, so a part of another version is not from here.
    version = max(stated, key=stated.__getitem__, default=None)
    troubles += [
        Trouble(
            f'{kind}/{path.name}',
            f'is of schema version {other}, the others of {version}: its rows are not read',
        )
        for path, (_, other) in found.items()
        if other != version
    ]
    return {path: runs for path, (runs, its) in found.items() if its == version}, version


def _read(path: Path, record: type[Row]) -> tuple[frozenset[int], int] | None:
    """Return the runs in a part and its schema version; None if not all of it can be read."""
    import pyarrow
    import pyarrow.compute as compute
    import pyarrow.parquet

    try:
        # Only reading all of it tells whether it is whole.
        table = pyarrow.parquet.read_table(path)
        version = int((table.schema.metadata or {})[b'schema_version'])
        runs = frozenset(compute.unique(table['run']).to_pylist())
    except (OSError, KeyError, ValueError, pyarrow.ArrowException):
        return None
    there = {*table.column_names}
    kinds = {entry.name: entry.type for entry in schema_of(record)}
    whole = (
        (version != SCHEMA_VERSION or {*kinds} <= there)
        and all(table.schema.field(name).type == kinds[name] for name in there & {*kinds})
        and not any(table[name].null_count for name in there & {*required_of(record)})
    )
    return (runs, version) if whole else None


def _renewed(parts: Parts, record: type[Row], directory: Path) -> Parts:
    """Return copies of parts of an earlier version, with the columns that it did not have."""
    import pyarrow
    import pyarrow.parquet

    directory.mkdir()
    schema = schema_of(record)
    defaults = {entry.name: entry.default for entry in fields(record)}
    copies: Parts = {}
    for part, runs in parts.items():
        table = pyarrow.parquet.read_table(part)
        columns = [
            table[column.name].cast(column.type)
            if column.name in table.column_names
            else pyarrow.array([defaults[column.name]] * table.num_rows, column.type)
            for column in schema
        ]
        copy = directory / part.with_suffix('.parquet').name
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), copy)
        copies[copy] = runs
    return copies
