"""Backups of a Home Assistant with fields, add-on keys and folders that this one does not have."""

from dataclasses import asdict, dataclass, replace
import json
from typing import Any, override

import pytest

from custom_components.s3_backup_agent.parse import parse_backup
from homeassistant.components.backup import AddonInfo, AgentBackup, BackupAgent, Folder
from homeassistant.core import HomeAssistant

from .agent import Agent
from .backups import collect, make_backup, streaming, upload


@dataclass(frozen=True, kw_only=True)
class LaterBackup(AgentBackup):
    """What a later Home Assistant may upload."""

    later: dict[str, Any]

    @override
    def as_dict(self) -> dict[str, Any]:
        """Return a dict representation of this backup."""
        own = asdict(self)
        cloud = own.pop("later")
        addon = {"slug": "core_ssh", "name": "SSH", "version": "9", "color": [1, 2.5]}
        return {**own, **cloud, "addons": [addon], "folders": ["media", "attic"]}


async def test_later_backup_round_trip(agent: Agent, backup_agent: BackupAgent) -> None:
    """A backup of a later Home Assistant is stored as it is, and this one lists, downloads and deletes it."""
    backup, tar = make_backup()
    cloud = {"copies": {"region": None}, "tags": ["a", 1e300]}
    later = LaterBackup(**vars(backup), later=cloud)
    await upload(backup_agent, later, streaming(tar))

    (metadata,) = [path for path in agent.files() if path.suffix == ".json"]
    stored = json.loads(metadata.read_text())
    del stored["s3_backup_agent"]
    assert stored == later.as_dict()

    expected = replace(
        backup,
        addons=[AddonInfo(name="SSH", slug="core_ssh", version="9")],
        folders=[Folder.MEDIA],
    )
    assert await backup_agent.async_list_backups() == [expected]
    assert await backup_agent.async_get_backup(backup.backup_id) == expected
    stream = await backup_agent.async_download_backup(backup.backup_id)
    assert await collect(stream) == tar
    await backup_agent.async_delete_backup(backup.backup_id)
    assert agent.files() == []


async def test_unknown_values_are_replaced_by_known_ones(hass: HomeAssistant) -> None:
    """Values that this Home Assistant does not accept are left out, each by itself."""
    await hass.config.async_set_time_zone("Europe/Berlin")
    backup, _ = make_backup()
    plain = backup.as_dict()
    uploaded = {"s3_backup_agent": {"uploaded_at": "2026-11-20T04:00:00Z"}}
    for changes, expected in (
        ({"folders": None}, {"folders": []}),
        ({"folders": ["ssl", {"name": "x"}, 7]}, {"folders": [Folder.SSL]}),
        ({"addons": {"a": 1}}, {"addons": []}),
        (
            {"addons": ["a", {"name": "b"}, {"slug": "c", "version": 3}]},
            {"addons": [AddonInfo(name=None, slug="c", version=None)]},
        ),
        ({"protected": "aes256"}, {"protected": True}),
        ({"protected": None}, {"protected": False}),
        ({"extra_metadata": []}, {"extra_metadata": {}}),
        ({"date": "20261120T044712Z"}, {"date": "20261120T044712Z"}),
        ({"date": "2026-11-20 04:47"}, {"date": "2026-11-20T04:47:00+01:00"}),
        ({"date": "last night", **uploaded}, {"date": "2026-11-20T04:00:00Z"}),
        (
            {"homeassistant_version": {"core": 1}, "homeassistant_included": 1},
            {"homeassistant_version": None, "homeassistant_included": False},
        ),
    ):
        parsed = parse_backup({**plain, **changes})
        assert parsed == replace(backup, **expected), changes

    required = {key: plain[key] for key in ("backup_id", "date", "name", "size")}
    assert parse_backup(required) == AgentBackup(
        **required,
        addons=[],
        database_included=False,
        extra_metadata={},
        folders=[],
        homeassistant_included=False,
        homeassistant_version=None,
        protected=False,
    )
    for date in ("", "last night", None):
        with pytest.raises(ValueError, match="invalid date"):
            parse_backup({**plain, "date": date})
