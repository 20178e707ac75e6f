"""Names of the plugins, and how one is loaded when it is chosen.

Plugins of other packages are found through the entry-point groups `streambench.brokers`,
`streambench.connectors` and `streambench.executors`; a name of ours can't be taken.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from dataclasses import is_dataclass
from typing import Any

from streambench.errors import ConfigError, UnknownPluginError, in_one_line

# The line that stands for every class given by its import path.
BY_PATH = 'module:Class'

PLUGINS: dict[str, dict[str, str]] = {
    'broker': {
        'redis': 'streambench.brokers.redis:RedisBroker',
        'kafka': 'streambench.brokers.kafka:KafkaBroker',
        'memory': 'streambench.brokers.memory:MemoryBroker',
    },
    'connector': {
        'redis': 'streambench.connectors.redis:RedisConnectorPlugin',
        'file': 'streambench.connectors.file:FileConnectorPlugin',
        'local': 'streambench.connectors.local:LocalConnectorPlugin',
        'endpoint': 'streambench.connectors.endpoint:EndpointConnectorPlugin',
        'zmq': 'streambench.connectors.zmq:ZeroMQConnectorPlugin',
        'globus': 'streambench.connectors.globus:GlobusConnectorPlugin',
        'margo': 'streambench.connectors.margo:MargoConnectorPlugin',
        'ucx': 'streambench.connectors.ucx:UCXConnectorPlugin',
        'daos': 'streambench.connectors.daos:DAOSConnectorPlugin',
        BY_PATH: 'streambench.connectors.by_path:PathConnectorPlugin',
    },
    'executor': {
        'thread': 'streambench.executors.pools:ThreadExecutor',
        'process': 'streambench.executors.pools:ProcessExecutor',
        'parsl': 'streambench.executors.parsl:ParslExecutor',
        'globus': 'streambench.executors.globus_compute:GlobusComputePlugin',
        'dask': 'streambench.executors.dask:DaskExecutor',
        'simulated': 'streambench.executors.simulated:SimulatedExecutorPlugin',
    },
}


@functools.cache
def _entry_points(kind: str) -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=f'streambench.{kind}s')}


def names(kind: str, *, others: bool = True) -> list[str]:
    """Return the names of all plugins of a kind.

    Args:
        kind: `broker`, `connector` or `executor`.
        others: Whether to look for those of other packages too, which reads their metadata.
    """
    own = PLUGINS[kind]
    return [*own, *(sorted(set(_entry_points(kind)) - set(own)) if others else ())]


def listed(kind: str, name: str) -> str:
    """Return the registry name that a chosen name falls under: its own, or that of import paths."""
    return BY_PATH if ':' in name and BY_PATH in PLUGINS[kind] else name


def load(kind: str, name: str) -> Any:
    """Import a plugin's class.

    Args:
        kind: `broker`, `connector` or `executor`.
        name: Registry name; for a connector also the import path of a class of ProxyStore's kind.

    Raises:
        UnknownPluginError: If there is no plugin of that name.
        ConfigError: If what an entry point of another package names can't be imported, or is no
            plugin.
    """
    path = PLUGINS[kind].get(listed(kind, name)) or _entry_points(kind).get(name)
    if path is None:
        known = names(kind)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean {near[0]}? ' if near else ''
        raise UnknownPluginError(
            f'unknown {kind} {name!r}: {hint}`streambench list` shows {", ".join(known)}.'
        )
    module, _, attribute = path.partition(':')
    try:
        plugin = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f'{kind} {name!r} can not be loaded from {path}: {in_one_line(error)}'
        ) from error
    if listed(kind, name) not in PLUGINS[kind]:
        _check(plugin, f'{kind} {name!r} from {path}', name=name)
    return plugin if listed(kind, name) == name else plugin.at_path(name)


def _check(plugin: Any, title: str, *, name: str) -> None:
    """Raise ConfigError if what another package calls a plugin is none; says what its author forgot."""
    if not (
        isinstance(plugin, type) and is_dataclass(plugin) and hasattr(plugin, '__abstractmethods__')
    ):
        raise ConfigError(
            f'{title} is no plugin: it must be a frozen dataclass derived from BrokerPlugin, '
            'ConnectorPlugin or ExecutorPlugin.'
        )
    lacking = sorted(
        {*plugin.__abstractmethods__}
        | {word for word in ('name', 'summary') if not hasattr(plugin, word)}
    )
    if lacking:
        raise ConfigError(f'{title} is not complete: it lacks {", ".join(lacking)}.')
    own_name = getattr(plugin, 'name', '')
    if own_name != name:
        raise ConfigError(
            f'{title} calls itself {own_name!r}: give its entry point and its class one name.'
        )
