"""One broker, one stand-in and one endpoint of each engine for all tests of this directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.globus.servers import HTEX, POOL, Endpoint, RabbitMQ, Site, alone, missing
from tests.required import without


@pytest.fixture(scope='session')
def directory() -> Iterator[Path]:
    """Return a directory whose name is short: RabbitMQ and the endpoint make sockets in it."""
    lack = missing()
    if lack:
        without(lack)
    with (
        alone(),
        tempfile.TemporaryDirectory(prefix='streambench-globus-', ignore_cleanup_errors=True) as name,
    ):
        yield Path(name)


@pytest.fixture(scope='session')
def broker(directory: Path) -> Iterator[RabbitMQ]:
    """Return a RabbitMQ that runs."""
    server = RabbitMQ(directory / 'rabbitmq')
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope='session')
def site(directory: Path, broker: RabbitMQ) -> Iterator[Site]:
    """Return the stand-in, running, with this process pointed at it by its environment."""
    place = Site(directory, broker.url)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.environment.items():
            patch.setenv(name, value)
        try:
            place.start()
            yield place
        finally:
            place.kill()


@pytest.fixture(scope='session')
def shared(site: Site) -> Iterator[Callable[[str], str]]:
    """Return ids of endpoints by their configuration, started when first asked for; none kills them."""
    started: dict[str, Endpoint] = {}

    def get(config: str) -> str:
        if config not in started:
            started[config] = Endpoint(site, config)
            started[config].start()
        return started[config].id

    yield get
    for endpoint in started.values():
        endpoint.kill()


@pytest.fixture
def pool(shared: Callable[[str], str]) -> str:
    """Return the id of an endpoint with two workers, threads of its process."""
    return shared(POOL)


@pytest.fixture
def htex(shared: Callable[[str], str]) -> str:
    """Return the id of an endpoint with two workers of Parsl's HighThroughputExecutor."""
    return shared(HTEX)


@pytest.fixture
def own(site: Site) -> Iterator[Endpoint]:
    """Return an endpoint that the test may kill."""
    endpoint = Endpoint(site)
    endpoint.start()
    yield endpoint
    endpoint.kill()
