"""What every broker of the registry promises to generator and dispatcher."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from streambench import registry
from streambench.brokers.base import BrokerPlugin, Publisher, Subscriber
from streambench.errors import BrokerError
from tests.brokers.conftest import SERVED, Server, plugin_at

DEADLINE_S = 60.0
BYTES_10MB = 10_000_000

_numbers = itertools.count()


@pytest.fixture
def topic() -> str:
    """Return a topic that nobody has used."""
    return f'contract-{os.getpid()}-{next(_numbers)}'


class Answers:
    """What the broker answered, in its order."""

    def __init__(self) -> None:
        self.receivers: list[int | None] = []
        self.errors: list[BrokerError | None] = []

    def __call__(self, receivers: int | None, error: BrokerError | None) -> None:
        self.receivers.append(receivers)
        self.errors.append(error)


async def receive(subscriber: Subscriber, count: int) -> list[bytes]:
    """Return the next frames."""
    async with asyncio.timeout(DEADLINE_S):
        return [await subscriber.receive() for _ in range(count)]


async def publish(publisher: Publisher, frames: Sequence[Sequence[bytes]]) -> Answers:
    """Publish frames, wait for their answers, and return these."""
    answers = Answers()
    async with asyncio.timeout(DEADLINE_S):
        for frame in frames:
            await publisher.send(frame, answers)
        await publisher.flush()
    return answers


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Check that the body leaves no task behind."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()


async def test_nothing_is_lost_once_the_subscriber_is_open(broker: BrokerPlugin, topic: str) -> None:
    """What is published at once after opening arrives, all of it and in order."""
    frames = [b'%d' % number for number in range(500)]
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        await publish(sender, [[frame] for frame in frames])
        assert await receive(subscriber, 500) == frames


async def test_pieces_arrive_as_one_frame(broker: BrokerPlugin, topic: str) -> None:
    """A frame is handed over in pieces of any size, empty ones too."""
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        await publish(sender, [[b'header', b'', b'payload'], [b'', b'x'], [b'a', b'b', b'c', b'd']])
        assert await receive(subscriber, 3) == [b'headerpayload', b'x', b'abcd']


@pytest.mark.parametrize('size', [0, 1, 100_000, BYTES_10MB])
async def test_frames_of_any_size_pass(broker: BrokerPlugin, topic: str, size: int) -> None:
    """From nothing to 10 MB, bytes come out as they went in."""
    frame = os.urandom(size)
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        await publish(sender, [[frame]])
        assert await receive(subscriber, 1) == [frame]


async def test_many_large_frames_pass(broker: BrokerPlugin, topic: str) -> None:
    """More than any buffer holds passes while somebody reads."""
    frames = [bytes([number]) * BYTES_10MB for number in range(12)]
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(receive(subscriber, len(frames)))
            group.create_task(publish(sender, [[frame] for frame in frames]))
        assert reader.result() == frames


async def test_topics_do_not_mix(broker: BrokerPlugin, topic: str) -> None:
    """A subscriber gets what was published to its topic and nothing else."""
    async with (
        broker.open_subscriber(topic) as subscriber,
        broker.open_subscriber(f'{topic}-other') as other,
        broker.open_publisher(topic) as sender,
        broker.open_publisher(f'{topic}-other') as other_sender,
    ):
        await publish(sender, [[b'mine'], [b'mine too']])
        await publish(other_sender, [[b'other']])
        assert await receive(subscriber, 2) == [b'mine', b'mine too']
        assert await receive(other, 1) == [b'other']


async def test_two_subscribers_each_get_everything(broker: BrokerPlugin, topic: str) -> None:
    """Subscribers of one topic don't share its frames."""
    async with (
        broker.open_subscriber(topic) as first,
        broker.open_subscriber(topic) as second,
        broker.open_publisher(topic) as sender,
    ):
        await publish(sender, [[b'a'], [b'b']])
        assert await receive(first, 2) == [b'a', b'b']
        assert await receive(second, 2) == [b'a', b'b']


async def test_every_send_is_answered_and_flush_waits_for_it(broker: BrokerPlugin, topic: str) -> None:
    """After flush there are as many answers as sends, none of them an error."""
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        answers = await publish(sender, [[b'x' * 10_000]] * 300)
        assert answers.errors == [None] * 300
        assert set(answers.receivers) <= {None, 1}
        await receive(subscriber, 300)


