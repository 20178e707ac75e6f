"""Whether two sides may be compared at all, and which of their runs belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streambench.arm import Arm, Measured
from streambench.errors import ConfigError

MACHINE = ('processor', 'cores', 'cores_usable', 'memory_bytes', 'clock_domain')
VERSIONS = ('streambench', 'implementation', 'python', 'packages', 'system', 'libc')
SHOWN = 3

Key = tuple[tuple[str, Any], ...]
Matched = tuple[Mapping[str, Any], Sequence[Measured], Sequence[Measured]]


def refusals(a: Arm, b: Arm) -> list[str]:
    """Return why two sides aren't comparable; nothing if they are.

    Raises:
        ConfigError: If they are one and the same file.
    """
    if a.path.samefile(b.path):
        raise ConfigError(
            f'A and B are one file, {str(a.path)!r}, and its runs do not differ from themselves; name '
            'two measurements.'
        )
    found = []
    if a.psbench != b.psbench:
        ours = b if a.psbench else a
        found.append(
            "psbench's makespan begins when its dispatcher starts to listen, that of "
            f'{ours.name} at the first intended send'
        )
    elif a.versions | b.versions != a.versions & b.versions or len(a.versions) > 1:
        found.append(
            f'schema_version is {_listed(sorted(a.versions))} in A and '
            f'{_listed(sorted(b.versions))} in B'
        )
    found += _environments(a, b)
    found += _unmatched(a, b)
    for arm in (a, b):
        troubled = [run for run in arm.runs if run.trouble]
        if troubled:
            found.append(
                f'{len(troubled)} of {len(arm.runs)} runs of {arm.name} are invalid '
                f'({troubled[0].trouble})'
            )
    return found


def _environments(a: Arm, b: Arm) -> list[str]:
    """Return what differs in the machines and the versions, as far as both are known."""
    if a.environment is None or b.environment is None:
        return []
    found = []
    for words, names in (('were measured on different machines', MACHINE), ('ran different', VERSIONS)):
        changes = []
        for name in names:
            changes += _changes(name, a.environment.get(name), b.environment.get(name))
        if changes == ['clock_domain']:
            found.append('they were measured on different machines, or one before and one after a boot')
        elif changes:
            found.append(f'they {words} ({_listed(changes)})')
    return found


def _changes(name: str, a: Any, b: Any) -> list[str]:
    if a == b:
        return []
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return [change for key in sorted({*a, *b}) for change in _changes(key, a.get(key), b.get(key))]
    # Boot id and namespace are of no use to a reader.
    return [name if name == 'clock_domain' else f'{name} {a} and {b}']


def _listed(entries: Sequence[Any]) -> str:
    words = [str(entry) for entry in entries[:SHOWN]]
    more = len(entries) - len(words)
    return ', '.join(words) + (f' and {more} more' if more else '') if words else 'absent'


def _common(a: Arm, b: Arm) -> tuple[str, ...]:
    return tuple(name for name in a.parameters if name in b.parameters)


def _groups(arm: Arm, names: Sequence[str], *, mixed: bool) -> dict[Key, list[Measured]]:
    """Return runs by the values of parameters."""
    groups: dict[Key, list[Measured]] = {}
    for run in arm.runs:
        values = {name: run.parameters[name] for name in names}
        if mixed and values.get('method') == 'default':
            # psbench names the store also where the payload doesn't go through it.
            values['connector'] = None
        groups.setdefault(tuple(values.items()), []).append(run)
    return groups


def _apart(a: Arm, b: Arm) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the parameters in which no run of A is like a run of B, with their values."""
    names, mixed = _common(a, b), a.psbench != b.psbench
    keys_a, keys_b = ([dict(key) for key in _groups(arm, names, mixed=mixed)] for arm in (a, b))
    found = {}
    for name in names:
        of_a, of_b = (list(dict.fromkeys(key[name] for key in keys)) for keys in (keys_a, keys_b))
        if not set(of_a) & set(of_b):
            found[name] = (of_a, of_b)
    return found


