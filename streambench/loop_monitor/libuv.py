"""libuv's own account of idle time, read from uvloop through the symbols that its library exports.

`uv_metrics_idle_time` is what Node's event-loop utilization is made of: time in the kernel's poll with
nothing to do, to the nanosecond. uvloop neither uses nor hides it. The pointer is valid as long as the
loop object is, so the reader keeps that alive. ctypes.PyDLL keeps the GIL: these calls take less time
than handing it over would.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable

_METRICS_IDLE_TIME = 1  # enum uv_loop_option, uv.h
_IDLE_SINCE = (1, 39, 0)
_INFO_SINCE = (1, 45, 0)
NS_PER_MS = 1_000_000


class _Info(ctypes.Structure):
    """struct uv_metrics_s, uv.h."""

    _fields_ = (
        ('loop_count', ctypes.c_uint64),
        ('events', ctypes.c_uint64),
        ('events_waiting', ctypes.c_uint64),
        ('reserved', ctypes.c_void_p * 13),
    )


class LibuvUnavailableError(Exception):
    """This uvloop doesn't let its libuv be asked; the message says what is missing."""


def is_uvloop(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Return whether a loop is uvloop's, without importing uvloop."""
    module = sys.modules.get('uvloop.loop')
    return module is not None and isinstance(loop, module.Loop)


def kind_of(loop: asyncio.AbstractEventLoop | None) -> str:
    """Return `uvloop`, `asyncio` for what is derived from its loop, or the module of another make."""
    if is_uvloop(loop):
        return 'uvloop'
    if isinstance(loop, asyncio.BaseEventLoop):
        return 'asyncio'
    return type(loop).__module__.partition('.')[0]


def library_path() -> str:
    """Return the file that contains libuv's code."""
    path = getattr(sys.modules['uvloop.loop'], '__file__', None)
    if not path:
        raise LibuvUnavailableError('uvloop was not loaded from a file')
    return str(path)


class LibuvClock:
    """Idle time and busy start of one uvloop loop.

    Raises:
        LibuvUnavailableError: If symbols or capsule are missing or libuv is too old.
    """

    source = 'uv_metrics'

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            library = ctypes.PyDLL(library_path())
            version = library.uv_version
            configure = library.uv_loop_configure
            self._idle = library.uv_metrics_idle_time
            self._now = library.uv_now
            capsule = sys.modules['uvloop.loop'].libuv_get_loop_t_ptr(loop)
        except (AttributeError, OSError) as error:
            raise LibuvUnavailableError(f'uvloop does not export it ({error})') from error
        number = version()
        found = (number >> 16, number >> 8 & 255, number & 255)
        if found < _IDLE_SINCE:
            raise LibuvUnavailableError('libuv is older than 1.39: {}.{}.{}'.format(*found))
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self._loop = loop
        self._pointer = ctypes.c_void_p(pointer(capsule, None))
        configure.argtypes = [ctypes.c_void_p, ctypes.c_int]
        if configure(self._pointer, _METRICS_IDLE_TIME):
            raise LibuvUnavailableError('libuv refused to account for idle time')
        for function in (self._idle, self._now):
            function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_void_p]
        self._last_ns = 0
        self._info: Callable[..., int] | None = None
        if found >= _INFO_SINCE and hasattr(library, 'uv_metrics_info'):
            self._info = library.uv_metrics_info
            self._info.argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    def idle_ns(self) -> int:
        """Return the time in which the loop had nothing to do, a wait that still lasts included.

        Of a loop that was closed, what it was when last read: libuv has freed the account.
        """
        if not self._loop.is_closed():
            self._last_ns = self._idle(self._pointer)
        return self._last_ns

    # libuv stamps every iteration itself.
    ticked = idle_ns

    def busy_since(self) -> tuple[int, int]:
        """Return the earliest and latest instant at which the present iteration began.

        It is libuv's cached time, in whole ms, read without touching it (`loop.time()` would update
        it, and from another thread).
        """
        begin_ns = self._now(self._pointer) * NS_PER_MS
        return begin_ns, begin_ns + NS_PER_MS

    def counts(self) -> tuple[int, int, int] | None:
        """Return iterations, events, and events that were waiting when it looked, since its birth."""
        if self._info is None or self._loop.is_closed():
            return None
        info = _Info()
        self._info(self._pointer, ctypes.byref(info))
        return info.loop_count, info.events, info.events_waiting

    def close(self) -> None:
        """Do nothing: idle-time accounting can't be switched off again."""
