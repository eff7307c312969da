"""The peers' upload loop, modelled on Home Assistant's `aws_s3` and the layout's other writer.

One 20 MiB part after another from a growing bytearray, 1 KiB reads on download, one metadata GET after another on
each listing, all in Home Assistant's own process. Their clients check the bucket when they are set up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
import json
from pathlib import Path
from typing import Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from .stream import home_assistants_stream

PART_BYTES = 20 * 2**20
READ_BYTES = 1024


class Peer:
    """A backup agent on aiobotocore."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Store the settings; `open` connects."""
        self._settings = settings
        self._bucket, self._prefix = (
            settings["bucket"],
            f"{settings['prefix']}/backups/",
        )

    async def open(self) -> Self:
        """Create the client and send HeadBucket."""
        self._context = AioSession().create_client(
            "s3",
            endpoint_url=self._settings["endpoint"],
            aws_access_key_id=self._settings["key_id"],
            aws_secret_access_key=self._settings["secret_key"],
            region_name=self._settings["region"],
            config=AioConfig(warm_up_loader_caches=True),
        )
        self._client = await self._context.__aenter__()
        await self._client.head_bucket(Bucket=self._bucket)
        return self

    async def close(self) -> None:
        """Close the client."""
        await self._context.__aexit__(None, None, None)

    async def upload(self, backup: dict[str, Any], filename: str, path: Path) -> None:
        """Upload the parts one after another, then the metadata."""
        target = {"Bucket": self._bucket, "Key": f"{self._prefix}{filename}.tar"}
        upload = {
            **target,
            "UploadId": (await self._client.create_multipart_upload(**target))[
                "UploadId"
            ],
        }
        parts: list[dict[str, Any]] = []

        async def send(body: bytes) -> None:
            number = len(parts) + 1
            answer = await self._client.upload_part(
                **upload, PartNumber=number, Body=body
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})

        buffer = bytearray()
        async for chunk in home_assistants_stream(path):
            buffer.extend(chunk)
            while len(buffer) >= PART_BYTES:
                with memoryview(buffer) as view:
                    body = view[:PART_BYTES].tobytes()
                del buffer[:PART_BYTES]
                await send(body)
        if buffer:
            await send(bytes(buffer))
        await self._client.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": parts}
        )
        await self._client.put_object(
            Bucket=self._bucket,
            Key=f"{self._prefix}{filename}.metadata.json",
            Body=json.dumps(backup),
        )

    async def download(
        self, backup: dict[str, Any], filename: str
    ) -> AsyncIterator[bytes]:
        """Send one GET, and read it in small chunks."""
        answer = await self._client.get_object(
            Bucket=self._bucket, Key=f"{self._prefix}{filename}.tar"
        )
        chunks: AsyncIterator[bytes] = answer["Body"].iter_chunks(READ_BYTES)
        return chunks

    async def list(self) -> list[str]:
        """List all keys, then read each metadata object, without a cache."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        keys = [
            found["Key"]
            async for page in pages
            for found in page.get("Contents", [])
            if found["Key"].endswith(".metadata.json")
        ]
        backups = []
        for key in keys:
            answer = await self._client.get_object(Bucket=self._bucket, Key=key)
            backups.append(json.loads(await answer["Body"].read()))
        return [backup["backup_id"] for backup in backups]


async def open_way(settings: dict[str, Any]) -> Peer:
    """Create the client."""
    return await Peer(settings).open()
