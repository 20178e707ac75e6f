"""A configuration as a user has it: Parsl's threads."""

from parsl import Config
from parsl.executors import ThreadPoolExecutor

config = Config(executors=[ThreadPoolExecutor(max_threads=4)])
