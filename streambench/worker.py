"""What runs on a worker for one item: resolve, verify, sleep, and stamp every step.

Every worker process pays for what this module imports, so it imports layer 0 and the standard library
only; ProxyStore and a connector come in when the first proxy is resolved, and only then.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time

from streambench.clock import NS_PER_S, clock_domain, now_ns
from streambench.message import HEADER_BYTES
from streambench.payload import faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Task = tuple[str, int, float, bool, bytes | None, tuple[Any, ...], int, int, str]
    Outcome = tuple[int, int, int, int, str, str, int, int, str, str]

STORES_PER_PROCESS = 32

# Thread workers can't be killed: a session leaves an event here, and a sleep that it interrupts ends.
interrupts: dict[str, threading.Event] = {}

_local = threading.local()
# Who uses which of this process's stores; a thread that ended has left its place.
_places: dict[int, threading.Thread] = {}
_places_lock = threading.Lock()
# A batch system may know a node by a name of its own; whoever starts workers there passes it on.
_host = os.environ.get('STREAMBENCH_NODE') or os.uname().nodename


class InterruptedTaskError(Exception):
    """The session ended while the task slept."""


def pause(seconds: float, *, session: str) -> None:
    """Sleep, unless the session that sent the task ends first.

    Args:
        seconds: How long.
        session: Name of the session.

    Raises:
        InterruptedTaskError: If the session ended.
    """
    if seconds <= 0:
        return
    event = interrupts.get(session)
    if event is None:
        time.sleep(seconds)
    elif event.wait(seconds):
        raise InterruptedTaskError('the session ended while the task slept')


def _import(path: str) -> Any:
    module, _, name = path.partition(':')
    return getattr(importlib.import_module(module), name)


def _place() -> int:
    """Return the number of this thread's store: its own, shared only where threads are many."""
    found: int | None = _local.__dict__.get('place')
    if found is None:
        with _places_lock:
            free = (
                number
                for number in range(STORES_PER_PROCESS)
                if number not in _places or not _places[number].is_alive()
            )
            found = next(free, threading.get_native_id() % STORES_PER_PROCESS)
            _places[found] = threading.current_thread()
        _local.place = found
    return found


def key_of(key_class: Any, fields: Sequence[Any]) -> Any:
    """Return a connector's key out of its fields, whose tuples JSON has made lists of.

    Args:
        key_class: The class of the connector's keys.
        fields: What a key of it was made of.
    """
    return key_class(*(tuple(field) if isinstance(field, list) else field for field in fields))


def open_store(description: str) -> tuple[Any, Any]:
    """Return this thread's store of a description, and the class of its keys.

    `Store.get` holds one lock while it fetches, so threads that shared a store would resolve one
    after the other; each thread takes one of a few instead. A connector whose objects live in this
    process is found under its registered name.
    """
    import json

    from proxystore.store import get_or_create_store, get_store
    from proxystore.store.config import StoreConfig

    known: dict[str, tuple[Any, Any]] = _local.__dict__.setdefault('stores', {})
    if description in known:
        return known[description]
    plain = json.loads(description)
    name = plain['name']
    key_class = _import(plain['key_class'])
    if plain['in_process']:
        store = get_store(name)
        if store is None:
            raise LookupError(f'store {name} lives in another process')
    else:
        config = StoreConfig.model_validate(
            {
                'name': f'{name}-{_place()}',
                'connector': {'kind': plain['connector'], 'options': plain['options']},
                'cache_size': 0,
            }
        )
        store = get_or_create_store(config, register=True)
    known[description] = (store, key_class)
    return store, key_class


def _stores(prefix: str) -> list[Any]:
    if 'proxystore.store' not in sys.modules:
        return []
    from proxystore.store import get_store

    found = (get_store(f'{prefix}-{number}') for number in range(STORES_PER_PROCESS))
    return [store for store in found if store is not None]


def break_off(prefix: str) -> None:
    """Let worker threads of this process no longer wait for a store's server that is silent.

    Args:
        prefix: Name of the session's store.
    """
    for store in _stores(prefix):
        abort(store)


def abort(store: Any) -> None:
    """Break off what other threads wait for in a store, if its connector can.

    Args:
        store: Of ProxyStore.
    """
    breaking = getattr(store.connector, 'abort', None)
    if breaking is not None:
        breaking()


def close_stores(prefix: str) -> None:
    """Close the stores that worker threads of this process opened for a session.

    Args:
        prefix: Name of the session's store.
    """
    from proxystore.store import unregister_store

    for store in _stores(prefix):
        unregister_store(store.name)
        store.close()


def resolve(key: tuple[Any, ...], store: str) -> bytes:
    """Fetch a payload through a ProxyStore proxy, here and now.

    Args:
        key: Fields of the connector's key.
        store: Description of the store, from the session.
    """
    from proxystore.proxy import ProxyResolveError, extract

    opened, key_class = open_store(store)
    try:
        data = extract(opened.proxy_from_key(key_of(key_class, key)))
    except ProxyResolveError as error:
        # Its own text only says that there is a cause.
        raise error.__cause__ or error from None
    assert isinstance(data, bytes)
    return data


def put(data: bytes, store: str) -> tuple[Any, ...]:
    """Put a payload into the store, for a generator that runs on a worker.

    Args:
        data: The payload.
        store: Description of the store, from the session.
    """
    opened, _ = open_store(store)
    return tuple(opened.put(data))


def run_task(task: Task, first: Callable[[], None] | None = None) -> Outcome:
    """Run the compute task of one item.

    Args:
        task: Session, sequence, sleep in seconds, whether to verify in full, the frame (method
            `default`) or None, the key's fields (method `proxy`), size in bytes, checksum, and the
            description of the store.
        first: Called before anything else; what it raises is the task's error.

    Returns:
        The instants start, resolved, verified and end; host, clock domain, process id and native
        thread id of this worker; what is wrong with the payload, or nothing; the error, or nothing.
    """
    start_ns = now_ns()
    session, sequence, sleep_s, full, frame, key, size_bytes, checksum, store = task
    resolved_ns = verified_ns = start_ns
    fault = error = ''
    try:
        data: bytes | memoryview
        if first is not None:
            first()
        if frame is None:
            data = resolve(key, store)
            resolved_ns = now_ns()
        else:
            data = memoryview(frame)[HEADER_BYTES:]
        fault = faults(data, sequence=sequence, size_bytes=size_bytes, checksum=checksum, full=full)
        verified_ns = now_ns()
        pause(sleep_s - (verified_ns - resolved_ns) / NS_PER_S, session=session)
    except Exception as failure:
        resolved_ns = max(resolved_ns, start_ns)
        verified_ns = max(verified_ns, resolved_ns)
        error = f'{type(failure).__name__}: {failure}'
    return (
        start_ns,
        resolved_ns,
        max(verified_ns, resolved_ns),
        now_ns(),
        _host,
        clock_domain(),
        os.getpid(),
        threading.get_native_id(),
        fault,
        error,
    )
