"""An AppArmor profile as far as the app's needs it: rules for files, sockets and signals, in a plain form.

What they mean is in apparmor.d(5): `*` and `?` stop at a slash, `**` does not, `{a,b}` is one of several.
"""

from __future__ import annotations

from pathlib import Path
import re
from typing import NamedTuple

_FILE = re.compile(r"(?:owner )?(?P<path>/\S+) (?P<permissions>[a-zA-Z]+),")
_NETWORK = re.compile(r"network (?P<family>\w+) (?P<kind>\w+),")
_UNIX = re.compile(r"unix \((?P<what>[\w, ]+)\) type=(?P<kind>\w+),")
_SIGNAL = re.compile(r"signal \(receive\) set=\((?P<signals>[\w, ]+)\),")


class FileRule(NamedTuple):
    """Permissions of files with matching paths."""

    path: str
    permissions: str

    def covers(self, path: str) -> bool:
        """Return whether the rule matches a path."""
        return re.fullmatch(_regex(self.path), path) is not None


class Profile:
    """The only profile of a file."""

    def __init__(self, file: Path) -> None:
        """Parse the file; other kinds of rules raise an error."""
        self.name = ""
        self.files: list[FileRule] = []
        self.sockets: set[tuple[str, str]] = set()
        self.unix: dict[str, set[str]] = {}
        self.signals: set[str] = set()
        for line in file.read_text().splitlines():
            self._read(line.strip())

    def _read(self, line: str) -> None:
        if not line or line == "}" or line.startswith("# "):
            return
        if line == "#include <tunables/global>":
            return
        if found := re.fullmatch(r"profile (\S+) flags=\([\w,]+\) {", line):
            self.name = found[1]
        elif found := _FILE.fullmatch(line):
            self.files.append(FileRule(found["path"], found["permissions"]))
        elif found := _NETWORK.fullmatch(line):
            self.sockets.add((found["family"], found["kind"]))
        elif found := _UNIX.fullmatch(line):
            self.unix[found["kind"]] = set(found["what"].split(", "))
        elif found := _SIGNAL.fullmatch(line):
            self.signals = set(found["signals"].split(", "))
        else:
            raise AssertionError(f"an unsupported rule: {line}")

    def allows(self, path: str, permission: str) -> bool:
        """Return whether the profile allows this access."""
        return any(
            permission in rule.permissions and rule.covers(path) for rule in self.files
        )


def _regex(glob: str) -> str:
    """Return the regular expression of a path with AppArmor's globs."""
    # A whole name, or the rest of a path, is not empty.
    glob = re.sub(r"(?<=/)(\*+)(?=/|$)", r"[^/]\1", glob)
    glob = glob.replace("@{pid}", "[0-9]*")
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    tokens = re.findall(r"\*\*|\[[^]]*\]|.", glob)
    return "".join(
        parts.get(token, token if len(token) > 2 else re.escape(token))
        for token in tokens
    )
