"""Reading the address and password of a server from a file, so that no command line shows them."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from streambench.errors import ConfigError

_FORM = 'must hold a URL like redis://:password@host:6379'


def read_url(path: str, *, flag: str, tls: bool = False) -> dict[str, Any]:
    """Return host, port, db, username, password and tls of the redis:// URL in a file.

    Args:
        path: The file.
        flag: Option that named it, for the error.
        tls: Whether its reader can speak TLS, so that rediss:// is welcome.

    Raises:
        ConfigError: If the file can't be read or holds no such URL.
    """
    try:
        with open(path, encoding='utf-8') as file:
            url = urlsplit(file.read().strip())
        found = {
            'host': url.hostname,
            'port': url.port,
            'username': url.username and unquote(url.username),
            'password': url.password and unquote(url.password),
            'tls': url.scheme == 'rediss',
            'db': int(url.path.strip('/')) if url.path.strip('/') else None,
        }
    except OSError as error:
        raise ConfigError(f'{flag}: {path!r} can not be read: {error.strerror}.') from None
    except ValueError:
        raise ConfigError(f'{flag}: {path!r} {_FORM}.') from None
    if url.query:
        raise ConfigError(f'{flag}: {path!r} holds a URL with settings after a "?": leave them out.')
    schemes = ('redis', 'rediss') if tls else ('redis',)
    if url.scheme not in schemes or not url.hostname:
        raise ConfigError(f'{flag}: {path!r} {_FORM}.')
    return {key: value for key, value in found.items() if value}
