"""System health of the S3 Backup Agent integration."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.translation import async_translate_state

from .client import AgentError
from .const import DOMAIN
from .coordinator import S3BackupAgentConfigEntry, create_client
from .sensor import OK, status_of

if TYPE_CHECKING:
    from homeassistant.components.system_health import SystemHealthRegistration


_REACH_SECONDS: Final = 5

# A value, or an error.
type Value = str | int | dict[str, str]


@callback
def async_register(hass: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Register system health callbacks."""
    register.async_register_info(_info, f"/config/integrations/integration/{DOMAIN}")


async def _info(hass: HomeAssistant) -> dict[str, Any]:
    """Return the rows: those of all agents, then one for each location."""
    entries: list[S3BackupAgentConfigEntry] = hass.config_entries.async_entries(
        DOMAIN, include_ignore=False, include_disabled=False
    )
    coordinators = [
        entry.runtime_data
        for entry in entries
        if entry.state is ConfigEntryState.LOADED
    ]
    rows: dict[str, Any] = {
        "agent_version": _distinct(it.info["version"] for it in coordinators),
        "protocol": _distinct(str(it.info["protocol"]) for it in coordinators),
        "locations": sum(len(it.locations) for it in coordinators),
    }
    locations = [
        (it, own.data.uploads_to(it["id"]))
        for own in coordinators
        for it in own.locations.values()
    ]
    names = Counter([*rows, *(location["name"] for location, _ in locations)])
    for location, uploads in locations:
        name = location["name"]
        if names[name] > 1:
            name = f"{name} ({location['id']})"
        rows[name] = _status(hass, status_of(location, uploads))
    # Created last: an exception before would leave a coroutine that is never awaited.
    return {"can_reach_agent": _reach(hass, entries), **rows}


def _distinct(values: Iterable[str]) -> str:
    """Return distinct values as text."""
    return ", ".join(dict.fromkeys(values)) or "-"


def _status(hass: HomeAssistant, status: str | None) -> Value:
    """Return a location's status, translated as its sensor's state."""
    if status is None:
        return "-"
    word = async_translate_state(hass, status, Platform.SENSOR, DOMAIN, "status", None)
    return word if status == OK else {"type": "failed", "error": word}


async def _reach(
    hass: HomeAssistant, entries: Iterable[S3BackupAgentConfigEntry]
) -> Value:
    """Return whether all agents answer, or which do not."""
    problems = await asyncio.gather(*(_problem(hass, entry) for entry in entries))
    if found := [problem for problem in problems if problem]:
        return {"type": "failed", "error": "; ".join(found)}
    return "ok"


async def _problem(hass: HomeAssistant, entry: S3BackupAgentConfigEntry) -> str | None:
    """Return why an agent does not answer, None if it does."""
    address = entry.data[CONF_ADDRESS]
    try:
        async with (
            create_client(hass, entry.data) as client,
            asyncio.timeout(_REACH_SECONDS),
        ):
            await client.info()
    except AgentError as err:
        return f"{address}: {err.code}"
    except TimeoutError:
        return f"{address}: timeout"
    return None
