"""Blocking the loop is what these tests do."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from blockbuster import BlockBuster


@pytest.fixture
def may_block(blockbuster: BlockBuster) -> None:
    """Let the test itself block its loop; elsewhere the monitor proves that it doesn't."""
    blockbuster.deactivate()


@pytest_asyncio.fixture
async def without_debug() -> None:
    """Switch the debug mode off for figures: it takes the stack at every future, for ms."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        # The loop of these tests refuses to be asked.
        asyncio.BaseEventLoop.set_debug(loop, False)


@pytest.fixture(params=[False, True], ids=['plain', 'exact'])
def exact(request: pytest.FixtureRequest) -> bool:
    """Whether the selector is replaced; makes no difference on uvloop."""
    return bool(request.param)
