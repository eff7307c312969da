"""The pages where something is changed."""

from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from .const import CONF_APP, DOMAIN

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry

# Home Assistant's own page of this integration, where locations that are kept there are changed.
OWN_PAGE: Final = f"homeassistant://config/integrations/integration/{DOMAIN}"

_DOCUMENTATION: Final = (
    "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/docs/configuration.md"
)


@callback
def agents_configuration(hass: HomeAssistant, entry: ConfigEntry) -> str:
    """Return where an agent's own configuration is changed: the app's page, else what explains the file."""
    if not (app := entry.data.get(CONF_APP)):
        return _DOCUMENTATION
    # The pages of apps have moved between versions of Home Assistant, which knows where they are.
    device = dr.async_get(hass).async_get_device(identifiers={("hassio", app)})
    page = device.configuration_url if device else None
    return f"{page or f'homeassistant://config/app/{app}'}/config"
