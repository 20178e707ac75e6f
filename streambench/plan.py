"""What is to be run: the product of all axes, repeated, in a seeded order, grouped into sessions.

A point is one value for each option; an option with several values is an axis. Points that differ
only in what may vary between runs share a session, in which executor and store stay open.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from streambench import registry
from streambench.arrivals import CHOICE
from streambench.config import CHOOSERS, OPTIONS, TOUR_LOADS, Config
from streambench.errors import ConfigError
from streambench.options import PLAN, RUN
from streambench.run_spec import RunSpec
from streambench.settings import configure, known_options, plan_values
from streambench.trace import TRACE

# With the warm-up of the first run: in this process, or with processes that import.
START_HERE_S = 0.5
START_PROCESSES_S = 7.0
MOST_RUNS = 100_000
BETWEEN_RUNS_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All runs in their order.

    Attributes:
        runs: The runs; those of a session stand together.
        seed: Root of all seeds.
        values: Every option as given or by default, axes as lists; what config.toml holds.
    """

    runs: tuple[RunSpec, ...]
    seed: int
    values: Mapping[str, Any]

    @property
    def first(self) -> Config:
        """The first point, for what is the same in all of them."""
        return self.runs[0].config

    def sessions(self) -> list[list[RunSpec]]:
        """Return the runs grouped by what they need open."""

        def shared(run: RunSpec) -> tuple[Any, ...]:
            return session_key(run.config), run.repeat if run.config.fresh_executor else 0

        return [list(group) for _, group in itertools.groupby(self.runs, shared)]

    @property
    def expected_s(self) -> float | None:
        """Expected time of all runs with warm-ups and starts, or None if a run's is unknown."""
        total = 0.0
        for runs in self.sessions():
            expected = session_s(runs)
            if expected is None:
                return None
            total += expected
        return total


def session_s(runs: Iterable[RunSpec]) -> float | None:
    """Return the expected time of a session with its start and warm-ups, or None if it is unknown."""
    total = 0.0
    for run in runs:
        if not total:
            here = run.config.executor_plugin.in_process
            total = START_HERE_S if here else START_PROCESSES_S
        if run.expected_s is None:
            return None
        total += run.expected_s + BETWEEN_RUNS_S + run.config.task_sleep
    return total


def session_key(config: Config) -> tuple[Any, ...]:
    """Return what two points must have in common to share a session."""
    own = tuple(
        getattr(config, name)
        for name, entry in OPTIONS.items()
        if entry.scope not in (RUN, PLAN) and name != 'workers'
    )
    return (*own, config.broker_plugin, config.executor_plugin, _store(config))


def _store(config: Config) -> Any:
    # A point of method `default` doesn't use the store, so it fits into any session.
    plugin = config.connector_plugin
    return None if plugin is None else tuple(getattr(plugin, f.name) for f in fields(plugin))


