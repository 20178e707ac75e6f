"""How long a run is waited for: until its last item has ended, or nothing has moved for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streambench.clock import NS_PER_S, now_ns
from streambench.dispatcher import Dispatcher
from streambench.errors import StallError
from streambench.ledger import Ledger
from streambench.production import Production

WATCH_S = 0.1


async def until_ended(
    production: Production,
    ledger: Ledger,
    dispatcher: Dispatcher,
    *,
    check: Callable[[], None],
    allowed_s: float,
    task_sleep: float,
    asked: str,
) -> None:
    """Return when everything has been sent and every item has ended.

    Args:
        production: Sends.
        ledger: The account of the measurement.
        dispatcher: Submits.
        check: Raises if the executor can't go on.
        allowed_s: Time without any movement that is waited for, a task's own time apart.
        task_sleep: That time.
        asked: How many items there should be, in words.

    Raises:
        StallError: If nothing has moved for so long.
    """
    seen: tuple[int, ...] = ()
    moved_ns = now_ns()
    # The last item must not wait for a poll: its instants are stamped elsewhere, but a run of
    # milliseconds should not take a poll's time, so the poll starts fine.
    pause_s = 0.001
    while not (production.finished and ledger.done):
        check()
        state = (ledger.sent, ledger.received, dispatcher.submitted, ledger.ended)
        if state != seen:
            seen, moved_ns = state, now_ns()
        quiet_s = (now_ns() - moved_ns) / NS_PER_S
        if quiet_s > allowed_s + (task_sleep if dispatcher.in_flight else 0.0):
            # Those of the warm-up were submitted too, and are no items of this account.
            submitted = ledger.received - dispatcher.queue_depth
            # An item that has ended leaves when the broker has answered for it.
            silent = ledger.outstanding - ledger.publish_failed - (ledger.sent - ledger.ended)
            unanswered = f', {silent} not answered by the broker' if silent > 0 else ''
            raise StallError(
                f'nothing moved for {quiet_s:.1f} s: {ledger.sent} of {asked} sent, '
                f'{ledger.received} received, {submitted} submitted, {ledger.completed} completed'
                f'{unanswered}; see --stall-timeout.',
                sent=ledger.sent,
                received=ledger.received,
                submitted=submitted,
                completed=ledger.completed,
            )
        await asyncio.sleep(pause_s)
        pause_s = min(WATCH_S, 2 * pause_s)
    if ledger.failed:
        # All of them may have failed together, because there is no executor any more.
        check()
