"""Configuration: a point out of values by name, its derived figures, and files of options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from streambench.brokers.redis import RedisBroker
from streambench.combinations import COPIES
from streambench.connectors.file import FileConnectorPlugin
from streambench.errors import ConfigError, MissingExtraError, UnknownPluginError
from streambench.executors.parsl import ParslExecutor
from streambench.settings import configure, plan_values, read_toml, refuse_unknown


def test_the_default_is_the_bare_command() -> None:
    """Without a value: embedded Redis, Parsl with four workers of which three compute, on the loop."""
    config = configure()
    assert isinstance(config.broker_plugin, RedisBroker)
    assert isinstance(config.executor_plugin, ParslExecutor)
    assert config.broker_plugin.needs_redis_server
    assert (config.workers, config.compute_workers, config.slots) == (4, 3, 3)
    assert config.rate_per_s == pytest.approx(3 / config.task_sleep)
    assert config.offered_load == pytest.approx(1)


@pytest.mark.parametrize(
    ('values', 'rate', 'load'),
    [
        ({'workers': 5, 'task_sleep': 2}, 2.0, 1.0),
        ({'workers': 1, 'task_sleep': 0.5}, 2.0, 1.0),
        ({'workers': 5, 'task_sleep': 2, 'load': 0.5}, 1.0, 0.5),
        ({'workers': 5, 'task_sleep': 2, 'rate': '4'}, 4.0, 2.0),
        ({'task_sleep': 0, 'rate': 7}, 7.0, 0.0),
        ({'rate': 'max'}, None, None),
        ({'task_sleep': 0}, None, None),
    ],
)
def test_the_rate_follows_the_load(
    values: dict[str, Any], rate: float | None, load: float | None
) -> None:
    """Interval = task_sleep / compute workers unless a load or a rate is given; sleep 0 means max."""
    config = configure(**values)
    assert config.rate_per_s == rate
    assert config.offered_load == load
    assert config.closed_loop == (rate is None)


def test_a_generator_on_a_worker_takes_a_slot() -> None:
    """On the loop the executor is opened with the compute workers, else with all of them."""
    assert configure(generator='worker').slots == 4
    assert configure(workers=1).slots == configure(workers=1).compute_workers == 1


@pytest.mark.parametrize(
    ('sleep', 'verify', 'full'), [(0, None, False), (1, None, True), (0, 'full', True)]
)
def test_verification_is_full_unless_nothing_sleeps(
    sleep: float, verify: str | None, full: bool
) -> None:
    """The default leaves out the CRC-32 only where a task is nothing but overhead."""
    assert configure(task_sleep=sleep, verify=verify).verify_full is full


def test_what_is_not_needed_is_checked_and_not_opened() -> None:
    """With `default` alone `--ps-*` are accepted, a wrong one is refused, and no store is opened."""
    assert configure(ps_host='h', ps_port=1).connector_plugin is None
    assert configure(ps_connector='file').connector_plugin is None
    with pytest.raises(ConfigError, match='--ps-port'):
        configure(ps_host='h')
    with pytest.raises(ConfigError, match='--ps-file-dir belongs to --ps-connector file'):
        configure(ps_file_dir='d')


def test_a_chosen_plugin_gets_its_options() -> None:
    """Options go to the plugin that declares them."""
    config = configure(stream_method='proxy', ps_connector='file', ps_file_dir='d', parsl_prefetch='2')
    assert config.connector_plugin == FileConnectorPlugin(ps_file_dir='d')
    assert config.executor_plugin == ParslExecutor(parsl_prefetch=2)


def test_none_is_not_given() -> None:
    """A caller may pass on what it wasn't given."""
    assert configure(rate=None, load=None, ps_host=None) == configure()


def test_an_unknown_plugin_gets_the_nearest() -> None:
    """An unknown plugin is an error of its own kind."""
    with pytest.raises(UnknownPluginError, match='did you mean redis'):
        configure(stream='reddis')


def test_a_missing_package_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin whose package isn't there is refused before anything starts."""
    monkeypatch.setattr(ParslExecutor, 'packages', ('parsl', 'streambench_not_there'))
    with pytest.raises(MissingExtraError, match=r'needs streambench_not_there.*pip install parsl'):
        configure()


@pytest.mark.parametrize(
    ('name', 'near'),
    [('task_coutn', 'task_count'), ('max_workers', 'workers'), ('parsl_max_workers', 'workers')],
)
def test_an_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    """Typing errors and the command line's spellings lead to the option."""
    with pytest.raises(ConfigError, match=f"'{name}'; did you mean {near}?"):
        refuse_unknown([name], where='here')


def test_secrets_are_not_among_the_values() -> None:
    """What is recorded of a point has no password, nor has its text."""
    config = configure(stream_servers='h:1', stream_password='geheim')
    assert 'stream_password' not in plan_values(config)
    assert plan_values(config)['stream_servers'] == 'h:1'
    assert 'geheim' not in repr(config)


def test_values_make_the_point_again() -> None:
    """The values of a point, plugin options included, describe that point."""
    config = configure(
        stream_method='proxy', ps_connector='file', ps_file_dir='d', stream_option='db=3', rate='max'
    )
    assert configure(**plan_values(config)) == config


def test_a_size_must_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload that the machine can't hold several times is refused with the largest that it can."""
    largest = 10**6
    pages = largest * COPIES // 4096 + 1
    sizes = {'SC_PAGE_SIZE': 4096, 'SC_PHYS_PAGES': pages}
    monkeypatch.setattr(os, 'sysconf', sizes.__getitem__)
    assert configure(data_size_bytes=largest).data_size_bytes == largest
    with pytest.raises(ConfigError, match='take at most'):
        configure(data_size_bytes=2 * largest)


def test_a_file_holds_options_and_axes(tmp_path: Path) -> None:
    """A single value in [sweep] is an axis of one."""
    path = tmp_path / 'options.toml'
    path.write_text('workers = 3\nstream_option = ["db=1"]\n[sweep]\nrate = [1, "max"]\nload = 1\n')
    values, sweep = read_toml(str(path))
    assert values == {'workers': 3, 'stream_option': ['db=1']}
    assert sweep == {'rate': [1, 'max'], 'load': [1]}
