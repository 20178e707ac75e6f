"""The connector `zmq`: objects in the memory of ZeroMQ servers, one for each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import NodeConnectorPlugin
from streambench.errors import ConnectorError, in_one_line


@dataclass(frozen=True, kw_only=True)
class ZeroMQConnectorPlugin(NodeConnectorPlugin):
    """ProxyStore's ZeroMQConnector, with its server on a leash and with deadlines."""

    name: ClassVar[str] = 'zmq'
    class_name: ClassVar[str] = 'ZeroMQConnector'
    summary: ClassVar[str] = 'memory of ZeroMQ servers, started as they are needed, one for each node'
    tested: ClassVar[str] = 'yes, on one node'
    packages: ClassVar[tuple[str, ...]] = ('proxystore_ex', 'zmq')
    install: ClassVar[str] = "pip install 'streambench[zmq]'"

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        key = 'proxystore_ex.connectors.dim.models:DIMKey'
        return 'streambench.connectors.zmq_connector.ZeroMQConnector', self.node(), key

    def not_opened(self, error: Exception) -> ConnectorError:
        """Return what to say when this machine has no such address."""
        return ConnectorError(
            f'--ps-connector zmq finds no address of this machine ({in_one_line(error)}): give its '
            '--ps-address or an --ps-interface that it has.'
        )

    def opened(self, connector: Any) -> None:
        """Start the server of this node, unless it runs."""
        try:
            connector.serve()
        except ConnectionError as error:
            connector.close()
            raise ConnectorError(
                f'--ps-connector zmq: {error}: give another --ps-port, or the --ps-address or '
                '--ps-interface of this machine.'
            ) from None
