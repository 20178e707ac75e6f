"""Every test on asyncio in debug mode and on uvloop, under blockbuster."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx


class DebugLoop(asyncio.SelectorEventLoop):
    """asyncio's loop in debug mode, which pytest-asyncio would switch off again."""

    def set_debug(self, enabled: bool) -> None:
        """Stay in debug mode."""
        super().set_debug(True)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each async test once on each loop."""
    return {'asyncio': DebugLoop, 'uvloop': uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Let a call that blocks a running loop fail its test."""
    with blockbuster_ctx() as detector:
        yield detector


@pytest.fixture(autouse=True, scope='module')
def frozen_between_modules() -> Iterator[None]:
    """Let go what the tests of a module froze, so that it too is collected and reports itself."""
    yield
    gc.unfreeze()
    gc.collect()


@pytest.fixture(autouse=True)
def loop_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test after which a loop reported an error that nobody awaited.

    Forgotten tasks and open clients report themselves when they are collected.
    """
    yield
    gc.collect()
    # The next collection looks at what the next test makes, not at a hundred thousand imported objects.
    gc.freeze()
    complaints = [
        record.getMessage()
        for record in [*caplog.get_records('call'), *caplog.get_records('teardown')]
        if record.name == 'asyncio' and record.levelname == 'ERROR'
    ]
    assert complaints == []
