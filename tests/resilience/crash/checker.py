"""Checks a bucket with boto3 and hashlib alone."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet
import hashlib
import json
from typing import Any

METADATA = ".metadata.json"
READ_SIZE = 1 << 20


class Look:
    """The content of the bucket, and its errors."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        expected: Mapping[str, str],
        sent: Mapping[str, AbstractSet[str]],
    ) -> None:
        """Look at every object and every unfinished upload.

        By each backup's id, `expected` has the SHA-256 that was acknowledged, and `sent` those of all attempts.
        """
        self._client, self._bucket = client, bucket
        self._expected, self._sent = expected, sent
        self.wrong: list[str] = []
        self.backups: dict[str, list[str]] = {}
        self._earlier: list[str] = []
        keys = [entry["Key"] for entry in self._all("list_objects_v2", "Contents")]
        described = [key for key in keys if key.endswith(METADATA)]
        self._hashes = {key: self._sha256(key) for key in keys if key not in described}
        for key in described:
            self._check(key)
        tars = {key.removesuffix(METADATA) + ".tar" for key in described}
        self.alone = {key: it for key, it in self._hashes.items() if key not in tars}
        self.wrong += [
            f"{backup_id} was acknowledged and is not there"
            for backup_id in expected
            if backup_id not in self.backups
        ]
        self.unfinished = [
            f"{entry['Key']} since {entry['Initiated']:%H:%M:%S}"
            for entry in self._all("list_multipart_uploads", "Uploads")
        ]

    @property
    def copies(self) -> int:
        """Return the number of duplicated backups."""
        return sum(len(keys) - 1 for keys in self.backups.values()) + len(self._earlier)

    def _all(self, call: str, name: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator(call).paginate(Bucket=self._bucket)
        return [entry for page in pages for entry in page.get(name, [])]

    def _check(self, key: str) -> None:
        text = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        try:
            metadata = json.loads(text)
            backup_id = metadata["backup_id"]
            said = metadata["s3_backup_agent"]["sha256"]
            digest = metadata["s3_backup_agent"]["metadata_sha256"]
        except (ValueError, KeyError) as error:
            self.wrong.append(f"{key} cannot be read: {error!r}")
            return
        without = text.replace(f',"metadata_sha256":"{digest}"'.encode(), b"")
        tar = key.removesuffix(METADATA) + ".tar"
        if hashlib.sha256(without).hexdigest() != digest:
            self.wrong.append(f"{key} is not what was written")
        elif tar not in self._hashes:
            self.wrong.append(f"{key} is listed without its tar")
        elif self._hashes[tar] != said:
            self.wrong.append(f"{tar} is not what {key} says it is")
        elif backup_id not in self._expected:
            self.wrong.append(f"{key} exists, but was never acknowledged")
        elif self._expected[backup_id] == said:
            self.backups.setdefault(backup_id, []).append(key)
        elif said in self._sent[backup_id]:
            # Its answer was lost, and the acknowledged attempt has not deleted it yet.
            self._earlier.append(key)
        else:
            self.wrong.append(f"{tar} is not what was uploaded")

    def _sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
        for piece in body.iter_chunks(READ_SIZE):
            digest.update(piece)
        return digest.hexdigest()
