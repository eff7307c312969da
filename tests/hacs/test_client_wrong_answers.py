"""Answers of other servers, and silence."""

from contextlib import aclosing
from pathlib import Path
from unittest.mock import patch

import aiohttp
import pytest

from custom_components.s3_backup_agent.client import (
    AgentError,
    agent as agent_module,
    transfer as transfer_module,
)

from .agent import LOCATION
from .backups import streaming
from .impostor import CUT_SHORT, http, impostor


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http("200 OK", "<html>"), "invalid_response"),
        (http("200 OK", "[1]"), "invalid_response"),
        (http("502 Bad Gateway", "<html>"), "invalid_response"),
        (http("404 Not Found", "[1]"), "invalid_response"),
        (http("404 Not Found", '{"code": "x"}'), "invalid_response"),
        (http("200 OK", '{"protocol": 2}'), "unsupported_protocol"),
        (http("200 OK", "{}"), "unsupported_protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "transfer_broken"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n{", "transfer_broken"),
        (b"SSH-2.0-OpenSSH\r\n", "agent_unreachable"),
        (b"", "agent_unreachable"),
    ],
)
async def test_foreign_answers_raise_agent_error(
    tmp_path: Path, answer: bytes, code: str
) -> None:
    """Any answer of another server raises an AgentError."""
    async with impostor(tmp_path, answer) as client:
        with pytest.raises(AgentError) as raised:
            await client.info()
        assert raised.value.code == code
        assert str(raised.value)


async def test_silent_server_times_out(tmp_path: Path) -> None:
    """A silent server times out."""
    quick = aiohttp.ClientTimeout(total=0.05)
    with patch.object(agent_module, "_QUICK", quick):
        async with impostor(tmp_path, b"", silent=True) as client:
            with pytest.raises(AgentError) as raised:
                await client.info()
    assert raised.value.code == "agent_timeout"
    assert raised.value.retryable


async def test_silent_transfer_times_out(tmp_path: Path) -> None:
    """Silence during a download or an upload times out."""
    idle = aiohttp.ClientTimeout(total=None, sock_read=0.5)
    with patch.object(agent_module, "_TRANSFER", idle):
        async with impostor(tmp_path, CUT_SHORT, silent=True) as client:
            download = await client.download(LOCATION, "id")
            assert await anext(download) == b"some bytes"
            with pytest.raises(AgentError) as raised:
                await anext(download)
            assert raised.value.code == "agent_timeout"
    with patch.object(transfer_module, "IDLE_SECONDS", 0.5):
        async with impostor(tmp_path, b"", silent=True) as client:
            with pytest.raises(AgentError) as raised:
                await client.send_content("id", await streaming(bytes(20_000_000))())
            assert raised.value.code == "agent_timeout"


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b'"%s"' % (b"x" * 300_000)])
async def test_invalid_event_ends_stream(tmp_path: Path, line: bytes) -> None:
    """An invalid line ends the events with an error."""
    answer = b'HTTP/1.1 200 OK\r\n\r\n{"type": "hello"}\n%s\n' % line
    async with (
        impostor(tmp_path, answer) as client,
        aclosing(client.events()) as events,
    ):
        assert await anext(events) == {"type": "hello"}
        with pytest.raises(AgentError) as raised:
            await anext(events)
        assert raised.value.code == "invalid_response"