def _seed(root: int, *parts: object) -> int:
    text = ' '.join(map(str, (root, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


def _shuffled(entries: Iterable[Any], root: int, *parts: object) -> list[Any]:
    found = list(entries)
    random.Random(_seed(root, *parts)).shuffle(found)
    return found


def make_plan(
    values: Mapping[str, Any] | None = None, *, sweep: Mapping[str, Iterable[Any]] | None = None
) -> Plan:
    """Return the plan that options describe.

    Args:
        values: Options by name; those that are axes may have several values.
        sweep: Further axes, of any option that can vary.

    Raises:
        ConfigError: If an option is wrong, or an axis can't be one.
    """
    axes = _axes(dict(values or {}), {name: list(entry) for name, entry in (sweep or {}).items()})
    constant = {name: entry[0] for name, entry in axes.items() if len(entry) == 1}
    varying = {name: entry for name, entry in axes.items() if len(entry) > 1}
    proxied = 'proxy' in axes['stream_method']
    _refuse_endless(axes)
    if len(axes.get('loop', ())) > 1 and True in axes.get('loop_exact', ()):
        raise ConfigError(
            '--loop-exact replaces the selector of asyncio only, so two loops are no longer alike: '
            'leave it out, or give --loop asyncio.'
        )
    points = []
    for combination in itertools.product(*varying.values()):
        point = _own_options(constant | dict(zip(varying, combination, strict=True)), axes)
        points.append(_share_store(configure(**point), point, proxied=proxied))
    unique = list(dict.fromkeys(points))
    seed = points[0].seed
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    sharing: dict[tuple[Any, ...], list[int]] = {}
    # Points of one loop stand together: a session lives in its own.
    for number in sorted(range(len(unique)), key=lambda number: unique[number].loop != unique[0].loop):
        sharing.setdefault(session_key(unique[number]), []).append(number)
    largest = {key: max(unique[number].slots for number in same) for key, same in sharing.items()}
    ordered: list[tuple[int, int, Config]] = []
    for repeat in range(points[0].repeat):
        # Each repetition is a complete block in its own order, so drift can't favour a point: where the
        # points need several sessions, each of these is opened anew for it.
        drawn = points[0].repeat > 1
        sessions = _shuffled(sharing.values(), seed, 'sessions', repeat) if drawn else sharing.values()
        for numbers in sessions:
            block = _shuffled(numbers, seed, 'order', repeat) if drawn else numbers
            ordered += [(repeat, number, unique[number]) for number in block]
    runs = tuple(
        RunSpec(
            run=run,
            point=number,
            repeat=repeat,
            # Points of a repetition get the same traffic, so that they differ by nothing else.
            seed=_seed(seed, 'traffic', repeat),
            config=config,
            opened_slots=largest[session_key(config)],
        )
        for run, (repeat, number, config) in enumerate(ordered)
    )
    plan = Plan(runs=runs, seed=seed, values=_recorded(axes, unique, seed))
    _refuse_short_walltime(plan)
    return plan


def _refuse_short_walltime(plan: Plan) -> None:
    """Raise ConfigError for runs that the batch system would end: said before the wait in its queue."""
    if plan.first.until_narrow is not None:
        # Nobody knows how many of them there will be.
        return
    for runs in plan.sessions():
        within_s = runs[0].config.executor_plugin.walltime_s
        expected_s = session_s(runs)
        if within_s is not None and expected_s is not None and expected_s > within_s:
            minutes = math.ceil(expected_s / 60)
            raise ConfigError(
                f'--parsl-walltime leaves a job {within_s / 60:g} min, and its {len(runs)} runs take '
                f'about {minutes} min: give --parsl-walltime {minutes // 60}:{minutes % 60:02}:00 or '
                'more, or measure less.'
            )


def _refuse_endless(axes: Mapping[str, list[Any]]) -> None:
    """Raise ConfigError for more runs than anybody waits for."""
    repeats = max(axes.get('repeat', [1]))
    runs = repeats * math.prod(map(len, axes.values()))
    if runs > MOST_RUNS:
        raise ConfigError(
            f'--repeat {repeats} and the axes make {runs} runs: a plan has at most {MOST_RUNS}, make '
            'several of it.'
        )


def _own_options(point: dict[str, Any], axes: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return a point without the options of plugins that only its neighbours choose.

    Where the plugin itself is an axis, an option of one of its values says nothing about the others.
    """
    varying = {chooser for chooser in CHOOSERS if len(axes.get(chooser, ())) > 1}
    if not varying:
        return point
    kept = {}
    known = known_options(others=True)
    for name, value in point.items():
        takers = known[name][1] if name in known else ()
        here = {
            f'{kind} {registry.listed(kind, point.get(key, OPTIONS[key].default))}'
            for key, kind in CHOOSERS.items()
        }
        others = {
            f'{CHOOSERS[key]} {registry.listed(CHOOSERS[key], plugin)}'
            for key in varying
            for plugin in axes[key]
        }
        if not takers or here & set(takers) or not others & set(takers):
            kept[name] = value
    return kept


def _share_store(config: Config, point: Mapping[str, Any], *, proxied: bool) -> Config:
    """Return a point of method `default` with the store that its `proxy` neighbours use."""
    if config.connector_plugin is not None or not proxied:
        return config
    from dataclasses import replace

    other = configure(**(dict(point) | {'stream_method': 'proxy'}))
    return replace(config, connector_plugin=other.connector_plugin)


def _axes(values: dict[str, Any], sweep: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return every given option, and every axis by default, as a list of values."""
    known = known_options(others=bool(set(values) - set(known_options())))
    for name, entries in sweep.items():
        if name in known and known[name][0].scope == PLAN:
            raise ConfigError(f'[sweep]: {name} is the same for the whole plan and can not vary.')
        if not entries:
            raise ConfigError(f'[sweep]: {name} has no value; give at least one.')
    given = values | sweep
    tour = not {'task_count', 'duration', 'task_sleep', 'load', 'rate', 'arrival'} & {*given}
    # A trace and a choice of sizes bring their own; an axis by default would contradict them.
    own_sizes = any(
        str(entry).startswith((f'{TRACE}:', f'{CHOICE}:'))
        for name in ('arrival', 'data_size_dist')
        for entry in _listed(given.get(name))
    )
    axes: dict[str, list[Any]] = {}
    for name, value in (values | sweep).items():
        entry = known.get(name)
        several = isinstance(value, list | tuple) and (
            name in sweep or (entry is not None and entry[0].axis)
        )
        entries = list(value) if several else [value]
        if not entries:
            raise ConfigError(f'{name} has no value; give at least one.')
        axes[name] = [entry[0].read(item) for item in entries] if entry else entries
    for name, option in OPTIONS.items():
        if name == 'data_size_bytes' and own_sizes:
            continue
        if option.axis and option.axis_default and name not in axes:
            axes[name] = list(option.axis_default)
    if tour:
        axes['load'] = list(TOUR_LOADS)
    return {name: list(dict.fromkeys(entries)) for name, entries in axes.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _recorded(axes: dict[str, list[Any]], points: list[Config], seed: int) -> dict[str, Any]:
    """Return what config.toml holds: everything that the plan depends on, without secrets."""
    recorded: dict[str, Any] = {}
    for point in points:
        recorded |= plan_values(point)
    recorded['seed'] = seed
    # What follows from other options is not stated again: a rate by sleep 0, a load by default.
    for name in ('rate', 'load'):
        if name not in axes:
            recorded.pop(name, None)
    if 'duration' in axes:
        # It sets the count.
        recorded.pop('task_count', None)
    secret = {name for name, (entry, _) in known_options().items() if entry.secret}
    sweep = {name: entries for name, entries in axes.items() if len(entries) > 1 and name not in secret}
    for name in sweep:
        recorded.pop(name, None)
    return recorded | {'sweep': sweep} if sweep else recorded
