"""Blocking the loop is what these tests do."""

from __future__ import annotations

import pytest
from blockbuster import BlockBuster


@pytest.fixture
def may_block(blockbuster: BlockBuster) -> None:
    """Let the test itself block its loop; elsewhere the monitor proves that it doesn't."""
    blockbuster.deactivate()


@pytest.fixture(params=[False, True], ids=['plain', 'exact'])
def exact(request: pytest.FixtureRequest) -> bool:
    """Whether the selector is replaced; makes no difference on uvloop."""
    return bool(request.param)
