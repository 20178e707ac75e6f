"""What a run needs of the session around it."""

from __future__ import annotations

from typing import Any, Protocol

from streambench.brokers.base import BrokerPlugin
from streambench.connectors.base import ConnectorPlugin
from streambench.connectors.store import OpenStore
from streambench.executors.base import OpenExecutor
from streambench.options import options_of
from streambench.recorder import Recorder


class Surroundings(Protocol):
    """What is open around a run."""

    name: str
    broker: BrokerPlugin
    connector: ConnectorPlugin | None
    store: OpenStore | None
    executor: OpenExecutor
    recorder: Recorder
    redis_shared: bool
    epoch_offset_ns: int


def plain(session: Surroundings, *, topic: str, store: OpenStore | None) -> dict[str, Any]:
    """Return what a worker needs to open broker and store itself.

    Args:
        session: What is open.
        topic: The run's.
        store: The store of method `proxy`, or None.
    """
    broker = session.broker.for_workers()
    return {
        'session': session.name,
        'broker': broker.name,
        'broker_settings': {name: getattr(broker, name) for name in options_of(type(broker))},
        'topic': topic,
        'store': store.description if store else '',
    }
