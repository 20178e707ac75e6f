"""The plugin, in runs of pytest of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest

from tests.loop_monitor import made

pytest_plugins = ['pytester']

NAME = 'streambench_loop'
MODULE = 'streambench.pytest_plugin'

# The blocks are long: a machine that starves the watchdog for all of one takes the evidence away, and
# the plugin then blames nobody.
TESTS = """
    import asyncio, gc, threading, time
    import pytest

    # Nor is it these tests' fault what pytest has made.
    gc.collect()
    gc.freeze()

    @pytest.mark.no_stall(max_ms=20)
    async def test_blocks():
        await asyncio.sleep(0.02)
        time.sleep(0.3)

    @pytest.mark.no_stall
    async def test_blocks_at_once():
        time.sleep(0.3)

    @pytest.mark.no_stall(2000)
    async def test_may_block():
        time.sleep(0.3)

    @pytest.mark.no_stall
    async def test_quiet():
        await asyncio.sleep(0.03)

    class TestClass:
        @pytest.mark.no_stall
        @pytest.mark.parametrize('length', [0.3])
        async def test_method(self, length):
            time.sleep(length)

    @pytest.mark.no_stall
    async def test_elsewhere():
        def other():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(block())
            loop.close()
        async def block():
            time.sleep(0.3)
        await asyncio.to_thread(other)

    async def test_fixture(loop_monitor):
        await asyncio.sleep(0.02)
        time.sleep(0.3)
        await asyncio.sleep(0.02)
        assert loop_monitor.running
        longest = max(loop_monitor.snapshot().stalls, key=lambda stall: stall.duration_s)
        assert longest.stacks[0].frames[-1].function == 'test_fixture'

    def test_unstarted(loop_monitor):
        async def main():
            async with loop_monitor:
                time.sleep(0.3)
        asyncio.run(main())
        assert loop_monitor.report().stall_count >= 1

    @pytest.mark.no_stall
    async def test_fails_itself():
        time.sleep(0.3)
        raise ValueError('its own fault')
"""
WRONG = """
    import pytest

    @pytest.mark.no_stall(max_ms=5)
    async def test_too_small(): pass

    @pytest.mark.no_stall(most=5)
    async def test_unknown(): pass

    @pytest.mark.no_stall
    def test_no_coroutine(): pass
"""
GARBAGE = """
    import asyncio, gc, pytest

    @pytest.mark.no_stall
    async def test_garbage():
        rubbish = [[number] for number in range(1_500_000)]
        await asyncio.sleep(0.02)
        gc.collect()
        await asyncio.sleep(0.02)
"""
ANYIO = """
    import time
    import pytest

    pytestmark = pytest.mark.anyio

    @pytest.fixture(params=['asyncio', ('asyncio', {'use_uvloop': True})], ids=['asyncio', 'uvloop'])
    def anyio_backend(request):
        return request.param

    @pytest.mark.no_stall
    async def test_blocks():
        time.sleep(0.3)

    @pytest.mark.no_stall
    async def test_quiet():
        pass
"""


def run(pytester: pytest.Pytester, text: str, *words: str, mode: str = 'auto') -> pytest.RunResult:
    pytester.makepyfile(text)
    pytester.makeini(
        f'[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n'
        'addopts = --strict-markers\nfilterwarnings = error\n'
    )
    installed = {point.name for point in entry_points(group='pytest11')}
    plugin = NAME if NAME in installed else MODULE
    # In CI pytest's short summary repeats the failures in full.
    return pytester.runpytest_subprocess('-p', plugin, '-p', 'no:cacheprovider', '-rN', *words)


def test_a_blocked_loop_fails_its_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, TESTS)
    result.assert_outcomes(passed=5, failed=4)
    out = result.stdout.str()
    for name in ('test_blocks', 'test_blocks_at_once', 'TestClass.test_method'):
        result.stdout.fnmatch_lines([f'* ms, callback in {name}: *.py:* {name}'])
    assert out.count('the loop was held up for more than 20 ms:') == 3
    result.stdout.fnmatch_lines(['*ValueError: its own fault'])


def test_wrong_use_is_said(pytester: pytest.Pytester) -> None:
    result = run(pytester, WRONG)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(['*max_ms is 5: from 10 ms on every block is found*'])
    result.stdout.fnmatch_lines(['*no_stall takes max_ms only*'])
    result.stdout.fnmatch_lines(['*no_stall is for tests that are coroutines*'])


def test_garbage_collection_is_the_tests_own(pytester: pytest.Pytester) -> None:
    result = run(pytester, GARBAGE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*ms, gc in test_garbage: *'])


@pytest.mark.skipif(find_spec('anyio') is None, reason='anyio is not installed')
def test_anyio(pytester: pytest.Pytester) -> None:
    result = run(pytester, ANYIO, mode='strict')
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(['*ms, callback in *: *.py:* test_blocks'])


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('def test_nothing(): pass')
    done = pytester.runpytest_subprocess('-p', f'no:{NAME}', '-p', 'no:cacheprovider')
    done.assert_outcomes(passed=1)


def test_time_without_a_core_is_not_the_tests_fault() -> None:
    from streambench.pytest_plugin import _judge

    _judge(made.report(made.stall(starved_s=0.035)), 20)
    _judge(made.report(made.stall(starved_s=0.03, method='bounds')), 20)
    for starved_s in (None, 0.0, 0.02):
        with pytest.raises(pytest.fail.Exception, match=r'callback in handle: .*:10 handle'):
            _judge(made.report(made.stall(starved_s=starved_s)), 20)


def test_importing_it_is_cheap() -> None:
    """pytest imports it in every run of everybody: the monitor comes when a test asks for it."""
    code = (
        'import pytest, sys; before = set(sys.modules); import streambench.pytest_plugin; '
        'print(*sorted(set(sys.modules) - before))'
    )
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60
    )
    assert time.perf_counter() - begin < 30
    assert done.stdout.split() == ['streambench', 'streambench.pytest_plugin']
