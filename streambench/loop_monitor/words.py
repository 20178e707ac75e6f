"""What `streambench loop` is, in a line; for help texts that must come at once."""

from __future__ import annotations

HELP = 'profile the event loop of any asyncio program: lag, stalls, and who is to blame'
