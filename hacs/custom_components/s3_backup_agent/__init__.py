"""The S3 Backup Agent integration: makes each of an agent's locations a backup location."""

from functools import partial

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import (
    ConfigEntryAuthFailed,
    ConfigEntryNotReady,
    IntegrationError,
)
from homeassistant.helpers import config_validation as cv, device_registry as dr
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.typing import ConfigType

from .agent_log import AgentLog
from .client import AgentError
from .connection import AgentConnection, create_client
from .const import DATA_BACKUP_AGENT_LISTENERS, DOMAIN
from .devices import hand_over, is_known, let_go, show_locations, update_devices
from .errors import translation_of
from .identity import remember
from .issues import note_refusal, remove_all
from .location_reauth import ask_for_token, end_questions
from .locations import registrations_of
from .schedule import Schedule
from .services import async_setup_services
from .watch import LocationWatch

type S3BackupAgentConfigEntry = ConfigEntry[AgentConnection]

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
PLATFORMS = [Platform.BUTTON, Platform.SENSOR]


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the actions, which are there whether the agent is or not."""
    async_setup_services(hass)
    return True


async def async_setup_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> bool:
    """Connect to an agent."""

    @callback
    def notify_backup_listeners() -> None:
        for listener in hass.data.get(DATA_BACKUP_AGENT_LISTENERS, []):
            listener()

    @callback
    def on_locations_changed() -> None:
        if entry.state is ConfigEntryState.LOADED:
            show_locations(hass, entry)
        notify_backup_listeners()

    @callback
    def on_refused(err: AgentError) -> None:
        if err.code == "unauthorized":
            ask_for_token(hass, entry)
        note_refusal(hass, entry, err)

    client = create_client(hass, entry.data)
    entry.async_on_unload(client.close)
    connection = AgentConnection(
        client,
        lambda: registrations_of(entry),
        on_locations_changed,
        on_refused,
    )
    watch = LocationWatch(hass, entry, connection)

    @callback
    def on_entry_changed(change: ConfigEntryChange, changed: ConfigEntry) -> None:
        if changed is entry and change is ConfigEntryChange.UPDATED:
            entry.async_create_task(hass, watch.follow_change(), f"{DOMAIN} locations")

    try:
        await connection.connect()
    except AgentError as err:
        note_refusal(hass, entry, err)
        if err.code == "unauthorized":
            # Home Assistant asks for the token, unless it is asking something already.
            end_questions(hass, entry)
        raise _setup_error(err) from err

    remember(hass, entry, connection.info)
    entry.runtime_data = connection
    entry.async_on_unload(partial(let_go, hass, entry))
    update_devices(hass, entry)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    AgentLog(hass, entry, connection).start()
    await watch.start()
    entry.async_create_background_task(hass, connection.run(), f"{DOMAIN} events")
    entry.async_on_unload(entry.async_on_state_change(notify_backup_listeners))
    # Not an update listener: with one, Home Assistant leaves it to us to reload the entry where its own flows do.
    entry.async_on_unload(
        async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, on_entry_changed)
    )
    return True


async def async_unload_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> bool:
    """Let go of an agent; what set-up began ends with the entry."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> None:
    """Make the agent forget what was registered, if it is there to be told, and let others have the locations."""
    hand_over(hass)
    remove_all(hass, entry)
    await Schedule(hass, entry.entry_id).forget()
    async with create_client(hass, entry.data) as client:
        for location_id in registrations_of(entry):
            try:
                await client.remove_location(location_id)
            except AgentError as err:
                if err.retryable:
                    # It is not there, and would be waited for once more with each location.
                    return


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry, device: dr.DeviceEntry
) -> bool:
    """Let a device be removed whose location is gone, which only a connected agent can tell."""
    return entry.state is ConfigEntryState.LOADED and not is_known(entry, device)


def _setup_error(err: AgentError) -> IntegrationError:
    """Return what Home Assistant should do about an agent that cannot be used."""
    if err.code == "unauthorized":
        return ConfigEntryAuthFailed(**translation_of(err))
    # Whatever else it is, an update of the agent may put it right.
    return ConfigEntryNotReady(**translation_of(err))
