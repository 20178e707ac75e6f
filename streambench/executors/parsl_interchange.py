"""Parsl's interchange: seeing that it has died, so that nobody waits for it, and closing without it.

Parsl waits without end for the answer to a command, and for a peer to send a task to; a killed
interchange would hold whoever asks, and the closing of the kernel with them.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.errors import ExecutorError
from streambench.log import logger

if TYPE_CHECKING:
    from parsl import DataFlowKernel

LOOK_MS = 200
WAIT_MS = 1000
GRACE_S = 1.0
# What closing without an interchange gets.
BROKEN_S = 10.0
SIGNALS = frozenset(signal.valid_signals())


class Commands:
    """Parsl's command client, which gives up when the interchange has died.

    Args:
        client: Parsl's.
        check: Raises if the interchange has died.
    """

    def __init__(self, client: Any, check: Callable[[], None]) -> None:
        self._client = client
        self._check = check

    def run(self, message: Any, max_retries: int = 3, timeout_s: float | None = None) -> Any:
        """Ask the interchange and return its answer.

        Raises:
            ExecutorError: If it has died.
        """
        import zmq

        if timeout_s is not None:
            return self._client.run(message, max_retries, timeout_s)
        socket = self._client.zmq_socket
        with self._client._lock:
            self._wait(socket, zmq.POLLOUT)
            # It may die right now: neither call waits by itself.
            socket.send_pyobj(message, zmq.NOBLOCK)
            self._wait(socket, zmq.POLLIN)
            return socket.recv_pyobj(zmq.NOBLOCK)

    def _wait(self, socket: Any, event: int) -> None:
        self._check()
        while not socket.poll(LOOK_MS, event):
            self._check()

    def close(self) -> None:
        """Close the client, once nobody waits in it."""
        with self._client._lock:
            self._client.close()


class Interchanges:
    """A kernel's interchanges, one for each of its HighThroughputExecutors, and how it is closed.

    Args:
        kernel: It runs.
        ours: Whether we made it, so that its parts are ours to set and to end.
        title: Which executor, for errors.
        directory: Where their logs are.
    """

    def __init__(self, kernel: DataFlowKernel, *, ours: bool, title: str, directory: Path) -> None:
        from parsl.executors import HighThroughputExecutor

        self._kernel = kernel
        self._title = title
        self._directory = directory
        self._executors = [
            executor
            for executor in kernel.executors.values()
            if isinstance(executor, HighThroughputExecutor) and executor.interchange_proc is not None
        ]
        if ours:
            for executor in self._executors:
                self._unblock(executor)

    def _unblock(self, executor: Any) -> None:
        """Let nothing wait for ever for an interchange."""
        import zmq

        executor.command_client = Commands(executor.command_client, self.check)
        # Sending waits only where there is no peer any more.
        executor.outgoing_q.zmq_socket.setsockopt(zmq.SNDTIMEO, WAIT_MS)
        executor.outgoing_q.zmq_socket.setsockopt(zmq.LINGER, 0)

    def check(self) -> None:
        """Raise ExecutorError if one has died."""
        for executor in self._executors:
            code = executor.interchange_proc.poll()
            if code is not None:
                raise ExecutorError(self._sentence(code))

    def _sentence(self, code: int) -> str:
        # Behind a leash, a signal is a code above 128 as in a shell.
        number = -code if code < 0 else code - 128
        how = f'exit code {code}' if number not in SIGNALS else signal.Signals(number).name
        output = self._directory / 'interchange.out'
        return (
            f'the interchange of {self._title} has died ({how}), so that no task reaches a worker any '
            f'more: look into {str(output if output.exists() else self._directory)!r} and, if nobody '
            'ended it, in the log of the kernel for a process that ran out of memory; then start again.'
        )

    def close(self, *, within_s: float, unblock: Callable[[], None]) -> None:
        """Close the kernel; what it has not ended in time is ended here.

        Args:
            within_s: Time that it gets.
            unblock: Called again and again where it takes a while: threads of ours may be waited for.
        """
        codes = {executor: executor.interchange_proc.poll() for executor in self._executors}
        for executor, code in codes.items():
            if code is not None:
                # Else it would ask the interchange which workers to end. Tasks may end at this moment.
                with suppress(RuntimeError, InvalidStateError):
                    executor.set_bad_state_and_fail_all(ExecutorError(self._sentence(code)))
        if any(code is not None for code in codes.values()):
            # Whoever is sending gives up first: a socket must not be closed under another thread.
            time.sleep(1.5 * WAIT_MS / 1000)
            within_s = min(within_s, BROKEN_S)
        unclean = [
            executor
            for executor in self._executors
            if executor.bad_state_is_set
            or any(status.terminal for status in executor.status_facade.values())
        ]
        failures: list[Exception] = []

        def clean_up() -> None:
            try:
                self._kernel.cleanup()
            except Exception as error:
                failures.append(error)

        # Where it never returns, the interpreter must not wait for it either.
        cleaning = threading.Thread(target=clean_up, name='parsl-cleanup', daemon=True)
        cleaning.start()
        deadline = time.monotonic() + within_s
        cleaning.join(GRACE_S)
        while cleaning.is_alive() and time.monotonic() < deadline:
            unblock()
            cleaning.join(LOOK_MS / 1000)
        if cleaning.is_alive() or failures:
            unclean = self._executors
            why = repr(failures[0]) if failures else f'not within {within_s:g} s'
            logger().warning('executor.not_closed', executor=self._title, reason=why)
        for executor in unclean:
            _end(executor)


def _end(executor: Any) -> None:
    """End what an executor has started: Parsl leaves the jobs of one that is in a bad state."""
    executor.interchange_proc.kill()
    provider, states = executor.provider, executor.status_facade
    jobs = [
        job
        for block, job in executor.blocks_to_job_id.items()
        # What a job of this machine started may live on without it.
        if provider.label == 'local' or block not in states or not states[block].terminal
    ]
    if not jobs:
        return
    try:
        provider.cancel(jobs)
    except Exception as error:
        # Why the run failed is told already, and a batch system ends its jobs in time.
        logger().warning('executor.jobs_not_cancelled', jobs=jobs, reason=repr(error))
