"""The state of a run at an instant: a row of the per-second series."""

from __future__ import annotations

from streambench.clock import now_ns
from streambench.dispatcher import Dispatcher
from streambench.ledger import Ledger
from streambench.records import SeriesRow


def state(*, run: int, ledger: Ledger, dispatcher: Dispatcher, free: int | None) -> SeriesRow:
    """Return where a run stands.

    Args:
        run: Number of the run.
        ledger: Account of its measured items.
        dispatcher: Has what waits and what is in flight.
        free: Credits that can be taken, of a closed loop.
    """
    return SeriesRow(
        run=run,
        at_ns=now_ns(),
        sent=ledger.sent,
        received=ledger.received,
        submitted=dispatcher.submitted,
        completed=ledger.completed,
        backlog=ledger.backlog,
        credits=free,
        queue_depth=dispatcher.queue_depth,
        queue_bytes=dispatcher.held_bytes,
        in_flight=dispatcher.in_flight,
        backpressure_s=dispatcher.backpressure_s,
    )
