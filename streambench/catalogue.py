"""What there is: every broker, connector and executor, and whether it can run here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from streambench import registry
from streambench.errors import ConfigError, StreamBenchError
from streambench.tables import TABLE, Column, render


def _missing(plugin: Any) -> list[str]:
    return [package for package in plugin.packages if find_spec(package) is None]


def _state(kind: str, plugin: Any) -> tuple[str, str]:
    """Return `ready` or what is missing, and what to do about it."""
    missing = _missing(plugin)
    if missing:
        return f'needs {", ".join(missing)}', plugin.install
    if plugin.name == 'redis' and kind in ('broker', 'connector'):
        from streambench.servers.redis import find_server

        try:
            find_server()
        except ConfigError as error:
            return 'ready for a given server', f'embedded: {error}'
    return 'ready', ''


def catalogue() -> list[tuple[str, str, str, str, str]]:
    """Return kind, name, state here, what was tested, and summary with the remedy, of every plugin."""
    rows = []
    for kind in registry.PLUGINS:
        for name in registry.names(kind):
            try:
                plugin = registry.load(kind, name)
            except StreamBenchError as error:
                rows.append((kind, name, 'needs repair', '', str(error)))
            else:
                state, remedy = _state(kind, plugin)
                summary = f'{plugin.summary} ({remedy})' if remedy else plugin.summary
                rows.append((kind, name, state, plugin.tested, summary))
    return rows


def catalogue_text(*, form: str = TABLE, width: int | None = None) -> str:
    """Return the catalogue in one of the forms of `--format`, folded to a width if one is given."""
    columns = [
        Column(name='kind', head='kind', left=True),
        Column(name='name', head='name', left=True),
        Column(name='here', head='here', left=True),
        Column(name='tested', head='tested', left=True),
        Column(name='summary', head='what it is', left=True),
    ]
    return render(columns, catalogue(), form=form, width=width)
