"""What a run's row says that was counted while the run was under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from streambench.brokers.base import Subscriber
from streambench.clock import NS_PER_S
from streambench.dispatcher import Dispatcher
from streambench.ledger import Ledger
from streambench.production import Production
from streambench.records import MEASURE, WARMUP
from streambench.strain import Strain, loop_name
from streambench.surroundings import Surroundings


def live_columns(
    session: Surroundings,
    *,
    ledgers: Mapping[str, Ledger],
    dispatcher: Dispatcher | None,
    production: Production | None,
    subscriber: Subscriber | None,
    strain: Strain,
    proven: int,
    nodes: int,
    clock_bound_s: float | None,
) -> dict[str, Any]:
    """Return columns of results.csv.

    Args:
        session: What is open.
        ledgers: The account of each phase.
        dispatcher: Submits, once it is there.
        production: Sends, once it is there.
        subscriber: Receives, once it is there.
        strain: What the run cost loop and machine.
        proven: Workers that ran in the warm-up.
        nodes: Nodes that must have one of them.
        clock_bound_s: How well the clocks of other hosts are known.
    """
    ledger = ledgers[MEASURE]
    first, last = ledger.first_intended_ns, ledger.last_complete_ns
    floor_ns = production.floor_ns if production else 0

    def epoch_s(instant_ns: int | None) -> float:
        return 0.0 if instant_ns is None else (instant_ns + session.epoch_offset_ns) / NS_PER_S

    hosts = _by_host(ledgers[WARMUP].workers)
    counted = ledger.counts() | {
        'makespan_s': None if first is None or last is None else (last - first) / NS_PER_S,
        'completed_bytes': ledger.completed_bytes,
        'start_submit_tasks_timestamp': epoch_s(first),
        'end_tasks_done_timestamp': epoch_s(last),
        'workers_proven': proven or None,
        'worker_hosts': hosts,
        'loop': loop_name(),
        'remarks': '; '.join([*session.executor.remarks(), *_crowded(hosts, nodes=nodes)]),
        'pacing_floor_s': floor_ns / NS_PER_S if floor_ns else None,
        'redis_shared': session.redis_shared,
        'foreign': dispatcher.foreign if dispatcher else 0,
        'clock_shift_bound_s': clock_bound_s,
        'reconnects': (subscriber.reconnects if subscriber else 0)
        + (production.reconnects if production else 0),
        'backpressure_s': dispatcher.backpressure_s if dispatcher else 0.0,
    }
    return counted | strain.columns(
        ended=ledger.completed + ledger.failed,
        sent=ledger.sent,
        publishing_ns=production.publishing_ns if production else None,
    )


def _by_host(workers: Iterable[tuple[str, int, int]]) -> str:
    """Return how many different workers each host has, as `n1:2 n2:2`."""
    hosts = Counter(host for host, _, _ in workers)
    return ' '.join(f'{host}:{number}' for host, number in sorted(hosts.items()))


def _crowded(hosts: str, *, nodes: int) -> list[str]:
    """Return that workers are on fewer nodes than they were asked for, if they are.

    Args:
        hosts: Workers by host.
        nodes: Nodes that must have one of them.
    """
    if not hosts or len(hosts.split()) >= nodes:
        return []
    return [
        f'all proven workers are on {hosts}, and {nodes} nodes were asked for: see --parsl-launcher, '
        'which starts them'
    ]