async def test_a_cancelled_receive_loses_nothing(broker: BrokerPlugin, topic: str) -> None:
    """A reader that gives up waiting finds the next frame when it comes back."""
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        for number in range(5):
            reader = asyncio.create_task(subscriber.receive())
            await asyncio.sleep(0.02)
            reader.cancel()
            await asyncio.wait([reader])
            assert reader.cancelled()
            await publish(sender, [[b'%d' % number]])
            assert await receive(subscriber, 1) == [b'%d' % number]


async def test_cancelled_while_publishing_leaves_nothing(broker: BrokerPlugin, topic: str) -> None:
    """No task, no open client; the topic can be published to by another publisher."""
    answers = Answers()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        async with broker.open_publisher(topic) as sender:
            while True:
                await sender.send([b'x' * 50_000], answers)
                sent += 1
                await asyncio.sleep(0)

    async with nothing_left(), broker.open_subscriber(topic) as subscriber:
        flooding = asyncio.create_task(flood())
        await receive(subscriber, 3)
        flooding.cancel()
        await asyncio.wait([flooding], timeout=DEADLINE_S)
        assert flooding.cancelled()
        assert len(answers.errors) >= sent
        async with broker.open_publisher(topic) as sender:
            await publish(sender, [[b'last']])
        async with asyncio.timeout(DEADLINE_S):
            while await subscriber.receive() != b'last':
                pass


@pytest.mark.parametrize('after_s', [0.0, 0.005, 0.02, 0.05, 0.1])
async def test_cancelled_while_opening_leaves_nothing(
    broker: BrokerPlugin, topic: str, after_s: float
) -> None:
    """Whenever opening is cancelled, nothing stays, and it can be opened again."""

    async def use() -> None:
        async with broker.open_subscriber(topic), broker.open_publisher(topic):
            await asyncio.sleep(DEADLINE_S)

    async with nothing_left():
        opening = asyncio.create_task(use())
        await asyncio.sleep(after_s)
        opening.cancel()
        await asyncio.wait([opening], timeout=DEADLINE_S)
        assert opening.cancelled()
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        await publish(sender, [[b'x']])
        assert await receive(subscriber, 1) == [b'x']


@pytest.mark.parametrize('steps', range(3))
async def test_a_cancellation_while_closing_is_not_lost(
    broker: BrokerPlugin, topic: str, steps: int
) -> None:
    """Whoever cancels in that moment is obeyed: a run after it must not begin."""
    leaving = asyncio.Event()

    async def use() -> None:
        async with broker.open_publisher(topic):
            leaving.set()

    async with nothing_left(), broker.open_subscriber(topic):
        closing = asyncio.create_task(use())
        await leaving.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        ended = closing.done()
        closing.cancel()
        await asyncio.wait([closing], timeout=DEADLINE_S)
        assert closing.cancelled() or ended


async def test_a_server_that_dies_is_an_error(own_server: tuple[str, Server], topic: str) -> None:
    """Sender and reader are told, and every frame is answered; nothing hangs, nothing stays."""
    name, server = own_server
    broker = plugin_at(name, server)
    answers = Answers()
    sent = 0
    async with nothing_left(), asyncio.timeout(DEADLINE_S):
        with pytest.raises(BrokerError):
            async with (
                broker.open_subscriber(topic) as subscriber,
                broker.open_publisher(topic) as sender,
            ):
                await publish(sender, [[b'x']])
                await receive(subscriber, 1)
                reader = asyncio.create_task(subscriber.receive())
                await asyncio.to_thread(server.kill)
                try:
                    while True:
                        await sender.send([b'x' * 100_000], answers)
                        sent += 1
                        await asyncio.sleep(0.01)
                except BrokerError:
                    await sender.flush()
                    assert len(answers.errors) >= sent
                await reader


@pytest.mark.parametrize('name', SERVED)
async def test_no_server_is_one_sentence(
    name: str, topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An address where nobody answers is named, with the remedy, and nothing else is said."""
    with socket.socket() as bound:
        # Bound and not listening: nobody else takes it, and nobody answers.
        bound.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{bound.getsockname()[1]}'
        await refuses(name, address, topic)
    assert capfd.readouterr().err == ''


async def refuses(name: str, address: str, topic: str) -> None:
    """Open both sides at an address where nobody answers."""
    broker: BrokerPlugin = registry.load('broker', name)(stream_servers=address)
    for opening in (broker.open_subscriber(topic), broker.open_publisher(topic)):
        async with nothing_left(), asyncio.timeout(15.0):
            with pytest.raises(BrokerError) as caught:
                await opening.__aenter__()
        message = str(caught.value)
        assert f'server answers at {address} (' in message
        assert '): start one' in message
        assert message.count('\n') == 0
