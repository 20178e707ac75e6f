"""Slurm as Parsl asks it, with what Parsl leaves unasked: how a job ended, and why one waits."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.providers import SlurmProvider

# Parsl asks Slurm once a minute; a job that was cancelled should not cost that much time.
POLL_S = 10
CLUSTERS = 'clusters'
CPUS = 'cpus-per-task'


def provider(*, walltime: str, further: Sequence[tuple[str, str]], **settings: Any) -> SlurmProvider:
    """Return Parsl's provider of Slurm jobs.

    Args:
        walltime: When a job ends, as H:MM:SS.
        further: Options of sbatch that Parsl has no word for, without dashes, and their values.
        settings: What Parsl has words for.
    """
    from parsl.jobs.states import JobState
    from parsl.providers import SlurmProvider

    class Provider(SlurmProvider):  # type: ignore[misc]
        """Asks more often than Parsl's, and the controller where the accounting says nothing."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            if self._cmd.startswith('squeue'):
                # Else jobs that have ended are not named, and count as completed.
                self._cmd += ' --states=all'

        @property
        def status_polling_interval(self) -> int:
            return POLL_S

        def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:
            code, answer, said = super().execute_wait(cmd, timeout)
            if not code and cmd.startswith('sacct') and '--job ' in cmd:
                # It may hear of a job late; what it does not name counts as completed.
                named = {line.split()[0] for line in answer.splitlines() if line.strip()}
                answer += '\n' + self._controller('%i %T', set(self.resources) - named)
            return code, answer, said

        def _controller(self, form: str, jobs: Collection[str]) -> str:
            """Return a line about each of these jobs that has not ended, as the controller knows it."""
            if not jobs:
                return ''
            place = f' --clusters={self.clusters}' if self.clusters else ''
            asked = f"squeue{place} --noheader --format='{form}' --jobs={','.join(jobs)}"
            code, answer, _ = super().execute_wait(asked)
            return '' if code else str(answer)

        def _status(self) -> None:
            super()._status()
            waiting = [
                job
                for job, known in self.resources.items()
                if known['status'].state == JobState.PENDING
            ]
            for line in self._controller('%i %r', waiting).splitlines():
                job, _, reason = line.strip().partition(' ')
                if job in self.resources:
                    self.resources[job]['status'].message = reason

    lines = [f'#SBATCH --{name}{f"={shlex.quote(value)}" if value else ""}' for name, value in further]
    given = dict(further)
    if CPUS in given:
        # Else Parsl's own line would come after it.
        settings['cores_per_node'] = None
    hours, minutes, seconds = map(int, walltime.split(':'))
    # Slurm counts in minutes and would round up, but Parsl cuts off.
    minutes += 60 * hours + bool(seconds)
    return Provider(
        scheduler_options='\n'.join(lines),
        clusters=given.get(CLUSTERS),
        walltime=f'{minutes // 60}:{minutes % 60:02}:00',
        **settings,
    )
