"""streambench: where does the time go in a stream-processing workflow, and can the answer be trusted?

Names are loaded when first used (PEP 562), so that a worker which imports `streambench.worker` does
not pay for the rest.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from streambench.config import Config
    from streambench.errors import StreamBenchError
    from streambench.plan import Plan, make_plan
    from streambench.records import RunRow
    from streambench.run_spec import RunSpec
    from streambench.session import Progress, RunResult, Session, open_session
    from streambench.settings import configure
    from streambench.summary import Estimate
    from streambench.thresholds import Outcome

__version__ = '0.1.0'

_HOMES = {
    'Config': 'config',
    'Estimate': 'summary',
    'configure': 'settings',
    'StreamBenchError': 'errors',
    'Outcome': 'thresholds',
    'Progress': 'session',
    'RunRow': 'records',
    'Plan': 'plan',
    'RunSpec': 'run_spec',
    'make_plan': 'plan',
    'RunResult': 'session',
    'Session': 'session',
    'open_session': 'session',
}

__all__ = [
    'Config',
    'Estimate',
    'Outcome',
    'Plan',
    'Progress',
    'RunResult',
    'RunRow',
    'RunSpec',
    'Session',
    'StreamBenchError',
    '__version__',
    'configure',
    'make_plan',
    'open_session',
]


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    import importlib

    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
