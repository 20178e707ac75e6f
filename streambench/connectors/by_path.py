"""Any ProxyStore connector class, named by its import path, with its arguments as JSON."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConfigError, in_one_line
from streambench.kinds import SECRET_WORDS, URL_WITH_PASSWORD, json_object
from streambench.options import option

# What ProxyStore's protocol asks of a connector.
METHODS = ('close', 'config', 'evict', 'exists', 'from_config', 'get', 'get_batch', 'put', 'put_batch')
SECRET = '$STREAMBENCH_PS_SECRET_OPTIONS'


@dataclass(frozen=True, kw_only=True)
class PathConnectorPlugin(ConnectorPlugin):
    """A connector class of anybody's; `at_path` makes the plugin of one."""

    name: ClassVar[str] = 'module:Class'
    class_name: ClassVar[str] = 'Class'
    summary: ClassVar[str] = 'any connector class by its import path, with --ps-options'
    tested: ClassVar[str] = "yes, with ProxyStore's classes"
    packages: ClassVar[tuple[str, ...]] = ('proxystore',)
    install: ClassVar[str] = 'pip install proxystore'

    ps_options: str | None = option(
        'Arguments of the connector class, as a JSON object.', json_object(), group='connector'
    )
    ps_secret_options: str | None = option(
        f'Further arguments that are never recorded, from {SECRET}.',
        json_object(),
        group='connector',
        secret=True,
    )

    @classmethod
    def at_path(cls, path: str) -> type[PathConnectorPlugin]:
        """Return the plugin of the class at `module:Class`."""
        found = _plugins.get(path)
        if found is None:
            own = {'name': path, 'class_name': path.rpartition(':')[2], '__doc__': cls.__doc__}
            found = _plugins[path] = type('PathConnectorPlugin', (cls,), own)
        return found

    def __post_init__(self) -> None:
        """Refuse a class that isn't there or is no connector, and arguments that it doesn't take."""
        for word, value in _entries(json.loads(self.ps_options or '{}')):
            url = isinstance(value, str) and URL_WITH_PASSWORD.search(value)
            if url or any(secret in word.lower() for secret in SECRET_WORDS):
                what = f'the password in the URL of {word}' if url else word
                raise ConfigError(
                    f'--ps-options must not hold {what}, which would be recorded: put {word} into '
                    f'{SECRET}, as JSON too.'
                )
        self._refuse_unfit(_class(self.name))

    def _arguments(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(self.ps_options or '{}')
        secret: dict[str, Any] = json.loads(self.ps_secret_options or '{}')
        return plain | secret

    def _refuse_unfit(self, connector: type[Any]) -> None:
        """Raise ConfigError for arguments that don't fit the signature of the class."""
        try:
            parameters = list(inspect.signature(connector).parameters.values())
        except ValueError:
            # Written in C without a signature: its own error has to do.
            return
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        taken = [entry for entry in parameters if entry.kind in named]
        names = [entry.name for entry in taken]
        takes = f'{self.class_name} takes {", ".join(names) or "nothing"}'
        given = self._arguments()
        if not any(entry.kind == entry.VAR_KEYWORD for entry in parameters):
            for name in given:
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1)
                    hint = f'did you mean {near[0]}?' if near else f'{takes}.'
                    raise ConfigError(f'--ps-options: {self.class_name} takes no {name!r}; {hint}')
        needed = [entry.name for entry in taken if entry.default is entry.empty]
        missing = [name for name in needed if name not in given]
        if missing:
            raise ConfigError(
                f'--ps-connector {self.name} needs --ps-options JSON with {" and ".join(missing)} '
                f'({takes}).'
            )

    def connector(self, name: str) -> tuple[str, dict[str, Any], str]:
        """Return class path and arguments of the connector, and nothing: its keys are found out."""
        return self.name.replace(':', '.'), self._arguments(), ''


_plugins: dict[str, type[PathConnectorPlugin]] = {}


def _entries(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Return the names in a JSON value with what they stand for, however deep."""
    if isinstance(value, dict):
        for inner, held in value.items():
            yield inner, held
            yield from _entries(held, inner)
    if isinstance(value, list):
        for held in value:
            yield name, held
            yield from _entries(held, name)


def _class(path: str) -> type[Any]:
    """Return the connector class at `module:Class`.

    Raises:
        ConfigError: If there is none.
    """
    module, _, name = path.partition(':')
    flag = f'--ps-connector {path}'
    try:
        holder = importlib.import_module(module)
    except Exception as error:
        raise ConfigError(
            f'{flag}: module {module!r} can not be imported ({type(error).__name__}: '
            f'{in_one_line(error)}): install its package, or put its directory on $PYTHONPATH.'
        ) from None
    found = getattr(holder, name, None)
    if not inspect.isclass(found):
        classes = [key for key, value in vars(holder).items() if inspect.isclass(value)]
        near = difflib.get_close_matches(name, classes, n=1)
        hint = f'did you mean {near[0]}?' if near else 'give the path as module:Class.'
        raise ConfigError(f'{flag}: module {module!r} has no class {name!r}; {hint}')
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise ConfigError(
            f"{flag}: {name} is no connector of ProxyStore's protocol, since it lacks "
            f'{", ".join(missing)}: name another class.'
        )
    return found
