"""The executor `globus`: workers of a Globus Compute endpoint, through the real SDK.

Tasks run the streambench that is installed on the endpoint: what travels is a small function, sent
whole, that compares versions and calls the task by its name. How many workers there are is the
endpoint's business; the warm-up proves as many as were asked for.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streambench.errors import ConfigError, ExecutorError
from streambench.executors.base import ExecutorPlugin, OpenExecutor
from streambench.executors.globus_compute_requests import (
    SDK_BATCH,
    most_in_request,
    most_payload_bytes,
    too_large,
)
from streambench.kinds import Kind, assignments, count, seconds
from streambench.options import option
from streambench.threads import whole

if TYPE_CHECKING:
    from globus_compute_sdk import Client
    from globus_compute_sdk import Executor as Sdk

    from streambench.executors.globus_compute_futures import GlobusComputeExecutor

# What the SDK allows, and takes silently for what lies outside.
MOST_BURST = 8
MOST_WINDOW_S = 32
# As the service calls an endpoint that it hears of.
ONLINE = 'online'


def _uuid() -> Kind:
    def parse(value: Any) -> str:
        try:
            return str(uuid.UUID(value))
        except (ValueError, AttributeError, TypeError):
            raise ValueError(
                'must be the UUID of an endpoint, as `globus-compute-endpoint list` shows it'
            ) from None

    return Kind(metavar='UUID', parse=parse)


@dataclass(frozen=True, kw_only=True)
class GlobusComputePlugin(ExecutorPlugin):
    """Globus Compute."""

    name: ClassVar[str] = 'globus'
    summary: ClassVar[str] = 'Globus Compute: the workers of an endpoint that runs somewhere'
    packages: ClassVar[tuple[str, ...]] = ('globus_compute_sdk',)
    install: ClassVar[str] = 'pip install globus-compute-sdk'
    tested: ClassVar[str] = 'yes, with a stand-in of the hosted service'
    class_name = 'GlobusComputeExecutor'
    in_process = False
    elsewhere = True
    # The service counts requests of few tasks, and holds back what comes after four of them.
    asks_freely = False

    globus_compute_endpoint: str | None = option(
        'Endpoint that runs the tasks; the same streambench must be installed there.',
        _uuid(),
        group='executor',
        required=True,
    )
    globus_compute_config: tuple[tuple[str, str], ...] = option(
        "Values for the endpoint's configuration template, as JSON or text.",
        assignments(),
        default=(),
        group='executor',
    )
    globus_batch_size: int | None = option(
        f'Most tasks in a request to the service; {SDK_BATCH}, and fewer where payloads would make it '
        'too large.',
        count(maximum=10_000),
        group='executor',
    )
    globus_burst_limit: int = option(
        'Requests of few tasks that the SDK sends without a wait.',
        count(maximum=MOST_BURST),
        default=4,
        group='executor',
    )
    globus_burst_window: int = option(
        'Seconds in which it counts them.', count(maximum=MOST_WINDOW_S), default=16, group='executor'
    )
    globus_task_timeout: float = option(
        'Time after its expected end after which a task without outcome has failed.',
        seconds(above=True),
        default=20.0,
        group='executor',
    )
    globus_start_timeout: float = option(
        'Time for the first answer of the endpoint, which may wait for a batch system.',
        seconds(above=True),
        default=300.0,
        group='executor',
    )

    def ahead(self, workers: int) -> int:
        """Return what fills a request of the usual size beside what runs and waits at the endpoint."""
        return 2 * workers + SDK_BATCH

    def refuse(self, *, carried_bytes: int) -> None:
        """Raise ConfigError if a request of such tasks is above the service's limit.

        Args:
            carried_bytes: Length of the largest payload.
        """
        if not most_in_request(carried_bytes):
            raise ConfigError(f'--data-size-bytes {carried_bytes}: {too_large(carried_bytes)}')
        batch = self.globus_batch_size
        if batch is not None and carried_bytes > most_payload_bytes(batch):
            raise ConfigError(f'--globus-batch-size {batch}: {too_large(carried_bytes, tasks=batch)}')

    @asynccontextmanager
    async def open(self, *, slots: int, directory: Path, session: str) -> AsyncIterator[OpenExecutor]:
        """Log in and wait for the endpoint's first answer; tasks under way at the end run on there."""
        opened: list[GlobusComputeExecutor] = []
        try:
            await whole(lambda: opened.append(self._start(slots)))
            executor = opened[0]
            await self._prove(executor)
            yield OpenExecutor(
                executor=executor, slots=slots, check=executor.check, remarks=executor.remarks
            )
        finally:
            for executor in opened:
                await whole(executor.shutdown)

    def _start(self, slots: int) -> GlobusComputeExecutor:
        from streambench.executors.globus_compute_client import open_client
        from streambench.executors.globus_compute_futures import GlobusComputeExecutor

        assert self.globus_compute_endpoint is not None
        return GlobusComputeExecutor(
            open_client(),
            self._build,
            endpoint=self.globus_compute_endpoint,
            slots=slots,
            task_timeout_s=self.globus_task_timeout,
        )

    def _build(self, client: Client, task_group: Any) -> Sdk:
        from globus_compute_sdk import Executor as Sdk

        if task_group is None:
            # One of our own: another executor in this process may have left its group there.
            Sdk._default_task_group_id = None
        return Sdk(
            endpoint_id=self.globus_compute_endpoint,
            client=client,
            task_group_id=task_group,
            user_endpoint_config={key: _plain(value) for key, value in self.globus_compute_config}
            or None,
            batch_size=self.globus_batch_size or SDK_BATCH,
            api_burst_limit=self.globus_burst_limit,
            api_burst_window_s=self.globus_burst_window,
        )

    async def _prove(self, executor: GlobusComputeExecutor) -> None:
        """Wait for an answer of the endpoint: it runs, and has the same streambench.

        Raises:
            ExecutorError: If it doesn't.
        """
        # A help text does without.
        import asyncio

        endpoint = self.globus_compute_endpoint
        try:
            answer = await asyncio.to_thread(executor.submit, len, 'proof')
            async with asyncio.timeout(self.globus_start_timeout):
                await asyncio.wrap_future(answer)
        except TimeoutError:
            state = await asyncio.to_thread(executor.endpoint_state)
            remedy = (
                'raise --globus-start-timeout if its workers wait for a batch system, or look into its '
                'endpoint.log'
                if state == ONLINE
                else 'start it (`globus-compute-endpoint start NAME` on its machine)'
            )
            raise ExecutorError(
                f'Globus Compute endpoint {endpoint}, {state or "of unknown state"}, gave no answer in '
                f'{self.globus_start_timeout:g} s: {remedy}.'
            ) from None
        except ExecutorError as error:
            raise ExecutorError(
                f'Globus Compute endpoint {endpoint} can not be used: {error}'
            ) from error


def _plain(value: str) -> Any:
    """Return what a text is in JSON, or the text."""
    try:
        return json.loads(value)
    except ValueError:
        return value
