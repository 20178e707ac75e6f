"""The connector `endpoint`: objects in ProxyStore endpoints, which reach each other through a relay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConnectorError, in_one_line
from streambench.kinds import uuids
from streambench.options import option


@dataclass(frozen=True, kw_only=True)
class EndpointConnectorPlugin(ConnectorPlugin):
    """ProxyStore's EndpointConnector, with deadlines.

    Each process finds the endpoint of its node through $PROXYSTORE_HOME, as ProxyStore advises.
    """

    name: ClassVar[str] = 'endpoint'
    class_name: ClassVar[str] = 'EndpointConnector'
    summary: ClassVar[str] = 'ProxyStore endpoints that run already, one of them on this node'
    tested: ClassVar[str] = 'yes, one endpoint with its relay'
    packages: ClassVar[tuple[str, ...]] = ('proxystore', 'requests')
    install: ClassVar[str] = "pip install 'streambench[endpoint]'"

    ps_endpoints: tuple[str, ...] | None = option(
        'UUIDs of ProxyStore endpoints that run where the workers are.',
        uuids(),
        group='connector',
        required=True,
    )

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return (
            'start one of --ps-endpoints where they are (`proxystore-endpoint start NAME`), and name '
            'its directory there in $PROXYSTORE_HOME'
        )

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        key = 'proxystore.connectors.endpoint:EndpointKey'
        arguments = {'endpoints': list(self.ps_endpoints or ())}
        return 'streambench.connectors.endpoint_connector.EndpointConnector', arguments, key

    def not_opened(self, error: Exception) -> ConnectorError:
        """Return what to say when no endpoint answers."""
        from proxystore.connectors.endpoint import EndpointConnectorError
        from proxystore.utils.environment import home_dir

        known = isinstance(error, EndpointConnectorError)
        why = 'none is configured and started' if known else in_one_line(error)
        return ConnectorError(
            f'none of --ps-endpoints {" ".join(self.ps_endpoints or ())} answers on this node ({why} '
            f'in {home_dir()}): start one by `proxystore-endpoint start NAME`, or name the directory '
            'that has it in $PROXYSTORE_HOME.'
        )
