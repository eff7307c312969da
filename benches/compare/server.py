"""The Garage server of a run, reachable from both networks, and its request log."""

from __future__ import annotations

from collections import Counter
import json
import re
from typing import Any

from lab.garage import Garage
from lab.network import Network

# At the level `info`, Garage logs each request: `127.0.0.1:50000 (key GK…) GET /bucket/key`, without the key when
# the URL is presigned.
REQUEST = re.compile(rb"[\d.]+:\d+ (?:\(key \w+\) )?([A-Z]+) (/\S*)")
# An error repeats its request.
ANSWER = b" in response to "
ADMIN_PATH = b"/v2/"


class Server(Garage):
    """Garage on all addresses of its network namespace."""

    def __init__(self) -> None:
        """Choose the addresses."""
        super().__init__(host="0.0.0.0")  # in its own network namespace

    def endpoint_from(self, network: Network) -> str:
        """Return the URL for clients in this network."""
        return self.endpoint.replace(self.host, network.server_address)

    def log_position(self) -> int:
        """Return the current end of the log."""
        return self.process.log_path.stat().st_size

    def requests_since(self, position: int) -> Counter[str]:
        """Count the requests since that position of the log, by kind."""
        with self.process.log_path.open("rb") as log:
            log.seek(position)
            lines = [line for line in log if ANSWER not in line]
        found = [match.groups() for line in lines if (match := REQUEST.search(line))]
        return Counter(
            _kind(method, target)
            for method, target in found
            if not target.startswith(ADMIN_PATH)
        )

    def change_one(self, bucket: str, key: str) -> None:
        """Rewrite one metadata object with another name."""
        client = self.client()
        described: dict[str, Any] = json.loads(
            client.get_object(Bucket=bucket, Key=key)["Body"].read()
        )
        described["name"] += " (changed)"
        client.put_object(Bucket=bucket, Key=key, Body=json.dumps(described).encode())


def _kind(method: bytes, target: bytes) -> str:
    is_listing = b"list-type=2" in target
    return "LIST" if is_listing else method.decode()
