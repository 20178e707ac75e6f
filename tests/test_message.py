"""Frames: what goes in comes out, and nothing foreign is taken for ours."""

from __future__ import annotations

import pickle

import pytest

from streambench.message import HEADER_BYTES, KIND_KEY, KIND_PAYLOAD, Message, decode


def message(**changes: int | bool) -> Message:
    """Return a message that differs from zero in every field."""
    values: dict[str, int | bool] = {
        'run': 2**63 - 5,
        'sequence': 7,
        'warmup': True,
        'kind': KIND_KEY,
        'size_bytes': 10_000_000_000,
        'checksum': 0xDEADBEEF,
        'intended_ns': 1,
        'put_start_ns': 2,
        'put_done_ns': 3,
        'send_ns': 4,
    }
    return Message(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize('body', [b'', b'x', b'\0' * 1000])
def test_round_trip(body: bytes) -> None:
    """Every field and the body survive the way through a broker."""
    sent = message()
    received = decode(sent.header() + body, run=sent.run)
    assert received is not None
    for name in Message.__slots__:
        if name != 'frame':
            assert getattr(received, name) == getattr(sent, name), name
    assert bytes(received.body()) == body


@pytest.mark.parametrize(
    'frame',
    [
        b'',
        b'hello',
        b'\0' * HEADER_BYTES,
        pickle.dumps({'a': 1}) * 30,
        b'SBN\0' + bytes([99]) + b'\0' * HEADER_BYTES,
        message(kind=7).header(),
    ],
)
def test_foreign_frames_are_refused(frame: bytes) -> None:
    """A frame of another kind, version or program is nobody's item."""
    assert decode(frame, run=message().run) is None


def test_another_run_is_foreign() -> None:
    """A message of another run on the same topic is not this run's."""
    assert decode(message(kind=KIND_PAYLOAD).header(), run=1) is None
