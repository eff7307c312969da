"""The app's AppArmor profile: it allows all actions of the agent, and few others."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
import re
import subprocess
from typing import Any

import aiohttp
from lab.agent import REPOSITORY
from lab.app import SLUG, TOKEN
from lab.garage import Garage
from lab.image import BINARY, Image
from lab.parts import part
from lab.supervisor import Supervisor
import pytest

from .apparmor import FileRule, Profile
from .panel import Panel
from .strace import Access, Trace

PROFILE = REPOSITORY / "addon" / "apparmor.txt"
MIB = 1024 * 1024

# There is none in the image: its binary is static and needs no libraries, and no cache of names runs.
NOT_THERE = ("/lib/", "/lib64/", "/usr/lib/", "/etc/ld.so.", "/var/run/nscd/")
# What is allowed and was not seen: only other kernels, C libraries and settings need it.
ELSEWHERE = {
    "/dev/null",
    "/dev/{random,urandom}",
    "/etc/{gai.conf,host.conf,hosts,nsswitch.conf,resolv.conf,services}",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu/{online,possible}",
    "/sys/fs/cgroup/{,**/}cpu.{max,cfs_period_us,cfs_quota_us}",
    "/sys/kernel/mm/transparent_hugepage/{enabled,hpage_pmd_size}",
}
# DNS over IPv6, and what the C library asks the kernel.
ELSEWHERE_SOCKETS = {("inet6", "stream"), ("inet6", "dgram"), ("netlink", "raw")}


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Return the profile."""
    return Profile(PROFILE)


@dataclass
class Seen:
    """The agent's actions, and its log."""

    trace: Trace
    log: str


@pytest.fixture(scope="module")
def seen() -> Seen:
    """Return all actions of the agent as an app."""
    return asyncio.run(everything())


async def everything() -> Seen:
    """Make the agent perform all its actions as an app."""
    supervisor = Supervisor(tokens={TOKEN: SLUG})
    async with Garage() as garage, supervisor:
        options = {"log_level": "debug", "locations": await locations(garage)}
        host = f"supervisor:{supervisor.host.rpartition(':')[2]}"
        hosts = {"supervisor": "127.0.0.1", "storage.example.com": "127.0.0.1"}
        async with Image(options, supervisor=host, hosts=hosts) as app:
            await main_job(app)
            await accidents(app)
            assert await app.stop() == 0
            assert supervisor.messages
            files = [*app.traces.iterdir()]
            return Seen(Trace(files, BINARY, app.folder), app.log())


async def locations(garage: Garage) -> list[dict[str, Any]]:
    """Return one working location, and two unreachable ones."""
    cellar = {
        "id": "cellar",
        "provider": "garage",
        "endpoint": f"http://storage.example.com:{garage.endpoint.rpartition(':')[2]}",
        "region": garage.region,
        "bucket": await garage.create_bucket("profile"),
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
    }
    away = {**cellar, "id": "away", "endpoint": "https://unreachable.example.com"}
    house = {**away, "id": "house", "ca_certificate": "/share/house.pem"}
    # Its derived id is remembered.
    nameless = {key: value for key, value in away.items() if key != "id"}
    return [cellar, away, house, {**nameless, "prefix": "elsewhere"}]


async def main_job(app: Image) -> None:
    """Back up, verify, download, delete."""
    panel = Panel(app, "cellar")
    await panel.back_up("small", MIB)
    await panel.back_up("large", 30 * MIB)
    assert await panel.backups() == {"small", "large"}
    assert await panel.content("large") == panel.tars["large"]
    assert (await panel.verify("large"))["ok"]
    await panel.delete("small")
    await panel.get("/v1/diagnostics")
    assert await app.exit_code("check", "cellar") == 0, app.log()
    assert await app.exit_code("check", "away") != 0


async def accidents(app: Image) -> None:
    """Kill the agent during an upload; delete the socket, the token and the id."""
    panel = Panel(app, "cellar")
    sending = await panel.begin("broken", 40 * MIB)
    await app.kill()
    with pytest.raises(aiohttp.ClientError):
        await sending
    await app.start()
    assert await panel.back_up("broken", 40 * MIB) > 0
    app.remove_share("s3_backup_agent")
    await app.until_healthy()
    assert await app.stop() == 0
    (app.data / "token").write_text("short")
    (app.data / "agent_id").write_text("damaged")
    await app.start()
    assert await panel.backups() == {"large", "broken"}


