"""Idle time and busy start of an asyncio loop, by a selector that looks before it waits.

`select` of this one loop's selector is replaced: it first polls with timeout 0, and only if nothing is
there takes the time of the waiting poll. A loop that is busy never reads a clock here, which makes it
as fast as the original; a loop that is idle polls once more per wait.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
import time
from collections.abc import Callable
from types import CodeType
from typing import Any

_IDLE, _BUSY_SINCE, _WAITING_SINCE, _ITERATIONS, _EVENTS = range(5)
_FEW = 4


class SelectorUnavailableError(Exception):
    """The loop's selector can't be replaced; the message says why."""


def _patched(selector: selectors.EpollSelector, account: list[int]) -> Callable[..., list[Any]]:
    poll = selector._selector.poll  # type: ignore[attr-defined]
    fd_to_key = selector._fd_to_key  # type: ignore[attr-defined]
    now = time.perf_counter_ns
    ceil = math.ceil
    # What each event mask means, as selectors.EpollSelector.select has it.
    not_in, not_out = ~select.EPOLLIN, ~select.EPOLLOUT
    event_read, event_write = selectors.EVENT_READ, selectors.EVENT_WRITE

    def looking_select(timeout: float | None = None) -> list[Any]:
        most = len(fd_to_key) or 1
        account[_ITERATIONS] += 1
        try:
            found = poll(0, most)
            if not found and (timeout is None or timeout > 0):
                account[_WAITING_SINCE] = begin = now()
                try:
                    # epoll counts in ms; rounded up, so as to wait at least so long.
                    found = poll(-1 if timeout is None else ceil(timeout * 1e3) * 1e-3, most)
                finally:
                    account[_WAITING_SINCE] = 0
                    account[_BUSY_SINCE] = end = now()
                    account[_IDLE] += end - begin
        except InterruptedError:
            return []
        ready = []
        for fd, event in found:
            key = fd_to_key.get(fd)
            if key:
                events = (event & not_in and event_write) | (event & not_out and event_read)
                ready.append((key, events & key.events))
        account[_EVENTS] += len(ready)
        return ready

    return looking_select


class SelectorClock:
    """Idle time and busy start of one asyncio loop, until closed.

    Raises:
        SelectorUnavailableError: If the selector isn't exactly EpollSelector, or is patched already.
    """

    source = 'selector'

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        selector: Any = getattr(loop, '_selector', None)
        if type(selector) is not getattr(selectors, 'EpollSelector', None):
            raise SelectorUnavailableError(
                f'its selector is a {type(selector).__name__}, not an EpollSelector'
            )
        if 'select' in vars(selector):
            raise SelectorUnavailableError('something else has replaced its select() already')
        self._selector = selector
        self._account = [0, time.perf_counter_ns(), 0, 0, 0]
        self._marked = (0, 0)
        self._select: Any = _patched(selector, self._account)
        selector.select = self._select

    @property
    def code(self) -> CodeType:
        """The code of the replacing function, by which a waiting loop is recognized."""
        code: CodeType = self._select.__code__
        return code

    def idle_ns(self) -> int:
        """Return the time in which the loop had nothing to do, a wait that still lasts included."""
        waiting = self._account[_WAITING_SINCE]
        return self._account[_IDLE] + (time.perf_counter_ns() - waiting if waiting else 0)

    def ticked(self) -> int:
        """Return the idle time, and note where the loop is: a tick runs."""
        account = self._account
        self._marked = account[_BUSY_SINCE], account[_ITERATIONS]
        return account[_IDLE]

    def busy_since(self) -> tuple[int, int] | None:
        """Return twice the instant at which the loop last ceased to wait.

        None if it went round many times since the last tick without having to wait: each iteration
        begins then where the one before ended, and that isn't stamped. A few are what it takes to get
        from a timer to the task that waits for it.
        """
        since, iterations = self._account[_BUSY_SINCE], self._account[_ITERATIONS]
        if since == self._marked[0] and iterations - self._marked[1] > _FEW:
            return None
        return since, since

    def counts(self) -> tuple[int, int, int] | None:
        """Return iterations and events, and 0 for events that were waiting: not known here."""
        return self._account[_ITERATIONS], self._account[_EVENTS], 0

    def close(self) -> None:
        """Give the selector its own select() back, unless somebody has put a third one there."""
        if vars(self._selector).get('select') is self._select:
            del self._selector.select
