"""A lost system is restored from the bucket into a new Home Assistant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
import contextlib
from dataclasses import dataclass
from pathlib import Path
import tempfile

from lab.homeassistant import NEWEST, OLDEST, HomeAssistant
from lab.process import free_port
import pytest

from .home import Home
from .laptop import LAPTOP, Laptop, Ran, a_year_later

PASSWORD = "a password that only its owner knows"
# The end of what is typed.
CTRL_D = "\x04"
PROOF = "The first system was here.\n"


@dataclass(frozen=True)
class Gone:
    """A lost system, and its backups in the cellar."""

    port: int
    plain_id: str
    encrypted_id: str
    laptop: Laptop


@pytest.fixture(scope="module")
async def gone(system: Home) -> AsyncIterator[Gone]:
    """Create a system, back it up twice, and end it."""
    agent_id = system.agent_id(system.cellar)
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        laptop = Laptop(Path(folder), system.cellar)
        async with HomeAssistant(system.ha.version) as first:
            await first.add_agent(system.agent.address)
            await first.backups.wait_for_agents(2)
            (first.config / "proof.txt").write_text(PROOF)
            plain = await first.backups.create([agent_id], name="Before the fire")
            locked = await first.backups.create(
                [agent_id], name="Locked, before the fire", password=PASSWORD
            )
            assert plain.backup_id is not None
            assert locked.backup_id is not None
        yield Gone(first.port, plain.backup_id, locked.backup_id, laptop)
    await system.clear()


async def assert_first_system_is_back(second: HomeAssistant, gone: Gone) -> None:
    """Assert that the second system has the first one's file, agent and backups."""
    assert (second.config / "proof.txt").read_text() == PROOF
    await second.backups.wait_for_agents(2)
    for backup_id in (gone.plain_id, gone.encrypted_id):
        listed = await second.backups.find(backup_id)
        assert "s3_backup_agent.cellar" in listed["agents"]


async def test_a_laptop_brings_the_system_back(system: Home, gone: Gone) -> None:
    """docs/guides/disaster-recovery.md: download with the binary alone, restore on a new Home Assistant's first page."""
    printed = await gone.laptop.follow(LAPTOP, gone.encrypted_id)
    assert "Locked, before the fire" in printed
    async with HomeAssistant(system.ha.version, is_new=True) as second:
        assert not (second.config / "proof.txt").exists()
        tar = gone.laptop.folder / "backup.tar"
        await second.backups.restore_at_first_page(tar, gone.encrypted_id, PASSWORD)
        await second.come_back_from_restore(gone.port)
        await assert_first_system_is_back(second, gone)


async def test_the_bucket_restores_another_system(system: Home, gone: Gone) -> None:
    """A restore directly from the location needs only the agent and the password."""
    async with HomeAssistant(system.ha.version) as second:
        await second.add_agent(system.agent.address)
        await second.backups.wait_for_agents(2)
        assert not (second.config / "proof.txt").exists()
        await second.backups.restore(
            gone.encrypted_id, system.agent_id(system.cellar), password=PASSWORD
        )
        await second.come_back_from_restore(gone.port)
        await assert_first_system_is_back(second, gone)


@dataclass(frozen=True)
class Case:
    """A backup to restore, and how its key is told."""

    is_encrypted: bool
    by_file: bool = False
    # Whether its output is read to the end.
    is_read: bool = True
    is_named: bool = True


@pytest.mark.parametrize(
    "case",
    [
        Case(is_encrypted=False),
        Case(is_encrypted=True, by_file=True, is_read=False),
        Case(is_encrypted=True, is_named=False),
    ],
    ids=["plain", "encrypted", "newest"],
)
async def test_one_command_brings_the_system_back(
    system: Home, gone: Gone, case: Case
) -> None:
    """docs/guides/disaster-recovery.md: from the bucket into a new Home Assistant, and nothing on the laptop's disk."""
    key = gone.laptop.folder / "key"
    key.write_text(f"{PASSWORD}\n")
    before = {*gone.laptop.folder.iterdir()}
    arguments = ["--yes"]
    if case.is_named:
        arguments += [gone.encrypted_id if case.is_encrypted else gone.plain_id]
    if case.by_file:
        arguments += ["--password-file", str(key)]
    if not case.is_read:
        arguments += ["| sed '/^To /q'"]
    password = PASSWORD if case.is_encrypted and not case.by_file else None
    async with HomeAssistant(system.ha.version, is_new=True, port=gone.port) as second:
        await second.backups.wait_until_idle()
        async with second.restarted():
            ran = await gone.laptop.restore(second.url, *arguments, password=password)
        assert ran.code == 0, ran.output
        name = "Locked, before the fire" if case.is_encrypted else "Before the fire"
        assert f"Backup    {name} (" in ran.output
        assert f"To        Home Assistant {system.ha.version} at" in ran.output
        assert ("Home Assistant is back after" in ran.output) is case.is_read
        assert ("show whether all was restored" in ran.output) is case.is_read
        assert PASSWORD not in ran.output
        await second.sign_in()
        await assert_first_system_is_back(second, gone)
    left = {it.name for it in {*gone.laptop.folder.iterdir()} - before}
    assert left <= {"s3-backup-agent"}


async def restore_fails(
    gone: Gone, url: str, backup_id: str, *more: str, password: str = PASSWORD
) -> Ran:
    """Restore without success; return the output."""
    ran = await gone.laptop.restore(
        url, "--yes", "--json", backup_id, *more, password=password
    )
    assert ran.code == 1, ran.output
    return ran


