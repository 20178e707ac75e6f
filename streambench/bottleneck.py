"""Which station holds the run back: the one that is busy nearly all of the time, or none.

A station is what serves a limited number of items at a time: the generator (put and publish), the event
loop, the bridge, the workers. What merely delays, like a network, has no servers and isn't one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BUSY_SHARE = 0.9

NONE_SCHEDULE = 'none: schedule-limited'
NONE_WINDOW = 'none: window-limited'
NONE_SHORT = 'none: too few items'
UNKNOWN = 'unknown'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """The station that limits the throughput.

    Attributes:
        name: The station, `none: schedule-limited`, `none: window-limited` in a closed loop, or
            `unknown` if no demand or no throughput was measured.
        largest: Station with the largest demand, whether it limits or not.
        demands_s: Demand of each station whose busy time is known: seconds per item and server.
        utilizations: Share of the time in which each of them was busy.
    """

    name: str
    largest: str | None
    demands_s: Mapping[str, float]
    utilizations: Mapping[str, float]


def bottleneck(
    stations: Mapping[str, tuple[float | None, int]],
    throughput_per_s: float | None,
    *,
    closed_loop: bool = False,
    busy_share: float = BUSY_SHARE,
) -> Bottleneck:
    """Name the station with the largest demand if it is busy nearly all of the time.

    Utilization law: U = X D with demand D = busy time per item / servers; the station with the largest
    D saturates first and bounds the throughput by 1 / D (Denning and Buzen, The operational analysis of
    queueing network models, ACM Computing Surveys 10, 1978; Lazowska et al., Quantitative System
    Performance, 1984, ch. 5). Of equal demands the first station wins, so give them in the order in
    which an item meets them.

    Args:
        stations: Busy seconds per item, or None where they weren't measured, and servers.
        throughput_per_s: Items completed per second of the measurement.
        closed_loop: Whether credits paced the items, rather than a schedule.
        busy_share: Utilization from which a station limits.

    Raises:
        ValueError: If a station has no server.
    """
    demands: dict[str, float] = {}
    for name, (busy_s, servers) in stations.items():
        if servers < 1:
            raise ValueError(f'station {name!r} has {servers} servers: there must be at least 1')
        if busy_s is not None:
            demands[name] = busy_s / servers
    largest = max(demands, key=demands.__getitem__, default=None)
    if largest is None or not throughput_per_s:
        return Bottleneck(name=UNKNOWN, largest=largest, demands_s=demands, utilizations={})
    utilizations = {name: demand * throughput_per_s for name, demand in demands.items()}
    if utilizations[largest] >= busy_share:
        limit = largest
    else:
        limit = NONE_WINDOW if closed_loop else NONE_SCHEDULE
    return Bottleneck(name=limit, largest=largest, demands_s=demands, utilizations=utilizations)
