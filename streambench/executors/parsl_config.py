"""A Parsl configuration of the user's: a Python file, or a kernel that is loaded already."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.errors import ConfigError
from streambench.kinds import Kind

if TYPE_CHECKING:
    from parsl import Config

NAME = 'config'


def is_kernel(value: Any) -> bool:
    """Whether a value is a DataFlowKernel; imports nothing to find out."""
    return any(
        kind.__name__ == 'DataFlowKernel' and kind.__module__.startswith('parsl.')
        for kind in type(value).__mro__
    )


def config_kind() -> Kind:
    """Return the kind of files that hold a Parsl Config, and of loaded kernels."""

    def parse(value: Any) -> Any:
        if is_kernel(value):
            return value
        if not isinstance(value, str) or not value.strip() or '\0' in value:
            raise ValueError('must be a Python file that makes a Parsl Config')
        if not os.access(value, os.R_OK) or not Path(value).is_file():
            raise ValueError('must be a Python file that can be read')
        return value

    return Kind(metavar='FILE', parse=parse)


def load(path: str) -> Config:
    """Run a file and return its Config, which Parsl can use once.

    Args:
        path: The file.

    Raises:
        ConfigError: If it can't be run, or holds no Config or several.
    """
    from parsl import Config

    try:
        found = runpy.run_path(path)
    except Exception as error:
        raise ConfigError(
            f'--parsl-config: {path!r} can not be run: {type(error).__name__}: {error}'
        ) from error
    named = found.get(NAME)
    if isinstance(named, Config):
        return named
    # One Config under two names is one.
    configs = {id(value): value for value in found.values() if isinstance(value, Config)}
    if len(configs) != 1:
        raise ConfigError(
            f'--parsl-config: {path!r} holds {len(configs) or "no"} Parsl Config'
            f'{"s" if configs else ""}: name the one to use `config`.'
        )
    return next(iter(configs.values()))


def _only_threads(executors: Any) -> bool:
    from parsl.executors import ThreadPoolExecutor

    return all(isinstance(executor, ThreadPoolExecutor) for executor in executors)


def runs_in_threads(source: Any) -> bool:
    """Whether a configuration's tasks run in this process.

    Args:
        source: Its file, or a loaded kernel.

    Raises:
        ConfigError: If the file is wrong.
    """
    return _only_threads(source.executors.values() if is_kernel(source) else load(source).executors)
