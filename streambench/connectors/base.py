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

from streambench import worker
from streambench.errors import ConfigError, ConnectorError, in_one_line
from streambench.kinds import host, port, text
from streambench.options import option
from streambench.plugin import ServedPlugin
from streambench.threads import whole

if TYPE_CHECKING:
    from streambench.connectors.store import OpenStore

# ProxyStore's default of 1 s is short for a server that is just being started.
SERVER_S = 15.0


@dataclass(frozen=True, kw_only=True)
class ConnectorPlugin(ServedPlugin):
    """Settings of a connector, able to open a store.

    Attributes:
        class_name: Name of ProxyStore's class, for psbench's column.
    """

    class_name: ClassVar[str]

    @abstractmethod
    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the `module:Class` of its keys.

        An empty third text has the class of its keys found out by putting an object.
        """

    @property
    def title(self) -> str:
        """What the store is and where, for errors."""
        found = self.address()
        return f'{self.name} store' + (f' at {found[0]}:{found[1]}' if found else '')

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return f'see that --ps-connector {self.name} can be used where they are'

    def check(self) -> None:
        """Raise ConnectorError if the store can't be reached, with the remedy."""
        return

    def opened(self, connector: Any) -> None:
        """Do what must be done with a connector before it is used.

        Raises:
            ConnectorError: If it can't be; the connector is closed then.
        """
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
        try:
            connector = ConnectorConfig(kind=path, options=arguments).get_connector()
        except Exception as error:
            raise self.not_opened(error) from error
        self.opened(connector)
        if not key_class:
            key_class = self._probed(connector)
        description = json.dumps(
            {
                'name': name,
                'connector': path,
                'options': arguments,
                'key_class': key_class,
                'in_process': self.in_process,
            }
        )
        # What was put is not kept here too: a worker thread must fetch it like any other worker.
        store: Store[Any] = Store(name, connector, cache_size=0, register=True)
        return OpenStore(store, description, title=self.title)

    def not_opened(self, error: Exception) -> ConnectorError:
        """Return what to say of a connector that could not be made."""
        return ConnectorError(f'the {self.name} store can not be opened: {in_one_line(error)}.')

    def _probed(self, connector: Any) -> str:
        """Return the `module:Class` of a connector's keys.

        Raises:
            ConnectorError: If they can't be made again out of plain data; the connector is closed then.
        """
        try:
            key = connector.put(b'probe')
            connector.evict(key)
            found = type(key)
            again = worker.key_of(found, json.loads(json.dumps(key)))
            if isinstance(key, tuple) and hasattr(found, '_make') and tuple(again) == tuple(key):
                return f'{found.__module__}:{found.__qualname__}'
            reason = f'its keys are {found.__name__}, not a NamedTuple of plain values'
        except Exception as error:
            reason = in_one_line(error)
        connector.close()
        raise ConnectorError(f'--ps-connector {self.name} does not take an object: {reason}.')

    def _close(self, store: OpenStore, name: str) -> None:
        store.shutdown()
        self.clean(name)


@dataclass(frozen=True, kw_only=True)
class NodeConnectorPlugin(ConnectorPlugin):
    """Settings of a connector that keeps objects in the memory of each node (psbench's names)."""

    ps_port: int | None = option(
        "Port of the store's server, or of the servers of all nodes.",
        port(),
        group='connector',
        required=True,
    )
    ps_address: str | None = option(
        'Address of the node for the store; by default that of its host name.',
        host(),
        group='connector',
    )
    ps_interface: str | None = option(
        'Network interface that each node takes its address from.', text('NAME'), group='connector'
    )

    def __post_init__(self) -> None:
        """Refuse two addresses."""
        if self.ps_address is not None and self.ps_interface is not None:
            raise ConfigError(
                f'--ps-address {self.ps_address} and --ps-interface {self.ps_interface} both set the '
                'address: give one of them.'
            )

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return 'give an --ps-interface, or --ps-address and --ps-port, that all nodes can reach'

    @property
    def only_here(self) -> str:
        """Loopback address that the name of this host stands for, if no other is given."""
        if self.ps_address is not None or self.ps_interface is not None:
            return ''
        # A help text needs no sockets.
        import socket

        try:
            found = socket.gethostbyname(socket.gethostname())
        except OSError:
            # The connector will say so.
            return ''
        return found if found.startswith('127.') else ''

    def node(self) -> dict[str, Any]:
        """Return the arguments that such connectors share."""
        return {
            'port': self.ps_port,
            'address': self.ps_address,
            'interface': self.ps_interface,
            'timeout': SERVER_S,
        }

    def address(self) -> tuple[str, int] | None:
        """Return where its server is, as far as it was given."""
        where = self.ps_address or self.ps_interface
        return None if where is None or self.ps_port is None else (where, self.ps_port)
