"""What a plan costs on a batch system, which charges for nodes and the time that they are held."""

from __future__ import annotations

from streambench.plan import Plan, session_s
from streambench.tables import figure

HOUR_S = 3600


def node_hours(plan: Plan) -> list[str]:
    """Return a line about the node-hours of a plan; none if it holds no nodes.

    An estimate without the time in a queue, which nobody charges: nodes x expected time of each
    session, and at most nodes x walltime.
    """
    sessions = [runs for runs in plan.sessions() if runs[0].config.executor_plugin.nodes]
    if not sessions:
        return []
    counts, expected, limits = set(), [], []
    for runs in sessions:
        plugin = runs[0].config.executor_plugin
        counts.add(plugin.nodes)
        seconds = session_s(runs)
        if seconds is not None:
            expected.append(plugin.nodes * seconds / HOUR_S)
        if plugin.walltime_s is not None:
            limits.append(plugin.nodes * plugin.walltime_s / HOUR_S)
    known = len(expected) == len(sessions)
    text = (
        f'about {figure(sum(expected), 3)}'
        if known
        else 'unknown, since a closed loop runs as fast as it can'
    )
    nodes = ' or '.join(map(str, sorted(counts)))
    most = f', at most {figure(sum(limits), 3)} by --parsl-walltime' if limits else ''
    return [f'node-hours: {text}, on {nodes} node{"s" if nodes != "1" else ""}{most}']
