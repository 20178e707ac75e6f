"""Hosts for tests: broker, store, dispatcher and workers, each with an address of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.network import Network, missing
from tests.required import without


@pytest.fixture
def network() -> Iterator[Network]:
    """Make the hosts; return them on their switch."""
    reason = missing()
    if reason:
        without(reason)
    with Network('broker', 'store', 'dispatcher', 'workers') as made:
        yield made
