"""A proxy that makes unfinished uploads look a day older; everything else passes unchanged."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
import re
from typing import Self

AGE = timedelta(hours=25)
FORM = "%Y-%m-%dT%H:%M:%S"
TIMES = re.compile(rb"(?<=<Initiated>)[-0-9T:]{19}|(?<=<LastModified>)[-0-9T:]{19}")
READ_SIZE = 1 << 16


class Older:
    """Listens on its own port; used as `async with Older(port) as proxy:`."""

    def __init__(self, port: int) -> None:
        """Forward to the server on this port."""
        self._target = port
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> str:
        """Return its URL."""
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to listen."""
        assert self._server
        self._server.close()

    async def _serve(
        self, client: asyncio.StreamReader, answers: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            server, requests = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(
                self._pump(client, requests, is_answer=False),
                self._pump(server, answers, is_answer=True),
            )

    @staticmethod
    async def _pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        try:
            while data := await source.read(READ_SIZE):
                sink.write(TIMES.sub(_older, data) if is_answer else data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


def _older(found: re.Match[bytes]) -> bytes:
    time = datetime.strptime(found[0].decode(), FORM)
    return (time - AGE).strftime(FORM).encode()
