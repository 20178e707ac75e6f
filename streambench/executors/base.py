"""What every executor can do: open a pool of workers that takes tasks like `concurrent.futures`.

An executor's settings class is the plugin. What it opens may be any `concurrent.futures.Executor`; the
bridge is the only caller.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from streambench import worker
from streambench.plugin import Plugin

if TYPE_CHECKING:
    from concurrent.futures import Executor

Say = Callable[[str], None]


def _in_order() -> None:
    return


def _nothing_to_remark() -> Sequence[str]:
    return ()


@contextmanager
def interruptible(session: str) -> Iterator[threading.Event]:
    """Let tasks of a session that sleep on thread workers be interrupted, by the event that is yielded.

    Args:
        session: Name under which they find it.
    """
    try:
        yield worker.interrupts.setdefault(session, threading.Event())
    finally:
        worker.interrupts.pop(session, None)
        worker.break_off(session)


@dataclass(frozen=True, kw_only=True)
class OpenExecutor:
    """An executor that runs.

    Attributes:
        executor: Takes the tasks.
        slots: Workers that it was asked for.
        check: Raises ExecutorError if no task will end well any more; called during a run.
        remarks: Returns what a reader of the figures must know; called at the end of each run.
        ready: Waits until the workers are there, says meanwhile what it waits for, and returns how many
            there are; None where tasks may be submitted at once.
    """

    executor: Executor
    slots: int
    check: Callable[[], None] = _in_order
    remarks: Callable[[], Sequence[str]] = _nothing_to_remark
    ready: Callable[[Say], Awaitable[int]] | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutorPlugin(Plugin):
    """Settings of an executor, able to open a pool of workers.

    Attributes:
        runs_code: Whether its workers run Python, so that one can resolve a proxy, be the generator,
            or be held by a task while the others are proven.
        asks_freely: Whether short tasks before a run cost nothing but their time.
    """

    runs_code: ClassVar[bool] = True
    asks_freely: ClassVar[bool] = True

    @property
    @abstractmethod
    def class_name(self) -> str:
        """Name of the executor's class, for psbench's column."""

    @property
    @abstractmethod
    def in_process(self) -> bool:
        """Whether its tasks run in this process."""

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may run on other hosts."""
        return False

    @property
    def detail(self) -> str:
        """What its name leaves open, for a person."""
        return ''

    @property
    def nodes(self) -> int:
        """Nodes of a batch system that are held while it is open."""
        return 0

    @property
    def walltime_s(self) -> float | None:
        """Time after which the batch system ends what holds them, or None where somebody else says."""
        return None

    def asked_workers(self) -> tuple[int, str] | None:
        """Return the workers that its own options ask for and those options, or None."""
        return None

    @abstractmethod
    def ahead(self, workers: int) -> int:
        """Return how many tasks beyond the running ones keep the executor's pipe full."""

    def refuse(self, *, carried_bytes: int) -> None:
        """Raise ConfigError if tasks that carry such payloads can't be sent.

        Args:
            carried_bytes: Length of the largest payload, method `default`.
        """
        return

    @abstractmethod
    def open(
        self, *, slots: int, directory: Path, session: str
    ) -> AbstractAsyncContextManager[OpenExecutor]:
        """Open the executor.

        Args:
            slots: Workers that run tasks.
            directory: Where it may leave files of its own.
            session: Name under which thread workers find their interrupt.

        Raises:
            ExecutorError: If it can't be started.
        """
