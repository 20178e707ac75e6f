"""The account of a run: every item from its publishing to its end, and what went wrong with it.

Each item ends exactly once, as completed, failed, lost or publish_failed (or unfinished, in a run that
we end ourselves); then its row is final and leaves memory. Duplicates, reordering, corruption and
foreign messages are counted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from streambench import worker
from streambench.arrivals import Traffic
from streambench.bookkeeping import LiveIntegral
from streambench.errors import BrokerError
from streambench.message import Message
from streambench.records import COMPLETED, FAILED, LOST, MEASURE, PUBLISH_FAILED, UNFINISHED, ItemRow
from streambench.sequences import Sequences

Finished = Callable[[ItemRow], None]


def _nothing(change: int) -> None:
    return


class Ledger:
    """Items of one phase of a run.

    Args:
        run: Number of the run in the plan.
        phase: `records.WARMUP` or `records.MEASURE`.
        expected: How many items there will be.
        finished: Called once with each final row.
        ended: Called with 1 when an item ends, with -1 when one comes whose publishing had failed.
        remote: Whether the generator is elsewhere, so that items appear when they are received.
        dispatcher: Process id where no proxy may be resolved, or None where it may.
        warmup_ns: Time after the first intended send from which on items count.
    """

    def __init__(
        self,
        *,
        run: int,
        expected: int,
        finished: Finished,
        ended: Callable[[int], None] = _nothing,
        phase: str = MEASURE,
        remote: bool = False,
        dispatcher: int | None = None,
        warmup_ns: int = 0,
    ) -> None:
        self.run = run
        self.expected = expected
        self.phase = phase
        self.sent = 0
        self.publish_failed = 0
        self.received = 0
        self.completed = 0
        self.completed_bytes = 0
        self.failed = 0
        self.lost = 0
        self.unfinished = 0
        self.reordered = 0
        self.corrupt = 0
        self.resolved_in_dispatcher = 0
        self.publish_error = ''
        self.first_intended_ns: int | None = None
        self.last_complete_ns: int | None = None
        self.workers: set[tuple[str, int, int]] = set()
        # The first of each host, and of tasks that came to none.
        self.task_errors: dict[str, str] = {}
        self._finished = finished
        self._ended = ended
        self._remote = remote
        self._settled = False
        self._gapped = False
        self._dispatcher = dispatcher
        self._warmup_ns = warmup_ns
        self.books = LiveIntegral()
        # Items published and not ended, by sequence; bounded by what is under way.
        self._open: dict[int, ItemRow] = {}
        self.sequences = Sequences()

    @property
    def ended(self) -> int:
        """Items that have come to an end."""
        return self.completed + self.failed + self.lost + self.publish_failed + self.unfinished

    @property
    def done(self) -> bool:
        """Whether every expected item has ended and nothing more is expected of it.

        An item whose publishing failed stays open, since it may have been delivered all the same.
        """
        return self.ended >= self.expected and len(self._open) <= self.publish_failed

    @property
    def task_error(self) -> str:
        """The first error of a task, or nothing."""
        return next(iter(self.task_errors.values()), '')

    @property
    def outstanding(self) -> int:
        """Items sent and not ended."""
        return len(self._open)

    @property
    def window_from_ns(self) -> int | None:
        """Instant from which on items that are due count; None before the first."""
        first = self.first_intended_ns
        return None if first is None else first + self._warmup_ns

    @property
    def backlog(self) -> int:
        """Items sent, and neither received nor given up."""
        return max(0, self.sent - self.received - self.lost - self.publish_failed)

    def published(self, message: Message) -> ItemRow:
        """Open an item whose message is about to be sent."""
        item = self._item(message)
        self._open[message.sequence] = item
        self.sent += 1
        self.books.add(message.send_ns, 1)
        return item

    def _item(self, message: Message) -> ItemRow:
        if self.first_intended_ns is None or message.intended_ns < self.first_intended_ns:
            self.first_intended_ns = message.intended_ns
        return ItemRow(
            run=self.run,
            sequence=message.sequence,
            phase=self.phase,
            size_bytes=message.size_bytes,
            intended_ns=message.intended_ns,
            put_start_ns=message.put_start_ns,
            put_done_ns=message.put_done_ns,
            send_ns=message.send_ns,
        )

    def acked(
        self, item: ItemRow, *, ack_ns: int, receivers: int | None, error: BrokerError | None
    ) -> None:
        """Take the broker's answer to an item."""
        item.ack_ns = ack_ns
        if error is not None and item.receive_ns is None:
            item.ack_ns = None
            item.error = str(error)
            item.status = PUBLISH_FAILED
            self.publish_error = self.publish_error or str(error)
            self.publish_failed += 1
            self._ended(1)
        elif receivers == 0 and item.receive_ns is None:
            self._lose(item)
        elif item.status in (COMPLETED, FAILED):
            self._leave(item)

    def received_item(self, message: Message, receive_ns: int) -> ItemRow | None:
        """Return the item of a message that arrived, or None if it had arrived before."""
        sequence = message.sequence
        late = self.sequences.take(sequence)
        if late is None:
            return None
        item = self._open.get(sequence)
        if item is None:
            if not self._remote or self._settled:
                # It was given up as lost, and yet it came.
                self.sequences.note_duplicate(sequence)
                return None
            item = self._item(message)
            self._open[sequence] = item
            self.sent += 1
            self.books.add(message.send_ns, 1)
        elif item.status == PUBLISH_FAILED:
            self.publish_failed -= 1
            self._ended(-1)
            item.status, item.error = LOST, ''
        elif item.send_ns is None:
            # Opened by `settle_remote` before its message came.
            item.intended_ns = message.intended_ns
            item.put_start_ns = message.put_start_ns
            item.put_done_ns = message.put_done_ns
            item.send_ns = message.send_ns
            self.books.add(message.send_ns, 1)
        item.receive_ns = receive_ns
        item.reordered = late
        self.received += 1
        self.reordered += late
        return item

    def gap(self) -> None:
        """Give up items that were acknowledged before a connection was made anew.

        A broker without memory will not deliver them any more.
        """
        self._gapped = True
        for item in [i for i in self._open.values() if i.receive_ns is None]:
            if item.ack_ns or self._settled:
                self._lose(item)

    def task_ended(
        self,
        item: ItemRow,
        outcome: worker.Outcome | None,
        failure: BaseException | None,
        complete_ns: int,
    ) -> None:
        """Take the end of an item's task."""
        item.complete_ns = complete_ns
        self.books.add(complete_ns, -1)
        error = '' if failure is None else f'{type(failure).__name__}: {failure}'
        if outcome is not None:
            (
                item.start_ns,
                item.resolved_ns,
                item.verified_ns,
                item.end_ns,
                item.worker_host,
                item.worker_clock,
                item.worker_pid,
                item.worker_thread,
                item.fault,
                error,
            ) = outcome
            self.workers.add((outcome[4], outcome[6], outcome[7]))
            if outcome[6] == self._dispatcher:
                self.resolved_in_dispatcher += 1
            if item.fault:
                self.corrupt += 1
        if error:
            item.error = error
            self.task_errors.setdefault('' if outcome is None else outcome[4], error)
            item.status = FAILED
            self.failed += 1
        else:
            item.status = COMPLETED
            self.completed += 1
            self.completed_bytes += item.size_bytes
            if self.last_complete_ns is None or complete_ns > self.last_complete_ns:
                self.last_complete_ns = complete_ns
        self._ended(1)
        if item.ack_ns is not None or self._remote:
            self._leave(item)

    def unreadable(self, item: ItemRow, fault: str, at_ns: int) -> None:
        """End an item whose message arrived damaged so that no task can be made of it."""
        item.fault = fault
        self.corrupt += 1
        self.task_ended(item, None, BrokerError(f'its message arrived damaged: {fault}'), at_ns)

    def _lose(self, item: ItemRow) -> None:
        item.status = LOST
        self.lost += 1
        self._ended(1)
        self._leave(item)

    def _leave(self, item: ItemRow) -> None:
        if self._open.pop(item.sequence, None) is None:
            return
        if item.complete_ns is None and item.send_ns is not None:
            # It has no time in the system, so what it entered with is taken back.
            self.books.add(item.send_ns, -1)
        first = self.first_intended_ns
        if self.phase == MEASURE and item.intended_ns is not None and first is not None:
            item.in_window = item.intended_ns >= first + self._warmup_ns
        self._finished(item)

    def settle_remote(
        self,
        *,
        sent: Sequence[int],
        failed: Iterable[int],
        first_intended_ns: int,
        traffic: Traffic,
    ) -> None:
        """Open what a generator elsewhere sent and nobody received, so that it can end as lost.

        Args:
            sent: Sequences of the items that were sent.
            failed: Sequences that the broker refused or delivered to nobody.
            first_intended_ns: Intended instant of its first item.
            traffic: When they were to leave, and how long they are.
        """
        self.expected = self.sent = len(sent)
        self.first_intended_ns = first_intended_ns
        self._settled = True
        assert traffic.arrivals is not None
        offsets_ns = traffic.arrivals.offsets_ns
        start_ns = first_intended_ns - offsets_ns[0]
        # What is still on its way is neither missing nor, when it comes, out of order.
        unseen = {number for number in sent if self.sequences.never_came(number)}
        for sequence in sorted(unseen):
            self._open[sequence] = ItemRow(
                run=self.run,
                sequence=sequence,
                phase=self.phase,
                size_bytes=traffic.sizes[sequence],
                intended_ns=start_ns + offsets_ns[sequence],
            )
        # Over a connection made anew, nothing comes that is older than what has come.
        gone = self.sequences.missing & unseen if self._gapped else set()
        for sequence in (set(failed) & unseen) | gone:
            self._lose(self._open[sequence])

    def never_received(self, sequence: int) -> bool:
        """Return whether an item has not arrived so far."""
        return self.sequences.never_came(sequence)

    def give_up(self, reason: str, *, lost: bool = True, failed: bool = True) -> None:
        """End every item that is still open, because the run ends now.

        Args:
            reason: Why it does.
            lost: Whether what has not come is lost; else it was only not waited for, and is unfinished.
            failed: Whether what has come has failed; else it is unfinished.
        """
        for item in list(self._open.values()):
            if item.status in (COMPLETED, FAILED, PUBLISH_FAILED):
                self._leave(item)
            elif not (lost if item.receive_ns is None else failed):
                item.status = UNFINISHED
                self.unfinished += 1
                self._ended(1)
                self._leave(item)
            elif item.receive_ns is None:
                self._lose(item)
            else:
                item.error = reason
                item.status = FAILED
                self.failed += 1
                self._ended(1)
                self._leave(item)

    def counts(self) -> dict[str, Any]:
        """Return the counts under the names of results.csv."""
        return {
            'sent': self.sent,
            'publish_failed': self.publish_failed,
            'received': self.received,
            'completed_tasks': self.completed,
            'failed': self.failed,
            'lost': self.lost,
            'unfinished': self.unfinished,
            'duplicated': self.sequences.duplicated,
            'duplicated_items': ' '.join(map(str, self.sequences.duplicated_items)),
            'reordered': self.reordered,
            'corrupt': self.corrupt,
            'resolved_in_dispatcher': self.resolved_in_dispatcher,
        }
