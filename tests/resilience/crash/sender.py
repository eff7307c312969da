"""Sends one backup, or deletes one, as Home Assistant does: again and again until the agent says that it is done.

Home Assistant sends identical bytes in each attempt. Where the job is `anew`, each attempt has another byte.

A process of its own, because it is killed. What it is to do comes as JSON on standard input; it prints a line of JSON for
each step. Only the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import hashlib
import http.client
import json
from pathlib import Path
import secrets
import socket
import sys
import time
from typing import Any, override
import zlib

PIECE = 256 * 1024
TAR_BLOCK = 512
TAR_SIZE = slice(124, 135)
PATIENCE_S = 120
PAUSE_S = 0.1


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        """Connect to this socket on demand."""
        super().__init__("agent", timeout=60)
        self._path = path

    @override
    def connect(self) -> None:
        """Open the connection."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class RefusedError(Exception):
    """The agent answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the error."""
        super().__init__(f"{status} {text}")
        self.status = status


def say(step: str, **facts: Any) -> None:
    """Print a step immediately."""
    sys.stdout.write(json.dumps({"step": step, **facts}) + "\n")
    sys.stdout.flush()


def call(path: str, method: str, target: str, body: Any = None) -> Any:
    """Make one call, and return the JSON answer."""
    connection = Connection(path)
    try:
        data = json.dumps(body) if isinstance(body, dict) else body
        headers = {"Content-Type": "application/json"}
        connection.request(method, target, data, headers, encode_chunked=True)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status >= 400:
        raise RefusedError(answer.status, text)
    return json.loads(text) if text else None


@dataclass(frozen=True)
class Attempt:
    """The bytes of one attempt: the tar, with at most one changed byte."""

    tar: Path
    changed: tuple[int, bytes] | None

    @staticmethod
    def of(job: dict[str, Any]) -> Attempt:
        """Choose the byte, inside the tar's first member, and its new value."""
        tar = Path(job["tar"])
        if not job["anew"]:
            return Attempt(tar, None)
        with tar.open("rb") as file:
            size = int(file.read(TAR_BLOCK)[TAR_SIZE], 8)
        position = TAR_BLOCK + secrets.randbelow(size)
        return Attempt(tar, (position, secrets.token_bytes(1)))

    def pieces(self) -> Iterator[bytes]:
        """Read the bytes."""
        start = 0
        with self.tar.open("rb") as file:
            while piece := file.read(PIECE):
                yield self._changed(piece, start)
                start += len(piece)

    def _changed(self, piece: bytes, start: int) -> bytes:
        if self.changed is None:
            return piece
        position, byte = self.changed[0] - start, self.changed[1]
        if not 0 <= position < len(piece):
            return piece
        return piece[:position] + byte + piece[position + 1 :]

    def told(self) -> Iterator[bytes]:
        """Read the bytes, and print the progress."""
        sent = 0
        for piece in self.pieces():
            yield piece
            sent += len(piece)
            say("sent", sent=sent)


def upload(job: dict[str, Any]) -> None:
    """Make one attempt."""
    attempt = Attempt.of(job)
    sha256, crc32, size = hashlib.sha256(), 0, 0
    for piece in attempt.pieces():
        sha256.update(piece)
        crc32 = zlib.crc32(piece, crc32)
        size += len(piece)
    created = call(
        job["socket"],
        "POST",
        f"/v1/locations/{job['location']}/uploads",
        {"backup": job["backup"], "filename": job["filename"]},
    )
    say("created", stored=created["stored_bytes"], sha256=sha256.hexdigest())
    target = f"/v1/uploads/{created['upload_id']}"
    arrived = call(job["socket"], "PUT", f"{target}/content", attempt.told())
    say("arrived", stored=created["stored_bytes"])
    call(
        job["socket"],
        "POST",
        f"{target}/complete",
        {"size": size, "crc32": f"{crc32:08x}"},
    )
    say("done", sha256=arrived["sha256"], sent=sha256.hexdigest())


def delete(job: dict[str, Any]) -> None:
    """Make one attempt; a missing backup counts as deleted."""
    backup_id = job["backup"]["backup_id"]
    say("created", stored=0)
    try:
        call(
            job["socket"],
            "DELETE",
            f"/v1/locations/{job['location']}/backups/{backup_id}",
        )
    except RefusedError as error:
        if error.status != http.HTTPStatus.NOT_FOUND:
            raise
    say("done")


def main() -> None:
    """Perform the job; retry while the agent is unreachable or fails."""
    job = json.loads(sys.stdin.read())
    do = delete if job["do"] == "delete" else upload
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return do(job)
        except (OSError, http.client.HTTPException, RefusedError) as error:
            say("failed", error=f"{type(error).__name__}: {error}")
            if time.monotonic() > deadline:
                sys.exit(1)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
