"""The stations of a run and their demands: what `bottleneck` judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streambench.bottleneck import (
    NONE_SCHEDULE,
    NONE_SHORT,
    NONE_WINDOW,
    Bottleneck,
    bottleneck,
)
from streambench.bounds import BOUNDS, Bounds

PUT = 'put'
PUBLISH = 'publish'
GENERATOR = 'generator'
BROKER = 'broker'
EXECUTOR = 'executor'
STANDING_SHARE = 0.5
# Where items wait for an executor.
BEFORE_WORKERS = ('queue_wait', 'dispatch', 'return')


def demands(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the demands that the stages of a run determine, under the names of results.csv.

    Args:
        row: Figures of the stages, and `compute_workers`.
    """
    parts = [row.get(f'{stage}_mean_s') for stage in ('resolve', 'verify', 'task_sleep')]
    known = [part for part in parts if part is not None]
    working = sum(known) / row['compute_workers'] if len(known) == len(parts) else None
    put = row.get('put_mean_s')
    return {
        'demand_put_s': None if put is None else put / row['generators'],
        'demand_workers_s': working,
    }


def limiting(row: Mapping[str, Any], *, bounds: Bounds = BOUNDS) -> str:
    """Return the name of the bottleneck.

    The generator puts and publishes one after the other, so the two are one station, named by the
    longer of them. The own work of a broker and of an executor can't be seen from outside. That a
    broker is the bottleneck shows as a delivery that grows while no other station is busy; in a closed
    loop that items wait at one of the two, and not at any station of ours.

    Args:
        row: Demands, throughput, growth of the delivery, stages.
        bounds: From where on a station is the bottleneck, and credits are not.
    """
    found = _found(row, bounds)
    if found.name == GENERATOR:
        put, publish = row['demand_put_s'] or 0.0, row['demand_publish_s'] or 0.0
        return f'{GENERATOR}: {PUT if put > publish else PUBLISH}'
    if found.name == NONE_SCHEDULE and row['delivery_growth_s'] is not None:
        return BROKER
    if found.name == NONE_WINDOW:
        return _behind_the_window(row, bounds)
    return found.name


def _behind_the_window(row: Mapping[str, Any], bounds: Bounds) -> str:
    """Return what holds a closed loop back in which none of our stations is busy."""
    if too_short(row, bounds=bounds):
        return NONE_SHORT
    gain = window_gain(row)
    if gain is None or gain > bounds.window:
        return NONE_WINDOW
    waited_s = sum(row.get(f'{stage}_mean_s') or 0.0 for stage in BEFORE_WORKERS)
    # What waits in the broker while the reader stands still waits for what comes behind it.
    standing = row['backpressure_s'] > STANDING_SHARE * (row['makespan_s'] or 0.0)
    return BROKER if (row.get('delivery_mean_s') or 0.0) > waited_s and not standing else EXECUTOR


def too_short(row: Mapping[str, Any], *, bounds: Bounds = BOUNDS) -> bool:
    """Return whether the items of a closed loop are too few for their credits to matter.

    Args:
        row: Credits and items sent.
        bounds: How many items each credit should see.
    """
    permits = row['max_outstanding']
    return bool(permits) and row['sent'] < bounds.rounds * permits


def window_gain(row: Mapping[str, Any]) -> float | None:
    """Return what more credits can add to the throughput of a closed loop at most, as a share.

    Two bounds hold, however many items are let in, and the smaller one counts. A station that is busy
    for the share U of the time allows no more than 1 / U of the throughput (utilization law). And if a
    round trip takes R with these W credits, R0 when the item is alone, and D at its slowest station,
    wherever that is, then R <= R0 + (W - 1) D: nobody finds more than the W - 1 others before it. So no
    throughput exceeds 1 / D <= (W - 1) / (R - R0), and with W = X R the gain is at most R0 / (R - R0)
    (balanced job bounds: Zahorjan, Sevcik, Eager and Galler, Communications of the ACM 25, 1982;
    Lazowska et al., Quantitative System Performance, 1984, ch. 5). R0 is that of the quickest item.

    Args:
        row: Demands, throughput, mean and shortest sojourn.

    Returns:
        The share; None where nothing is known.
    """
    gains = []
    found = _found(row, BOUNDS)
    if found.largest is not None and found.utilizations:
        gains.append(max(0.0, 1 / found.utilizations[found.largest] - 1))
    mean, alone = row['sojourn_mean_s'], row['sojourn_min_s']
    if mean is not None and alone is not None and mean > alone:
        gains.append(alone / (mean - alone))
    return min(gains, default=None)


def _found(row: Mapping[str, Any], bounds: Bounds) -> Bottleneck:
    put, publish = row['demand_put_s'] or 0.0, row['demand_publish_s']
    generating = None if publish is None else put + publish
    return bottleneck(
        {
            GENERATOR: (generating, 1),
            'loop': (row['demand_loop_s'], 1),
            'submit': (row['demand_submit_s'], 1),
            'workers': (row['demand_workers_s'], 1),
        },
        row['throughput_per_s'],
        closed_loop=row['closed_loop'],
        busy_share=bounds.bottleneck_busy,
    )
