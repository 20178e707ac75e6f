"""How values of any origin become one checked configuration.

Values come by name from a command line, a TOML file or a caller of the library; every mistake in
them is answered here with one sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from streambench import registry
from streambench.arrivals import CONSTANT, FIXED, mean_choice_bytes
from streambench.combinations import refuse_impossible
from streambench.config import (
    CHOOSERS,
    DEFAULT,
    OPTIONS,
    PROXY,
    Config,
)
from streambench.errors import ConfigError, MissingExtraError
from streambench.load_kinds import RATE_MAX
from streambench.options import Option, options_of
from streambench.trace import Trace, read_trace, trace_path

# A pool of payloads, one on its way and one on a worker: what a size needs at the very least.


def plugin_options(kind: str, name: str) -> dict[str, Option]:
    """Return the options that a plugin declares, by name."""
    return options_of(registry.load(kind, name))


def known_options(*, others: bool = False) -> dict[str, tuple[Option, tuple[str, ...]]]:
    """Return every option with the plugins (`kind name`) that take it.

    Args:
        others: Whether to look for plugins of other packages too.
    """
    found: dict[str, tuple[Option, tuple[str, ...]]] = {
        name: (entry, ()) for name, entry in OPTIONS.items()
    }
    for kind in registry.PLUGINS:
        for plugin in registry.names(kind, others=others):
            try:
                declared = plugin_options(kind, plugin)
            except ConfigError:
                # A broken plugin of another package concerns who chooses it, and nobody else.
                if plugin in registry.PLUGINS[kind]:
                    raise
                continue
            for name, entry in declared.items():
                takers = found[name][1] if name in found else ()
                found[name] = (entry, (*takers, f'{kind} {plugin}'))
    return found


def refuse_unknown(names: Iterable[str], *, where: str) -> None:
    """Raise ConfigError for the first name that no option has; names the nearest."""
    known = known_options()
    for name in names:
        if name in known:
            continue
        known = known_options(others=True)
        if name in known:
            continue
        spellings = {
            alias.replace('-', '_'): option for option in known for alias in known[option][0].aliases
        }
        spellings |= {option: option for option in known}
        spellings['max_workers'] = 'workers'
        near = difflib.get_close_matches(name, spellings, n=1)
        hint = f'did you mean {spellings[near[0]]}?' if near else '`streambench run --help` lists them.'
        raise ConfigError(f'{where}: there is no option {name!r}; {hint}')


def configure(**values: Any) -> Config:
    """Return the configuration of one point.

    Args:
        values: Options by name, those of plugins included; None counts as not given.

    Raises:
        ConfigError: If something is unknown, missing, stray, out of range, or can't work together.
    """
    given = {name: value for name, value in values.items() if value is not None}
    refuse_unknown(given, where='configuration')
    core = {name: OPTIONS[name].read(value) for name, value in given.items() if name in OPTIONS}
    rest = {name: value for name, value in given.items() if name not in OPTIONS}
    chosen = {name: core.get(name, OPTIONS[name].default) for name in CHOOSERS}
    proxied = core.get('stream_method', DEFAULT) == PROXY
    plugins: dict[str, Any] = {}
    for chooser, kind in CHOOSERS.items():
        needed = kind != 'connector' or proxied
        plugins[f'{kind}_plugin'] = _plugin(kind, chosen[chooser], rest, chooser, needed=needed)
    for name in rest:
        _refuse_stray(name, chosen)
    if 'duration' in core and 'task_count' in core:
        raise ConfigError(
            f'--duration {core["duration"]:g} and --task-count {core["task_count"]} both set how many '
            'items there are: give one of them.'
        )
    asked = plugins['executor_plugin'].asked_workers()
    if asked is not None:
        _set(core, 'workers', asked[0], by=asked[1])
    trace = _load_model(core)
    scheduled = 'rate' in core or trace is not None
    if not core.get('task_sleep', OPTIONS['task_sleep'].default) and not scheduled:
        if 'load' in core:
            raise ConfigError(
                f'--load {core["load"]:g} has no meaning at --task-sleep 0: give --rate instead.'
            )
        core['rate'] = RATE_MAX
    config = Config(**core, **plugins, trace=trace)
    refuse_impossible(config)
    return config


def _refuse_stray(name: str, chosen: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option of a plugin that isn't chosen."""
    entry, owners = known_options(others=True)[name]
    kinds = {kind: chooser for chooser, kind in CHOOSERS.items()}
    kind = owners[0].split()[0]
    flag = OPTIONS[kinds[kind]].flag
    plugins = ' or '.join(owner.split()[1] for owner in owners)
    raise ConfigError(
        f'{entry.flag} belongs to {flag} {plugins}, and here it is {flag} {chosen[kinds[kind]]}: '
        'leave it out.'
    )


