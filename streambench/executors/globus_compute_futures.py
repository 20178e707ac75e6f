"""Globus Compute's `Executor`, made fit to be measured with: rebuilt, bounded, given deadlines.

What the SDK's does by itself (4.19): after one failed request it is dead for good; whatever waits goes
into one request, however large; a future whose endpoint has gone never completes; it leaves a thread
that keeps the process from ending while such a future is open.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streambench import __version__, message
from streambench.errors import ExecutorError
from streambench.executors.globus_compute_client import Delays, said
from streambench.executors.globus_compute_requests import (
    REQUEST_BYTES,
    REQUEST_HEAD_BYTES,
    cost,
    encoded_bytes,
    on_endpoint,
    too_large,
)
from streambench.log import logger

if TYPE_CHECKING:
    from globus_compute_sdk import Client

# SDK and endpoint each look every 0.5 s for what has come; neither can be told otherwise.
POLL_S = 0.5
WATCH_S = 0.25
ROOM_S = 0.005
# So long nothing but failures: it is the service or the endpoint, not a request.
GONE_AFTER_S = 60.0
JOIN_S = 15.0


@dataclass(slots=True, eq=False)
class _Pending:
    """A task without outcome so far."""

    future: Future[Any]
    encoded_bytes: int
    sleep_s: float | None
    sdk: Any = None
    sent: Any = None
    deadline_s: float = float('inf')

    @property
    def unsent(self) -> bool:
        return not self.future.done() and self.sent.task_id is None and not self.sent.done()


class GlobusComputeExecutor(Executor):
    """Tasks on an endpoint of Globus Compute, as futures that all come to an end.

    Making it blocks, as do `submit` and `shutdown`: the SDK asks the service in them.

    Args:
        client: Logged in.
        build: Makes an executor of the SDK for a client and the id of a task group, or None.
        endpoint: UUID of the endpoint.
        slots: Workers that it was asked for.
        task_timeout_s: How long after its expected end a task may stay without outcome.

    Raises:
        ExecutorError: If the service does not take the function.
    """

    def __init__(
        self,
        client: Client,
        build: Callable[[Client, Any], Any],
        *,
        endpoint: str,
        slots: int,
        task_timeout_s: float,
    ) -> None:
        self._client = client
        self._build = build
        self._endpoint = endpoint
        self._slots = slots
        self._task_timeout_s = task_timeout_s
        self._lock = threading.Lock()
        self._submitting = threading.Lock()
        self._pending: set[_Pending] = set()
        self._sleeping_s = 0.0
        self._unsent: deque[_Pending] = deque()
        self._unsent_bytes = 0
        self._workers: set[tuple[str, int, int]] = set()
        self._rebuilt = self._expired = 0
        self._failing_since_s: float | None = None
        self._failure = ''
        self._delays = Delays()
        self._log = logger().bind(executor='globus', endpoint=endpoint)
        # Any: the SDK's own has no types for what ends it.
        self._sdk: Any = build(client, None)
        self._dead = False
        try:
            self._function = self._sdk.register_function(on_endpoint)
        except ExecutorError:
            raise
        except Exception as error:
            raise ExecutorError(f'Globus Compute did not take the function: {said(error)}') from error
        logging.getLogger('globus_compute_sdk.sdk.executor').addFilter(self._delays)
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._expire, name='globus-deadlines', daemon=True)
        self._watch.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a task soon; waits while earlier ones fill a request.

        Raises:
            RuntimeError: If the executor is closed.
            ExecutorError: If the service takes no tasks.
        """
        if kwargs:
            raise TypeError('tasks take no keyword arguments')
        carried_bytes, sleep_s = cost(fn, args)
        pending = _Pending(Future(), encoded_bytes(carried_bytes), sleep_s)
        if pending.encoded_bytes > REQUEST_BYTES - REQUEST_HEAD_BYTES:
            pending.future.set_exception(ExecutorError(too_large(carried_bytes)))
            return pending.future
        path = f'{fn.__module__}:{fn.__qualname__}'
        arguments = (__version__, message.VERSION, path, args)
        with self._submitting:
            self._wait_for_room(pending.encoded_bytes)
            self.check()
            if self._closed.is_set():
                raise RuntimeError('the executor is closed')
            if self._dead:
                self._rebuild()
            try:
                pending.sent = self._sdk.submit_to_registered_function(self._function, arguments)
            except RuntimeError:
                # It died since.
                self._rebuild()
                pending.sent = self._sdk.submit_to_registered_function(self._function, arguments)
            pending.sdk = self._sdk
            with self._lock:
                self._pending.add(pending)
                if sleep_s is not None:
                    self._sleeping_s += sleep_s
                    busy_s = self._sleeping_s / self._slots + sleep_s
                    pending.deadline_s = time.monotonic() + busy_s + self._task_timeout_s
            self._unsent.append(pending)
            self._unsent_bytes += pending.encoded_bytes
            pending.sent.add_done_callback(_Arrival(self, pending))
        return pending.future

    def _wait_for_room(self, wanted_bytes: int) -> None:
        """Return when a request can hold a task beside all that were not sent so far."""
        while not self._closed.is_set():
            # The SDK sends them in this order.
            while self._unsent and not self._unsent[0].unsent:
                self._unsent_bytes -= self._unsent.popleft().encoded_bytes
            together_bytes = self._unsent_bytes + wanted_bytes
            if not self._unsent or together_bytes <= REQUEST_BYTES - REQUEST_HEAD_BYTES:
                return
            time.sleep(ROOM_S)

    def _rebuild(self) -> None:
        """Take a new executor of the SDK; what the dead one had not sent has failed."""
        dead, self._sdk = self._sdk, self._build(self._client, self._sdk.task_group_id)
        self._dead = False
        self._rebuilt += 1
        self._log.warning('executor.rebuilt', times=self._rebuilt, reason=self._failure)
        for pending in self._unsent:
            if pending.unsent:
                self._end(pending, ExecutorError(f'not sent after a failed request: {self._failure}'))
        self._unsent.clear()
        self._unsent_bytes = 0
        dead.shutdown(wait=False, cancel_futures=True)

    def arrive(self, pending: _Pending, sent: Future[Any]) -> None:
        """Take the end of a future of the SDK, in whatever thread it ended."""
        from globus_compute_sdk.errors import TaskExecutionFailed

        error = None if sent.cancelled() else sent.exception()
        if pending.sent.task_id is None and pending.sdk is self._sdk:
            # A failed request fails these futures first and the executor afterwards.
            self._dead = True
        if sent.cancelled():
            self._end(pending, ExecutorError(f'not sent after a failed request: {self._failure}'))
        elif error is None:
            self._failing_since_s = None
            outcome = sent.result()
            if pending.sleep_s is not None and len(self._workers) <= self._slots:
                self._workers.add((outcome[4], outcome[6], outcome[7]))
            self._end(pending, None, outcome)
        elif isinstance(error, TaskExecutionFailed):
            self._failing_since_s = None
            self._end(pending, ExecutorError(f'on the endpoint: {said(error)}'))
        else:
            self._fails(said(error))
            self._end(pending, ExecutorError(f'Globus Compute: {said(error)}'))

    def _fails(self, why: str) -> None:
        self._failure = why
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()

    def _end(self, pending: _Pending, error: ExecutorError | None, outcome: Any = None) -> None:
        with self._lock:
            if pending not in self._pending:
                # Its deadline has passed.
                return
            self._pending.discard(pending)
            self._sleeping_s -= pending.sleep_s or 0.0
        # It may be cancelled by whoever waits for it, at any time.
        with suppress(InvalidStateError):
            if error is None:
                pending.future.set_result(outcome)
            else:
                pending.future.set_exception(error)

    def _expire(self) -> None:
        """End what has no outcome at its deadline, until closed."""
        while not self._closed.wait(WATCH_S):
            now_s = time.monotonic()
            with self._lock:
                late = [pending for pending in self._pending if pending.deadline_s < now_s]
            if not late:
                continue
            self._expired += len(late)
            self._fails(f'no result of {len(late)} tasks in {self._task_timeout_s:g} s')
            self._log.warning('executor.tasks_expired', tasks=len(late), total=self._expired)
            for pending in late:
                self._end(
                    pending,
                    ExecutorError(
                        f'no result {self._task_timeout_s:g} s after the task should have ended: look '
                        'for the endpoint, or raise --globus-task-timeout'
                    ),
                )

    def check(self) -> None:
        """Raise ExecutorError if nothing but failures has come for a minute."""
        since_s = self._failing_since_s
        if since_s is not None and time.monotonic() - since_s > GONE_AFTER_S:
            raise ExecutorError(
                f'Globus Compute endpoint {self._endpoint} has given nothing but failures for '
                f'{time.monotonic() - since_s:.0f} s, the last: {self._failure}; look for the endpoint '
                'and at the state of the service.'
            )

    def endpoint_state(self) -> str:
        """Ask the service whether it hears of the endpoint; return its word, or nothing. Blocks."""
        try:
            return str(self._client.get_endpoint_status(self._endpoint)['status'])
        except Exception:
            # It is only to make a sentence better.
            return ''

    def remarks(self) -> list[str]:
        """Return what a reader of the figures since the last call must know."""
        found = [
            f'Globus Compute looks for results every {POLL_S:g} s, at the endpoint and again here, '
            'which no setting changes: half a second of return or more is its own'
        ]
        if len(self._workers) > self._slots:
            found.append(
                f'more workers ran tasks than the {self._slots} asked for: give --max-workers as many '
                'as the endpoint has'
            )
        if self._rebuilt:
            found.append(f"the SDK's executor was rebuilt {self._rebuilt} times: {self._failure}")
        if self._expired:
            found.append(f'{self._expired} tasks had no result at their deadline')
        if self._delays.seconds:
            found.append(
                f'the SDK held requests back for {self._delays.seconds:.1f} s in all: see '
                '--globus-burst-limit'
            )
        self._workers.clear()
        self._rebuilt = self._expired = 0
        self._delays.seconds = 0.0
        return found

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads, whatever is open; tasks that were sent run on at the endpoint."""
        from globus_compute_sdk import Executor as Sdk
        from globus_compute_sdk.sdk import executor as sdk_module

        self._closed.set()
        self._watch.join()
        with self._submitting:
            # Nobody submits, or builds another one, from here on.
            with self._lock:
                under_way = list(self._pending)
                self._pending.clear()
            for pending in under_way:
                pending.future.cancel()
            self._sdk.shutdown(wait=False, cancel_futures=True)
        # It makes a watcher for what it has just sent, so it must end first.
        self._sdk._task_submitter.join(JOIN_S)
        group = self._sdk.task_group_id
        watcher: Any = sdk_module._RESULT_WATCHERS.get(group)
        if watcher is not None:
            # The SDK leaves it to the end of the process, and waits there for open futures.
            connection = watcher._connection
            watcher.shutdown(wait=False, cancel_futures=True)
            watcher.join(JOIN_S)
            if connection is not None and not watcher.is_alive():
                connection.ioloop.close()
        if Sdk._default_task_group_id == group:
            Sdk._default_task_group_id = None
        logging.getLogger('globus_compute_sdk.sdk.executor').removeFilter(self._delays)


class _Arrival:
    """A future's callback."""

    __slots__ = ('_executor', '_pending')

    def __init__(self, executor: GlobusComputeExecutor, pending: _Pending) -> None:
        self._executor = executor
        self._pending = pending

    def __call__(self, sent: Future[Any]) -> None:
        self._executor.arrive(self._pending, sent)
