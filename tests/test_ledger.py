"""The account of a run: each item ends once, and each mishap is counted under its name."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from streambench.arrivals import Arrivals, Sizes, Traffic
from streambench.errors import BrokerError
from streambench.ledger import Ledger
from streambench.message import Message
from streambench.records import COMPLETED, FAILED, LOST, PUBLISH_FAILED, UNFINISHED, ItemRow

if TYPE_CHECKING:
    from streambench.worker import Outcome

OUTCOME: Outcome = (11, 12, 13, 14, 'host', 'clock', 99, 100, '', '')


def message(sequence: int) -> Message:
    """Return the message of an item."""
    return Message(
        run=1,
        sequence=sequence,
        warmup=False,
        kind=0,
        size_bytes=10,
        checksum=0,
        intended_ns=100 + sequence,
        put_start_ns=200,
        put_done_ns=200,
        send_ns=200,
    )


def ledger(rows: list[ItemRow], *, expected: int = 3, **settings: Any) -> Ledger:
    """Return an empty account that appends final rows to a list."""
    return Ledger(run=0, expected=expected, finished=rows.append, dispatcher=4, **settings)


def even(count: int) -> Traffic:
    """Return items of 10 bytes, 1 ns apart."""
    arrivals = Arrivals(count=count, interval_ns=1, drawn_ns=None)
    return Traffic(arrivals=arrivals, sizes=Sizes(size_bytes=10, drawn_bytes=None))


def ack(account: Ledger, item: ItemRow, receivers: int | None = 1) -> None:
    """Acknowledge an item."""
    account.acked(item, ack_ns=300, receivers=receivers, error=None)


def test_an_item_ends_when_task_and_broker_have_answered() -> None:
    """A row is final only when both the outcome and the acknowledgement are there."""
    rows: list[ItemRow] = []
    account = ledger(rows, expected=1)
    item = account.published(message(0))
    assert account.received_item(message(0), 400) is item
    account.task_ended(item, OUTCOME, None, 500)
    assert rows == []
    assert not account.done
    ack(account, item)
    assert [row.status for row in rows] == [COMPLETED]
    assert account.done
    assert (item.start_ns, item.end_ns, item.worker_pid, item.complete_ns) == (11, 14, 99, 500)


def test_nobody_listening_is_loss() -> None:
    """An acknowledgement with no receiver means that the item is lost, at once."""
    rows: list[ItemRow] = []
    account = ledger(rows, expected=1)
    ack(account, account.published(message(0)), receivers=0)
    assert (account.lost, [row.status for row in rows], account.done) == (1, [LOST], True)


def test_a_failed_publishing_may_have_been_delivered() -> None:
    """An item whose publishing failed counts as such, until it arrives all the same."""
    rows: list[ItemRow] = []
    changes: list[int] = []
    account = ledger(rows, expected=2, ended=changes.append)
    first, second = account.published(message(0)), account.published(message(1))
    for item in (first, second):
        account.acked(item, ack_ns=300, receivers=None, error=BrokerError('gone'))
    assert (account.publish_failed, account.done) == (2, True)
    assert account.received_item(message(1), 400) is second
    assert (account.publish_failed, account.done) == (1, False)
    account.task_ended(second, OUTCOME, None, 500)
    account.give_up('end')
    assert {row.sequence: row.status for row in rows} == {0: PUBLISH_FAILED, 1: COMPLETED}
    # Each gave its credit back once in the end.
    assert changes == [1, 1, -1, 1]
    assert second.error == ''


def test_duplicates_and_reordering_are_told_apart() -> None:
    """A late first delivery is reordered; a second delivery is a duplicate and makes no task."""
    account = ledger([])
    for sequence in range(3):
        ack(account, account.published(message(sequence)))
    assert account.received_item(message(1), 1) is not None
    assert account.received_item(message(0), 2) is not None
    assert account.received_item(message(1), 3) is None
    assert account.received_item(message(0), 4) is None
    counts = account.counts()
    assert (counts['received'], counts['reordered'], counts['duplicated']) == (2, 1, 2)


def test_a_gap_loses_what_was_acknowledged_before_it() -> None:
    """After a reconnection, what was acknowledged and not received will not come any more."""
    rows: list[ItemRow] = []
    account = ledger(rows)
    items = [account.published(message(sequence)) for sequence in range(3)]
    ack(account, items[0])
    ack(account, items[1])
    account.received_item(message(0), 400)
    account.gap()
    assert [row.sequence for row in rows] == [1]
    assert account.lost == 1
    assert account.received_item(message(2), 500) is items[2]


def test_failures_and_corruption_are_counted() -> None:
    """An error on the worker, a dead worker, and a damaged payload each leave their mark."""
    rows: list[ItemRow] = []
    account = ledger(rows)
    items = [account.published(message(sequence)) for sequence in range(3)]
    for item in items:
        ack(account, item)
        account.received_item(message(item.sequence), 400)
    account.task_ended(items[0], (*OUTCOME[:9], 'ValueError: no'), None, 500)
    account.task_ended(items[1], None, RuntimeError('worker died'), 500)
    account.task_ended(items[2], (*OUTCOME[:8], 'CRC-32 differs', ''), None, 500)
    assert [row.status for row in rows] == [FAILED, FAILED, COMPLETED]
    assert [row.error for row in rows] == ['ValueError: no', 'RuntimeError: worker died', '']
    assert (account.failed, account.corrupt, account.completed) == (2, 1, 1)


def test_a_resolve_in_the_dispatcher_is_seen() -> None:
    """An outcome from the dispatcher's own process is counted where it may not be."""
    account = ledger([])
    item = account.published(message(0))
    account.received_item(message(0), 400)
    account.task_ended(item, (*OUTCOME[:6], 4, 100, '', ''), None, 500)
    assert account.resolved_in_dispatcher == 1


