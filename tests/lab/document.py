"""The code in a document, so that tests can run it."""

from __future__ import annotations

from pathlib import Path
import re
import textwrap

DOCS = Path(__file__).resolve().parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def section(document: str, heading: str) -> str:
    """Return the text below a heading of the second level."""
    sections = re.split(r"^## ", (DOCS / document).read_text(), flags=re.MULTILINE)
    (found,) = (it for it in sections if it.startswith(f"{heading}\n"))
    return found


def code(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    blocks = BLOCK.findall(text)
    return [textwrap.dedent(found) for _, kind, found in blocks if kind == language]