def _unmatched(a: Arm, b: Arm) -> list[str]:
    """Return how the points of the two sides differ."""
    apart = _apart(a, b)
    if apart:
        return [
            f'{name} is {_listed(of_a)} in A and {_listed(of_b)} in B'
            for name, (of_a, of_b) in list(apart.items())[:SHOWN]
        ]
    names, mixed = _common(a, b), a.psbench != b.psbench
    found = []
    groups = {arm.name: _groups(arm, names, mixed=mixed) for arm in (a, b)}
    for arm, other in ((a, b), (b, a)):
        alone = [key for key in groups[arm.name] if key not in groups[other.name]]
        if alone:
            nearest = max(groups[other.name], key=lambda key: _alike(key, alone[0]))
            found.append(
                f'{len(alone)} of {len(groups[arm.name])} points of {arm.name} are not in '
                f'{other.name}, such as {_difference(alone[0], nearest)}'
            )
    return found


def _alike(key: Key, other: Key) -> int:
    return sum(mine == theirs for mine, theirs in zip(key, other, strict=True))


def _difference(key: Key, nearest: Key) -> str:
    """Return a point by what tells it from the nearest one."""
    return _listed([f'{name} {value}' for name, value in key if (name, value) not in nearest])


def match(a: Arm, b: Arm) -> list[Matched]:
    """Return the points that both sides have, with their runs of A and of B.

    Parameters in which the two sides differ altogether are what is compared, so they don't count.

    Raises:
        ConfigError: If there is none, or if runs of several points would be thrown together.
    """
    apart = _apart(a, b)
    names = [name for name in _common(a, b) if name not in apart]
    mixed = a.psbench != b.psbench
    groups_a, groups_b = (_groups(arm, names, mixed=mixed) for arm in (a, b))
    matched = [key for key in groups_a if key in groups_b]
    if not matched:
        raise ConfigError(
            'A and B have no point in common, so there is nothing to compare; measure the same points.'
        )
    for key in matched:
        for arm, groups in ((a, groups_a), (b, groups_b)):
            several = _several(groups[key], arm)
            if several:
                raise ConfigError(
                    f'{arm.name}: runs with {several} would be taken for one point, because the other '
                    'side does not tell them apart; keep one of these in each file.'
                )
    return [(dict(key), groups_a[key], groups_b[key]) for key in matched]


def _several(runs: Sequence[Measured], arm: Arm) -> str:
    """Return a parameter that differs among runs of one point, with its values."""
    for name in arm.parameters:
        values = list(dict.fromkeys(run.parameters[name] for run in runs))
        if len(values) > 1:
            return f'{name} {_listed(values)}'
    return ''


def notes(a: Arm, b: Arm) -> list[str]:
    """Return what isn't against a comparison and yet should be known."""
    found = []
    unknown = [arm.name for arm in (a, b) if arm.environment is None]
    if unknown:
        found.append(
            f'machine and versions of {" and ".join(unknown)} are not known: no environment.json'
        )
    else:
        assert a.environment is not None
        assert b.environment is not None
        revisions = [arm.get('git_revision') for arm in (a.environment, b.environment)]
        if revisions[0] != revisions[1]:
            found.append(f'git revision {revisions[0]} in A, {revisions[1]} in B')
    for arm in (a, b):
        careful = [run for run in arm.runs if run.caution]
        if careful:
            reasons = dict.fromkeys(run.caution for run in careful)
            found.append(
                f'{len(careful)} of {len(arm.runs)} runs of {arm.name} are to be taken with caution: '
                f'{next(iter(reasons))}' + (f' and {len(reasons) - 1} more' if len(reasons) > 1 else '')
            )
    first, second = sorted((a, b), key=lambda arm: min(run.start_s for run in arm.runs))
    if max(run.start_s for run in first.runs) < min(run.start_s for run in second.runs):
        found.append(
            f'all runs of {first.name} were made before those of {second.name}: a machine that drifts '
            'looks like a change; an A/A comparison made in the same way shows how much'
        )
    return found