async def assert_untouched(second: HomeAssistant, backups: int = 0) -> None:
    """Assert that a new system still shows its first page, with this number of backups."""
    await second.backups.wait_until_idle()
    state = await second.backups.first_page()
    assert len(state["backups"]) == backups
    assert not (second.config / ".HA_RESTORE").exists()
    # Home Assistant 2026.3 keeps what it has of an upload that was cut, until the next one.
    received = {it.name for it in (second.config / "tmp_backups").glob("*")}
    assert received <= {"s3-backup-agent.tar"}


async def test_failed_restores_have_a_clear_end(system: Home, gone: Gone) -> None:
    """A wrong key, a cut connection and a damaged backup restore nothing, and say so."""
    async with HomeAssistant(system.ha.version, is_new=True, port=gone.port) as second:
        await second.backups.wait_until_idle()
        async with cut_after(second.port, 40_000) as url:
            ran = await restore_fails(gone, url, gone.plain_id)
        assert '"upload_cut"' in ran.output
        await assert_untouched(second)

        with damaged(system, gone.plain_id):
            ran = await gone.laptop.restore(second.url, "--yes", gone.plain_id)
        assert ran.code == 5, ran.output
        assert "is damaged: the SHA-256" in ran.output
        await assert_untouched(second)

        ran = await restore_fails(
            gone, second.url, gone.encrypted_id, password="another key"
        )
        assert '"wrong_key"' in ran.output
        assert "another key" not in ran.output
        await assert_untouched(second)

        # What a full disk does, too: Home Assistant says it only after it has restarted.
        def lose_backup() -> None:
            for tar in (second.config / "backups").glob("*.tar"):
                tar.unlink()

        async with second.restarted(lose_backup):
            ran = await restore_fails(gone, second.url, gone.encrypted_id)
        assert '"restore_failed"' in ran.output
        assert "does not exist" in ran.output
        await assert_untouched(second)


async def test_key_is_asked_for_and_not_shown(system: Home, gone: Gone) -> None:
    """A wrong key can be typed again, before the upload."""
    key = "Encryption key of this backup:"
    async with HomeAssistant(system.ha.version, is_new=True, port=gone.port) as second:
        await second.backups.wait_until_idle()
        for answers, end in (
            ([(key, PASSWORD), ("[y/N]", "n")], "Nothing was changed."),
            ([(key, PASSWORD), ("[y/N]", CTRL_D)], "Nothing was changed."),
            ([(key, CTRL_D)], "No key was typed."),
            ([(key, "")], "No key was typed."),
        ):
            shown = await gone.laptop.restore_at_terminal(
                second.url, *answers, exit_code=1
            )
            assert end in shown
        async with second.restarted():
            shown = await gone.laptop.restore_at_terminal(
                second.url,
                (key, "a wrong key"),
                ("Another key:", PASSWORD),
                ("[y/N]", "y"),
            )
        assert "does not open this backup" in shown
        assert "Home Assistant is back after" in shown
        assert "a wrong key" not in shown
        assert PASSWORD not in shown
        await second.sign_in()
        await assert_first_system_is_back(second, gone)


async def test_other_targets_are_refused(system: Home, gone: Gone) -> None:
    """A system in use, one of an older version, and none at all."""
    ran = await restore_fails(gone, system.ha.url, gone.plain_id)
    assert '"home_assistant_onboarded"' in ran.output
    ran = await restore_fails(gone, f"http://127.0.0.1:{free_port()}", gone.plain_id)
    assert '"home_assistant_unreachable"' in ran.output
    if system.ha.version != NEWEST:
        return
    async with HomeAssistant(OLDEST, is_new=True) as second:
        await second.backups.wait_until_idle()
        ran = await restore_fails(gone, second.url, gone.plain_id)
        assert '"home_assistant_too_old"' in ran.output
        assert f"of Home Assistant {NEWEST}, and the new one has {OLDEST}" in ran.output
        await assert_untouched(second)


@contextlib.contextmanager
def damaged(system: Home, backup_id: str) -> Iterator[None]:
    """Flip a bit near a backup's end, temporarily: its headers stay good."""
    stored = system.stored(system.cellar, backup_id)
    client = system.garage.client()
    where = {"Bucket": system.cellar.bucket, "Key": stored.tar_key}
    whole = client.get_object(**where)["Body"].read()
    place = len(whole) - 15_000
    client.put_object(
        **where,
        Body=whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
    )
    try:
        yield
    finally:
        client.put_object(**where, Body=whole)


@contextlib.asynccontextmanager
async def cut_after(port: int, limit: int) -> AsyncIterator[str]:
    """Return a URL that leads to a port, and cuts a connection after this number of bytes to it."""

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while left > 0 and (data := await source.read(4096)):
                left -= len(data)
                sink.write(data)
                await sink.drain()
        sink.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        both = (pump(reader, to_upstream, limit), pump(upstream, writer, 1 << 30))
        await asyncio.gather(*both)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_lost_metadata_comes_back(system: Home, gone: Gone) -> None:
    """docs/guides/disaster-recovery.md: orphaned tars are recovered and listed again, complete."""
    bucket, client = system.cellar.bucket, system.garage.client()
    for key in system.garage.bucket_keys(bucket):
        if key.endswith(".metadata.json"):
            await asyncio.to_thread(client.delete_object, Bucket=bucket, Key=key)
    async with a_year_later(system.garage.endpoint) as endpoint:
        printed = await gone.laptop.follow("The list is empty", endpoint=endpoint)
    assert gone.plain_id in printed.split("list home")[-1]
    for backup_id in (gone.plain_id, gone.encrypted_id):
        await gone.laptop.follow("Is it intact?", backup_id)
