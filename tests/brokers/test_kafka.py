"""What is particular to Kafka."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streambench.brokers.kafka import KafkaBroker
from streambench.errors import BrokerError, ConfigError
from streambench.session import open_session
from streambench.settings import configure
from tests.brokers.conftest import Server, server_of

DEADLINE_S = 60.0

_numbers = itertools.count()

one_loop = pytest.mark.asyncio(loop_factories=['asyncio'])


@pytest.fixture
def topic() -> str:
    """Return a topic that nobody has used."""
    return f'kafka-{os.getpid()}-{next(_numbers)}'


@pytest.fixture
def address(servers: Callable[[str], Server | None]) -> str:
    """Return where the session's Kafka is."""
    server = servers('kafka')
    assert server is not None
    return server.address


async def topics(address: str) -> list[str]:
    """Return the topics that there are."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        found: list[str] = await admin.list_topics()
    finally:
        await admin.close()
    return found


async def make_topic(address: str, topic: str, **settings: str) -> None:
    """Make a topic as a user would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        configuration = {key.replace('_', '.'): value for key, value in settings.items()}
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configuration)])
    finally:
        await admin.close()


@pytest.mark.parametrize(
    ('option', 'sentence'),
    [
        (
            ('linger', '1'),
            "--stream-option: 'linger' is no setting of the kafka client that can be given; "
            'there are linger_ms.',
        ),
        (
            ('linger_ms', 'soon'),
            '--stream-option: linger_ms=soon is no number, and the kafka client needs one: give one '
            'such as linger_ms=0.',
        ),
        (
            ('sasl_plain_password', 'x'),
            '--stream-option: sasl_plain_password would be seen on the command line: '
            'set $STREAMBENCH_STREAM_PASSWORD.',
        ),
        (
            ('acks', '7'),
            "--stream-option: the kafka client does not take {'acks': '7'} (Invalid ACKS parameter): "
            'give other values.',
        ),
    ],
)
async def test_options_of_the_client_are_checked(
    topic: str, option: tuple[str, str], sentence: str
) -> None:
    """A setting that the client doesn't have, or can't take, is named; no server is asked."""
    broker = KafkaBroker(stream_servers='127.0.0.1:1', stream_option=(option,))
    with pytest.raises(ConfigError) as caught:
        await broker.open_publisher(topic).__aenter__()
    assert str(caught.value) == sentence


async def test_options_reach_the_client_that_has_them(address: str, topic: str) -> None:
    """One of the consumer and one of the producer stand side by side."""
    options = (('fetch_max_wait_ms', '20'), ('compression_type', 'gzip'))
    broker = KafkaBroker(stream_servers=address, stream_option=options)
    answers: list[BrokerError | None] = []
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        await sender.send([b'x' * 1000], lambda receivers, error: answers.append(error))
        assert await subscriber.receive() == b'x' * 1000
    assert answers == [None]


async def test_a_made_topic_is_removed_again(address: str, topic: str) -> None:
    """The subscriber's topic goes with it."""
    async with KafkaBroker(stream_servers=address).open_subscriber(topic):
        assert topic in await topics(address)
    assert topic not in await topics(address)


async def test_a_topic_that_was_there_stays_and_is_read_from_its_end(address: str, topic: str) -> None:
    """What was published before belongs to somebody else."""
    broker = KafkaBroker(stream_servers=address)
    await make_topic(address, topic)
    async with broker.open_publisher(topic) as sender:
        await sender.send([b'old'], lambda receivers, error: None)
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        await sender.send([b'new'], lambda receivers, error: None)
        assert await subscriber.receive() == b'new'
    assert topic in await topics(address)


async def test_a_message_above_a_limit_says_which(address: str, topic: str) -> None:
    """The limit of the client and that of the server are named; later messages pass."""
    answers: list[str | None] = []

    def acked(receivers: int | None, error: BrokerError | None) -> None:
        answers.append(None if error is None else str(error))

    small = (('max_request_size', '20000'),)
    broker = KafkaBroker(stream_servers=address, stream_option=small)
    await make_topic(address, topic, max_message_bytes='10000')
    async with broker.open_subscriber(topic) as subscriber, broker.open_publisher(topic) as sender:
        for size in (30_000, 15_000, 100):
            await sender.send([b'x' * size], acked)
            await sender.flush()
        assert await subscriber.receive() == b'x' * 100
    assert answers == [
        'a message of 30000 bytes is above the limit of the kafka client: raise it with '
        '--stream-option max_request_size=60000.',
        f'Kafka at {address} refused a message as too large: raise max.message.bytes of the topic '
        f"{topic!r}, or the broker's message.max.bytes, replica.fetch.max.bytes and "
        'socket.request.max.bytes.',
        None,
    ]


