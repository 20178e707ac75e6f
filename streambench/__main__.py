"""`python -m streambench`."""

from __future__ import annotations

from streambench.cli import main

if __name__ == '__main__':
    raise SystemExit(main())
