"""The agent's image: small and complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
import json
import os
from pathlib import Path
import ssl
import tomllib
from typing import Any

from lab.agent import Location
from lab.docker import Container, docker, image, inspect, outside, resident_bytes
from lab.garage import Garage
from lab.process import LabError
import pytest

MB = 1_000_000
MIB = 1 << 20
# The released image has at most 20 MB; the `release` profile for tests keeps symbols, and optimises no whole program.
IMAGE_LIMIT = {"dist": 20 * MB, "release": 27 * MB}
IDLE_LIMIT = 20 * MIB
START_LIMIT_S = 1.0
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
REPOSITORY = Path(__file__).resolve().parents[2]


def settings(location: Location) -> dict[str, str]:
    """Return a location as environment variables for the agent."""
    return {
        f"S3_BACKUP_AGENT__LOCATIONS__0__{name.upper()}": str(value)
        for name, value in vars(location).items()
        if value is not None
    }


async def steps(container: Container) -> dict[str, Any]:
    """Check the container's location, and return the error of each step, None on success."""
    try:
        said = await container.command("--json", "check")
    except LabError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("{")]
        if not lines:
            raise
        said = lines[0]
    return {step["step"]: step["error"] for step in json.loads(said)["steps"]}


async def test_image_holds_only_binary_and_authorities(
    figure: Callable[[str], None],
) -> None:
    """No shell, no package, no system file; less than 20 MB."""
    # Docker's own mount points.
    mounted = {"etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
    listed = await outside(
        "sh", "-euc", f'id=$(docker create {image()}); docker export "$id" | tar -t; docker rm "$id" >/dev/null'
    )  # fmt: skip
    files = {name for name in listed.split() if not name.endswith("/")}
    assert files - mounted - {".dockerenv", "dev/console"} == {
        "usr/bin/s3-backup-agent",
        BUNDLE.removeprefix("/"),
    }
    size = (await inspect(image()))["Size"]
    figure(f"image, built with {os.environ['LAB_PROFILE']}: {size / MB:.1f} MB")
    assert size < IMAGE_LIMIT[os.environ["LAB_PROFILE"]]


async def test_labels_describe_the_image() -> None:
    """Labels carry type and version for Supervisor; Docker knows how to stop and check it."""
    found = (await inspect(image()))["Config"]
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]  # fmt: skip
    assert found["Labels"]["io.hass.type"] == "app"
    assert found["Labels"]["io.hass.version"] == version
    assert found["Labels"]["io.hass.arch"] == "amd64|aarch64"
    assert found["StopSignal"] == "SIGTERM"
    assert found["Healthcheck"]["Test"][1:] == [*found["Entrypoint"], "healthcheck"]
    # The agent's address differs under Supervisor, and a variable of the image would override both.
    assert [name for name in found["Env"] if not name.startswith("PATH=")] == []
    said = await docker("run", "--rm", image(), "--version")
    assert said.split() == ["s3-backup-agent", version]
    compose = (REPOSITORY / "docker" / "compose.yaml").read_text()
    assert f"ghcr.io/s3-backup-agent/s3-backup-agent:{version}\n" in compose


async def test_agent_is_healthy_soon_and_small_at_rest(
    garage: Garage, figure: Callable[[str], None]
) -> None:
    """Hardened as documented: healthy within a second, at most 20 MiB at rest."""
    location = Location.on(garage, await garage.create_bucket("idle"))
    async with Container(settings=settings(location)) as agent:
        took = agent.healthy_after_s
        found = await agent.get(f"/v1/locations/{location.id}/backups")
        assert found["backups"] == []
        await asyncio.sleep(2)
        resident = resident_bytes(await agent.pid())
        figure(f"container: healthy after {took * 1000:.0f} ms, {resident / MIB:.1f} MiB resident at rest")  # fmt: skip
        assert "The agent is healthy." in await docker(
            "exec", agent.name, "/usr/bin/s3-backup-agent", "healthcheck"
        )
        assert took <= START_LIMIT_S
        assert resident <= IDLE_LIMIT


