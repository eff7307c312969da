"""Listings, which arrive as JSON lines."""

from collections.abc import AsyncIterator, Iterable
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.client.http import _split_lines

from .agent import LOCATION, Agent
from .backups import make_backup, send, streaming
from .impostor import impostor

HEAD = {"type": "listing", "age_seconds": 1.5, "stale": False, "error": None}
END = {"type": "end"}
LONG = "x" * 300_000


def answer_of(lines: Iterable[object]) -> bytes:
    """Return an answer of JSON lines, ended by the connection."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
    return head + body


class Content:
    """The content of a response, in chunks."""

    def __init__(self, *chunks: bytes) -> None:
        """Initialize the content."""
        self._chunks = chunks

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Yield the chunks."""
        for chunk in self._chunks:
            yield chunk


async def test_listing_equals_json_document(agent: Agent, client: AgentClient) -> None:
    """The agent streams to this client what it answers to others in one document."""
    for number in range(3):
        backup, tar = make_backup(f"{number:08x}", name=f"Größe {number}")
        await send(client, backup, streaming(tar))
    (tar_path, *_) = (path for path in agent.files() if path.suffix == ".tar")
    tar_path.with_name("Orphan.metadata.json").write_text("{}")
    listing: Any = await client.backups(LOCATION, refresh=True)
    connector = aiohttp.UnixConnector(str(agent.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://agent/v1/locations/{LOCATION}/backups") as answer,
    ):
        assert answer.content_type == "application/json"
        document = await answer.json()
    assert len(document["backups"]) == 3
    assert listing["backups"] == document["backups"]
    assert len(document["skipped"]) == 1
    for told, expected in zip(listing["skipped"], document["skipped"], strict=True):
        assert expected.items() <= told.items()
    for key in ("stale", "error"):
        assert listing[key] == document[key]


@pytest.mark.parametrize("count", [0, 1, 1000])
async def test_long_lines_are_read(tmp_path: Path, count: int) -> None:
    """A backup's line may be longer than aiohttp's own limit, and unknown lines are ignored."""
    skipped = {"type": "skipped", "key": "a.tar", "code": "x", "reason": "y"}
    text = LONG if count == 1 else "x"
    backups = [{"backup_id": str(number), "text": text} for number in range(count)]
    lines = [
        HEAD,
        *({"type": "backup", "backup": backup} for backup in backups),
        {"type": "brand_new", "text": LONG},
        skipped,
        END,
    ]
    async with impostor(tmp_path, answer_of(lines)) as client:
        listing = await client.backups(LOCATION)
    assert listing["backups"] == backups
    assert listing["skipped"] == [skipped]
    assert listing["age_seconds"] == 1.5


async def test_json_document_of_older_agent_is_accepted(tmp_path: Path) -> None:
    """An older agent answers with one document."""
    document = {**HEAD, "backups": [{"backup_id": "a", "text": LONG}], "skipped": []}
    del document["type"]
    async with impostor(tmp_path, answer_of([document])) as client:
        assert await client.backups(LOCATION) == document


@pytest.mark.parametrize(
    "lines", [[], [HEAD], [HEAD, {"type": "backup", "backup": {"backup_id": "a"}}]]
)
async def test_incomplete_listing_raises(tmp_path: Path, lines: list[object]) -> None:
    """Without its last line, a listing may lack backups."""
    async with impostor(tmp_path, answer_of(lines)) as client:
        with pytest.raises(AgentError) as raised:
            await client.backups(LOCATION)
    assert raised.value.code == "transfer_broken"
    assert raised.value.retryable


@pytest.mark.parametrize("line", ["{", '{"a": [1,]}', "[]", '"x"', ""])
async def test_invalid_line_raises(tmp_path: Path, line: str) -> None:
    """A line that is no JSON object is not the agent's."""
    answer = answer_of([HEAD]) + line.encode() + b"\n" + answer_of([END])
    async with impostor(tmp_path, answer) as client:
        with pytest.raises(AgentError) as raised:
            await client.backups(LOCATION)
    assert raised.value.code == "invalid_response"


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ((), []),
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a", b"b", b"\n", b"c\n"), [b"ab", b"c"]),
        ((b"a\nb", b"c\nd"), [b"a", b"bc", b"d"]),
        ((b"\n", b"\na\n"), [b"", b"", b"a"]),
    ],
)
async def test_lines_are_split_at_any_chunk(
    chunks: tuple[bytes, ...], lines: list[bytes]
) -> None:
    """Lines and the chunks of the network are independent."""
    content: Any = Content(*chunks)
    assert [line async for line in _split_lines(content)] == lines


async def test_endless_line_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that never ends is refused before it fills the memory."""
    module = "custom_components.s3_backup_agent.client.http"
    monkeypatch.setattr(f"{module}._MAX_LINE_BYTES", 10)
    content: Any = Content(*[b"xxxx"] * 3)
    with pytest.raises(AgentError) as raised:
        _ = [line async for line in _split_lines(content)]
    assert raised.value.code == "invalid_response"
