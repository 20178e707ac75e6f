"""The bottleneck: each station is named when it is the one throttled, and none when none is."""

from __future__ import annotations

import heapq
from dataclasses import asdict

import pytest

from streambench.bottleneck import NONE_SCHEDULE, NONE_WINDOW, UNKNOWN, bottleneck
from streambench.oracle import waits_ns

MS = 1_000_000
# Service time and servers of each station, in the order in which an item meets them.
CALM = {
    'generator': (1 * MS, 1),
    'dispatcher': (1 * MS, 1),
    'bridge': (2 * MS, 1),
    'workers': (12 * MS, 4),
}


def throughput(stations: dict[str, tuple[int, int]], *, interval_ns: int, n: int = 400) -> float:
    """Return the items per second of a line of queues, each fed by the ends of the one before."""
    arrivals = [number * interval_ns for number in range(n)]
    for service, servers in stations.values():
        waits = waits_ns(arrivals, [service] * n, servers=servers)
        arrivals = [at + wait + service for at, wait in zip(arrivals, waits, strict=True)]
    return n / (arrivals[-1] / 1e9)


def busy(stations: dict[str, tuple[int, int]]) -> dict[str, tuple[float | None, int]]:
    """Return what would be measured at the stations."""
    return {name: (service / 1e9, servers) for name, (service, servers) in stations.items()}


@pytest.mark.parametrize('station', CALM)
def test_the_throttled_station_is_named(station: str) -> None:
    """Made slower than the schedule, each station in turn is the bottleneck."""
    throttled = CALM | {station: (7 * MS * CALM[station][1], CALM[station][1])}
    rate = throughput(throttled, interval_ns=5 * MS)
    assert bottleneck(busy(throttled), rate).name == station


def test_none_is_named_when_the_schedule_limits() -> None:
    """With all stations faster than the schedule there is none, and the nearest is known."""
    found = bottleneck(busy(CALM), throughput(CALM, interval_ns=5 * MS))
    assert (found.name, found.largest) == (NONE_SCHEDULE, 'workers')
    assert found.utilizations['workers'] == pytest.approx(0.6, rel=0.01)


def test_servers_divide_the_demand() -> None:
    """Four workers with 12 ms per item are less of a limit than one bridge with 4 ms."""
    found = bottleneck({'workers': (0.012, 4), 'bridge': (0.004, 1)}, 240.0)
    assert asdict(found) == {
        'name': 'bridge',
        'largest': 'bridge',
        'demands_s': {'workers': 0.003, 'bridge': 0.004},
        'utilizations': {'workers': 0.72, 'bridge': 0.96},
    }


def test_the_bound_is_inclusive() -> None:
    """A station is a bottleneck from a utilization of 0.9 on."""
    assert bottleneck({'loop': (0.45, 1)}, 2.0).name == 'loop'
    assert bottleneck({'loop': (0.44, 1)}, 2.0).name == NONE_SCHEDULE
    assert bottleneck({'loop': (0.44, 1)}, 2.0, busy_share=0.8).name == 'loop'


def test_closed_loop_without_bottleneck_is_window_limited() -> None:
    """Where credits pace the items, too few of them are what limits."""
    window, trip = [0.0] * 2, 0.1
    for _ in range(100):
        heapq.heapreplace(window, window[0] + trip)
    rate = 100 / max(window)
    assert bottleneck({'workers': (0.01, 1)}, rate, closed_loop=True).name == NONE_WINDOW


def test_what_was_not_measured_is_not_named() -> None:
    """Stations without busy time are left out; without any, or without throughput, it is unknown."""
    assert bottleneck({'loop': (None, 1), 'workers': (0.01, 1)}, 95.0).name == 'workers'
    assert bottleneck({'loop': (None, 1)}, 95.0).name == UNKNOWN
    assert bottleneck({'workers': (0.01, 1)}, None).name == UNKNOWN
    assert bottleneck({}, 10.0).largest is None
    assert bottleneck({'first': (0.01, 1), 'second': (0.01, 1)}, 95.0).name == 'first'


def test_a_station_without_servers_is_a_mistake() -> None:
    """What has no server isn't a station."""
    with pytest.raises(ValueError, match="'network' has 0 servers"):
        bottleneck({'network': (0.01, 0)}, 10.0)