def _load_model(core: dict[str, Any]) -> Trace | None:
    """Return the trace, if items leave by one, and set what it or the distribution of sizes sets."""
    arrival = core.get('arrival', CONSTANT)
    distribution = core.get('data_size_dist', FIXED)
    mean_bytes = mean_choice_bytes(distribution)
    if mean_bytes is not None:
        _set(core, 'data_size_bytes', mean_bytes, by=f'--data-size-dist {distribution}')
    path = trace_path(arrival)
    if path is None:
        if core.get('trace_speed', 1.0) != 1.0:
            raise ConfigError(
                f'--trace-speed {core["trace_speed"]:g} is for --arrival trace:FILE: leave it out.'
            )
        return None
    for name in ('rate', 'load'):
        if name in core:
            raise ConfigError(
                f'--{name} {core[name]} and --arrival {arrival} both set the rate: give --trace-speed '
                'to replay it faster.'
            )
    trace = read_trace(path)
    _set(core, 'task_count', len(trace.offsets_ns), by=f'--arrival {arrival}')
    if trace.mean_bytes is not None:
        if distribution != FIXED:
            raise ConfigError(
                f'--data-size-dist {distribution} and the sizes in --arrival {arrival} both set how '
                'long payloads are: leave the distribution out.'
            )
        _set(core, 'data_size_bytes', trace.mean_bytes, by=f'--arrival {arrival}')
    return trace


def _set(core: dict[str, Any], name: str, value: int, *, by: str) -> None:
    """Set an option that follows from another; given, it must be the same."""
    if core.setdefault(name, value) != value:
        raise ConfigError(
            f'{OPTIONS[name].flag} {core[name]} does not fit {by}, which sets it to {value}: leave it '
            'out.'
        )


def _plugin(kind: str, name: str, rest: dict[str, Any], chooser: str, *, needed: bool) -> Any:
    """Make a chosen plugin out of its options, taking them from `rest`."""
    declaring = registry.load(kind, name)
    own = options_of(declaring)
    taken = {key: own[key].read(rest.pop(key)) for key in list(rest) if key in own}
    flag = OPTIONS[chooser].flag
    for key, entry in own.items():
        if entry.required and needed and key not in taken:
            raise ConfigError(
                f'{flag} {name} needs {entry.flag} {entry.kind.metavar} ({declaring.summary}).'
            )
    # What isn't needed is checked like the rest, and then neither opened nor recorded.
    plugin = declaring(**taken)
    if not needed:
        return None
    missing = [package for package in declaring.packages if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f'{flag} {name} needs {" and ".join(missing)}, not installed here: `{declaring.install}`.'
        )
    return plugin


def plan_values(config: Config) -> dict[str, Any]:
    """Return every option of a point by name, without secrets."""
    holders: list[Any] = [config, config.broker_plugin, config.executor_plugin]
    if config.connector_plugin is not None:
        holders.append(config.connector_plugin)
    values: dict[str, Any] = {}
    for holder in holders:
        for entry in fields(holder):
            if 'kind' in entry.metadata and not entry.metadata['secret']:
                values[entry.name] = getattr(holder, entry.name)
    return {name: value for name, value in values.items() if value not in (None, ())}


def read_toml(path: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the options and the `[sweep]` of a TOML file.

    Raises:
        ConfigError: If it can't be read or names an unknown option.
    """
    import tomllib

    try:
        data = tomllib.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'--config: {path!r} can not be read: {error.strerror}.') from None
    except ValueError as error:
        raise ConfigError(f'--config: {path!r} is not TOML: {error}.') from None
    sweep = data.pop('sweep', {})
    if not isinstance(sweep, Mapping):
        raise ConfigError(f'--config: [sweep] in {path!r} must be a table.')
    refuse_unknown([*data, *sweep], where=f'--config {path}')
    for name, (entry, _) in known_options(others=True).items():
        if entry.secret and (name in data or name in sweep):
            raise ConfigError(
                f'--config {path}: {name} is a secret and must not stand in a file of options; '
                f'set $STREAMBENCH_{name.upper()}.'
            )
    return data, {
        name: list(values) if isinstance(values, list) else [values] for name, values in sweep.items()
    }
