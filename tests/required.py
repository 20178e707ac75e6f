"""What tests do for want of a server or a package: skip with the remedy, or fail where required."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NoReturn

import pytest

REQUIRE = 'STREAMBENCH_REQUIRE_SERVERS'


def without(reason: str) -> NoReturn:
    """Skip a test for want of something, or fail it where everything is required."""
    if os.environ.get(REQUIRE) == '1':
        pytest.fail(reason)
    pytest.skip(reason)


def need(*packages: str, install: str) -> None:
    """Skip or fail a test unless packages can be imported."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        without(f'needs {" and ".join(missing)}: {install}')
