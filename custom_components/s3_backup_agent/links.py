"""Links to the pages where settings are changed."""

from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from .const import CONF_APP, DOMAIN

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry

# For links in a dialog: the page with *Set up backups*, and the one that says when and where to back up.
BACKUP_OVERVIEW: Final = "/config/backup/overview"
BACKUP_SETTINGS: Final = "/config/backup/settings"
# The integration's page, for locations that are stored in Home Assistant.
OWN_PAGE: Final = f"homeassistant://config/integrations/integration/{DOMAIN}"

# Supervisor's integration, which has a device for each app.
_SUPERVISOR: Final = "hassio"

_DOCUMENTATION: Final = (
    "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/docs/configuration.md"
)


@callback
def agents_configuration(hass: HomeAssistant, entry: ConfigEntry) -> str:
    """Return the link to an agent's own configuration: the app's page, or the documentation."""
    if not (app := entry.data.get(CONF_APP)):
        return _DOCUMENTATION
    # The path of app pages differs between versions of Home Assistant; the device knows it.
    registry = dr.async_get(hass)
    pages = (
        device.configuration_url
        for supervisor in hass.config_entries.async_entries(_SUPERVISOR)
        for device in dr.async_entries_for_config_entry(registry, supervisor.entry_id)
        if (_SUPERVISOR, app) in device.identifiers
    )
    return f"{next(pages, None) or f'homeassistant://config/app/{app}'}/config"
