"""Whether a worker reaches broker and store: asked from the worker, before anything is measured.

It runs as a task and imports the standard library only.
"""

from __future__ import annotations

import os
import socket
import time

TIMEOUT_S = 5.0

# What it is, host and port.
Place = tuple[str, str, int]


def reach(task: tuple[float, tuple[Place, ...]]) -> tuple[str, int, tuple[str, ...]]:
    """Open a connection to each place.

    Args:
        task: How long to hold the worker, so that its neighbours get a task too, and the places.

    Returns:
        Host and process of the worker, and what it could not reach, a sentence each.
    """
    hold_s, places = task
    until = time.monotonic() + hold_s
    failures = []
    for name, host, port in places:
        try:
            with socket.create_connection((host, port), timeout=TIMEOUT_S):
                pass
        except OSError as error:
            failures.append(f'{name} at {host}:{port} ({error.strerror or error})')
    time.sleep(max(0.0, until - time.monotonic()))
    node = os.environ.get('STREAMBENCH_NODE') or os.uname().nodename
    return node, os.getpid(), tuple(failures)
