"""The run directory: rows leave memory in batches, written by a thread, in files sealed by a rename.

Whatever kills the process, every sealed part is a whole Parquet file; what is lost is what the last
seconds held. Rows are never kept after they were handed over.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from streambench.errors import ConfigError, ResultsError, in_one_line
from streambench.packing import Packed, Packer, table_of
from streambench.parts import Parts
from streambench.records import (
    SCHEMA_VERSION,
    ItemRow,
    LagRow,
    LoopSecondRow,
    RunRow,
    SeriesRow,
    StallRow,
    column_names,
)
from streambench.threads import to_its_end, whole

if TYPE_CHECKING:
    import pyarrow

ITEMS = 'items'
SERIES = 'series'
LOOP = 'loop'
LAGS = 'lags'
STALLS = 'stalls'


def make_run_directory(root: str) -> Path:
    """Make and return a fresh private directory under `root`.

    Raises:
        ConfigError: If it can't be made.
    """
    stamp = time.strftime('%Y-%m-%d-%H-%M-%S')
    for number in range(1000):
        path = Path(root) / (stamp if not number else f'{stamp}-{number}')
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not Path(root).is_dir():
                raise ConfigError(f'--run-dir: {root!r} is a file; name a directory.') from None
            continue
        except OSError as error:
            raise ConfigError(
                f'--run-dir: {root!r} can not be written ({error.strerror}); name a directory that can.'
            ) from None
        return path
    raise ConfigError(f'--run-dir: {root!r} holds too many runs of this second.')


def prepare_directory(path: Path) -> None:
    """Make a directory for results, unless it is there and holds none.

    Raises:
        ConfigError: If it can't be made, or holds the results of another session: they would mix.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'directory {str(path)!r} can not be made ({error.strerror}): name another.'
        ) from None
    if any((path / name).exists() for name in ('results.csv', 'summary.json', ITEMS)):
        raise ConfigError(
            f'directory {str(path)!r} holds the results of another session: name another.'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a run directory holds.

    Attributes:
        rows: Rows of its runs.
        parts: Parts of each kind of row.
    """

    rows: tuple[RunRow, ...]
    parts: Mapping[str, tuple[Path, ...]]


class Recorder:
    """Write results into a run directory.

    Args:
        directory: The run directory.
        csv_file: Name of the results file in it, or an absolute path.
    """

    def __init__(self, directory: Path, *, csv_file: str = 'results.csv') -> None:
        self.directory = directory
        self.csv_path = directory / csv_file
        self._items = Parts(directory / ITEMS, ItemRow)
        self._series = Parts(directory / SERIES, SeriesRow)
        self._loop = Parts(directory / LOOP, LoopSecondRow)
        self._lags = Parts(directory / LAGS, LagRow)
        self._stalls = Parts(directory / STALLS, StallRow)
        self._parts = {
            ITEMS: self._items,
            SERIES: self._series,
            LOOP: self._loop,
            LAGS: self._lags,
            STALLS: self._stalls,
        }
        self._packer = Packer(ItemRow)
        self._waiting_series: list[SeriesRow] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='recorder')
        self._writing: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self.rows: list[RunRow] = []

    async def __aenter__(self) -> Self:
        """Return the recorder; it may be entered again, on another loop."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='recorder')
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what waits and end the thread."""
        try:
            if self._failure is None:
                await to_its_end(self.seal())
        finally:
            await whole(self._thread.shutdown)

    def complete_with(self, completing: Callable[[pyarrow.Table], pyarrow.Table] | None) -> None:
        """Set what completes rows of items, in the thread, before they are written."""
        self._items.completing = completing

    def check(self) -> None:
        """Look whether what was taken so far could be written; once it could not, nothing is.

        Raises:
            ResultsError: If the disk is full or gone.
        """
        if self._writing is not None and self._writing.done():
            error = self._writing.exception()
            self._writing = None
            if error is not None:
                self._give_up(error)
        if self._failure is not None:
            raise self._failure

    def _give_up(self, error: BaseException) -> None:
        self._failure = self._translated(error)

    def item(self, row: ItemRow) -> None:
        """Take a final row; it is on disk a few seconds later, or `check` tells."""
        if self._failure is None:
            self._packer.add(row)

    def series(self, row: SeriesRow) -> None:
        """Take a row of the per-second series."""
        if self._failure is None:
            self._waiting_series.append(row)

    def hand_over(self) -> None:
        """Give what waits to the thread, unless it is still writing.

        Raises:
            ResultsError: If the disk is full or gone.
        """
        self.check()
        if self._writing is not None:
            return
        items = self._packer.take() if self._packer.count else None
        series, self._waiting_series = self._waiting_series, []
        self._writing = asyncio.get_running_loop().run_in_executor(
            self._thread, self._add, items, series
        )

    def _add(self, items: Packed | None, series: list[SeriesRow]) -> None:
        if items is not None:
            self._items.add(self._packer.table(items))
        if series:
            self._series.add(table_of(series, SeriesRow))
        self._items.seal_if_due()
        self._series.seal_if_due()

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError):
            # Arrow's own text repeats itself; the number says the same in a word.
            why = os.strerror(error.errno) if error.errno else in_one_line(error)
            return ResultsError(
                f'results can not be written to {str(self.directory)!r} ({why}): make room there or '
                'choose another --run-dir.'
            )
        return error

    async def seal(self) -> None:
        """Write everything taken so far.

        Raises:
            ResultsError: If the disk is full or gone.
        """
        while self._writing is not None or self._packer.count or self._waiting_series:
            self.hand_over()
            if self._writing is not None:
                await asyncio.wait([self._writing])
            self.check()
        self.check()
        await self._written(self._seal)

    async def _written(self, write: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except OSError as error:
            self._give_up(error)
            self.check()

    async def loop(
        self, seconds: list[LoopSecondRow], lags: list[LagRow], stalls: list[StallRow]
    ) -> None:
        """Write what the loop monitor found in a run.

        Raises:
            ResultsError: If the disk is full or gone.
        """

        def write() -> None:
            if seconds:
                self._loop.add(table_of(seconds, LoopSecondRow))
            if lags:
                self._lags.add(table_of(lags, LagRow))
            if stalls:
                self._stalls.add(table_of(stalls, StallRow))
            for parts in (self._loop, self._lags, self._stalls):
                parts.seal()

        await self._written(write)

    def _seal(self) -> None:
        self._items.seal()
        self._series.seal()

    @property
    def written(self) -> Written:
        """What is in the directory so far."""
        parts = {kind: tuple(parts.paths) for kind, parts in self._parts.items()}
        return Written(rows=tuple(self.rows), parts=parts)

    def go_on(self, written: Written) -> None:
        """Take what another process has written, so that what comes is written after it."""
        self.rows[:] = written.rows
        for kind, paths in written.parts.items():
            self._parts[kind].paths[:] = paths

    @property
    def item_parts(self) -> list[Path]:
        """The sealed parts of items so far."""
        return list(self._items.paths)

    async def run(self, row: RunRow) -> None:
        """Append a row to the results and renew summary.json.

        Raises:
            ResultsError: If the disk is full or gone.
        """
        self.rows.append(row)
        await self._written(partial(self._write_run, asdict(row)))

    def _write_run(self, row: Mapping[str, Any]) -> None:
        names = column_names(RunRow)
        before = self.csv_path.stat().st_size if self.csv_path.exists() else 0
        try:
            with self.csv_path.open('a', newline='', encoding='utf-8') as file:
                writer = csv.writer(file)
                if not before:
                    writer.writerow(names)
                writer.writerow(['' if row[name] is None else row[name] for name in names])
        except OSError:
            # Half a row would make the whole file unreadable.
            with suppress(OSError):
                os.truncate(self.csv_path, before)
            raise
        self.write_json(
            'summary.json',
            {'schema_version': SCHEMA_VERSION, 'runs': [asdict(done) for done in self.rows]},
        )

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file into the run directory, whole or not at all."""
        self._write(name, json.dumps(value, indent=2, allow_nan=False) + '\n')

    def write_toml(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a TOML file into the run directory, whole or not at all."""
        import tomli_w

        self._write(name, tomli_w.dumps(_plain(value)))

    def _write(self, name: str, content: str) -> None:
        unsealed = self.directory / f'{name}.tmp'
        try:
            with open(unsealed, 'w', encoding='utf-8', opener=_private) as file:
                file.write(content)
            unsealed.rename(self.directory / name)
        except OSError as error:
            with suppress(OSError):
                unsealed.unlink(missing_ok=True)
            raise self._translated(error) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _plain(value: Any) -> Any:
    """Return a value as TOML has it: options that are pairs become KEY=VALUE again."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and all(isinstance(item, tuple) for item in value):
        return [f'{key}={item}' for key, item in value]
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
