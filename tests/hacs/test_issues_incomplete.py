"""The repairs issue of incomplete backups."""

from collections.abc import AsyncIterator
import json
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
from lab.sample import pack
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import AgentBackup, Folder
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component

from .agent import LOCATION, Agent, toml_of
from .backups import DATE, streaming
from .home import Settings, Tell, settings_of, shown, until
from .test_issues_damaged import as_shown

KIND = "backup_incomplete"
GZIP = b"\x1f\x8b\x08\x00" + bytes(2000)


def listing_of(**lacking: dict[str, list[str]]) -> dict[str, Any]:
    """Return a listing of backups with what each lacks."""
    backups = [
        {
            "backup_id": backup_id,
            "name": "Nightly",
            "date": DATE,
            "s3_backup_agent": {"inventory": {"complete": not lists, **lists}},
        }
        for backup_id, lists in lacking.items()
    ]
    return {"skipped": [], "backups": [*backups, {"backup_id": "foreign"}]}


def lines(hass: HomeAssistant) -> list[str]:
    """Return the lines of the issue; none without it."""
    issue = shown(hass).get(KIND)
    placeholders = (issue and issue.translation_placeholders) or {"backups": ""}
    return placeholders["backups"].splitlines()


async def test_incomplete_backups_are_named(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """Each incomplete backup is shown with what it lacks, up to a limit."""
    client = loaded.runtime_data.client
    ids = [f"{number:08x}" for number in range(12)]
    folder = {"missing": ["addons_local"], "empty": []}
    with patch.object(client, "backups", side_effect=AgentError("x", "no")) as asked:
        tell(incomplete=ids)
        await until(lambda: asked.call_count)
    assert shown(hass) == {}

    more = {"missing": [f"app_{number}" for number in range(4)]}
    all_lists = {**more, "empty": ["ssl"], "encrypted": ["media"], "not_encrypted": []}
    lacking = {**dict.fromkeys(ids, folder), ids[1]: all_lists}
    listing = listing_of(**lacking, whole={})
    with patch.object(client, "backups", return_value=listing) as asked:
        tell(incomplete=ids)
        await until(lambda: shown(hass))
        tell(incomplete=ids)
        assert asked.call_count == 1
    (issue,) = shown(hass).values()
    assert (issue.translation_key, issue.severity) == (KIND, ir.IssueSeverity.WARNING)
    assert not issue.is_fixable
    assert issue.learn_more_url == "homeassistant://config/backup/settings"
    first = f"- Nightly, {as_shown(DATE)} (`{ids[0]}`): `addons_local`"
    assert lines(hass)[0] == first
    names = "`app_0`, `app_1`, `app_2`, `app_3`, `ssl`, …"
    assert lines(hass)[1].endswith(f"(`{ids[1]}`): {names}")
    assert (len(lines(hass)), lines(hass)[-1]) == (11, "- …")

    tell("storage_unreachable", incomplete=ids)
    assert set(shown(hass)) == {KIND}, "an outage keeps the issue"
    tell(incomplete=None, backups=None)
    assert set(shown(hass)) == {KIND}, "a restarted agent has no list yet"
    tell(incomplete=[])
    assert shown(hass) == {}


async def test_ignored_issue_comes_back_for_another_loss(
    hass: HomeAssistant, loaded: MockConfigEntry, tell: Tell
) -> None:
    """An ignored issue stays ignored while each new backup lacks the same, and comes back for something else."""
    client = loaded.runtime_data.client

    async def found(**lacking: dict[str, list[str]]) -> ir.IssueEntry:
        """Let the agent find these incomplete backups; return the issue."""
        with patch.object(client, "backups", return_value=listing_of(**lacking)):
            tell(incomplete=[*lacking])
            await until(lambda: len(lines(hass)) == len(lacking))
        return shown(hass)[KIND]

    folder = {"missing": ["addons_local"]}
    issue = await found(a=folder)
    assert issue.is_persistent, "what it is about outlives a restart"
    ir.async_ignore_issue(hass, DOMAIN, issue.issue_id, True)
    assert (await found(a=folder, b=folder)).dismissed_version
    assert (await found(b=folder)).dismissed_version
    tell(incomplete=["d"])
    assert shown(hass)[KIND].dismissed_version, "the listing does not name it yet"
    assert (await found(d=folder)).dismissed_version
    other = await found(b=folder, c={"missing": ["core_ssh"]})
    assert other.dismissed_version is None

    del loaded.runtime_data.locations[LOCATION]["incomplete"]
    tell()
    assert shown(hass) == {}, "an earlier agent names none"


@pytest.fixture
async def cellars(
    hass: HomeAssistant, garage: Garage, bucket: str
) -> AsyncIterator[MockConfigEntry]:
    """Return an entry with two locations in one bucket: `plain` and `secret`."""

    def settings(name: str) -> Settings:
        more = {"id": name, "name": f"The {name} cellar", "region": garage.region}
        return settings_of(garage, bucket, prefix=name, **more)

    assert await async_setup_component(hass, "backup", {})
    tables = [toml_of(settings(name)) for name in ("plain", "secret")]
    async with Agent(more="\n".join(tables)) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        yield entry
        assert await hass.config_entries.async_unload(entry.entry_id)


def supervisors_backup() -> tuple[AgentBackup, bytes]:
    """Return a backup with the folder of local apps as Supervisor makes it, and its tar.

    Source: `_folder_save` in `supervisor/backups/backup.py`.
    """
    manifest = {
        "slug": "5e11ab1e",
        "version": 2,
        "name": "Automatic backup",
        "date": DATE,
        "type": "partial",
        "supervisor_version": "2026.11.0",
        "extra": {},
        "homeassistant": {"version": "2026.11.0", "exclude_database": False},
        "addons": [],
        "folders": ["addons/local", "share"],
        "compressed": True,
        "protected": False,
    }
    archives = ("supervisor", "homeassistant", "addons_local", "share")
    content = {f"./{name}.tar.gz": GZIP for name in archives}
    tar = pack({**content, "./backup.json": json.dumps(manifest).encode()})
    backup = AgentBackup(
        addons=[],
        backup_id="5e11ab1e",
        database_included=True,
        date=DATE,
        extra_metadata={},
        folders=[Folder.ADDONS, Folder.SHARE],
        homeassistant_included=True,
        homeassistant_version="2026.11.0",
        name="Automatic backup",
        protected=False,
        size=len(tar),
    )
    return backup, tar


async def test_folder_that_home_assistant_loses_is_named(
    hass: HomeAssistant, cellars: MockConfigEntry
) -> None:
    """Home Assistant's manager encrypts for one of two locations, and loses the folder of local apps there."""
    backup, tar = supervisors_backup()
    manager = hass.data[DATA_MANAGER]
    encrypted = {"plain": False, "secret": True}
    manager.config.update(
        agents={
            f"{DOMAIN}.{name}": {"protected": is_protected}
            for name, is_protected in encrypted.items()
        }
    )
    errors = await manager._async_upload_backup(
        backup=backup,
        agent_ids=[f"{DOMAIN}.{name}" for name in encrypted],
        open_stream=streaming(tar),
        password="a key",
    )
    assert errors == {}
    await until(lambda: shown(hass))
    (issue,) = shown(hass).values()
    assert issue.translation_key == KIND
    assert (issue.data or {})["location_id"] == "secret"
    (line,) = lines(hass)
    about = f"- Automatic backup, {as_shown(DATE)} (`5e11ab1e`): `addons_local`"
    assert line == about

    assert await manager.async_delete_backup("5e11ab1e") == {}
    await until(lambda: not shown(hass))
