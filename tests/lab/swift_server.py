"""A real S3 server: OpenStack Swift with its S3 API, one device in a folder, its four services on loopback.

Runs with Swift's own Python, in the root file system that `scripts/parts/swift` makes, and ends when it is killed; started
again in the same folder, it goes on with what it holds:

    scripts/in-root "$(scripts/parts/swift)" python3 tests/lab/swift_server.py FOLDER PORT

The environment gives the region and two keys: `SWIFT_SECRET` is that of `lab:owner`, who may do everything, and of
`lab:guest`, who may do nothing.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
import signal
import sys
from typing import NoReturn

from swift.common.ring import RingBuilder
from swift.common.wsgi import run_wsgi

# The port is free on addresses without other listeners.
BACKENDS = {"account": "127.0.0.2", "container": "127.0.0.3", "object": "127.0.0.4"}
PR_SET_PDEATHSIG = 1

# `storage_domain` allows the bucket's name in the host name; `slo` joins an upload's parts to one object. Without `cache`
# Swift needs no memcached.
PROXY = """\
[pipeline:main]
pipeline = catch_errors proxy-logging s3api tempauth slo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = {region}
storage_domain = localhost
[filter:tempauth]
use = egg:swift#tempauth
user_lab_owner = {secret} .admin
user_lab_guest = {secret}
[filter:slo]
use = egg:swift#slo
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
"""


def common(folder: Path, address: str, port: int) -> str:
    """Return the common settings of all services; they do not write to the system's log.

    On a busy machine, half a second is not enough for one to reach another: what is then left for later is left to a
    daemon that does not run here.
    """
    return (
        f"[DEFAULT]\nbind_ip = {address}\nbind_port = {port}\nworkers = 0\nuser = root\nswift_dir = {folder}\n"
        f"devices = {folder}\nmount_check = false\nlog_address = {folder}/no-system-log\n"
        "conn_timeout = 30\nnode_timeout = 60\ncontainer_update_timeout = 60\n"
    )


def require_attributes(device: Path) -> None:
    """Exit if the folder's file system lacks the extended attributes that Swift needs."""
    try:
        os.setxattr(device, "user.swift.test", b"")
    except OSError as error:
        sys.exit(
            f"{device} has no extended attributes ({error}): set TMPDIR to a folder on a disk"
        )


def make_ring(folder: Path, service: str, address: str, port: int) -> None:
    """Write the ring of a service with its only device."""
    ring = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
    place = {"region": 1, "zone": 1, "weight": 1, "device": "device"}
    ring.add_dev({"ip": address, "port": port, **place})
    ring.rebalance()
    ring.get_ring().save(str(folder / f"{service}.ring.gz"))


def configure(folder: Path, port: int) -> None:
    """Write the configuration of all services."""
    (folder / "device").mkdir()
    require_attributes(folder / "device")
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = lab\n")
    for service, address in BACKENDS.items():
        make_ring(folder, service, address, port)
        (folder / f"{service}.conf").write_text(
            f"{common(folder, address, port)}[pipeline:main]\npipeline = {service}-server\n"
            f"[app:{service}-server]\nuse = egg:swift#{service}\n"
        )
    region, secret = os.environ["SWIFT_REGION"], os.environ["SWIFT_SECRET"]
    proxy = PROXY.format(region=region, secret=secret)
    (folder / "proxy.conf").write_text(common(folder, "127.0.0.1", port) + proxy)


def start(folder: Path, service: str) -> None:
    """Run a service as a child; the kernel kills it with this process."""
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        serve(folder, service)


def serve(folder: Path, service: str) -> NoReturn:
    """Run a service in this process, and log to standard error."""
    conf = folder / f"{service}.conf"
    sys.exit(run_wsgi(str(conf), f"{service}-server", verbose=True))


def main() -> None:
    """Start everything."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    if not (folder / "proxy.conf").exists():
        configure(folder, port)
    for service in BACKENDS:
        start(folder, service)
    serve(folder, "proxy")


if __name__ == "__main__":
    main()
