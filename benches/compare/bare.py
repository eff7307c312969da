"""No backup agent: one presigned PUT or GET, as `curl` sends it. The lower bound of a client's cost.

The signature does not cover the content, nothing is retried, resumed or verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

READ_BYTES = 2**20


class Bare:
    """Presigned URLs and the standard library."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Create the signer."""
        self._settings = settings
        self._signer = boto3.client(
            "s3",
            endpoint_url=settings["endpoint"],
            aws_access_key_id=settings["key_id"],
            aws_secret_access_key=settings["secret_key"],
            region_name=settings["region"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    async def upload(self, backup: dict[str, Any], filename: str, path: Path) -> None:
        """Send one PUT; the kernel copies the file from the page cache to the socket."""
        url = self._url("put_object", filename)
        connection = http.client.HTTPConnection(url.netloc)
        connection.putrequest("PUT", f"{url.path}?{url.query}")
        connection.putheader("Content-Length", str(path.stat().st_size))
        connection.endheaders()
        with path.open("rb") as file:
            connection.sock.sendfile(file)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(answer.read())
        connection.close()

    async def download(
        self, backup: dict[str, Any], filename: str
    ) -> AsyncIterator[bytes]:
        """Send one GET."""
        url = self._url("get_object", filename)
        connection = http.client.HTTPConnection(url.netloc)
        connection.request("GET", f"{url.path}?{url.query}")
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(answer.read())

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := answer.read(READ_BYTES):
                yield chunk
            connection.close()

        return chunks()

    async def list(self) -> list[str]:
        """Not comparable."""
        raise NotImplementedError

    async def close(self) -> None:
        """No connection is open."""

    def _url(self, call: str, filename: str) -> Any:
        key = f"{self._settings['prefix']}/backups/{filename}.tar"
        return urlsplit(
            self._signer.generate_presigned_url(
                call, {"Bucket": self._settings["bucket"], "Key": key}
            )
        )


async def open_way(settings: dict[str, Any]) -> Bare:
    """Create the signer."""
    return await asyncio.to_thread(Bare, settings)
