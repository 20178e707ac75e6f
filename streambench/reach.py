"""Whether a worker reaches broker and store, and its clock: asked before anything is measured.

It runs as a task and imports layer 0 and the standard library only.
"""

from __future__ import annotations

import os
import socket
import time

from streambench.clock import clock_domain, now_ns

TIMEOUT_S = 5.0

# What it is, host and port.
Place = tuple[str, str, int]
# Host, what it could not reach, clock domain, first and last instant.
Reached = tuple[str, tuple[str, ...], str, int, int]


def reach(task: tuple[float, tuple[Place, ...]]) -> Reached:
    """Open a connection to each place.

    Args:
        task: How long to hold the worker, so that its neighbours get a task too, and the places.

    Returns:
        Host of the worker; what it could not reach, a sentence each; its clock and what that said at
        the beginning and at the end.
    """
    start_ns = now_ns()
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
    return node, tuple(failures), clock_domain(), start_ns, now_ns()
