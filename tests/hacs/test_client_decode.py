"""Answers that are long are decoded in turns, and to the same as in one go."""

import json
from typing import Any

import pytest

from custom_components.s3_backup_agent.client.turn import decode

LONG = "x" * 70_000


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "answer",
    [
        {"text": LONG},
        {"before": 1.5, "list": [{"a": [1, {}]}, LONG, "ü", None], "after": []},
        {"empty": [], "list": [[], [LONG]]},
        [LONG],
    ],
)
async def test_decodes_what_is_long(answer: Any, indent: int | None) -> None:
    """In turns, and to the same."""
    for ascii_only in (True, False):
        text = json.dumps(answer, indent=indent, ensure_ascii=ascii_only)
        assert await decode(text.encode()) == answer


@pytest.mark.parametrize(
    "text",
    [
        *('{"a": [%s', '{"a": [%s}', '{"a": [%s]', '{"a": [%s]}}', '{"a": [%s] "b"}'),
        *("{%s}", '{"a" %s}', '{"a": [%s,]}', '{"a": [%s], }', "[%s"),
    ],
)
async def test_decodes_nothing_that_is_broken(text: str) -> None:
    """However long it is."""
    with pytest.raises(ValueError, match=r"\w"):
        await decode((text % f'"{LONG}"').encode())
