"""Works through much without holding up the event loop: others get their turn every few milliseconds."""

import asyncio
import json
import re
import time
from typing import Any, Final

_TURN_SECONDS: Final = 0.005
# What is decoded in a few milliseconds, also on a small machine.
_SHORT_BYTES: Final = 64 * 1024
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class Turn:
    """How long one may work before it is the others' turn."""

    def __init__(self) -> None:
        """Begin now."""
        self._ends_at = time.monotonic() + _TURN_SECONDS

    async def give_way(self) -> None:
        """Let others work, if it is their turn."""
        if time.monotonic() >= self._ends_at:
            await asyncio.sleep(0)
            self._ends_at = time.monotonic() + _TURN_SECONDS


async def decode(text: bytes) -> Any:
    """Decode JSON, of long lists one item after the other; raises ValueError.

    In another thread it would hold up the event loop as well: Python's decoder keeps the interpreter for itself.
    """
    if len(text) <= _SHORT_BYTES or not text.startswith(b"{"):
        return json.loads(text)
    return await _LongObject(text.decode()).read()


class _LongObject:
    """An object in JSON, some of whose values are long lists."""

    def __init__(self, text: str) -> None:
        """Begin at its start."""
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder()
        self._turn = Turn()

    async def read(self) -> dict[str, Any]:
        """Return all of it."""
        fields: dict[str, Any] = {}
        self._take("{")
        while True:
            key = self._value()
            self._take(":")
            is_list = self._text.startswith("[", self._skip())
            fields[key] = await self._list() if is_list else self._value()
            if self._take(",}") == "}":
                break
        if self._skip() != len(self._text):
            raise ValueError("There is more after its end")
        return fields

    async def _list(self) -> list[Any]:
        """Read a list."""
        items: list[Any] = []
        self._take("[")
        if self._text.startswith("]", self._skip()):
            self._take("]")
            return items
        while True:
            items.append(self._value())
            await self._turn.give_way()
            if self._take(",]") == "]":
                return items

    def _value(self) -> Any:
        """Read a value as a whole."""
        value, self._at = self._decoder.raw_decode(self._text, self._skip())
        return value

    def _take(self, wanted: str) -> str:
        """Read one of these characters."""
        found = self._text[self._skip() : self._at + 1]
        if not found or found not in wanted:
            raise ValueError(f"One of {wanted} is missing at {self._at}")
        self._at += 1
        return found

    def _skip(self) -> int:
        """Go on to what is no space; returns where that is."""
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()
        return self._at
