"""One run of a plan: a point, a repetition, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from streambench.arrivals import Traffic, draw_arrivals, draw_sizes
from streambench.clock import NS_PER_S
from streambench.config import PROXY, Config

MIN_OUTSTANDING = 64
OUTSTANDING_BYTES = 64_000_000
OUTSTANDING_S = 1.0
DRAWN_SIZES = 100_000


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run: a point, a repetition, and what follows from them.

    Attributes:
        run: Number in the plan, from 0.
        point: Number of the point, from 0.
        repeat: Number of the repetition, from 0.
        seed: Seed of the run, derived from the plan's.
        config: The point.
        opened_slots: Workers that the session's executor has.
    """

    run: int
    point: int
    repeat: int
    seed: int
    config: Config
    opened_slots: int

    @property
    def limited(self) -> bool:
        """Whether the executor has more workers than this run may use."""
        return self.config.slots < self.opened_slots

    @property
    def max_in_flight(self) -> int:
        """Most tasks submitted and not completed.

        With fewer workers than the executor has, a limit of exactly that many stands for them.
        """
        config = self.config
        if self.limited:
            return min(config.max_in_flight or config.compute_workers, config.compute_workers)
        if config.max_in_flight is not None:
            return config.max_in_flight
        ahead = config.executor_plugin.ahead(config.compute_workers)
        fitting = config.queue_bytes // max(1, config.data_size_bytes)
        return config.compute_workers + max(1, min(ahead, fitting - config.compute_workers))

    @property
    def batch(self) -> int:
        """Tasks that come back before more are submitted: half of those that are ahead of a worker."""
        return max(1, (self.max_in_flight - self.config.compute_workers) // 2)

    @property
    def max_outstanding(self) -> int | None:
        """Credits of the closed loop: what fills the pipe, fewer if items are large or tasks long."""
        config = self.config
        if not config.closed_loop:
            return None
        if config.max_outstanding is not None:
            return config.max_outstanding
        wanted = max(MIN_OUTSTANDING, 5 * self.max_in_flight // 2)
        if config.task_sleep:
            # What is out when the last item has been sent must still be worked off.
            ahead = 2 + math.ceil(OUTSTANDING_S / config.task_sleep)
            wanted = min(wanted, max(MIN_OUTSTANDING, config.compute_workers * ahead))
        fitting = OUTSTANDING_BYTES // max(1, config.data_size_bytes)
        return max(2 * config.compute_workers, min(wanted, fitting))

    @property
    def interval_ns(self) -> int | None:
        """Mean time between two items of the schedule."""
        rate = self.config.rate_per_s
        return None if rate is None else round(1e9 / rate)

    @property
    def expected_s(self) -> float | None:
        """How long the measurement should take, or None for a closed loop."""
        config = self.config
        if config.duration is not None:
            return config.duration + config.task_sleep
        working_s = config.task_count * config.task_sleep / config.compute_workers
        if config.closed_loop:
            return working_s or None
        if config.trace is not None:
            last_s = config.trace.offsets_ns[-1] / NS_PER_S / config.trace_speed
        else:
            assert config.rate_per_s is not None
            last_s = (config.task_count - 1) / config.rate_per_s
        return max(last_s + config.task_sleep, working_s)

    def traffic(self) -> Traffic:
        """Return when the items leave and how long they are, drawn from the seed; takes a while.

        In a closed loop that ends by its duration nobody knows how many there will be: sizes that are
        drawn then repeat.
        """
        config = self.config
        arrivals = None
        items = config.task_count
        if not config.closed_loop:
            arrivals = draw_arrivals(
                config.arrival,
                items=items,
                duration_s=config.duration,
                rate_per_s=config.rate_per_s,
                seed=self.seed,
                trace=config.trace,
                speed=config.trace_speed,
            )
            items = arrivals.count
        sizes = draw_sizes(
            config.data_size_dist,
            items=DRAWN_SIZES if self.endless else items,
            mean_bytes=config.data_size_bytes,
            seed=self.seed,
            trace=config.trace,
        )
        return Traffic(arrivals=arrivals, sizes=sizes)

    @property
    def items(self) -> int | None:
        """How many items there will be, about; None where only the generator will know."""
        config = self.config
        if config.duration is None:
            return config.task_count
        rate = config.rate_per_s
        return None if rate is None else max(1, round(config.duration * rate))

    @property
    def endless(self) -> bool:
        """Whether only the generator will know how many items there were."""
        return self.config.closed_loop and self.config.duration is not None

    def columns(self) -> dict[str, Any]:
        """Return the columns of results.csv that say what was asked."""
        config = self.config
        connector = config.connector_plugin if config.stream_method == PROXY else None
        return {
            'executor': config.executor_plugin.class_name,
            'connector': connector.class_name if connector else '',
            'stream': config.stream,
            'data_size_bytes': config.data_size_bytes,
            'task_count': config.task_count,
            'task_sleep': config.task_sleep,
            'method': config.stream_method,
            'workers': config.workers,
            'run': self.run,
            'point': self.point,
            'repeat': self.repeat,
            'executor_plugin': config.executor,
            'connector_plugin': connector.name if connector else '',
            'generator': config.generator,
            'generators': config.generators,
            'compute_workers': config.compute_workers,
            'slots': config.slots if self.limited else None,
            'load': config.offered_load,
            'offered_rate_per_s': config.rate_per_s,
            'closed_loop': config.closed_loop,
            'arrival': config.arrival,
            'trace_speed': config.trace_speed if config.trace else None,
            'data_size_dist': config.data_size_dist,
            'max_outstanding': self.max_outstanding,
            'max_in_flight': self.max_in_flight,
            'queue_size': config.queue_size,
            'queue_bytes': config.queue_bytes,
            'verify': 'full' if config.verify_full else 'header',
            'seed': self.seed,
            'record': config.record,
            'fresh_executor': config.fresh_executor,
            'warmup_s': config.warmup,
            'duration_s': config.duration,
        }