def test_what_is_open_at_the_end_is_accounted_for() -> None:
    """Giving up ends every item: lost if never received, failed if its task never came back."""
    rows: list[ItemRow] = []
    account = ledger(rows)
    items = [account.published(message(sequence)) for sequence in range(3)]
    for item in items:
        ack(account, item)
    account.received_item(message(0), 400)
    account.give_up('stalled')
    assert {row.sequence: row.status for row in rows} == {0: FAILED, 1: LOST, 2: LOST}
    assert items[0].error == 'stalled'
    assert account.ended == account.expected


def test_what_nobody_waits_for_is_unfinished() -> None:
    """A run that we end ourselves has lost nothing that might have come; what has come can fail."""
    for failed, first in ((True, FAILED), (False, UNFINISHED)):
        rows: list[ItemRow] = []
        account = ledger(rows)
        for sequence in range(3):
            ack(account, account.published(message(sequence)))
        account.received_item(message(0), 400)
        account.give_up('the disk is full', lost=False, failed=failed)
        assert [row.status for row in rows] == [first, UNFINISHED, UNFINISHED]
        assert (account.lost, account.ended) == (0, account.expected)


def test_a_remote_generator_settles_at_its_end() -> None:
    """With a generator elsewhere, items appear when received and the rest is known at its end."""
    rows: list[ItemRow] = []
    account = ledger(rows, expected=4, remote=True)
    item = account.received_item(message(1), 400)
    assert item is not None
    account.task_ended(item, OUTCOME, None, 500)
    drawn_ns, drawn_bytes = array('q', [5, 6, 9, 20]), array('q', [10, 20, 30, 40])
    traffic = Traffic(
        arrivals=Arrivals(count=4, interval_ns=5, drawn_ns=drawn_ns),
        sizes=Sizes(size_bytes=25, drawn_bytes=drawn_bytes),
    )
    account.settle_remote(sent=range(4), failed=[0], first_intended_ns=100, traffic=traffic)
    assert (account.sent, account.lost, account.done) == (4, 1, False)
    late = account.received_item(message(3), 600)
    assert late is not None
    assert late.send_ns == 200
    account.task_ended(late, OUTCOME, None, 700)
    account.give_up('')
    assert {row.sequence: row.status for row in rows} == {
        0: LOST,
        1: COMPLETED,
        2: LOST,
        3: COMPLETED,
    }
    # What never came stands where the schedule, counted from the first item, wanted it.
    lost = {row.sequence: (row.intended_ns, row.size_bytes) for row in rows if row.status == LOST}
    assert lost == {0: (100, 10), 2: (104, 30)}


def test_what_comes_after_a_remote_generator_ended_is_in_order() -> None:
    """Items on their way when the generator's result arrives are neither missing nor reordered."""
    rows: list[ItemRow] = []
    account = ledger(rows, expected=3, remote=True)
    assert account.received_item(message(0), 400) is not None
    account.settle_remote(sent=range(3), failed=[], first_intended_ns=100, traffic=even(3))
    for sequence in (1, 2):
        item = account.received_item(message(sequence), 400)
        assert item is not None
        assert (item.send_ns, item.reordered) == (200, False)
    assert (account.received, account.reordered, account.sequences.duplicated, account.lost) == (
        3,
        0,
        0,
        0,
    )


def test_a_remote_generator_s_items_in_a_gap_are_lost() -> None:
    """After a connection made anew nobody waits for what is older than what came."""
    rows: list[ItemRow] = []
    account = ledger(rows, expected=5, remote=True)
    assert account.received_item(message(0), 400) is not None
    account.gap()
    assert account.received_item(message(3), 400) is not None
    account.settle_remote(sent=range(5), failed=[], first_intended_ns=100, traffic=even(5))
    assert sorted(row.sequence for row in rows if row.status == LOST) == [1, 2]
    account.gap()
    assert sorted(row.sequence for row in rows if row.status == LOST) == [1, 2, 4]
    assert account.received_item(message(4), 400) is None
    assert (account.lost, account.sequences.duplicated, account.sent) == (3, 1, 5)


def test_memory_is_bounded_by_what_is_under_way() -> None:
    """A long run in order leaves nothing behind in the account."""
    account = ledger([], expected=20_000)
    for sequence in range(20_000):
        item = account.published(message(sequence))
        ack(account, item)
        account.received_item(message(sequence), 400)
        account.task_ended(item, OUTCOME, None, 500)
    assert account.outstanding == 0
    assert not account.sequences.missing
