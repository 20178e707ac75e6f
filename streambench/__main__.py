"""`python -m streambench`."""

from __future__ import annotations

from streambench.cli import main

if __name__ == '__main__':
    code = main()
    # If Ctrl-C met an exec(), as dataclasses use it, `python -m` would end by SIGINT whatever the code;
    # the next exec() makes it forget that.
    exec('')
    raise SystemExit(code)
