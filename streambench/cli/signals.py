"""The signals that end a command: Ctrl-C, SIGTERM, and that of a terminal that is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from streambench.cli.terminal import complain
from streambench.errors import EXIT_INTERRUPTED


def ending() -> list[signal.Signals]:
    """Return them; that of the terminal stays ignored where `nohup` or its like ignores it."""
    found = [signal.SIGINT, signal.SIGTERM]
    gone: signal.Signals | None = getattr(signal, 'SIGHUP', None)
    if gone is not None and signal.getsignal(gone) is not signal.SIG_IGN:
        found.append(gone)
    return found


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    # Servers and helpers are on leashes, and what was sealed stays.
    complain(
        'interrupted twice: nothing was waited for; `streambench summarize` reads what was sealed.'
    )
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Let all of them do what Ctrl-C does, as long as no loop has handlers of its own."""
    before = {}
    try:
        for number in ending():
            before[number] = signal.signal(number, _interrupt)
    except ValueError:
        # Handlers belong to the main thread; in another one the caller has them.
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def to_signals(interrupt: Callable[[], object]) -> None:
    """Let them interrupt what the running loop does; a second one ends the process at once.

    Args:
        interrupt: Called for the first.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    numbers = ending()

    def once() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, _end)
        interrupt()

    for number in numbers:
        loop.add_signal_handler(number, once)
