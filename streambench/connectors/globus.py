"""The connector `globus`: objects as files that Globus Transfer keeps alike on several systems."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConfigError, ConnectorError, in_one_line
from streambench.kinds import text
from streambench.options import option

FIELDS = ('host_regex', 'endpoint_path', 'local_path')
LOGIN = 'proxystore-globus-auth login'


@dataclass(frozen=True, kw_only=True)
class GlobusConnectorPlugin(ConnectorPlugin):
    """ProxyStore's GlobusConnector, told not to remove the directories that it was given."""

    name: ClassVar[str] = 'globus'
    class_name: ClassVar[str] = 'GlobusConnector'
    summary: ClassVar[str] = 'files that Globus Transfer copies to every collection'
    tested: ClassVar[str] = 'never: needs Globus Transfer'
    packages: ClassVar[tuple[str, ...]] = ('proxystore', 'globus_sdk')
    install: ClassVar[str] = 'pip install proxystore globus-sdk'

    ps_globus_config: str | None = option(
        'JSON file of two or more collections: {UUID: {host_regex, endpoint_path, local_path}}.',
        text('CFG'),
        group='connector',
        required=True,
    )

    def _collections(self) -> dict[str, dict[str, str]]:
        """Return what the file says.

        Raises:
            ConfigError: If it can't be read or isn't of that form.
        """
        given = f'--ps-globus-config: {self.ps_globus_config!r}'
        assert self.ps_globus_config is not None
        try:
            found = json.loads(Path(self.ps_globus_config).read_text(encoding='utf-8'))
        except OSError as error:
            raise ConfigError(f'{given} can not be read: {error.strerror}.') from None
        except ValueError as error:
            raise ConfigError(f'{given} is not JSON: {error}.') from None
        if not isinstance(found, dict) or len(found) < 2:
            raise ConfigError(f'{given} must be an object of two or more collections by UUID.')
        for uuid, entry in found.items():
            missing = [key for key in FIELDS if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise ConfigError(f'{given}: collection {uuid} needs {" and ".join(missing)} too.')
        return found

    def check(self) -> None:
        """Raise ConnectorError if there is no login: the connector would ask for one, for ever."""
        collections = self._collections()
        from globus_sdk import GlobusError, TransferClient
        from proxystore.globus.app import get_globus_app, is_client_login
        from proxystore.globus.client import get_transfer_client

        app = get_globus_app()
        try:
            # A client makes the app know what it needs; what collections need is asked of Globus.
            TransferClient(app=app)
            lacking = not is_client_login() and app.login_required()
            if not lacking and not is_client_login():
                get_transfer_client(app, collections)
                lacking = app.login_required()
        except GlobusError as error:
            raise self.not_opened(error) from error
        finally:
            app.close()
        if lacking:
            raise ConnectorError(
                '--ps-connector globus has no login on this machine for the collections in '
                f'{self.ps_globus_config}: run `{LOGIN}` first, here and where the workers are.'
            )

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return f'log in where they are, by `{LOGIN}`'

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        module = 'proxystore.connectors.globus'
        # It would remove the user's directories at the end; what is evicted is gone without that.
        arguments = {'endpoints': self._collections(), 'clear': False}
        return f'{module}.GlobusConnector', arguments, f'{module}:GlobusKey'

    def not_opened(self, error: Exception) -> ConnectorError:
        """Return what to say when Globus refuses."""
        return ConnectorError(
            f'--ps-connector globus: Globus Transfer refuses ({in_one_line(error)}): see '
            f'`{LOGIN}` and the collections in {self.ps_globus_config}.'
        )
