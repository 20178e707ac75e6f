"""The Parsl configuration of workers on another host, as a user's would be for a host reached by ssh.

$STREAMBENCH_HOST is the command before Parsl's worker pool; it finds this host at $STREAMBENCH_ADDRESS,
and there at $STREAMBENCH_WIRE_PORT instead of $STREAMBENCH_WORKER_PORT if a wire is in between.
"""

import os
import shlex
import sys
from pathlib import Path

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider

from streambench import leash

there = shlex.split(os.environ['STREAMBENCH_HOST'])
pool = leash.command(*there, sys.executable, str(Path(sys.executable).parent), same_group=True)

command = DEFAULT_LAUNCH_CMD
wire = os.environ.get('STREAMBENCH_WIRE_PORT')
if wire:
    command = command.replace('{worker_port}', wire)

config = Config(
    executors=[
        HighThroughputExecutor(
            label='there',
            address=os.environ['STREAMBENCH_ADDRESS'],
            max_workers_per_node=int(os.environ['STREAMBENCH_WORKERS']),
            cores_per_worker=0.01,
            worker_port=int(os.environ['STREAMBENCH_WORKER_PORT']) if wire else None,
            heartbeat_period=2,
            heartbeat_threshold=10,
            launch_cmd=f'{shlex.join(pool).replace("{", "{{").replace("}", "}}")}/{command}',
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    ],
    strategy='none',
    # Workers start when Parsl looks for the second time.
    strategy_period=0.2,
    initialize_logging=False,
)
