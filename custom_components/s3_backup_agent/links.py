"""Links to the pages where settings are changed."""

from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from .const import CONF_APP, DOMAIN

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry

# The integration's page, for locations that are stored in Home Assistant.
OWN_PAGE: Final = f"homeassistant://config/integrations/integration/{DOMAIN}"

_DOCUMENTATION: Final = (
    "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/docs/configuration.md"
)


@callback
def agents_configuration(hass: HomeAssistant, entry: ConfigEntry) -> str:
    """Return the link to an agent's own configuration: the app's page, or the documentation."""
    if not (app := entry.data.get(CONF_APP)):
        return _DOCUMENTATION
    # The path of app pages differs between versions of Home Assistant; the device knows it.
    device = dr.async_get(hass).async_get_device(identifiers={("hassio", app)})
    page = device.configuration_url if device else None
    return f"{page or f'homeassistant://config/app/{app}'}/config"
