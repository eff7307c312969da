"""Cooperative multitasking: long computations yield to the event loop every few milliseconds."""

import asyncio
import time
from typing import Final

_TURN_SECONDS: Final = 0.005


class Turn:
    """Limits how long a computation blocks the event loop."""

    def __init__(self) -> None:
        """Start a turn."""
        self._ends_at = time.monotonic() + _TURN_SECONDS

    async def give_way(self) -> None:
        """Yield to the event loop once the turn is over."""
        if time.monotonic() >= self._ends_at:
            await asyncio.sleep(0)
            self._ends_at = time.monotonic() + _TURN_SECONDS
