"""Constants of the S3 Backup Agent integration."""

from collections.abc import Callable
from typing import Final

from homeassistant.util.hass_dict import HassKey

DOMAIN: Final = "s3_backup_agent"
TITLE: Final = "S3 Backup Agent"

# Where the README puts the agent's socket.
DEFAULT_ADDRESS: Final = "unix:///run/s3-backup-agent/agent.sock"

# The config subentries: a location that is kept in Home Assistant.
SUBENTRY_LOCATION: Final = "location"

DATA_BACKUP_AGENT_LISTENERS: HassKey[list[Callable[[], None]]] = HassKey(
    f"{DOMAIN}.backup_agent_listeners"
)