@pytest.mark.parametrize("user", ["0:0", "1000:1000"])
async def test_runs_as_any_user(user: str) -> None:
    """Without capabilities, writing only to its two folders."""
    number = int(user.partition(":")[0])
    agent = Container(f"--user={user}")
    for folder in (agent.state, agent.run):
        os.chown(folder, number, number)
    async with agent:
        state = (await inspect(agent.name))["HostConfig"]
        assert (state["ReadonlyRootfs"], state["CapDrop"]) == (True, ["ALL"])
        status = Path(f"/proc/{await agent.pid()}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert f"Uid:\t{number}\t" in status
        assert (await agent.get("/v1/info"))["problems"] == []
        assert agent.socket.stat().st_uid == number
        assert (agent.state / "agent.lock").exists()


async def test_finds_hosts_by_name(garage: Garage) -> None:
    """Names from /etc/hosts and from a name server resolve without files of the system."""
    location = Location.on(garage, await garage.create_bucket("named"))
    location.endpoint = location.endpoint.replace("127.0.0.1", "cellar.example")
    options = ("--add-host=cellar.example:127.0.0.1",)
    async with Container(*options, settings=settings(location)) as agent:
        done = await steps(agent)
        assert set(done.values()) == {None}, done
        assert "delete" in done
    async with Container(settings=settings(location)) as agent:
        assert "cellar.example" in (await steps(agent))["resolve"]["detail"]


async def test_loads_no_module_of_the_system_for_names(
    garage: Garage, tmp_path: Path
) -> None:
    """Resolver modules of another C library would crash the static binary."""
    source, module = tmp_path / "module.c", tmp_path / "libnss_lab.so.2"
    source.write_text(
        "__attribute__((constructor)) static void loaded(void) { __builtin_trap(); }"
    )
    await outside("cc", "-shared", "-fPIC", "-nostdlib", "-o", module, source)
    switch = tmp_path / "nsswitch.conf"
    switch.write_text("hosts: lab files dns\n")
    location = Location.on(garage, await garage.create_bucket("modules"))
    location.endpoint = location.endpoint.replace("127.0.0.1", "cellar.example")
    options = (
        "--add-host=cellar.example:127.0.0.1",
        f"--volume={switch}:/etc/nsswitch.conf:ro",
        f"--volume={module}:/lib/{module.name}:ro",
    )
    async with Container(*options, settings=settings(location)) as agent:
        assert set((await steps(agent)).values()) == {None}


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """Start a server with a certificate of its own authority; return its address and the authority."""
    authority, certificate, key = (
        tmp_path / name for name in ("authority.pem", "server.pem", "key.pem")
    )
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    await outside(*make, "-subj", "/CN=lab", "-keyout", key, "-out", authority)
    signed = ("-CA", authority, "-CAkey", key, "-addext", "subjectAltName=IP:127.0.0.1")
    names = ("-subj", "/CN=server", "-addext", "basicConstraints=critical,CA:FALSE")
    own = tmp_path / "own.pem"
    await outside(*make, *names, *signed, "-keyout", own, "-out", certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, own)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"https://127.0.0.1:{port}", authority


async def test_trusts_the_authorities_in_its_bundle(
    secure: tuple[str, Path], garage: Garage
) -> None:
    """TLS uses the image's bundle, which holds the usual authorities."""
    endpoint, authority = secure
    location = Location.on(garage, "none")
    location.endpoint, location.provider = endpoint, "other"
    async with Container(settings=settings(location)) as agent:
        assert (await steps(agent))["tls"]["code"] == "storage_certificate"
    ours = f"--volume={authority}:{BUNDLE}:ro"
    async with Container(ours, settings=settings(location)) as agent:
        assert (await steps(agent))["tls"] is None
    bundle = await outside(
        "sh", "-euc", f'id=$(docker create {image()}); docker cp "$id:{BUNDLE}" - | tar -xO; docker rm "$id" >/dev/null'
    )  # fmt: skip
    assert bundle.count("BEGIN CERTIFICATE") > 100
