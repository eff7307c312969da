"""A real S3 server: one Garage node with its own data folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
import secrets
import shutil
import tempfile
from typing import Any, Self

import aiohttp

from .network import LOOPBACK_ADDRESS
from .parts import part
from .process import LabError, Process, free_port

REGION = "garage"
START_TIMEOUT_S = 30


class Garage:
    """A Garage server with one access key.

    Used as `async with Garage() as garage:`. Data, ports and key survive `stop`, `kill` and `start`, so that a test can
    simulate an outage during a transfer.
    """

    def __init__(self, host: str = LOOPBACK_ADDRESS) -> None:
        """Choose ports and keys; nothing runs yet."""
        self.host = host
        self.region = REGION
        self.key_id = f"GK{secrets.token_hex(12)}"
        self.secret_key = secrets.token_hex(32)
        self.folder = Path(tempfile.mkdtemp(prefix="garage-"))
        self._s3_port, self._admin_port, self._rpc_port = (
            free_port() for _ in range(3)
        )
        self._admin_token = secrets.token_hex(16)
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """The URL of the S3 API."""
        return f"http://{self.host}:{self._s3_port}"

    @property
    def is_running(self) -> bool:
        """Return whether the server was started and not stopped."""
        return self._process is not None

    @property
    def process(self) -> Process:
        """The running server."""
        if self._process is None:
            raise LabError("Garage does not run")
        return self._process

    async def __aenter__(self) -> Self:
        """Start the server."""
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill the server and remove its data."""
        await self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        """Start the server on its data and wait until it answers."""
        self._process = await Process.start(
            self.folder / "garage.log",
            Path(__file__).with_name("garage-server"),
            part("garage-2.5.0/bin/garage", "garage"),
            self.folder,
            self.host,
            *(str(port) for port in (self._s3_port, self._admin_port, self._rpc_port)),
            environment={
                "GARAGE_REGION": self.region,
                "GARAGE_ADMIN_TOKEN": self._admin_token,
                "GARAGE_DEFAULT_ACCESS_KEY": self.key_id,
                "GARAGE_DEFAULT_SECRET_KEY": self.secret_key,
            },
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():
                self._process.require_alive()
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Shut the server down gracefully."""
        if self._process is not None:
            await self._process.stop()
            self._process = None

    async def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            await self._process.kill()
            self._process = None

    async def create_bucket(self, name: str) -> str:
        """Create a bucket that the key owns, and return its name."""
        await self._admin("CreateBucket", {"globalAlias": name})
        await self._allow(name, self.key_id)
        return name

    async def create_key(self, bucket: str) -> tuple[str, str]:
        """Create another key that owns a bucket; return its id and secret."""
        key = await self._admin("CreateKey", {"name": "another"})
        await self._allow(bucket, key["accessKeyId"])
        return key["accessKeyId"], key["secretAccessKey"]

    async def delete_key(self, key_id: str) -> None:
        """Delete a key; requests signed with it fail from now on."""
        await self._admin(f"DeleteKey?id={key_id}", {})

    async def move_to(self, region: str) -> None:
        """Restart in another region; requests signed for the old one fail from now on."""
        await self.stop()
        self.region = region
        await self.start()

    def client(self, **options: Any) -> Any:
        """Return a boto3 S3 client, for an independent view of a bucket."""
        # Some suites need a server, but not boto3.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, **options),
        )

    def bucket_objects(self, bucket: str) -> dict[str, int]:
        """Return the size in bytes of every object, by key."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {
            found["Key"]: found["Size"]
            for page in pages
            for found in page.get("Contents", [])
        }

    def bucket_keys(self, bucket: str) -> list[str]:
        """Return every key in the bucket, sorted."""
        return sorted(self.bucket_objects(bucket))

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Return the keys of unfinished multipart uploads, sorted."""
        pages = (
            self.client()
            .get_paginator("list_multipart_uploads")
            .paginate(Bucket=bucket)
        )
        return sorted(
            found["Key"] for page in pages for found in page.get("Uploads", [])
        )

    def empty(self, bucket: str) -> None:
        """Delete every object and abort every unfinished upload."""
        client = self.client()
        for key in self.bucket_keys(bucket):
            client.delete_object(Bucket=bucket, Key=key)
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
        for upload in [found for page in pages for found in page.get("Uploads", [])]:
            client.abort_multipart_upload(
                Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    async def _allow(self, bucket: str, key_id: str) -> None:
        found = await self._admin(f"GetBucketInfo?globalAlias={bucket}")
        await self._admin(
            "AllowBucketKey",
            {
                "bucketId": found["id"],
                "accessKeyId": key_id,
                "permissions": {"read": True, "write": True, "owner": True},
            },
        )

    async def _answers(self) -> bool:
        try:
            await self._admin("GetClusterStatus")
            _, writer = await asyncio.open_connection(self.host, self._s3_port)
        except aiohttp.ClientError, LabError, OSError:
            return False
        writer.close()
        return True

    async def _admin(self, call: str, body: Mapping[str, Any] | None = None) -> Any:
        url = f"http://127.0.0.1:{self._admin_port}/v2/{call}"
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        method = "GET" if body is None else "POST"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, json=body) as response,
        ):
            if not response.ok:
                raise LabError(f"{call}: {response.status} {await response.text()}")
            return await response.json()
