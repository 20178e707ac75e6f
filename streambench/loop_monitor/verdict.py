"""One screen for a person: how late the loop was, who held it up, and what is not known.

Rounding happens here and nowhere else. Nobody is blamed without evidence: what no stack covers is in
the last row, `unattributed`.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

from streambench.loop_monitor.culprits import Culprit, culprits, task_label, user_frame
from streambench.loop_monitor.figures import Value, figures, longest_stall_s, span_s
from streambench.loop_monitor.report import Frame, LoopReport, StallEvent
from streambench.loop_monitor.tables import Shaped

ROWS = 10
LOOPS = 4
NOTES = 12
PLACE_WIDTH, WIDE = 46, 200
LONG_BLOCK_S = 0.02
BUSY, BUSY_LATER = 0.95, 0.1
DOMINANT = 0.5
LITTLE = 0.001
ABSENT = '–'
HEAD = ['total ms', 'count', 'max ms', 'of stalls', 'cause', 'task', 'in your code', 'leaf']
NAMES = ['total_s', 'count', 'max_s', 'share', 'cause', 'tasks', 'thread', 'in_your_code', 'leaf']


def ms(value: Value) -> str:
    """Return seconds as ms with three significant digits, without the unit."""
    if value is None:
        return ABSENT
    number = value * 1000
    for least, digits in ((100, 0), (10, 1), (0, 2)):
        if number >= least:
            return f'{number:,.{digits}f}'
    return f'{number:.2f}'


def percent(share: Value) -> str:
    """Return a share as per cent."""
    if share is None:
        return ABSENT
    number = share * 100
    if 0 < number < 0.1:
        return '< 0.1 %'
    return f'{number:.1f} %' if number < 10 else f'{number:.0f} %'


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def place(frame: Frame, *, width: int = PLACE_WIDTH) -> str:
    """Return `file:line function`, as short as it can be and still be found.

    Args:
        frame: What to name.
        width: What is longer is cut off.
    """
    if frame.function == 'Handle._run':
        # All that is seen of a callback written in C is that the loop has called something.
        return 'a callback without a frame'
    file = frame.file
    for root in (str(Path.cwd()), *(sysconfig.get_paths()[name] for name in ('purelib', 'stdlib'))):
        if file.startswith(f'{root}/'):
            file = file[len(root) + 1 :]
            break
    text = f'{file}:{frame.line} {frame.function}'
    if len(text) <= width:
        return text
    text = f'{Path(file).name}:{frame.line} {frame.function}'
    return text if len(text) <= width else f'{text[: width - 1]}…'


def _task(culprit: Culprit) -> str:
    if culprit.thread is not None:
        return f'thread {culprit.thread}'
    if not culprit.tasks:
        return ABSENT
    return culprit.tasks[0] if len(culprit.tasks) == 1 else f'{len(culprit.tasks)} tasks'


def _row(culprit: Culprit) -> list[str]:
    leaf = place(culprit.leaf) if culprit.leaf else ABSENT
    user = place(culprit.user) if culprit.user else ABSENT
    return [
        ms(culprit.total_s),
        f'{culprit.count:,}' if culprit.count else ABSENT,
        ms(culprit.max_s),
        percent(culprit.share),
        culprit.cause,
        _task(culprit)[:30],
        user,
        '' if leaf == user else leaf,
    ]


def _table(rows: Sequence[Sequence[str]], words: int) -> list[str]:
    """Return lines of a table whose first `words` columns are figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        '  '.join(
            cell.rjust(width) if number < words else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def culprits_table(found: Sequence[Culprit]) -> str:
    """Return the table of culprits; its last row is what nobody is charged with."""
    *known, nobody = found
    rows = [HEAD, *map(_row, known[:ROWS])]
    rest = known[ROWS:]
    if rest:
        rows.append(
            [
                ms(sum(each.total_s for each in rest)),
                f'{sum(each.count for each in rest):,}',
                ms(max(each.max_s for each in rest)),
                percent(sum(each.share for each in rest)),
                f'{len(rest)} more',
                '',
                '',
                '',
            ]
        )
    blank = [*_row(nobody)[:5], '', '', '']
    return '\n'.join(_table([*rows, blank], 4))


def _answer(reports: Sequence[LoopReport], found: Sequence[Culprit], values: dict[str, Value]) -> str:
    """Return the verdict in one sentence."""
    detection = ms(max(report.detection_s for report in reports))
    fraction = values['loop_stall_time_fraction'] or 0.0
    if not values['loop_stalls']:
        return f'never held up: no block of {detection} ms or more, which would have been found'
    begin = f'held up for {percent(fraction)} of the time, longest {ms(values["loop_stall_max"])} ms'
    *known, nobody = found
    if nobody.share > DOMINANT or not known:
        return f'{begin}; what did it is not known for {percent(nobody.share)} of that'
    # One function of the user's, whatever it called; one collector, and one GIL of a thread, anywhere.
    parties: dict[object, list[Culprit]] = {}
    for each in known:
        where = each.user or each.leaf
        function = (where.file, where.function) if where and each.cause == 'callback' else None
        parties.setdefault((each.cause, each.thread, function), []).append(each)
    party = max(parties.values(), key=lambda rows: sum(row.share for row in rows))
    first = next((each for each in party if each.leaf), party[0])
    where = first.user or first.leaf
    most = 'mostly in ' if len(party) > 1 else 'in '
    who = {
        'callback': place(where) if where else 'a callback',
        'gc': 'garbage collection' + (f', {most}{place(where)}' if where else ''),
        'gil': f'thread {first.thread}, which held the GIL'
        + (f', {most}{place(where)}' if where else ''),
        'cpu-starved': 'other processes: there was no core to run on',
    }.get(first.cause, 'nobody known')
    return f'{begin}; {percent(sum(each.share for each in party))} of it by {who}'


def _kind(reports: Sequence[LoopReport]) -> str:
    names = dict.fromkeys(report.loop for report in reports)
    kinds = ' and '.join(names)
    return kinds if len(reports) == 1 else f'{len(reports)} loops ({kinds})'


def _loop_line(number: int, report: LoopReport) -> str:
    return (
        f'  loop {number}: {report.loop}, {report.wall_s:.2f} s · lag p99 '
        f'{ms(report.lag.percentile(99))} max {ms(report.lag.max_s)} ms · '
        f'{counted(report.stall_count, "stall")}, {ms(report.stall_s)} ms, longest '
        f'{ms(longest_stall_s(report))}'
    )


def _busy(values: dict[str, Value]) -> str:
    cpu, noncpu = values['loop_cpu_utilization'], values['loop_noncpu_active']
    if values['loop_utilization'] is None:
        return f'not known here; CPU {percent(cpu)} of the time'
    return f'{percent(values["loop_utilization"])} (CPU {percent(cpu)} + non-CPU {percent(noncpu)})'


def verdict(reports: Sequence[LoopReport]) -> str:
    """Return one screen about the loops of a program: figures, culprits, and what to know about them.

    Args:
        reports: One for each loop.
    """
    watched = [report for report in reports if report.level != 'off' and report.lag.count]
    if not watched:
        return 'no event loop ran long enough for a tick: nothing was measured'
    values, found = figures(watched), culprits(watched)
    first = watched[0]
    ticks = sum(report.lag.count for report in watched)
    wakeups = sum(report.wakeups for report in watched)
    lines = [
        f'verdict    {_answer(watched, found, values)}',
        f'loop       {_kind(watched)}, Python {first.python}, {span_s(watched):.2f} s, level '
        f'{first.level}{" exact" if first.exact else ""} (tick every {ms(first.interval_s)} ms)',
        f'lag        p50 {ms(values["loop_lag_p50"])}   p99 {ms(values["loop_lag_p99"])}   p99.9 '
        f'{ms(values["loop_lag_p999"])}   max {ms(values["loop_lag_max"])} ms   '
        f'({counted(ticks, "tick")}, {counted(wakeups, "wake-up")})',
        f'stalls     {values["loop_stalls"]:,}, {ms(values["loop_stall_time"])} ms, '
        f'{percent(values["loop_stall_time_fraction"])} of the time, longest '
        f'{ms(values["loop_stall_max"])} ms',
        f'busy       {_busy(values)}',
        f'GC         {ms(values["gc_time"])} ms, longest {ms(values["gc_pause_max"])} ms   '
        f'GIL wait   p50 {ms(values["gil_wakeup_delay_p50"])}   p99 '
        f'{ms(values["gil_wakeup_delay_p99"])} ms',
        f'cost       {percent(values["profiler_cost"])} of a core for watching',
    ]
    if len(watched) > 1:
        numbered = list(enumerate(watched, 1))
        shown = sorted(numbered, key=lambda pair: -pair[1].wall_s)[:LOOPS]
        lines += [_loop_line(number, report) for number, report in sorted(shown, key=lambda p: p[0])]
        if len(watched) > LOOPS:
            lines.append(f'  {counted(len(watched) - LOOPS, "shorter loop")} not shown')
    if values['loop_stalls']:
        lines += ['', culprits_table(found)]
    notes = [*lints(watched), *_notes(watched)]
    if notes:
        lines += ['', *(f'- {note}' for note in notes[:NOTES])]
        if len(notes) > NOTES:
            lines.append(f'- {counted(len(notes) - NOTES, "more note")}')
    return '\n'.join(lines)


def shaped(reports: Sequence[LoopReport], notes: Sequence[str]) -> Shaped:
    """Return all culprits with raw values, and what to know about them.

    Args:
        reports: One for each loop.
        notes: What else is to be said.
    """
    watched = [report for report in reports if report.level != 'off' and report.lag.count]
    if not watched:
        return Shaped(names=NAMES, rows=[], head=HEAD, texts=[], notes=[verdict(reports), *notes])
    found = culprits(watched)
    return Shaped(
        names=NAMES,
        rows=[
            [
                *(each.total_s, each.count, each.max_s, each.share, each.cause),
                *('; '.join(each.tasks), each.thread),
                *(place(frame, width=WIDE) if frame else None for frame in (each.user, each.leaf)),
            ]
            for each in found
        ],
        head=HEAD,
        texts=list(map(_row, found)),
        notes=[_answer(watched, found, figures(watched)), *lints(watched), *_notes(watched), *notes],
    )


def stall_text(stall: StallEvent) -> str:
    """Return cause, task and place of one stall in a line, innermost frame first."""
    label = task_label(stall)
    where = ''
    if stall.stacks:
        frames = stall.stacks[0].frames
        own = user_frame(frames)
        where = f': {place(frames[-1], width=WIDE)}'
        if own is not None and own != frames[-1]:
            where += f', called from {place(own, width=WIDE)}'
    return f'{stall.cause}{f" in {label}" if label else ""}{where}'


def _undecided(stall: StallEvent) -> bool:
    if stall.cause != 'callback' or not stall.stacks:
        return False
    return len(stall.stacks) > 1 and stall.stacks[0].weight_s < DOMINANT * stall.duration_s


def lints(reports: Sequence[LoopReport]) -> list[str]:
    """Return what a reader should not miss, one line each."""
    found = []
    stalls = [stall for report in reports for stall in report.stalls]
    long = [stall for stall in stalls if stall.cause == 'callback' and stall.duration_s >= LONG_BLOCK_S]
    tasks = {(stall.task, stall.coroutine): task_label(stall) for stall in long if stall.task}
    limit = f'{LONG_BLOCK_S * 1000:.0f} ms'
    if tasks:
        labels = list(dict.fromkeys(label for label in tasks.values() if label))
        said = ', '.join(labels[:3]) + (', …' if len(labels) > 3 else '')
        found.append(f'{counted(len(tasks), "task")} blocked the loop ≥ {limit}: {said}')
    plain = sum(stall.task is None for stall in long)
    if plain:
        found.append(
            f'{counted(plain, "time")} the loop was blocked ≥ {limit} outside of any task, or by one '
            'that was not seen'
        )
    pauses = [stall for stall in stalls if stall.cause == 'gc' and stall.gc_s >= LONG_BLOCK_S]
    if pauses:
        found.append(f'garbage collection blocked the loop ≥ {limit}: {counted(len(pauses), "time")}')
    threads: dict[str, int] = {}
    for stall in stalls:
        if stall.cause == 'gil' and stall.other_threads:
            name = stall.other_threads[0].thread
            threads[name] = threads.get(name, 0) + 1
    found += [
        f'thread {name!r} held the GIL while the loop was due: {counted(count, "stall")}'
        for name, count in sorted(threads.items(), key=lambda pair: -pair[1])[:3]
    ]
    piles = sum(map(_undecided, stalls))
    if piles:
        found.append(
            f'{counted(piles, "stall")} without a dominant stack: many small callbacks in a row, or '
            'one that did many things'
        )
    seconds = [second for report in reports for second in report.seconds if second.duration_s >= 0.5]
    busy = sum(second.utilization is not None and second.utilization >= BUSY for second in seconds)
    if seconds and busy / len(seconds) >= BUSY_LATER:
        found.append(
            f'the loop was ≥ {BUSY:.0%} busy for {busy / len(seconds):.0%} of the run: what it '
            'measures of others is its own load'
        )
    starved = sum(stall.cause == 'cpu-starved' for stall in stalls)
    if starved:
        found.append(f'{counted(starved, "stall")} for want of a core: the machine was busy elsewhere')
    return found


def _notes(reports: Sequence[LoopReport]) -> list[str]:
    """Return what limits the figures, each sentence once."""
    found: dict[str, None] = {}
    dropped = sum(report.dropped_stalls for report in reports)
    if dropped:
        found[f'{counted(dropped, "stall")} were too many to keep; they count as unattributed'] = None
    unfinished = sum(stall.unfinished for report in reports for stall in report.stalls)
    if unfinished:
        found[f'{counted(unfinished, "stall")} still lasted when the watching ended'] = None
    first = reports[0]
    found[
        f'every block from {ms(first.detection_s)} ms on is found, from {ms(first.gil_detection_s)} ms '
        'on if it is a call that holds the GIL'
    ] = None
    for report in reports:
        found |= dict.fromkeys(f'not available: {reason}' for reason in report.unavailable)
        found |= dict.fromkeys(report.cautions)
    return list(found)
