"""Saying what is being done while it is done, in a terminal or a pipe."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TextIO

from streambench.arrivals import CONSTANT
from streambench.session import Progress
from streambench.wording import size_text

PIPE_INTERVAL_S = 5.0
RATE_S = 0.1
# Back to the begin of the line, and nothing left on it.
CLEAR = '\r\x1b[K'


class ProgressLine:
    """Say what is being done: a line that moves in a terminal, a line per interval elsewhere.

    Args:
        stream: Where to.
        runs: Runs of the plan.
        moving: Whether it is a terminal whose line can be written over.
        begun_at: When the plan began, of time.monotonic; now if absent.

    Attributes:
        begun_at: The same.
    """

    def __init__(
        self, stream: TextIO, *, runs: int, moving: bool, begun_at: float | None = None
    ) -> None:
        self._stream = stream
        self._runs = runs
        self._moving = moving
        self._said_at = -PIPE_INTERVAL_S
        self.begun_at = time.monotonic() if begun_at is None else begun_at
        self._doing = ''

    def __call__(self, progress: Progress) -> None:
        """Take where the session stands."""
        now = time.monotonic()
        key = f'{progress.doing} {progress.run.run if progress.run else ""}'
        wait = RATE_S if self._moving else PIPE_INTERVAL_S
        # In a pipe every run is worth one line, its warm-up isn't.
        fresh = key != self._doing and (self._moving or progress.doing != 'warm-up')
        if not fresh and now - self._said_at < wait:
            return
        self._doing, self._said_at = key, now
        text = f'[{now - self.begun_at:4.0f} s] {self._text(progress)}'
        if self._moving:
            width = shutil.get_terminal_size().columns - 1
            self._write(CLEAR + text[:width])
        else:
            self._write(text + '\n')

    def say(self, text: str) -> None:
        """Say a line that stays."""
        self.clear()
        self._write(text + '\n')

    def _write(self, text: str) -> None:
        # Nobody has to listen: what counts is in the run directory.
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def _text(self, progress: Progress) -> str:
        run = progress.run
        if run is None:
            return progress.doing
        config = run.config
        pace = 'rate max' if config.closed_loop else f'load {config.offered_load or 0:.3g}'
        if config.arrival != CONSTANT:
            pace = f'{config.arrival}, {pace}'
        where = (
            f'run {run.run + 1} of {self._runs}: {config.stream_method} '
            f'{size_text(config.data_size_bytes)} at {pace}'
        )
        if progress.doing != 'measuring':
            return f'{where}, {progress.doing}'
        of_all = f' of {progress.total}' if progress.total else ''
        return f'{where}, {progress.completed}{of_all} items'

    def clear(self) -> None:
        """Remove the moving line."""
        if self._moving:
            self._write(CLEAR)
