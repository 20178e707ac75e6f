"""The connector `margo`: objects in the memory of Margo servers, one for each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import NodeConnectorPlugin
from streambench.kinds import text
from streambench.options import option


@dataclass(frozen=True, kw_only=True)
class MargoConnectorPlugin(NodeConnectorPlugin):
    """ProxyStore's MargoConnector, as it is."""

    name: ClassVar[str] = 'margo'
    class_name: ClassVar[str] = 'MargoConnector'
    summary: ClassVar[str] = 'memory of Mochi Margo servers (RDMA), one for each node'
    tested: ClassVar[str] = 'never: no package of pymargo'
    packages: ClassVar[tuple[str, ...]] = ('proxystore_ex', 'pymargo')
    install: ClassVar[str] = "pip install 'streambench[zmq]' && spack install py-mochi-margo"

    ps_margo_protocol: str = option(
        'Protocol of Margo.', text('PROTOCOL'), default='tcp', group='connector'
    )

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        arguments = self.node() | {'protocol': self.ps_margo_protocol}
        key = 'proxystore_ex.connectors.dim.models:DIMKey'
        return 'proxystore_ex.connectors.dim.margo.MargoConnector', arguments, key
