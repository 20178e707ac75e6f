"""A configuration as a user has it: htex on this machine, nothing said of programs or directories."""

from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

site = Config(
    executors=[
        HighThroughputExecutor(
            label='site',
            address='127.0.0.1',
            max_workers_per_node=4,
            cores_per_worker=0.1,
            heartbeat_period=2,
            heartbeat_threshold=10,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
    ],
    strategy='none',
    # Workers start when Parsl looks for the second time.
    strategy_period=0.2,
    initialize_logging=False,
)
