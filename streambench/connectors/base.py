"""What every connector can do: be opened as a ProxyStore store, and be described to workers.

All connectors are ProxyStore's, so this file opens the `Store`; a connector's own file says which class
with which arguments.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from streambench.errors import ConnectorError
from streambench.plugin import ServedPlugin
from streambench.threads import whole

if TYPE_CHECKING:
    from streambench.connectors.store import OpenStore


@dataclass(frozen=True, kw_only=True)
class ConnectorPlugin(ServedPlugin):
    """Settings of a connector, able to open a store.

    Attributes:
        class_name: Name of ProxyStore's class, for psbench's column.
    """

    class_name: ClassVar[str]

    @abstractmethod
    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the `module:Class` of its keys."""

    def check(self) -> None:
        """Raise ConnectorError if the store can't be reached, with the remedy."""
        return

    def clean(self, name: str) -> None:
        """Remove what a closed store of this name left behind."""
        return

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[OpenStore]:
        """Open a store.

        Args:
            name: Name under which worker threads of this process find it.

        Raises:
            ConnectorError: If it can't be reached.
        """
        store: OpenStore | None = None

        def start() -> OpenStore:
            nonlocal store
            store = self._open(name)
            return store

        try:
            yield await whole(start)
        finally:
            if store is not None:
                await whole(self._close, store, name)

    def _open(self, name: str) -> OpenStore:
        from proxystore.store.base import Store
        from proxystore.store.config import ConnectorConfig

        from streambench.connectors.store import OpenStore

        self.check()
        path, arguments, key_class = self.connector(name)
        description = json.dumps(
            {
                'name': name,
                'connector': path,
                'options': arguments,
                'key_class': key_class,
                'in_process': self.in_process,
            }
        )
        try:
            connector = ConnectorConfig(kind=path, options=arguments).get_connector()
        except OSError as error:
            raise ConnectorError(f'the {self.name} store can not be opened: {error}.') from error
        # What was put is not kept here too: a worker thread must fetch it like any other worker.
        store: Store[Any] = Store(name, connector, cache_size=0, register=True)
        return OpenStore(store, description)

    def _close(self, store: OpenStore, name: str) -> None:
        store.shutdown()
        self.clean(name)
