"""How long a thread was ready to run and no core was free, from the kernel's own account."""

from __future__ import annotations

import ctypes
import os
import sys

_LENGTH = 80


class RunQueue:
    """The account of one thread: the second number of its schedstat.

    A wait that still lasts is counted when it ends.

    Raises:
        OSError: If this kernel keeps none.
    """

    def __init__(self, native_id: int) -> None:
        if sys.platform != 'linux':
            raise OSError(f'schedstat exists on Linux only, this is {sys.platform}')
        self._fd = os.open(f'/proc/self/task/{native_id}/schedstat', os.O_RDONLY | os.O_CLOEXEC)
        # PyDLL keeps the GIL, which os.pread would give away: the watchdog has just got it.
        self._pread = ctypes.PyDLL(None).pread
        self._pread.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
        self._pread.restype = ctypes.c_ssize_t
        self._buffer = ctypes.create_string_buffer(_LENGTH)
        self._last_ns = 0

    def waited_ns(self) -> int:
        """Return the sum of all its waits until now; once it is closed, that of the last call."""
        if self._fd >= 0 and self._pread(self._fd, self._buffer, _LENGTH - 1, 0) > 0:
            self._last_ns = int(self._buffer.value.split()[1])
        return self._last_ns

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
