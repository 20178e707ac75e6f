"""The connector `ucx`: objects in the memory of UCX servers, one for each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import NodeConnectorPlugin


@dataclass(frozen=True, kw_only=True)
class UCXConnectorPlugin(NodeConnectorPlugin):
    """ProxyStore's UCXConnector, as it is."""

    name: ClassVar[str] = 'ucx'
    class_name: ClassVar[str] = 'UCXConnector'
    summary: ClassVar[str] = 'memory of UCX servers (RDMA), one for each node'
    tested: ClassVar[str] = 'never: no package of ucx-py'
    packages: ClassVar[tuple[str, ...]] = ('proxystore_ex', 'ucp')
    install: ClassVar[str] = "pip install 'streambench[zmq]' && conda install -c rapidsai ucx-py"

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        key = 'proxystore_ex.connectors.dim.models:DIMKey'
        return 'proxystore_ex.connectors.dim.ucx.UCXConnector', self.node(), key
