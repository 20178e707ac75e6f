"""`python -m streambench.loop_monitor` is `streambench loop`."""

from __future__ import annotations

import sys

from streambench.loop_monitor.command import main

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
