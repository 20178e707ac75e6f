"""What a worker opens in the warm-up: what it will need of store and broker, as it will use them.

A compute worker asks the store for its item's payload through the connector's own class; one that may
be a generator also puts and removes an object and opens the broker's sending end. This module imports
layer 0 and the standard library; a broker comes in where a generator may run.
"""

from __future__ import annotations

import os

from streambench import worker
from streambench.clock import NS_PER_S, now_ns
from streambench.errors import in_one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # Names and settings of broker and store, the topic, what to call them, and whether to generate.
    Needs = dict[str, Any]
    WarmUpTask = tuple[worker.Task, Needs]


class UnreachableError(Exception):
    """A worker can't open what it will need."""


# What the error of such a task begins with.
UNREACHABLE = f'{UnreachableError.__name__}: '


def warm_up_task(both: WarmUpTask) -> worker.Outcome:
    """Open what this worker will need, and run a real item.

    Args:
        both: The task of the item, whose sleep is how long the worker is held, and what is needed.

    Returns:
        The item's outcome; its error begins with `UNREACHABLE` if something can't be opened.
    """
    task, needs = both
    session, _, hold_s, *_ = task
    outcome = worker.run_task(task, lambda: _open(needs, task[5]))
    if outcome[-1]:
        # One that fails at once would take the items of its neighbours, and they would say nothing.
        worker.pause(hold_s - (now_ns() - outcome[0]) / NS_PER_S, session=session)
    return outcome


def _open(needs: Needs, key: tuple[Any, ...]) -> None:
    """Open store and broker, as far as they are needed.

    Raises:
        UnreachableError: If one can't be; says which and why.
    """
    failures = []
    if needs['store']:
        failures += _tried(needs['store_title'], lambda: _open_store(needs, key))
    if needs['generates']:
        failures += _tried(needs['broker_title'], lambda: _open_broker(needs))
    if failures:
        raise UnreachableError('; '.join(failures))


def _tried(title: str, step: Callable[[], None]) -> list[str]:
    try:
        step()
    except Exception as error:
        why = _why(error)
        if isinstance(error, ImportError):
            why += ', so install it there'
        return [f'the {title} ({why})']
    return []


def _why(error: Exception) -> str:
    """Return why something can't be opened: the system's own words where it was the system."""
    link: BaseException | None = error
    while link is not None:
        # Errors of TLS and of names are of this kind too, but for their module.
        if isinstance(link, OSError) and link.errno and type(link).__module__ == 'builtins':
            return os.strerror(link.errno)
        link = link.__cause__ or link.__context__
    return getattr(error, 'reason', '') or in_one_line(error)


def _open_store(needs: Needs, key: tuple[Any, ...]) -> None:
    store, key_class = worker.open_store(needs['store'])
    if not store.exists(worker.key_of(key_class, key)):
        raise LookupError('what was put there is not to be seen from here')
    if needs['generates']:
        store.evict(worker.key_of(key_class, worker.put(b'probe', needs['store'])))


def _open_broker(needs: Needs) -> None:
    import asyncio

    from streambench import registry

    async def opened() -> None:
        broker = registry.load('broker', needs['broker'])(**needs['broker_settings'])
        async with broker.open_publisher(needs['topic']):
            pass

    asyncio.run(opened())
