"""Constants of the S3 Backup Agent integration."""

from collections.abc import Callable
from typing import Final

from homeassistant.util.hass_dict import HassKey

DOMAIN: Final = "s3_backup_agent"
TITLE: Final = "S3 Backup Agent"

# Where the README puts the agent's socket.
DEFAULT_ADDRESS: Final = "unix:///run/s3-backup-agent/agent.sock"
# Where an agent is looked for that nobody told of: the README's place, and the one of the app.
USUAL_SOCKETS: Final = (
    "/run/s3-backup-agent/agent.sock",
    "/share/s3_backup_agent/agent.sock",
)

# What an entry's data has beside the address and the token: the agent's own id, and the slug of the app that it is.
CONF_AGENT_ID: Final = "agent_id"
CONF_APP: Final = "app"

# The agent's word for a provider that it knows nothing about, and which has no name.
OTHER: Final = "other"

# The config subentries: a location that is kept in Home Assistant.
SUBENTRY_LOCATION: Final = "location"

DATA_BACKUP_AGENT_LISTENERS: HassKey[list[Callable[[], None]]] = HassKey(
    f"{DOMAIN}.backup_agent_listeners"
)

# Sent when there are other locations, or what is shown of them changed; with the id of the entry.
SIGNAL_LOCATIONS: Final = f"{DOMAIN}_locations_{{}}"