def test_profile_allows_all_agent_actions(seen: Seen, profile: Profile) -> None:
    """The profile fails no backup."""
    did = {it for it in seen.trace.files if not it.path.startswith(NOT_THERE)}
    assert {it for it in did if not profile.allows(*it)} == set()
    assert seen.trace.sockets <= profile.sockets
    # The recorded actions are representative.
    for path in ("/data/options.json", "/etc/resolv.conf", "/share/house.pem"):
        assert Access(path, "r") in did
    for path in ("/data/uploads/", "/share/s3_backup_agent/agent.sock", "/data/token"):
        assert Access(path, "w") in did
    assert Access("/data/agent.lock", "k") in did


def test_agent_starts_no_other_program(seen: Seen, profile: Profile) -> None:
    """No rule may allow execution."""
    assert set(seen.trace.programs) == {BINARY}
    executable = {rule for rule in profile.files if set("xm") & set(rule.permissions)}
    assert executable == {FileRule(BINARY, "mr")}


def test_profile_allows_nothing_else(seen: Seen, profile: Profile) -> None:
    """Each rule was needed, or is listed for other machines; none is broad."""
    used = {
        rule: {it.permission for it in seen.trace.files if rule.covers(it.path)}
        for rule in profile.files
        if rule.path not in ELSEWHERE and rule.path != BINARY
    }
    assert [it for it in used.items() if it[1] != set(it[0].permissions)] == []
    assert {it.path for it in profile.files if "**" in it.path} <= ELSEWHERE
    needed = {*seen.trace.sockets, *ELSEWHERE_SOCKETS}
    assert profile.sockets == needed
    assert set(profile.unix) == {"stream"}


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/bin/sh", "/usr/bin/other", "/etc/shadow", "/etc/ssl/private/key.pem"),
        *("/data/backup.db", "/data/uploads/a/b.jsonl", "/data/local/backup.tar"),
        *("/share/", "/share/film.mp4", "/share/other/house.pem", "/homeassistant/x"),
        *("/proc/1/environ", "/proc/1/mem", "/proc/kcore", "/sys/firmware/x"),
        *("/dev/mem", "/dev/sda", "/run/docker.sock"),
    ],
)
def test_foreign_files_are_denied(path: str, profile: Profile) -> None:
    """Foreign files are neither readable, writable nor executable."""
    assert not any(profile.allows(path, permission) for permission in "rwkmxl")


def test_profile_has_the_name_of_the_app(profile: Profile) -> None:
    """Supervisor prefixes the profile's name with the repository's id, and accepts one profile only."""
    names = re.findall(r"^profile ([^ ]+).*$", PROFILE.read_text(), re.MULTILINE)
    assert names == ["s3_backup_agent"] == [profile.name]


def test_apparmor_parser_accepts_the_profile(tmp_path: Path) -> None:
    """The parser accepts it, also under Supervisor's name, and rejects an error in it."""
    text = PROFILE.read_text()
    for name, content, exit_code in (
        ("as it is", text, 0),
        ("renamed", text.replace("profile s3", "profile 0a1b2c3d_s3", 1), 0),
        ("wrong", text.replace("network inet stream", "network inet strem"), 1),
        ("cut off", text.rstrip().removesuffix("}"), 1),
    ):
        file = tmp_path / "apparmor.txt"
        file.write_text(content)
        command = (
            "apparmor_parser",
            "--skip-kernel-load",
            "--skip-cache",
            "--abort-on-error",
            file,
        )
        root = part("apparmor", "apparmor")
        parsed = subprocess.run(
            [REPOSITORY / "scripts" / "in-root", root, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert parsed.returncode == exit_code, f"{name}: {parsed.stderr}"


@pytest.mark.parametrize(
    ("glob", "path", "is_covered"),
    [
        ("/data/*.json", "/data/a.json", True),
        ("/data/*.json", "/data/a/b.json", False),
        ("/data/**", "/data/a/b.json", True),
        ("/data/**", "/data/", False),
        ("/data/{,**}", "/data/", True),
        ("/data/{a,b}c", "/data/bc", True),
        ("/data/{a,b}c", "/data/c", False),
        ("/data/[0-9]", "/data/7", True),
        ("/data/[0-9]", "/data/x", False),
        ("/data/a.b", "/data/aXb", False),
    ],
)
def test_globs_match_like_apparmor(glob: str, path: str, is_covered: bool) -> None:
    """As in apparmor.d(5)."""
    assert FileRule(glob, "r").covers(path) is is_covered
