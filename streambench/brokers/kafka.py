"""The broker `kafka`: a topic of one partition, read from a known position without a group.

aiokafka heals a broken connection silently and keeps trying for ever; here a loss is noticed when
it happens, counted if the server comes back, and an error if it doesn't. A server that dies is an
error after RECONNECT_S, one that falls silent after REQUEST_S more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from streambench.brokers.base import (
    RECONNECT_S,
    Publisher,
    ServerBrokerPlugin,
    Subscriber,
    split_address,
)
from streambench.errors import BrokerError, ConfigError
from streambench.kinds import address
from streambench.options import option
from streambench.threads import to_its_end

REQUEST_S = 30.0
MESSAGE_BYTES = 64 << 20
BATCH_BYTES = 1 << 20

# Parameters of the clients that can't be given as text, or that would undo what is done here.
OURS = frozenset(
    {
        *('self', 'topics', 'loop', 'api_version', 'bootstrap_servers', 'partitioner'),
        *('key_serializer', 'value_serializer', 'key_deserializer', 'value_deserializer'),
        *('ssl_context', 'sasl_oauth_token_provider', 'sasl_plain_password'),
        *('partition_assignment_strategy', 'group_id', 'group_instance_id', 'transactional_id'),
        'auto_offset_reset',
    }
)

START_ONE = 'start one with scripts/kafka start, or use --stream redis.'


@dataclass(frozen=True, kw_only=True)
class KafkaBroker(ServerBrokerPlugin):
    """Kafka."""

    name: ClassVar[str] = 'kafka'
    summary: ClassVar[str] = 'Kafka; scripts/kafka starts one on this machine'
    tested: ClassVar[str] = 'yes, one broker'
    packages: ClassVar[tuple[str, ...]] = ('aiokafka',)
    install: ClassVar[str] = 'pip install aiokafka'
    reconnect_s: ClassVar[float] = RECONNECT_S

    stream_servers: str | None = option(
        'Address of the broker (Redis: embedded if absent).',
        address(several=True),
        group='broker',
        required=True,
    )

    def address(self) -> tuple[str, int] | None:
        """Return host and port of the first server."""
        return self._addresses()[0]

    @property
    def title(self) -> str:
        """What it is and where, all of it, for errors."""
        return f'kafka broker at {self._where}'

    @property
    def remedy(self) -> str:
        """What to do where workers can't reach it."""
        return (
            'give --stream-servers an address that they can reach, and let its advertised.listeners '
            'name such a one too'
        )

    def _addresses(self) -> list[tuple[str, int]]:
        if self.stream_servers is None:
            raise ConfigError(
                f'--stream-servers: the kafka broker needs the address of a server: {START_ONE}'
            )
        return [
            split_address(server.strip(), default_port=9092, flag='--stream-servers')
            for server in self.stream_servers.split(',')
        ]

    @property
    def _where(self) -> str:
        return ','.join(f'{host}:{port}' for host, port in self._addresses())

    def _client_options(self) -> dict[str, Any]:
        import difflib

        import streambench.brokers.kafka_client as kafka_client

        known = kafka_client.parameters(kafka_client.AIOKafkaConsumer)
        known |= kafka_client.parameters(kafka_client.AIOKafkaProducer)
        known = {key: default for key, default in known.items() if key not in OURS}
        result: dict[str, Any] = {}
        for key, value in self.stream_option:
            if key == 'sasl_plain_password':
                raise ConfigError(
                    f'--stream-option: {key} would be seen on the command line: '
                    'set $STREAMBENCH_STREAM_PASSWORD.'
                )
            if key not in known:
                near = difflib.get_close_matches(key, sorted(known), n=3)
                raise ConfigError(
                    f'--stream-option: {key!r} is no setting of the kafka client that can be '
                    f'given; there are {", ".join(near or sorted(known))}.'
                )
            result[key] = _converted(value)
            if isinstance(known[key], int) and not isinstance(result[key], int | float):
                raise ConfigError(
                    f'--stream-option: {key}={value} is no number, and the kafka client needs '
                    f'one: give one such as {key}={known[key]}.'
                )
        return result

    async def _connect(self, kind: Any, defaults: dict[str, Any]) -> Any:
        """Return a connected client of aiokafka.

        Raises:
            ConfigError: If it doesn't take an option's value.
            BrokerError: If no server answers.
        """
        import asyncio
        import logging

        import streambench.brokers.kafka_client as kafka_client

        # Without a handler, logging would write on stderr what is reported as an error of ours.
        quiet = logging.getLogger('aiokafka')
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())
        settings: dict[str, Any] = {
            'bootstrap_servers': self._where.split(','),
            'request_timeout_ms': round(REQUEST_S * 1000),
            **defaults,
            **self._client_options(),
        }
        if self.stream_password is not None:
            settings['sasl_plain_password'] = self.stream_password
        if 'SSL' in str(settings.get('security_protocol')).split('_'):
            settings['ssl_context'] = await asyncio.to_thread(_ssl_context)
        taken = kafka_client.parameters(kind)
        try:
            client = kind(**{key: value for key, value in settings.items() if key in taken})
        except (ValueError, TypeError, AssertionError) as error:
            raise ConfigError(
                f'--stream-option: the kafka client does not take {dict(self.stream_option)} '
                f'({error}): give other values.'
            ) from None
        connection = kafka_client.Connection(client, self._where, reconnect_s=self.reconnect_s)
        try:
            await connection.start()
        except kafka_client.FAILURES as error:
            await connection.close()
            silent = f'silent for {kafka_client.CONNECT_S:.0f} s'
            reason = silent if isinstance(error, TimeoutError) else await self._reason()
            raise BrokerError(
                f'no Kafka server answers at {self._where} ({reason}): {START_ONE}', reason=reason
            ) from None
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _reason(self) -> str:
        """Say why no server answers; aiokafka tells it to its log only."""
        import asyncio
        import os

        for host, port in self._addresses():
            try:
                async with asyncio.timeout(1.0):
                    _, writer = await asyncio.open_connection(host, port)
            except OSError as error:
                return os.strerror(error.errno) if error.errno else str(error) or 'it is silent'
            writer.close()
        return 'it accepts connections but does not speak Kafka, or refuses the login'

    @asynccontextmanager
    async def open_publisher(self, topic: str) -> AsyncIterator[Publisher]:
        """Open the sending end of a topic, which its subscriber has made.

        Raises:
            BrokerError: If no server answers, or there is no such topic.
        """
        kafka_client = await _loaded()
        defaults = {
            'acks': 1,
            'linger_ms': 1,
            'max_batch_size': BATCH_BYTES,
            'max_request_size': MESSAGE_BYTES,
        }
        connection = await self._connect(kafka_client.AIOKafkaProducer, defaults)
        publisher = kafka_client.KafkaPublisher(connection, topic, self._where)
        try:
            await publisher.find_topic()
            yield publisher
            await publisher.flush()
        finally:
            await publisher.close()

    @asynccontextmanager
    async def open_subscriber(self, topic: str) -> AsyncIterator[Subscriber]:
        """Open the receiving end; enters when its topic exists and its position is known.

        A topic that it has made, it removes. In one that was there, it begins at the end.
        """
        kafka_client = await _loaded()
        defaults = {
            'fetch_max_wait_ms': 5,
            'fetch_max_bytes': MESSAGE_BYTES,
            'max_partition_fetch_bytes': MESSAGE_BYTES,
            'enable_auto_commit': False,
            # What can't be read any more is an error, never skipped.
            'auto_offset_reset': 'none',
        }
        made: list[str] = []
        try:
            admin = await self._connect(kafka_client.AIOKafkaAdminClient, {})
            try:
                # To the end, also when cancelled: else nobody knew whose topic it is.
                await to_its_end(self._make(admin.client, topic, made))
            finally:
                await admin.close()
            connection = await self._connect(kafka_client.AIOKafkaConsumer, defaults)
            subscriber = kafka_client.KafkaSubscriber(connection, topic, self._where)
            try:
                await subscriber.find_position(new=bool(made))
                yield subscriber
            finally:
                await subscriber.close()
                if connection.lost is not None:
                    made.clear()
        finally:
            for name in made:
                await to_its_end(self._remove(name))

    async def _make(self, admin: Any, topic: str, made: list[str]) -> None:
        """Make a topic unless it is there, and note that."""
        import asyncio

        import streambench.brokers.kafka_client as kafka_client

        largest = max(MESSAGE_BYTES, int(self._client_options().get('max_request_size', 0)))
        order = kafka_client.NewTopic(topic, 1, 1, topic_configs={'max.message.bytes': str(largest)})
        try:
            async with asyncio.timeout(kafka_client.CONNECT_S):
                answer = await admin.create_topics([order])
        except kafka_client.FAILURES as error:
            raise BrokerError(
                f'Kafka at {self._where} did not make the topic {topic!r} ({error!r}): '
                'see that it is well, and that its advertised.listeners can be reached from here.'
            ) from None
        (_, code, reason), *_ = answer.topic_errors
        refusal = kafka_client.for_code(code)
        if not code:
            made.append(topic)
        elif refusal is not kafka_client.TopicAlreadyExistsError:
            raise BrokerError(
                f'Kafka at {self._where} refuses to make the topic {topic!r} '
                f'({reason or refusal.__name__}): allow it, or make the topic there.'
            )

    async def _remove(self, topic: str) -> None:
        """Remove a topic; a server that is gone has been reported already."""
        import asyncio
        import logging

        import streambench.brokers.kafka_client as kafka_client

        with suppress(BrokerError):
            admin = await self._connect(kafka_client.AIOKafkaAdminClient, {})
            reason: object = None
            try:
                async with asyncio.timeout(kafka_client.CONNECT_S):
                    answer = await admin.client.delete_topics([topic])
                (_, code), *_ = answer.topic_error_codes
                reason = kafka_client.for_code(code).__name__ if code else None
            except kafka_client.FAILURES as error:
                reason = repr(error)
            finally:
                await admin.close()
            if reason is not None:
                logging.getLogger(__name__).warning(
                    'the topic %s stays on Kafka at %s: %s', topic, self._where, reason
                )


async def _loaded() -> Any:
    """Import the clients in a thread: it takes longer than a loop should be held."""
    import asyncio
    import importlib

    return await asyncio.to_thread(importlib.import_module, 'streambench.brokers.kafka_client')


def _ssl_context() -> Any:
    import ssl

    return ssl.create_default_context()


def _converted(value: str) -> bool | int | float | str | None:
    """Return a client setting in the type that its text looks like."""
    words: dict[str, bool | None] = {'none': None, 'true': True, 'false': False}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value
