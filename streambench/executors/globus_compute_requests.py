"""What a task is on its way to a Globus Compute endpoint: its function, its bytes, and their limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streambench import reach, worker

# The endpoint's own limit of a result is 10 MiB, and the service's of a request is taken for the same.
REQUEST_BYTES = 10 << 20
# base64 in lines of 76 letters, each line end escaped in JSON: 4/3 x 78/76.
ENCODED = 1.37
TASK_BYTES = 1024
REQUEST_HEAD_BYTES = 16_384
SDK_BATCH = 128


def encoded_bytes(size_bytes: int) -> int:
    """Return what a task of a payload adds to a request.

    Args:
        size_bytes: Length of the payload.
    """
    return int(ENCODED * (size_bytes + TASK_BYTES)) + 1


def most_in_request(size_bytes: int) -> int:
    """Return how many tasks of a payload fit into one request.

    Args:
        size_bytes: Length of the payload.
    """
    return (REQUEST_BYTES - REQUEST_HEAD_BYTES) // encoded_bytes(size_bytes)


def most_payload_bytes(tasks: int = 1) -> int:
    """Return the largest payload of which so many tasks fit into one request.

    Args:
        tasks: How many.
    """
    return int((REQUEST_BYTES - REQUEST_HEAD_BYTES) // tasks / ENCODED) - TASK_BYTES - 1


def on_endpoint(version: str, frame_version: int, path: str, arguments: tuple[object, ...]) -> object:
    """Run a function of the streambench that is installed on the endpoint, if it is the same one.

    This text is sent whole, so it holds all that it needs; what it calls is sent by name.
    """
    import importlib
    import sys

    try:
        found = importlib.import_module('streambench').__version__
        found_frame = importlib.import_module('streambench.message').VERSION
    except ImportError as error:
        raise RuntimeError(
            f'streambench is not installed for {sys.executable} on the endpoint ({error}): run '
            f'`pip install streambench=={version}` there'
        ) from None
    if (found, found_frame) != (version, frame_version):
        raise RuntimeError(
            f'the endpoint has streambench {found} (frames {found_frame}), and here it is {version} '
            f'(frames {frame_version}): install the same version on both sides'
        )
    module, _, name = path.partition(':')
    return getattr(importlib.import_module(module), name)(*arguments)


def cost(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, float | None]:
    """Return what a task carries in bytes, and its sleep; None if it may last as long as it likes."""
    if fn is worker.run_task:
        (task,), needs = args, None
    elif fn is reach.warm_up_task:
        ((task, needs),) = args
    else:
        import pickle

        return len(pickle.dumps(args)), None
    _, _, sleep_s, _, frame, key, _, _, store = task
    carried_bytes = len(frame) if frame is not None else len(repr(key)) + len(store)
    return carried_bytes + (len(repr(needs)) if needs else 0), sleep_s


def too_large(size_bytes: int, *, tasks: int = 1) -> str:
    """Return the sentence that refuses a request.

    Args:
        size_bytes: Length of a payload.
        tasks: How many of them it holds.
    """
    whole_mb, most_mb = tasks * encoded_bytes(size_bytes) / 1e6, REQUEST_BYTES / 1e6
    what = f'{size_bytes} bytes'
    remedy = 'take --stream-method proxy'
    fitting = most_in_request(size_bytes)
    if tasks > 1:
        what = f'{tasks} tasks of {what}'
        remedy += f', or --globus-batch-size {fitting} or less' if fitting else ''
    else:
        remedy += f', or payloads of at most {most_payload_bytes()} bytes'
    return (
        f'{what} make a request of {whole_mb:.1f} MB, and Globus Compute takes '
        f'{most_mb:.1f} MB: {remedy}.'
    )
