"""The one clock of all instants, and the identity of the host that it belongs to.

Instants are nanoseconds of `time.perf_counter_ns`, which on Linux is CLOCK_MONOTONIC and so is
shared by every process of one boot; an event loop's own clock is not used because uvloop's has a
resolution of 1 ms.
"""

from __future__ import annotations

import os
import time

now_ns = time.perf_counter_ns

NS_PER_S = 1_000_000_000


def _read(path: str) -> str:
    try:
        with open(path, encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return ''


def _time_namespace() -> str:
    try:
        # pathlib would double the time of importing a worker.
        return os.readlink('/proc/self/ns/time')  # noqa: PTH115
    except OSError:
        return ''


_domain = ''


def clock_domain() -> str:
    """Return a text that is equal in two processes exactly if they share this clock.

    Two containers of one machine may have different host names and yet one clock; the boot id and
    the time namespace decide, the host name only where the kernel offers neither.
    """
    global _domain
    if not _domain:
        boot = _read('/proc/sys/kernel/random/boot_id')
        _domain = f'{boot}/{_time_namespace()}' if boot else os.uname().nodename
    return _domain


def read_clock(_: object = None) -> tuple[str, int, int]:
    """Return whose clock this is, and what it says at the beginning and at the end of this call.

    Args:
        _: Nothing; every task of an executor has an argument.
    """
    start_ns = now_ns()
    return clock_domain(), start_ns, now_ns()
