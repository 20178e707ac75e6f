"""Options: how values of any origin are read, and what is said of those that can't be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from streambench import registry
from streambench.config import OPTIONS
from streambench.errors import ConfigError
from streambench.kinds import (
    Kind,
    address,
    assignments,
    choice,
    count,
    host,
    number,
    port,
    seconds,
    size,
    switch,
    text,
)
from streambench.options import options_of
from streambench.settings import known_options


@pytest.mark.parametrize(
    ('kind', 'value', 'result'),
    [
        (count(), '7', 7),
        (count(), 7.0, 7),
        (count(), '1e3', 1000),
        (count(minimum=0), 0, 0),
        (count(), 2**63 - 1, 2**63 - 1),
        (count(), str(2**62 + 1), 2**62 + 1),
        (number(), '0.5', 0.5),
        (number(), 3, 3.0),
        (seconds(), '0', 0.0),
        (size(), '100kB', 100_000),
        (size(), '1MB', 1_000_000),
        (size(), '1 MiB', 1 << 20),
        (size(), '1.5kb', 1500),
        (size(), '2e3', 2000),
        (size(), 12, 12),
        (choice('a', 'b'), 'b', 'b'),
        (text(), 'ünï', 'ünï'),
        (switch(), 'yes', True),
        (switch(), False, False),
        (address(), 'host', 'host'),
        (address(), 'host:6379', 'host:6379'),
        (address(), '[::1]:6379', '[::1]:6379'),
        (address(several=True), 'a:1,b:2', 'a:1,b:2'),
        (host(), '::1', '::1'),
        (port(), '65535', 65535),
        (assignments(), 'a=b=c', (('a', 'b=c'),)),
        (assignments(), ['a=1', 'b='], (('a', '1'), ('b', ''))),
        (assignments(), {'a': 1}, (('a', '1'),)),
        (assignments(), (('a', '1'),), (('a', '1'),)),
    ],
)
def test_a_value_is_read(kind: Kind, value: Any, result: Any) -> None:
    """Text and what TOML gives mean the same, and what was read can be read again."""
    read = kind.parse(value)
    assert read == result
    assert type(read) is type(result)
    assert kind.parse(read) == result


@pytest.mark.parametrize(
    ('kind', 'value'),
    [
        (count(), '0'),
        (count(), '1.5'),
        (count(), True),
        (count(), None),
        (count(), 10**400),
        (count(maximum=5), 6),
        (number(), 'nan'),
        (number(), math.inf),
        (number(), '-1'),
        (number(above=True), 0),
        (size(), '1XB'),
        (size(), '1.2.3'),
        (size(), '0.5'),
        (size(), True),
        (size(), '1e400'),
        (size(minimum=1), '0'),
        (choice('a'), ['a']),
        (text(), ' '),
        (text(), 5),
        (switch(), 'maybe'),
        (switch(), 2),
        (address(), ''),
        (address(), ':6379'),
        (address(), 'host:65536'),
        (address(), 'host:１'),
        (address(), 'a:1,'),
        (address(several=True), 'a:1,,b:2'),
        (host(), 'a,b'),
        (port(), 0),
        (assignments(), 5),
        (assignments(), '=b'),
        (assignments(), ['a']),
    ],
)
def test_a_wrong_value_is_refused(kind: Kind, value: Any) -> None:
    """Whatever can't be a value is a ValueError that says what it must be, and nothing else."""
    with pytest.raises(ValueError, match='must'):
        kind.parse(value)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('stream_servers', 'redis://:geheim@host'),
        ('stream_servers', 'user:geheim@host:1'),
        ('ps_host', 'redis://:geheim@host'),
        ('stream_option', 'password=geheim'),
        ('stream_option', ['db=1', 'sasl_plain_password=geheim']),
        ('stream_option', ['db=1', 'proxy=http://me:geheim@host:1']),
        ('stream_password', '\0geheim'),
    ],
)
def test_a_password_is_refused_and_not_repeated(name: str, value: Any) -> None:
    """What would be recorded is refused with the remedy, in words that don't hold it."""
    with pytest.raises(ConfigError) as caught:
        known_options()[name][0].read(value)
    assert 'geheim' not in str(caught.value)
    if name != 'stream_password':
        assert '$STREAMBENCH_STREAM_PASSWORD' in str(caught.value)


def test_an_error_names_flag_and_value() -> None:
    """The flag is the first spelling on the command line, and a long value is cut."""
    with pytest.raises(ConfigError, match=r"^--max-workers: '0' must .*\.$"):
        OPTIONS['workers'].read('0')
    with pytest.raises(ConfigError) as caught:
        OPTIONS['stream_method'].read('x' * 10_000)
    assert len(str(caught.value)) < 200


def test_text_that_can_not_be_written_is_refused() -> None:
    """A name whose bytes are no UTF-8 couldn't be recorded."""
    with pytest.raises(ConfigError, match='UTF-8'):
        OPTIONS['run_dir'].read('\udcff')


def test_the_spellings_of_psbench_are_ours() -> None:
    """Each of psbench's flags for the number of workers is one."""
    assert OPTIONS['workers'].flags == (
        '--max-workers',
        '--parsl-max-workers',
        '--thread-pool-max-workers',
        '--process-pool-max-workers',
        '--dask-workers',
    )


@pytest.mark.parametrize('kind', registry.PLUGINS)
def test_every_option_is_described(kind: str) -> None:
    """Each option of each plugin has a sentence, a group, and a default that it accepts."""
    for name in registry.names(kind, others=False):
        for entry in [*options_of(registry.load(kind, name)).values(), *OPTIONS.values()]:
            assert entry.doc.endswith('.')
            assert entry.group in ('stream', 'executor', 'broker', 'connector', 'run', 'output')
            if entry.default is not None:
                assert entry.read(entry.default) == entry.default
