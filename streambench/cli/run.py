"""`streambench run`: its flags, which the options declare, and the plan that they describe."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streambench import registry
from streambench.cli.terminal import say
from streambench.config import CHOOSERS, OPTIONS
from streambench.errors import EXIT_OK, ConfigError
from streambench.options import Option
from streambench.settings import known_options, plugin_options, read_toml
from streambench.tables import add_format_option

if TYPE_CHECKING:
    from streambench.plan import Plan

SECRET_PREFIX = 'STREAMBENCH_'
GROUPS = {
    'stream': 'stream',
    'executor': 'executor',
    'broker': 'broker',
    'connector': 'connector (method proxy)',
    'run': 'run',
    'output': 'output',
}


class _Collect(argparse.Action):
    """Note a value under the option's name together with the spelling that gave it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = dict(getattr(namespace, 'given', None) or {})
        given.setdefault(self.dest, []).append((option_string, values))
        namespace.given = given


def _add_option(group: Any, entry: Option, takers: Sequence[str], *, others: bool) -> None:
    text = entry.doc.replace('%', '%%')
    notes = []
    if entry.name in CHOOSERS:
        notes.append(', '.join(registry.names(CHOOSERS[entry.name], others=others)))
    if takers:
        notes.append(', '.join(taker.split()[1] for taker in takers))
    if entry.axis_default:
        notes.append('default: ' + ' '.join(map(str, entry.axis_default)))
    elif entry.default not in (None, ()):
        truth = entry.default in (True, False)
        notes.append(f'default: {str(entry.default).lower() if truth else entry.default}')
    if entry.axis:
        notes.append('several values: an axis')
    words = '+' if entry.axis or entry.kind.several else None
    group.add_argument(
        *entry.flags,
        dest=entry.name,
        action=_Collect,
        nargs='?' if entry.kind.alone else words,
        const=entry.kind.alone,
        metavar=entry.kind.metavar,
        help=text + (f' ({"; ".join(notes)})' if notes else ''),
        default=argparse.SUPPRESS,
    )


def add_arguments(parser: argparse.ArgumentParser, *, others: bool) -> None:
    """Add the flags, which the options of core and plugins declare: no broker's client is imported.

    Args:
        parser: Takes them.
        others: Whether to look for plugins of other packages too, which takes a moment.
    """
    parser.usage = 'streambench run [OPTION ...]'
    parser.description = (
        'Run the benchmark. Without any flag: two embedded Redis servers, Parsl with 4 workers, both '
        'methods, 100 kB and 1 MB, each at load 1 and 0.8. Where another package has the plugin, '
        '--help behind its name shows its flags too.'
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for entry, takers in known_options(others=others).values():
        if not entry.secret:
            _add_option(groups[entry.group], entry, takers, others=others)
    groups['run'].add_argument(
        '--config', metavar='FILE', help='TOML file of options and [sweep]; flags win over it'
    )
    groups['run'].add_argument('--dry-run', action='store_true', help='show the resolved plan and stop')
    add_format_option(groups['run'])
    groups['broker'].description = (
        'Passwords come from $STREAMBENCH_STREAM_PASSWORD and $STREAMBENCH_PS_PASSWORD, or from a '
        'file with a URL; they are never recorded.'
    )


def run(namespace: argparse.Namespace) -> int:
    """Measure, or show the plan, and return the exit code.

    Raises:
        StreamBenchError: If something is wrong with the plan.
    """
    plan = plan_of(namespace, os.environ)
    if namespace.dry_run:
        from streambench.report import plan_text

        say(plan_text(plan, form=namespace.format))
        return EXIT_OK
    from streambench.cli.measure import measure

    return measure(plan, form=namespace.format)


def _given(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the command line; two spellings must not contradict each other."""
    values: dict[str, Any] = {}
    for name, entries in (getattr(namespace, 'given', None) or {}).items():
        flags = {flag for flag, _ in entries}
        if len(flags) > 1 and len({str(value) for _, value in entries}) > 1:
            spelled = ' and '.join(
                f'{flag} {" ".join(value) if isinstance(value, list) else value}'
                for flag, value in entries
            )
            raise ConfigError(f'{spelled} are spellings of one option, {name}: give it one value.')
        values[name] = entries[-1][1]
        entry = known_options()[name][0] if name in known_options() else None
        if entry is not None and entry.kind.several:
            values[name] = [item for _, items in entries for item in items]
        elif isinstance(values[name], list) and len(values[name]) == 1:
            values[name] = values[name][0]
    return values


def _secrets(environment: Mapping[str, str], chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the passwords that the environment holds for the chosen plugins."""
    found = {}
    for chooser, kind in CHOOSERS.items():
        names = chosen.get(chooser, OPTIONS[chooser].default)
        for name in names if isinstance(names, list) else [names]:
            for option in plugin_options(kind, OPTIONS[chooser].read(name)).values():
                value = environment.get(SECRET_PREFIX + option.name.upper())
                if option.secret and value:
                    found[option.name] = value
    return found


def _replaced(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> set[str]:
    """Return the options of a file whose plugin a flag has replaced by another."""
    names: set[str] = set()
    for chooser in CHOOSERS.keys() & given.keys():
        kind, chosen = CHOOSERS[chooser], recorded.get(chooser, OPTIONS[chooser].default)
        before = {
            f'{kind} {registry.listed(kind, name)}'
            for name in (chosen if isinstance(chosen, list) else [chosen])
        }
        for name in recorded.keys() - OPTIONS.keys():
            takers = set(known_options(others=True)[name][1])
            if takers & before and f'{kind} {registry.listed(kind, given[chooser])}' not in takers:
                names.add(name)
    return names


def plan_of(namespace: argparse.Namespace, environment: Mapping[str, str]) -> Plan:
    """Return the plan that a command line, its TOML file and the environment's secrets describe.

    Raises:
        ConfigError: If something in them is wrong.
    """
    from streambench.plan import make_plan

    values: dict[str, Any] = {}
    sweep: dict[str, list[Any]] = {}
    if namespace.config:
        values, sweep = read_toml(namespace.config)
    given = _given(namespace)
    for name in _replaced(values | sweep, given):
        values.pop(name, None)
        sweep.pop(name, None)
    for name in given:
        sweep.pop(name, None)
    if 'load' in given:
        values.pop('rate', None)
        sweep.pop('rate', None)
    if 'rate' in given:
        values.pop('load', None)
        sweep.pop('load', None)
    values |= given
    return make_plan(values | _secrets(environment, values | sweep), sweep=sweep)
