"""What the executor `globus` refuses and reckons without asking anybody."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from streambench.errors import ConfigError, ExecutorError
from streambench.executors.globus_compute import GlobusComputePlugin
from streambench.executors.globus_compute_client import said
from streambench.executors.globus_compute_requests import (
    REQUEST_BYTES,
    encoded_bytes,
    most_in_request,
    most_payload_bytes,
    on_endpoint,
)
from streambench.settings import configure

ENDPOINT = '4b116d3c-1703-4f8f-9f6f-39921e5864df'

one_loop = pytest.mark.asyncio(loop_factories=['asyncio'])


def refused(**values: object) -> str:
    """Return the sentence that refuses a configuration."""
    with pytest.raises(ConfigError) as caught:
        configure(executor='globus', stream='memory', **values)
    return str(caught.value)


def test_the_endpoint_is_required_and_a_uuid() -> None:
    """Its sentence names the flag of the seed."""
    assert refused().startswith('--executor globus needs --globus-compute-endpoint UUID')
    assert refused(globus_compute_endpoint='mine') == (
        "--globus-compute-endpoint: 'mine' must be the UUID of an endpoint, as "
        '`globus-compute-endpoint list` shows it.'
    )


def test_a_payload_above_the_limit_is_refused_with_the_remedy() -> None:
    """Method proxy carries it, and so does a smaller one."""
    assert refused(globus_compute_endpoint=ENDPOINT, data_size_bytes='10MB') == (
        '--data-size-bytes 10000000: 10000000 bytes make a request of 13.7 MB, and Globus '
        f'Compute takes 10.5 MB: take --stream-method proxy, or payloads of at most '
        f'{most_payload_bytes()} bytes.'
    )
    for allowed in ({'data_size_bytes': '7MB'}, {'data_size_bytes': '10MB', 'stream_method': 'proxy'}):
        configure(executor='globus', globus_compute_endpoint=ENDPOINT, bind_interface='lo', **allowed)


def test_sizes_of_a_distribution_count_by_their_largest() -> None:
    """A mean below the limit doesn't help the largest."""
    assert 'take --stream-method proxy' in refused(
        globus_compute_endpoint=ENDPOINT, data_size_dist='choice:1kB=9,10MB=1'
    )


def test_a_batch_above_the_limit_is_refused_with_the_remedy() -> None:
    """The batch that fits is named, and is taken."""
    sentence = refused(globus_compute_endpoint=ENDPOINT, data_size_bytes='100kB', globus_batch_size=128)
    assert sentence.startswith(
        '--globus-batch-size 128: 128 tasks of 100000 bytes make a request of 17'
    )
    fitting = most_in_request(100_000)
    assert f'or --globus-batch-size {fitting} or less' in sentence
    configure(
        executor='globus',
        stream='memory',
        globus_compute_endpoint=ENDPOINT,
        data_size_bytes='100kB',
        globus_batch_size=fitting,
    )


@pytest.mark.parametrize('size_bytes', [1, 1000, 100_000, 7_000_000])
def test_the_reckoned_length_covers_the_sdk_s(size_bytes: int) -> None:
    """What the SDK's serializer makes of a task, in JSON, is no longer than was reckoned."""
    from globus_compute_sdk.serialize import ComputeSerializer

    serializer = ComputeSerializer()
    task = ('session' * 4, 1, 0.1, True, bytes(range(256)) * (size_bytes // 256 + 1), (), 1, 2, '')
    arguments = ('0.1.0', 1, 'streambench.worker:run_task', (task,))
    packed = serializer.pack_buffers([serializer.serialize(arguments), serializer.serialize({})])
    reckoned = encoded_bytes(len(task[4]))
    assert len(json.dumps(packed)) <= reckoned
    assert reckoned < 1.02 * len(json.dumps(packed)) + 2048


def test_limits_agree() -> None:
    """What fits once fits, and a byte more doesn't."""
    assert most_in_request(most_payload_bytes()) == 1
    assert most_in_request(most_payload_bytes() + 2) == 0
    assert 7_000_000 < most_payload_bytes() < REQUEST_BYTES


def test_the_function_for_the_endpoint_stands_alone() -> None:
    """Its text is all that is sent: it runs in an interpreter that has nothing of ours loaded."""
    code = inspect.getsource(on_endpoint) + (
        'import streambench, streambench.message\n'
        'frames = streambench.message.VERSION\n'
        "print(on_endpoint(streambench.__version__, frames, 'builtins:len', ('abc',)))\n"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ('3\n', '')


@one_loop
@pytest.mark.parametrize(
    ('variables', 'sentence'),
    [
        ({}, 'there are no credentials for Globus Compute here: set .* or log in once with'),
        ({'GLOBUS_COMPUTE_CLIENT_SECRET': 'x'}, 'Globus Compute has no use for the credentials: Both'),
    ],
)
async def test_without_credentials_nobody_is_asked(
    variables: dict[str, str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No login begins: no browser, no question, no request."""
    for name in ('GLOBUS_COMPUTE_CLIENT_ID', 'GLOBUS_COMPUTE_CLIENT_SECRET'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('GLOBUS_COMPUTE_USER_DIR', str(tmp_path))
    monkeypatch.setattr('builtins.input', lambda *_: pytest.fail('somebody was asked'))
    monkeypatch.setattr('webbrowser.open', lambda *_: pytest.fail('a browser was opened'))
    plugin = GlobusComputePlugin(globus_compute_endpoint=ENDPOINT)
    async with asyncio.timeout(30):
        with pytest.raises(ExecutorError, match=sentence):
            async with plugin.open(slots=1, directory=tmp_path, session=''):
                pass


def test_what_the_endpoint_says_is_one_line() -> None:
    """The end of a remote traceback, or the name of what was lost."""
    from globus_compute_sdk.errors import TaskExecutionFailed

    text = 'Traceback (most recent call last):\n  File "x", line 1\n    f()\nValueError: no: 7\n'
    assert said(TaskExecutionFailed(text)) == 'ValueError: no: 7'
    assert said(TaskExecutionFailed('')) == 'no text'
    assert said(OSError(2, 'No\nsuch')) == 'FileNotFoundError: [Errno 2] No such'
