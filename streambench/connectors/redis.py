"""The connector `redis`: objects as keys of a Redis server."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConfigError, ConnectorError, in_one_line
from streambench.kinds import host, port, switch, text
from streambench.options import option
from streambench.url_file import read_url

CHECK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RedisConnectorPlugin(ConnectorPlugin):
    """ProxyStore's RedisConnector, with what a password, TLS, tidy keys and a lost server need."""

    name: ClassVar[str] = 'redis'
    class_name: ClassVar[str] = 'RedisConnector'
    summary: ClassVar[str] = 'keys of a Redis server; an embedded one is started if none is given'
    tested: ClassVar[str] = 'yes, also with password and TLS'
    packages: ClassVar[tuple[str, ...]] = ('proxystore', 'redis')
    install: ClassVar[str] = "pip install 'proxystore[redis]'"

    ps_host: str | None = option(
        "Host of the store's server (Redis: embedded if absent).", host(), group='connector'
    )
    ps_port: int | None = option(
        "Port of the store's server, or of the servers of all nodes.", port(), group='connector'
    )
    ps_url_file: str | None = option(
        'File with a redis:// or rediss:// URL of the store.', text('FILE'), group='connector'
    )
    ps_tls: bool = option(
        "Whether the store's server speaks TLS, as a rediss:// URL says too.",
        switch(),
        default=False,
        group='connector',
    )
    ps_ca_file: str | None = option(
        'PEM file, seen by every worker, to check its certificate against; implies TLS.',
        text('FILE'),
        group='connector',
    )
    ps_password: str | None = option(
        'Password of the store, from $STREAMBENCH_PS_PASSWORD.',
        text(),
        group='connector',
        secret=True,
    )

    def __post_init__(self) -> None:
        """Refuse half an address."""
        if (self.ps_host is None) != (self.ps_port is None):
            given, missing = (
                ('--ps-port', '--ps-host') if self.ps_host is None else ('--ps-host', '--ps-port')
            )
            raise ConfigError(
                f'--ps-connector redis with {given} needs {missing} too, or neither of them for '
                'the embedded server.'
            )
        if self.ps_host is not None and self.ps_url_file is not None:
            raise ConfigError('give --ps-host and --ps-port or --ps-url-file, not both.')
        if self.needs_redis_server and (self.ps_tls or self.ps_ca_file is not None):
            flag = '--ps-tls' if self.ps_ca_file is None else '--ps-ca-file'
            raise ConfigError(
                f'{flag}: the embedded Redis speaks no TLS: give --ps-host and --ps-port, or '
                '--ps-url-file.'
            )

    @property
    def needs_redis_server(self) -> bool:
        """Whether no address was given."""
        return self.ps_host is None and self.ps_url_file is None

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return (
            'give --ps-host and --ps-port, or --ps-url-file, that they can reach (embedded servers: '
            '--bind-interface)'
        )

    def at(self, host: str, port: int, password: str) -> Self:
        """Return these settings for an embedded server."""
        return replace(self, ps_host=host, ps_port=port, ps_password=password)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.ps_url_file is not None:
            url = read_url(self.ps_url_file, flag='--ps-url-file', tls=True)
            settings = {'hostname': url.pop('host', 'localhost'), 'port': url.pop('port', 6379)}
            settings |= {key: url[key] for key in ('password', 'username', 'db', 'tls') if key in url}
        else:
            settings = {'hostname': self.ps_host, 'port': self.ps_port}
        if self.ps_password is not None:
            settings['password'] = self.ps_password
        if self.ps_tls or self.ps_ca_file is not None:
            settings['tls'] = True
        if self.ps_ca_file is not None:
            # Workers may have another current directory.
            settings['ca_file'] = str(Path(self.ps_ca_file).absolute())
        return settings

    def address(self) -> tuple[str, int] | None:
        """Return host and port of the server."""
        settings = self._settings()
        return str(settings['hostname']), int(settings['port'])

    def check(self) -> None:
        """Raise ConnectorError if the server doesn't answer or refuses."""
        import redis

        from streambench.connectors.redis_connector import RedisConnector

        settings = self._settings()
        where = f'{settings["hostname"]}:{settings["port"]}'
        try:
            with RedisConnector(**settings, prefix='', answer_s=CHECK_S) as connector:
                connector.ping()
        except redis.AuthenticationError as error:
            given = settings.get('password') is not None
            why = f'refuses the given password ({error})' if given else 'asks for a password'
            raise ConnectorError(
                f'Redis at {where} {why}: set $STREAMBENCH_PS_PASSWORD or give --ps-url-file.'
            ) from None
        except (redis.RedisError, OSError) as error:
            raise self._unreachable(where, settings, error) from None

    def _unreachable(self, where: str, settings: dict[str, Any], error: Exception) -> ConnectorError:
        """Return what to say of a server that doesn't answer."""
        ca_file = settings.get('ca_file')
        if ca_file is not None and not os.access(ca_file, os.R_OK):
            return ConnectorError(
                f'--ps-ca-file: {self.ps_ca_file!r} can not be read: name the file with the '
                f'certificate of the authority that signed that of Redis at {where}.'
            )
        why = in_one_line(error)
        if 'CERTIFICATE_VERIFY_FAILED' in why:
            return ConnectorError(
                f'Redis at {where} has a certificate that is not trusted here ({why}): name that of '
                'its authority by --ps-ca-file, and the server as the certificate does.'
            )
        if settings.get('tls'):
            return ConnectorError(
                f'no Redis server answers with TLS at {where} ({why}): start one there with tls-port, '
                'or leave out --ps-tls and --ps-ca-file.'
            )
        return ConnectorError(
            f'no Redis server answers at {where} ({why}): start one there (give --ps-tls true if it '
            'speaks TLS), or leave out --ps-host and --ps-port to use the embedded one.'
        )

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and the class of its keys."""
        key = 'proxystore.connectors.redis:RedisKey'
        settings = self._settings() | {'prefix': name}
        return 'streambench.connectors.redis_connector.RedisConnector', settings, key

    def clean(self, name: str) -> None:
        """Remove keys that nobody could evict: a generator was killed on its worker."""
        import redis

        from streambench.connectors.redis_connector import RedisConnector

        connector = RedisConnector(**self._settings(), prefix=name, answer_s=CHECK_S)
        # A server that is gone has forgotten them.
        with suppress(redis.RedisError), connector:
            connector.remove_all()
