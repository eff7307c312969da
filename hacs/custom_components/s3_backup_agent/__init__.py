"""The S3 Backup Agent integration: makes each of an agent's locations a backup location."""

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
)
from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import (
    ConfigEntryAuthFailed,
    ConfigEntryError,
    ConfigEntryNotReady,
    IntegrationError,
)
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .client import UNSUPPORTED_PROTOCOL, AgentError
from .connection import AgentConnection, create_client
from .const import DATA_BACKUP_AGENT_LISTENERS, DOMAIN
from .errors import translation_of
from .locations import registrations_of

type S3BackupAgentConfigEntry = ConfigEntry[AgentConnection]


async def async_setup_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> bool:
    """Connect to an agent."""

    @callback
    def notify_backup_listeners() -> None:
        for listener in hass.data.get(DATA_BACKUP_AGENT_LISTENERS, []):
            listener()

    client = create_client(hass, entry.data[CONF_ADDRESS], entry.data.get(CONF_TOKEN))
    entry.async_on_unload(client.close)
    connection = AgentConnection(
        client,
        lambda: registrations_of(entry),
        notify_backup_listeners,
        lambda: entry.async_start_reauth(hass),
    )

    @callback
    def on_entry_changed(change: ConfigEntryChange, changed: ConfigEntry) -> None:
        if changed is entry and change is ConfigEntryChange.UPDATED:
            entry.async_create_task(hass, connection.update(), f"{DOMAIN} locations")

    try:
        await connection.connect()
    except AgentError as err:
        raise _setup_error(err) from err

    entry.runtime_data = connection
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
    return True


async def async_remove_entry(
    hass: HomeAssistant, entry: S3BackupAgentConfigEntry
) -> None:
    """Make the agent forget what was registered, if it is there to be told."""
    address, token = entry.data[CONF_ADDRESS], entry.data.get(CONF_TOKEN)
    async with create_client(hass, address, token) as client:
        for location_id in registrations_of(entry):
            try:
                await client.remove_location(location_id)
            except AgentError as err:
                if err.retryable:
                    # It is not there, and would be waited for once more with each location.
                    return


def _setup_error(err: AgentError) -> IntegrationError:
    """Return what Home Assistant should do about an agent that cannot be used."""
    if err.code == "unauthorized":
        return ConfigEntryAuthFailed(**translation_of(err))
    if err.code == UNSUPPORTED_PROTOCOL:
        return ConfigEntryError(**translation_of(err))
    return ConfigEntryNotReady(**translation_of(err))
