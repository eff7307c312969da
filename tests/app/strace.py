"""The actions of a program, from files of `strace -ff --decode-fds`, in AppArmor's terms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
from typing import NamedTuple

_CALL = re.compile(
    r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+|\?)(?P<more>.*)"
)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_OPENED = re.compile(r"\d+<([^>]+)>")
_CHILD = re.compile(r"(?:clone3?|v?fork)\(.*\)\s+= (\d+)")
_NETWORK = re.compile(r"AF_(\w+), SOCK_(\w+)")

# Looking at a file, at itself or at an open connection is always allowed.
_FREE = {
    *("access", "faccessat2", "getcwd", "newfstatat", "readlink", "statfs", "statx"),
    *("accept4", "getpeername", "getsockname", "getsockopt", "listen", "setsockopt"),
    *("recvfrom", "recvmsg", "sendmmsg", "sendmsg", "sendto", "shutdown"),
    *("clone", "clone3", "exit", "exit_group", "execve", "wait4", "vfork"),
}
# Of folders; an attempt that fails is not checked.
_FOLDERS = {"mkdir", "mkdirat", "rmdir"}
_CHANGING = {"chmod", "fchmodat", "chown", "fchownat", "unlink", "unlinkat", "truncate"}
_CHANGING_OPENED = {"fchmod", "fchown", "ftruncate"}
_RENAMING = {"rename", "renameat", "renameat2"}


class Access(NamedTuple):
    """A file in AppArmor's notation, folders with a slash at the end, and the access: any of r, w and k."""

    path: str
    permission: str


class Socket(NamedTuple):
    """A socket, such as `inet` and `stream`."""

    family: str
    kind: str


class Trace:
    """All actions of one program and its threads in the root file system `root`."""

    def __init__(self, files: list[Path], program: str, root: Path) -> None:
        """Read the files of one run, from the program's start on."""
        self._root = root
        self.files: set[Access] = set()
        self.sockets: set[Socket] = set()
        self.programs: list[str] = []
        for line in _lines_of(files, program):
            self._read(line)

    def _read(self, line: str) -> None:
        if line.startswith(("---", "+++")) or not (call := _CALL.match(line)):
            # A signal, the end, or an interrupted call.
            return
        name, arguments = call["name"], call["arguments"]
        failed = call["result"].startswith("-")
        if name == "execve":
            self.programs.append(self._strings(arguments)[0])
        elif name in {"socket", "socketpair"}:
            family, kind = _NETWORK.match(arguments).groups()  # type: ignore[union-attr]
            self.sockets.add(Socket(family.lower(), kind.lower()))
        elif name in {"bind", "connect"}:
            if "AF_UNIX" in arguments:
                self._add(self._strings(arguments)[-1], "w" if name == "bind" else "rw")
        elif name in {"open", "openat"}:
            self._add(*self._opened(arguments, call["more"]))
        elif name in _FOLDERS:
            if not failed:
                self._add(f"{self._strings(arguments)[-1]}/", "w")
        elif name in _CHANGING:
            is_folder = "AT_REMOVEDIR" in arguments
            self._add(self._strings(arguments)[-1] + "/" * is_folder, "w")
        elif name in _RENAMING:
            old, new = self._strings(arguments)
            self._add(old, "rw")
            self._add(new, "w")
        elif name in _CHANGING_OPENED:
            self._add(self._path_of(arguments), "w")
        elif name == "flock" or (name == "fcntl" and "F_SETLK" in arguments):
            self._add(self._path_of(arguments), "k")
        elif name not in _FREE and name != "fcntl":
            raise AssertionError(f"what does AppArmor think of this? {line}")

    def _add(self, path: str, permissions: str) -> None:
        for permission in permissions:
            self.files.add(Access(path, permission))

    def _opened(self, arguments: str, more: str) -> tuple[str, str]:
        path = self._strings(arguments)[-1].replace("/proc/self/", "/proc/1/")
        real = self._root / path.lstrip("/")
        if opened := _OPENED.search(more):
            # AppArmor checks the target of a link.
            real = Path(opened[1])
            path = f"/{real.relative_to(self._root)}"
        if not path.endswith("/") and ("O_DIRECTORY" in arguments or real.is_dir()):
            path += "/"
        if "O_RDWR" in arguments:
            return path, "rw"
        return path, "w" if "O_WRONLY" in arguments else "r"

    def _path_of(self, arguments: str) -> str:
        """Return the program's own path of an open file."""
        opened = _OPENED.match(arguments)
        assert opened, arguments
        real = Path(opened[1])
        return f"/{real.relative_to(self._root)}" + "/" * real.is_dir()

    @staticmethod
    def _strings(arguments: str) -> list[str]:
        return [
            text.encode().decode("unicode_escape")
            for text in _STRING.findall(arguments)
        ]


def _lines_of(files: list[Path], program: str) -> Iterator[str]:
    """Yield the actions of the program and its threads, from its start on; each thread has a file, named after its id."""
    threads = {
        file.suffix[1:]: file.read_text(errors="replace").splitlines() for file in files
    }
    started = f'execve("{program}"'
    wanted: list[list[str]] = []
    for lines in threads.values():
        begins = (n for n, line in enumerate(lines) if line.startswith(started))
        if (begin := next(begins, None)) is not None:
            wanted.append(lines[begin:])
    assert wanted, f"{program} was not started"
    while wanted:
        for line in wanted.pop():
            yield line
            if child := _CHILD.match(line):
                wanted.append(threads[child[1]])
