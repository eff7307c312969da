"""Constants of the S3 Backup Agent integration."""

from collections.abc import Callable
from typing import Final

from homeassistant.util.hass_dict import HassKey

DOMAIN: Final = "s3_backup_agent"
TITLE: Final = "S3 Backup Agent"

# The socket's path in the installation guide.
DEFAULT_ADDRESS: Final = "unix:///run/s3-backup-agent/agent.sock"
# Where the config flow looks for a running agent: the guide's path and the app's.
USUAL_SOCKETS: Final = (
    "/run/s3-backup-agent/agent.sock",
    "/share/s3_backup_agent/agent.sock",
)

# Entry data beside address and token: the agent's own id, and the slug of the app it runs in.
CONF_AGENT_ID: Final = "agent_id"
CONF_APP: Final = "app"

# The agent's id for a provider without a preset.
OTHER: Final = "other"

# The type of the config subentries: a location that is stored in Home Assistant.
SUBENTRY_LOCATION: Final = "location"

DATA_BACKUP_AGENT_LISTENERS: HassKey[list[Callable[[], None]]] = HassKey(
    f"{DOMAIN}.backup_agent_listeners"
)

# Dispatcher signal for added, removed or renamed locations; formatted with the entry id.
SIGNAL_LOCATIONS: Final = f"{DOMAIN}_locations_{{}}"
