"""The automations in docs/guides/home-assistant.md."""

from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import yaml

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .agent import REPOSITORY, Agent
from .backups import make_backup, streaming

DOCUMENT = REPOSITORY / "docs" / "guides" / "home-assistant.md"
BLOCKS = DOCUMENT.read_text().split("```yaml\n")[1:]
EXAMPLES = {
    example["alias"]: example
    for example in (yaml.safe_load(block.split("```")[0]) for block in BLOCKS)
}


async def run(hass: HomeAssistant, alias: str) -> list[str]:
    """Run an example's actions; return the notifications they create."""
    assert await async_setup_component(hass, "persistent_notification", {})
    assert await async_setup_component(
        hass, "automation", {"automation": EXAMPLES[alias]}
    )
    entity_id = f"automation.{alias.lower().replace(' ', '_')}"
    assert hass.states.get(entity_id) is not None
    await hass.services.async_call(
        "automation",
        "trigger",
        {"entity_id": entity_id, "skip_condition": True},
        blocking=True,
    )
    await hass.async_block_till_done()
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": entity_id}, blocking=True
    )
    notifications: dict[str, Any] = hass.data.get("persistent_notification", {})
    return [it["message"] for it in notifications.values()]


@pytest.fixture
async def cellar(hass: HomeAssistant) -> Any:
    """Return the agent of a location named Cellar."""
    async with Agent(locations={"cellar": "Cellar"}) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await async_setup_component(hass, "backup", {})
        assert await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        yield agent
        await hass.config_entries.async_unload(entry.entry_id)


async def test_trouble_example_notifies(hass: HomeAssistant, cellar: Agent) -> None:
    """The first example sends a notification with the status."""
    button = {"entity_id": "button.cellar_refresh_backup_list"}
    await hass.services.async_call("button", "press", button, blocking=True)
    assert await run(hass, "Backup storage in trouble") == ["The cellar says: ok"]


async def test_verify_example_reports_damage(
    hass: HomeAssistant, cellar: Agent
) -> None:
    """The second example notifies only of a damaged backup."""
    platform = hass.data[DATA_MANAGER].backup_agents[f"{DOMAIN}.cellar"]
    backup, tar = make_backup()
    await platform.async_upload_backup(
        open_stream=streaming(tar), backup=backup, on_progress=_ignore
    )
    assert await run(hass, "Verify the newest backup") == []
    (path,) = (path for path in cellar.files() if path.suffix == ".tar")
    _damage(path)
    (message,) = await run(hass, "Verify the newest backup")
    assert message.startswith("The newest backup is damaged: ")


def _damage(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _ignore(*, bytes_uploaded: int, **kwargs: Any) -> None:
    """Ignore the progress."""
