"""The stations of a run and their demands: what `bottleneck` judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streambench.bottleneck import BUSY_SHARE, NONE_SCHEDULE, Bottleneck, bottleneck

PUT = 'put'
PUBLISH = 'publish'
GENERATOR = 'generator'
BROKER = 'broker'


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


def limiting(row: Mapping[str, Any]) -> str:
    """Return the name of the bottleneck.

    The generator puts and publishes one after the other, so the two are one station, named by the
    longer of them. A broker's own work can't be seen from outside; that it is the bottleneck shows as a
    delivery that grows while no other station is busy.

    Args:
        row: Demands, throughput and growth of the delivery.
    """
    found = _found(row)
    if found.name == GENERATOR:
        put, publish = row['demand_put_s'] or 0.0, row['demand_publish_s'] or 0.0
        return f'{GENERATOR}: {PUT if put > publish else PUBLISH}'
    if found.name == NONE_SCHEDULE and row['delivery_growth_s'] is not None:
        return BROKER
    return found.name


def headroom(row: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the busiest station, and by which share the throughput can grow until it is full.

    A station that is busy for the share U of the time allows no more than 1 / U of the throughput
    (utilization law), however many items are let in. None where no demand is known.

    Args:
        row: Demands and throughput.
    """
    found = _found(row)
    if found.largest is None or not found.utilizations:
        return None
    return found.largest, 1 / found.utilizations[found.largest] - 1


def _found(row: Mapping[str, Any]) -> Bottleneck:
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
        busy_share=BUSY_SHARE,
    )
