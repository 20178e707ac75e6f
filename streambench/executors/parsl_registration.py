"""Workers of a Parsl site: waiting until they have registered, and seeing that they stay."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.errors import ExecutorError
from streambench.executors.base import Say
from streambench.threads import whole

if TYPE_CHECKING:
    from parsl import DataFlowKernel

POLL_S = 0.25
INTERNAL = '_parsl_internal'


class Registration:
    """Workers of the executors that a kernel has.

    Args:
        kernel: It runs.
        slots: Workers that were asked for.
        within_s: Deadline of their coming.
        title: Which executor, for errors.
        steady: Whether a job that ends ends the session.
        directory: Where logs are.
    """

    def __init__(
        self,
        kernel: DataFlowKernel,
        *,
        slots: int,
        within_s: float,
        title: str,
        steady: bool,
        directory: Path,
    ) -> None:
        self._executors = [e for label, e in kernel.executors.items() if label != INTERNAL]
        self._slots = slots
        self._within_s = within_s
        self._title = title
        self._steady = steady
        self._directory = directory

    async def ready(self, say: Say) -> int:
        """Wait until the workers have registered.

        Args:
            say: Takes what is waited for.

        Returns:
            How many have, which may be more than were asked for.

        Raises:
            ExecutorError: If a job fails first, or time is up.
        """
        deadline = time.monotonic() + self._within_s
        while True:
            registered, jobs = await whole(self._look)
            if registered is None:
                # Of an executor that doesn't say, the warm-up proves the workers.
                return self._slots
            if registered >= self._slots:
                return int(registered)
            doing = f'{registered} of {self._slots} workers of {self._title} have registered'
            say(f'{doing}; {jobs}' if jobs else doing)
            # It reads what the job has said.
            await whole(partial(self.check, beginning=True))
            if time.monotonic() > deadline:
                raise ExecutorError(
                    f'{doing} within {self._within_s:g} s{f" ({jobs})" if jobs else ""}: raise '
                    f'--parsl-start-timeout, ask for other workers, or look into '
                    f'{str(self._directory)!r}.'
                )
            await asyncio.sleep(POLL_S)

    def _look(self) -> tuple[int | None, str]:
        """Return how many workers have registered, None if nobody knows, and the jobs' states."""
        total, jobs = 0, []
        for executor in self._executors:
            if hasattr(executor, 'connected_managers'):
                total += sum(manager['worker_count'] for manager in executor.connected_managers())
            elif hasattr(executor, 'max_threads'):
                total += executor.max_threads
            else:
                return None, ''
            if getattr(getattr(executor, 'provider', None), 'label', '') != 'local':
                jobs += [_text(job, status) for job, status in _jobs(executor) if job is not None]
        return total, ', '.join(jobs)

    def check(self, *, beginning: bool = False) -> None:
        """Raise ExecutorError if a job has ended, or Parsl has given up.

        Args:
            beginning: Whether its workers have not come yet, so that its output says why.
        """
        for executor in self._executors:
            if self._steady:
                for job, status in _jobs(executor):
                    if status.terminal:
                        raise ExecutorError(self._ended(job, status, beginning=beginning))
            if getattr(executor, 'bad_state_is_set', False):
                raise ExecutorError(
                    f'{self._title} has given up: {_line(str(executor.executor_exception))}; look into '
                    f'{str(self._directory)!r}.'
                )

    def _ended(self, job: Any, status: Any, *, beginning: bool) -> str:
        """Return the sentence about a job that ended or never began."""
        place = f'look into {str(self._directory)!r}'
        if job is None:
            return f'{self._title} got no job: {_line(status.message or "")}; {place}.'
        # Missing is what htex calls every job that ended before its workers came.
        state = status.state.name.lower()
        ended = f'job {job} of {self._title} has ended{"" if state == "missing" else f" ({state})"}'
        if not beginning:
            return f'{ended} while its workers were needed; {place}.'
        said = _line(status.stderr_summary or '')
        return f'{ended} before its workers came{f": {said}" if said else ""}; {place}.'


def _jobs(executor: Any) -> list[tuple[Any, Any]]:
    """Return each block's job, None if there is none, with its state as the batch system says it."""
    found = []
    for block, status in dict(getattr(executor, 'status_facade', {})).items():
        job = executor.blocks_to_job_id.get(block)
        known = getattr(executor.provider, 'resources', {}).get(job, {})
        # htex calls a job missing that ended before its workers came; the provider knows how.
        found.append((job, known.get('status') or status))
    return found


def _text(job: Any, status: Any) -> str:
    """Return a job's state, and why it is in it if that is known."""
    reason = f' ({status.message})' if status.message and not status.terminal else ''
    return f'job {job} {status.state.name.lower()}{reason}'


def _line(text: str) -> str:
    """Return the last line that says something."""
    # What sbatch said stands at the end of Parsl's own sentence, perhaps with where to find help.
    said = text.rpartition('stderr=')[2].strip().splitlines()
    named = [line for line in said if line.startswith('sbatch: ')]
    return (named or said)[-1].strip() if said else ''
