"""The connector `local`: objects in a dictionary of this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import ConnectorPlugin


@dataclass(frozen=True, kw_only=True)
class LocalConnectorPlugin(ConnectorPlugin):
    """ProxyStore's LocalConnector; thread workers find it under its registered name."""

    name: ClassVar[str] = 'local'
    class_name: ClassVar[str] = 'LocalConnector'
    summary: ClassVar[str] = 'a dictionary of this process, for thread workers'
    tested: ClassVar[str] = 'yes'
    packages: ClassVar[tuple[str, ...]] = ('proxystore',)
    install: ClassVar[str] = 'pip install proxystore'
    in_process: ClassVar[bool] = True

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        module = 'proxystore.connectors.local'
        return f'{module}.LocalConnector', {}, f'{module}:LocalKey'
