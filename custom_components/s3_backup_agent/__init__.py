"""The S3 Backup Agent integration."""

from functools import partial

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryAuthFailed, ConfigEntryNotReady
from homeassistant.helpers import config_validation as cv, device_registry as dr
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.typing import ConfigType

from .agent_log import AgentLog
from .client import AgentError
from .const import DATA_BACKUP_AGENT_LISTENERS, DOMAIN
from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry, create_client
from .devices import (
    is_known,
    release_locations,
    take_over_locations,
    update_devices,
    update_locations,
)
from .discovery import is_app_removed
from .errors import translation_of
from .identity import remember
from .issues import note_app, note_away, note_connected, note_refusal, remove_all
from .issues.schedule import Schedule
from .issues.watcher import IssueWatcher
from .location import registrations_of
from .location.reauth import abort_flows, start_token_reauth
from .next_backup import NextBackup
from .services import async_setup_services

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
PLATFORMS = [Platform.BINARY_SENSOR, Platform.BUTTON, Platform.SENSOR]


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Set up the actions, and delete the issues of entries that are disabled."""

    @callback
    def on_entry_changed(change: ConfigEntryChange, entry: ConfigEntry) -> None:
        if entry.domain == DOMAIN and entry.disabled_by:
            remove_all(hass, entry)

    async_setup_services(hass)
    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, on_entry_changed)
    return True


async def async_setup_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> bool:
    """Set up an agent from a config entry."""

    @callback
    def notify_backup_listeners() -> None:
        for listener in hass.data.get(DATA_BACKUP_AGENT_LISTENERS, []):
            listener()

    @callback
    def on_locations_changed() -> None:
        if entry.state is ConfigEntryState.LOADED:
            update_locations(hass, entry)
        notify_backup_listeners()

    @callback
    def on_refused(err: AgentError) -> None:
        if err.code == "unauthorized":
            start_token_reauth(hass, entry)
        note_refusal(hass, entry, err)

    client = create_client(hass, entry.data)
    entry.async_on_unload(client.close)
    coordinator = AgentCoordinator(
        hass, entry, client, on_locations_changed, on_refused
    )
    watcher = IssueWatcher(hass, entry, coordinator)

    @callback
    def on_entry_changed(change: ConfigEntryChange, changed: ConfigEntry) -> None:
        if changed is entry and change is ConfigEntryChange.UPDATED:
            entry.async_create_task(
                hass, watcher.follow_change(), f"{DOMAIN} locations"
            )

    try:
        await coordinator.connect()
    except AgentError as err:
        note_refusal(hass, entry, err)
        is_removed = await is_app_removed(hass, entry.data)
        note_app(hass, entry, is_removed)
        if not is_removed:
            note_away(hass, entry, err)
        if err.code == "unauthorized":
            # Home Assistant starts the flow for the token only if no other reauth flow is open.
            abort_flows(hass, entry)
            raise ConfigEntryAuthFailed(**translation_of(err)) from err
        # Includes errors that an update of the agent solves.
        raise ConfigEntryNotReady(**translation_of(err)) from err

    note_connected(hass, entry)
    remember(hass, entry, coordinator.info)
    entry.runtime_data = coordinator
    entry.async_on_unload(partial(release_locations, hass, entry))
    update_devices(hass, entry)
    # Before the entities, whose first states it knows.
    await watcher.start()
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    AgentLog(hass, entry, coordinator).start()
    NextBackup(hass, entry, coordinator).start()
    entry.async_create_background_task(hass, coordinator.run(), f"{DOMAIN} events")
    entry.async_on_unload(entry.async_on_state_change(notify_backup_listeners))
    # No update listener: with one, Home Assistant's own flows no longer reload the entry.
    entry.async_on_unload(
        async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, on_entry_changed)
    )
    return True


async def async_unload_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> bool:
    """Unload a config entry."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> None:
    """Remove the entry's registrations from the agent, if it answers."""
    take_over_locations(hass)
    remove_all(hass, entry)
    await Schedule(hass, entry.entry_id).remove()
    async with create_client(hass, entry.data) as client:
        for location_id in registrations_of(entry):
            try:
                await client.remove_location(location_id)
            except AgentError as err:
                if err.retryable:
                    # The agent is away; each further location would wait for it again.
                    return


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry, device: dr.DeviceEntry
) -> bool:
    """Return whether a device can be removed: the connected agent no longer has its location."""
    return entry.state is ConfigEntryState.LOADED and not is_known(entry, device)
