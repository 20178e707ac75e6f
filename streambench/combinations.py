"""Options that can't work together: refused before anything is started, each with its remedy."""

from __future__ import annotations

import os

from streambench.arrivals import CONSTANT, parse_sizes
from streambench.brokers.base import BrokerPlugin
from streambench.config import DEFAULT, PROXY, RECORD_NONE, WORKER, Config
from streambench.connectors.base import ConnectorPlugin
from streambench.errors import ConfigError
from streambench.load_kinds import MOST_PER_S
from streambench.ranks import LEAST_REPEATS

COPIES = 4


def refuse_impossible(config: Config) -> None:
    """Raise ConfigError for options that can't work together."""
    if config.load is not None and config.rate is not None:
        raise ConfigError(
            f'--load {config.load:g} and --rate {config.rate} both set the rate: give one of them.'
        )
    if config.max_outstanding is not None and not config.closed_loop:
        raise ConfigError(
            f'--max-outstanding {config.max_outstanding} is for the closed loop: give --rate max '
            'too, or leave it out.'
        )
    if config.record == RECORD_NONE and config.warmup:
        raise ConfigError(
            f'--warmup {config.warmup:g} needs the rows that --record none does not keep: leave one of '
            'them out.'
        )
    span_s = config.duration
    if span_s is None and config.rate_per_s is not None:
        span_s = (config.task_count - 1) / config.rate_per_s
    if config.warmup and span_s is not None and config.warmup >= span_s:
        raise ConfigError(
            f'--warmup {config.warmup:g} leaves none of the {span_s:.3g} s in which items are sent: '
            'shorten it, or send for longer.'
        )
    if config.until_narrow is not None and config.repeat < LEAST_REPEATS:
        raise ConfigError(
            f'--until-narrow {config.until_narrow:.0%} needs --repeat {LEAST_REPEATS} or more, not '
            f'{config.repeat}: fewer runs carry no 95 % interval.'
        )
    rate = config.rate_per_s
    if rate is not None and rate > MOST_PER_S:
        raise ConfigError(
            f'--task-sleep {config.task_sleep:g} at load {config.load or 1:g} asks for {rate:.3g} '
            'items per second: give --rate max instead.'
        )
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if config.data_size_bytes * COPIES > memory:
        raise ConfigError(
            f'--data-size-bytes {config.data_size_bytes} does not fit {COPIES} times into the '
            f'{memory} bytes of memory here: take at most {memory // COPIES}.'
        )
    elsewhere = not config.executor_plugin.in_process
    connector = config.connector_plugin
    if config.stream_method == PROXY and connector and connector.in_process and elsewhere:
        raise ConfigError(
            f'--ps-connector {connector.name} keeps payloads in this process, where the workers of '
            f'--executor {config.executor} are not: take redis or file.'
        )
    if config.closed_loop and config.arrival != CONSTANT:
        raise ConfigError(
            f'--arrival {config.arrival} has no meaning in a closed loop (--rate max, or --task-sleep '
            '0 without a rate), which sends when a credit is free: give --rate a number.'
        )
    if config.stream_method == PROXY and not config.executor_plugin.runs_code:
        raise ConfigError(
            f'--executor {config.executor} runs no code that could resolve a proxy: give '
            '--stream-method default.'
        )
    if config.stream_method == DEFAULT:
        config.executor_plugin.refuse(carried_bytes=_largest_bytes(config))
    _refuse_unreachable(config)
    if config.generator != WORKER:
        if config.generators > 1:
            raise ConfigError(
                f'--generators {config.generators} needs --generator worker: this event loop has one.'
            )
        return
    if not config.executor_plugin.runs_code:
        raise ConfigError(
            f'--executor {config.executor} runs no code and so no generator on a worker: give '
            '--generator loop.'
        )
    if config.workers <= config.generators > 1:
        raise ConfigError(
            f'--generators {config.generators} with --max-workers {config.workers} leaves no worker to '
            f'compute: take {config.generators + 1} workers or more, or fewer generators.'
        )
    if config.workers == 1:
        raise ConfigError(
            '--generator worker with --max-workers 1 leaves no worker to compute: take 2 or more, '
            'or --generator loop.'
        )
    if config.closed_loop:
        raise ConfigError(
            '--generator worker can not run a closed loop (--rate max, or --task-sleep 0 without a '
            'rate): credits would need a way back to it; give --rate a number.'
        )
    if config.broker_plugin.in_process and elsewhere:
        raise ConfigError(
            f'--generator worker with --stream {config.stream} can not reach this process from the '
            f'workers of --executor {config.executor}: take another broker, or --executor thread.'
        )


def _largest_bytes(config: Config) -> int:
    """Return the length of the largest payload, or their mean where they are drawn without bound."""
    if config.trace is not None and config.trace.sizes_bytes is not None:
        return max(config.trace.sizes_bytes)
    _, _, weights = parse_sizes(config.data_size_dist)
    return max(weights, default=config.data_size_bytes)


def _refuse_unreachable(config: Config) -> None:
    """Raise ConfigError if workers elsewhere would need a server that only this host reaches."""
    if not config.executor_plugin.elsewhere or config.bind_interface is not None:
        return
    needed: list[tuple[str, BrokerPlugin | ConnectorPlugin]] = []
    if config.stream_method == PROXY and config.connector_plugin is not None:
        needed.append(('payloads in', config.connector_plugin))
    if config.generator == WORKER:
        needed.append(('the generator reaches', config.broker_plugin))
    for why, plugin in needed:
        if plugin.needs_redis_server:
            raise ConfigError(
                f'--executor {config.executor}: its workers may be on other hosts, and {why} an '
                'embedded Redis that only this host reaches: give --bind-interface auto (lo, if they '
                'are here), or the address of a server.'
            )
        if plugin.only_here:
            raise ConfigError(
                f'--executor {config.executor}: its workers may be on other hosts, and {why} servers '
                f'at {plugin.only_here}, which the name of this host stands for: give --ps-interface '
                'NAME, or --ps-address (that one, if they are here).'
            )
