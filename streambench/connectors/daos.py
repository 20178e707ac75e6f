"""The connector `daos`: objects in a dictionary of a DAOS container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import ConnectorPlugin
from streambench.kinds import text
from streambench.options import option


@dataclass(frozen=True, kw_only=True)
class DAOSConnectorPlugin(ConnectorPlugin):
    """ProxyStore's DAOSConnector, as it is."""

    name: ClassVar[str] = 'daos'
    class_name: ClassVar[str] = 'DAOSConnector'
    summary: ClassVar[str] = 'a dictionary of a DAOS container'
    tested: ClassVar[str] = 'never: no package of pydaos'
    packages: ClassVar[tuple[str, ...]] = ('proxystore_ex', 'pydaos')
    install: ClassVar[str] = "pip install 'streambench[zmq]', and pydaos, which comes with DAOS"

    ps_daos_pool: str | None = option('Pool of DAOS.', text('NAME'), group='connector', required=True)
    ps_daos_container: str | None = option(
        'Container of DAOS.', text('NAME'), group='connector', required=True
    )
    ps_daos_namespace: str | None = option(
        'Dictionary within the container.', text('NAME'), group='connector', required=True
    )

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        arguments = {
            'pool': self.ps_daos_pool,
            'container': self.ps_daos_container,
            'namespace': self.ps_daos_namespace,
            # True would remove what is others' too.
            'clear': False,
        }
        module = 'proxystore_ex.connectors.daos'
        return f'{module}.DAOSConnector', arguments, f'{module}:DAOSKey'
