"""The stages of an item: between which instants they lie, and the figures that describe them.

The stages of the chain follow each other without a gap, so an item's stages add up to its sojourn
exactly; what lies beside the chain is named apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """An interval of an item.

    Attributes:
        name: What its columns begin with.
        begin: Instant where it begins.
        end: Instant where it ends.
        doc: What happens in it.
    """

    name: str
    begin: str
    end: str
    doc: str


CHAIN = (
    Stage('publish_delay', 'intended_ns', 'put_start_ns', 'How late the generator was.'),
    Stage('put', 'put_start_ns', 'put_done_ns', 'The payload goes into the store.'),
    Stage('delivery', 'send_ns', 'receive_ns', 'From the broker client to the dispatcher.'),
    Stage('queue_wait', 'receive_ns', 'submit_ns', 'Waiting in the bounded queue.'),
    Stage('dispatch', 'submit_ns', 'start_ns', 'From the executor to a worker.'),
    Stage('resolve', 'start_ns', 'resolved_ns', 'The worker fetches the payload.'),
    Stage('verify', 'resolved_ns', 'verified_ns', 'The worker checks the payload.'),
    Stage('task_sleep', 'verified_ns', 'end_ns', 'The worker computes, that is, sleeps.'),
    Stage('return', 'end_ns', 'complete_ns', 'The outcome comes back to the dispatcher.'),
)
BESIDE = (
    Stage('publish_latency', 'send_ns', 'ack_ns', "Until the broker's answer."),
    Stage('sojourn', 'intended_ns', 'complete_ns', 'The whole way, from the intended send.'),
    Stage('uncorrected_sojourn', 'send_ns', 'complete_ns', 'The same from the actual send.'),
)
STAGES = CHAIN + BESIDE
# Not between two instants of the item: the part of its time in which our own loop kept it waiting.
LOOP_WAIT = Stage('loop_wait', '', 'loop_wait_ns', 'Waiting for our own event loop, beside the chain.')

QUANTILES: Mapping[str, float] = {
    'p50': 0.5,
    'p90': 0.9,
    'p95': 0.95,
    'p99': 0.99,
    'p99_9': 0.999,
}


# Stages around a quantile of the sojourn: items whose sojourn lies between these ranks. Medians of
# stages don't add up to the median of the sojourn; the means over the same items do.
AROUND: Mapping[str, tuple[float, float]] = {'p50': (0.49, 0.51), 'p99': (0.985, 0.995)}
# A run of 64 has one item there. Around the median, where they are dense, so many are taken all the
# same; around the p99 more would bring in what is no longer like it.
LEAST_AROUND: Mapping[str, int] = {'p50': 8, 'p99': 0}
ROUNDING = 1e-6


def ranks_around(name: str, n: int) -> tuple[float, float]:
    """Return the quantiles of the sojourn between which items stand for one.

    Args:
        name: A key of `AROUND`.
        n: Items of which there are sojourns.
    """
    low, high = AROUND[name]
    # n items have n - 1 steps between them; so many steps hold as many items or one more, which the
    # rounding of a quantile must not leave out.
    wider = (LEAST_AROUND[name] + ROUNDING) / max(1, n - 1) - (high - low)
    if wider <= 0:
        return low, high
    return max(0.0, low - wider / 2), min(1.0, high + wider / 2)


def stage_columns() -> Iterator[tuple[str, str, str]]:
    """Yield name, unit and sentence of every column that a stage has."""
    for stage in (*STAGES, LOOP_WAIT):
        yield f'{stage.name}_n', '', f'Items behind the figures of {stage.name}.'
        yield f'{stage.name}_mean_s', 's', f'Mean. {stage.doc}'
        for name, quantile in QUANTILES.items():
            rank = f'{quantile * 100:g}th percentile'
            yield f'{stage.name}_{name}_s', 's', f'{rank}. {stage.doc}'
            yield f'{stage.name}_{name}_low_s', 's', f'Lower end of its 95 % interval: {rank}.'
            yield f'{stage.name}_{name}_high_s', 's', f'Upper end of its 95 % interval: {rank}.'
        yield f'{stage.name}_max_s', 's', f'Longest. {stage.doc}'
    for name, (low, high) in AROUND.items():
        least = f', at least {LEAST_AROUND[name]}' if LEAST_AROUND[name] > 1 else ''
        ranks = f'items whose sojourn lies between its {low:.1%} and {high:.1%} quantile{least}'
        yield f'at_{name}_n', '', f'Number of {ranks}.'
        for stage in CHAIN:
            yield f'{stage.name}_at_{name}_s', 's', f'Mean of {stage.name} over {ranks}.'
