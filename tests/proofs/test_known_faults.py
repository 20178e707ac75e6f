"""A broker that drops, doubles, swaps and damages known items: the account names exactly those.

One item of each kind stands in `tests/test_session.py`; here there are many of them in one stream, and
every part of a message is damaged once.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from streambench import configure, open_session
from streambench.message import HEADER_BYTES
from streambench.records import COMPLETED, FAILED, LOST, RunRow
from tests.proofs.experiments import measured_items
from tests.test_session import MeddlingBroker

SIZE_BYTES = 1000
# Fates are dealt to items this far apart, so that none meddles with another's.
APART = 4
LATER = 40
# Where a message's fields lie: magic, version, kind, flags, run, sequence, size, checksum, instants.
MAGIC, VERSION, KIND, RUN, SEQUENCE, LENGTH, CHECKSUM = 0, 4, 5, 8, 16, 24, 32
FIRST, LAST = HEADER_BYTES, HEADER_BYTES + SIZE_BYTES - 1

Damage = Callable[[bytes], bytes]


def flip(place: int, bit: int = 1) -> Damage:
    """Return what flips a bit of a message."""

    def damage(frame: bytes) -> bytes:
        damaged = bytearray(frame)
        damaged[place] ^= bit
        return bytes(damaged)

    return damage


# Damage after which an item is still known: it is delivered, computed and counted as corrupt.
KNOWN: dict[str, Damage] = {
    'first byte': flip(FIRST),
    'body': flip((FIRST + LAST) // 2, 128),
    'last byte': flip(LAST),
    'cut by one': lambda frame: frame[:-1],
    'cut to the header': lambda frame: frame[:HEADER_BYTES],
    'longer by one': lambda frame: frame + b'\0',
    'checksum': flip(CHECKSUM),
    'length': flip(LENGTH + 7),
}
# Damage after which nobody knows whose a message is: it is foreign, and its item lost.
UNKNOWN: dict[str, Damage] = {
    'magic': flip(MAGIC),
    'version': flip(VERSION),
    'run': flip(RUN + 3),
    'kind': flip(KIND, 4),
    'sequence, far': flip(SEQUENCE, 64),
    'sequence, at the end': flip(SEQUENCE + 6, 64),
    'cut within the header': lambda frame: frame[: HEADER_BYTES - 1],
    'nothing left': lambda frame: b'',
}


class Culprit:
    """What a broker does to known items.

    Attributes:
        fates: The items by what is done to them.
    """

    def __init__(self, *, items: int, seed: int, damages: list[Damage]) -> None:
        self.fates: dict[str, list[int]] = defaultdict(list)
        self._fate: dict[int, str] = {}
        self._later: dict[int, list[bytes]] = defaultdict(list)
        draw = random.Random(seed)
        # The last items come as they are, so that what is held back has something to come after.
        slots = list(range(APART, items - LATER - APART, APART))
        draw.shuffle(slots)
        kinds = ['drop', 'double', 'double later', 'swap', 'come late']
        self._damage = dict(zip(slots, damages, strict=False))
        for number in self._damage:
            self._give(number, 'damage')
        for place, number in enumerate(slots[len(damages) : len(damages) + 40]):
            self._give(number, kinds[place % len(kinds)])

    def _give(self, number: int, fate: str) -> None:
        self.fates[fate].append(number)
        self._fate[number] = fate

    def meddle(self, number: int, frame: bytes) -> list[bytes]:
        """Return what arrives when item `number` does."""
        behind = self._later.pop(number, [])
        fate = self._fate.get(number, '')
        if fate == 'drop':
            return behind
        if fate == 'damage':
            return [self._damage[number](frame), *behind]
        if fate == 'double':
            return [frame, frame, *behind]
        if fate == 'double later':
            self._later[number + LATER].append(frame)
        if fate in ('swap', 'come late'):
            self._later[number + (1 if fate == 'swap' else APART - 1)].append(frame)
            return behind
        return [frame, *behind]


async def account(
    culprit: Culprit, directory: Path, **values: Any
) -> tuple[RunRow, list[dict[str, Any]]]:
    """Return the row and the items of a run through a meddling broker."""
    point: dict[str, Any] = {
        'executor': 'simulated',
        'stream': 'memory',
        'workers': 5,
        'rate': 1000,
        'task_count': 300,
        'task_sleep': 0.002,
        'data_size_bytes': SIZE_BYTES,
        'stall_timeout': 0.3,
    }
    config = replace(configure(**(point | values)), broker_plugin=MeddlingBroker(meddle=culprit.meddle))
    async with open_session(config, directory=directory) as session:
        row = (await session.run()).row
    return row, await asyncio.to_thread(measured_items, directory)


def named(items: list[dict[str, Any]], column: str, value: Any = None) -> list[int]:
    """Return the items in which a column has a value, or anything."""
    return [item['sequence'] for item in items if (item[column] == value if value else item[column])]


async def test_exactly_the_known_items_are_named(tmp_path: Path) -> None:
    """Dropped, swapped, late and damaged items are those of the rows, and the counts agree."""
    culprit = Culprit(items=300, seed=1, damages=list(KNOWN.values()))
    row, items = await account(culprit, tmp_path)
    fates = culprit.fates
    assert {fate: len(those) for fate, those in fates.items()} == {
        'damage': len(KNOWN),
        **dict.fromkeys(['drop', 'double', 'double later', 'swap', 'come late'], 8),
    }
    assert [item['sequence'] for item in items] == list(range(300))
    assert named(items, 'status', LOST) == sorted(fates['drop'])
    assert named(items, 'reordered') == sorted(fates['swap'] + fates['come late'])
    assert named(items, 'fault') == sorted(fates['damage'])
    assert named(items, 'error') == []
    assert (row.sent, row.received, row.completed_tasks) == (300, 292, 292)
    assert (row.lost, row.reordered, row.corrupt) == (8, 16, len(KNOWN))
    assert (row.duplicated, row.foreign, row.failed) == (16, 0, 0)
    doubled = sorted(fates['double'] + fates['double later'])
    assert sorted(map(int, row.duplicated_items.split())) == doubled


async def test_a_message_without_a_name_is_foreign(tmp_path: Path) -> None:
    """A message whose header is damaged is foreign, its item lost, and the run goes on.

    One that says of itself that it holds a key, and doesn't, is corrupt and has no task.
    """
    culprit = Culprit(items=300, seed=3, damages=[*UNKNOWN.values(), flip(KIND)])
    row, items = await account(culprit, tmp_path)
    *foreign, keyless = culprit.fates['damage']
    gone = sorted(foreign + culprit.fates['drop'])
    assert row.foreign == len(UNKNOWN)
    assert named(items, 'status', LOST) == gone
    assert named(items, 'fault') == named(items, 'status', FAILED) == [keyless]
    assert len(named(items, 'status', COMPLETED)) == 300 - len(gone) - 1
    assert (row.corrupt, row.duplicated, row.ended) == (1, 16, 'stalled')


async def test_damaged_keys_are_named(tmp_path: Path) -> None:
    """With method `proxy` a damaged key fails its item alone, whatever is left of it.

    What no key can be read from is corrupt before it reaches a worker; a key of something else fails
    there, or brings another item's payload, whose stamps tell.
    """
    held: list[bytes] = []

    def body(new: Callable[[bytes], bytes]) -> Damage:
        return lambda frame: frame[:HEADER_BYTES] + new(frame[HEADER_BYTES:])

    damages = {
        'no text': body(lambda key: b'\xff' + key),
        'no JSON': body(lambda key: key[:-1]),
        'no list': body(lambda key: b'7'),
        'nothing': body(lambda key: b''),
        'another key': body(lambda key: key[:4] + b'0' * 8 + key[12:]),
        'a payload': flip(KIND),
    }
    culprit = Culprit(items=120, seed=4, damages=list(damages.values()))
    exchanged = [118, 119]

    def meddle(number: int, frame: bytes) -> list[bytes]:
        if number not in exchanged:
            return culprit.meddle(number, frame)
        held.append(frame)
        if len(held) < 2:
            return []
        first, second = held
        return [
            first[:HEADER_BYTES] + second[HEADER_BYTES:],
            second[:HEADER_BYTES] + first[HEADER_BYTES:],
        ]

    config = configure(
        executor='thread',
        stream='memory',
        stream_method='proxy',
        ps_connector='file',
        ps_file_dir=str(tmp_path / 'store'),
        workers=3,
        rate=200,
        task_count=120,
        task_sleep=0.002,
        data_size_bytes=SIZE_BYTES,
        stall_timeout=1.0,
    )
    config = replace(config, broker_plugin=MeddlingBroker(meddle=meddle))
    async with open_session(config, directory=tmp_path) as session:
        row = (await session.run()).row
        # Nothing of them is left behind in the open store, whatever became of their keys.
        left = await asyncio.to_thread(lambda: list((tmp_path / 'store').glob('*/*')))
    items = await asyncio.to_thread(measured_items, tmp_path)
    damaged = culprit.fates['damage']
    by_name = dict(zip(damages, damaged, strict=True))
    unreadable = [by_name[name] for name in ('no text', 'no JSON', 'no list', 'nothing')]
    assert row.ended == 'stalled', row.reason
    assert named(items, 'status', LOST) == sorted(culprit.fates['drop'])
    failed, fault = (set(named(items, 'status', FAILED)), set(named(items, 'fault')))
    assert {*unreadable, by_name['another key']} <= failed
    assert {*unreadable, by_name['a payload']} <= fault
    # Of two that exchange their payloads the first may be done, and both gone, before the other looks.
    assert failed | fault == {*damaged, *exchanged}
    assert row.corrupt == len(fault)
    assert left == []