async def test_a_run_says_what_its_broker_refused(address: str) -> None:
    """The sentence that names the limit ends the run before anything is measured, and is in its row."""
    config = await asyncio.to_thread(
        configure,
        executor='thread',
        stream='kafka',
        stream_servers=address,
        stream_option=['max_request_size=20000'],
        data_size_bytes=30_000,
        task_sleep=0.01,
        task_count=5,
    )
    async with asyncio.timeout(DEADLINE_S), open_session(config) as session:
        result = await session.run()
    assert isinstance(result.error, BrokerError)
    assert 'no item could be published' in result.row.reason
    assert 'raise it with --stream-option max_request_size=60' in result.row.reason
    assert (result.row.ended, result.row.sent) == ('failed', 0)


@one_loop
async def test_a_publisher_without_topic_is_an_error(address: str, topic: str) -> None:
    """A publisher doesn't make topics, since nobody would remove them."""
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(BrokerError, match='shows no topic'):
            await KafkaBroker(stream_servers=address).open_publisher(topic).__aenter__()


@one_loop
async def test_a_silent_server_is_an_error_in_ten_seconds(topic: str) -> None:
    """One that accepts connections and says nothing is given up."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, '127.0.0.1', 0)
    host, port = server.sockets[0].getsockname()
    try:
        async with asyncio.timeout(12.0):
            with pytest.raises(BrokerError) as caught:
                broker = KafkaBroker(stream_servers=f'{host}:{port}')
                await broker.open_subscriber(topic).__aenter__()
    finally:
        server.close()
        await server.wait_closed()
    assert str(caught.value) == (
        f'no Kafka server answers at {host}:{port} (silent for 8 s): '
        'start one with scripts/kafka start, or use --stream redis.'
    )


def test_no_server_leaves_stderr_alone() -> None:
    """aiokafka's log isn't seen where nobody has set up logging."""
    program = """
import asyncio
from streambench.brokers.kafka import KafkaBroker
from streambench.errors import BrokerError

async def main():
    try:
        await KafkaBroker(stream_servers='127.0.0.1:1').open_subscriber('x').__aenter__()
    except BrokerError as error:
        print(error)

asyncio.run(main(), debug=True)
"""
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.stderr == ''
    assert done.stdout == (
        'no Kafka server answers at 127.0.0.1:1 (Connection refused): '
        'start one with scripts/kafka start, or use --stream redis.\n'
    )


@pytest.fixture
def own_kafka() -> Server:
    """Return a Kafka that the test may kill."""
    server = server_of('kafka')
    assert server is not None
    return server


class PatientBroker(KafkaBroker):
    """Waits for as long as a restart takes on a busy machine."""

    reconnect_s = DEADLINE_S


async def test_a_server_that_comes_back_is_counted_and_nothing_is_lost(
    own_kafka: Server, topic: str
) -> None:
    """Both ends connect anew; what was published meanwhile is delivered."""
    broker = PatientBroker(stream_servers=own_kafka.address)
    restart: asyncio.Task[object] | None = None
    errors: list[BrokerError | None] = []
    received: set[bytes] = set()
    try:
        async with (
            asyncio.timeout(DEADLINE_S),
            broker.open_subscriber(topic) as subscriber,
            broker.open_publisher(topic) as sender,
        ):
            for number in range(3):
                await sender.send([b'%d' % number], lambda receivers, error: errors.append(error))
            await sender.flush()
            await asyncio.to_thread(own_kafka.kill)
            restart = asyncio.create_task(asyncio.to_thread(own_kafka.start))
            for number in range(3, 6):
                await sender.send([b'%d' % number], lambda receivers, error: errors.append(error))
            await sender.flush()
            while len(received) < 6:
                received.add(await subscriber.receive())
            await restart
            assert errors == [None] * 6
            # The server that starts may refuse for a while those who come early.
            assert sender.reconnects >= 1
            assert subscriber.reconnects >= 1
    finally:
        if restart is not None:
            await asyncio.wait([restart])
        await asyncio.to_thread(own_kafka.stop)
