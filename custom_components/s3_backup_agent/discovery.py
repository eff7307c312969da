"""Discovery of running agents: Supervisor's apps, and sockets at their usual paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeassistant.const import CONF_ADDRESS, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.helpers.hassio import is_hassio

from .client import InvalidAddressError, normalize_address
from .const import CONF_APP, DOMAIN, TITLE, USUAL_SOCKETS


@dataclass(frozen=True, kw_only=True)
class FoundAgent:
    """An agent that may be running."""

    address: str
    token: str | None = None
    app: str | None = None
    name: str = TITLE

    @property
    def data(self) -> dict[str, str]:
        """Return the entry data."""
        known = {
            CONF_ADDRESS: self.address,
            CONF_TOKEN: self.token,
            CONF_APP: self.app,
        }
        return {key: value for key, value in known.items() if value}


def announced(
    config: Mapping[str, Any], app: str, name: str = TITLE
) -> FoundAgent | None:
    """Return the agent of an app's discovery message, None without a valid address."""
    found = config.get("address") or config.get("socket")
    try:
        address = normalize_address(str(found or ""))
    except InvalidAddressError:
        return None
    return FoundAgent(address=address, token=config.get(CONF_TOKEN), app=app, name=name)


async def find_agents(hass: HomeAssistant) -> list[FoundAgent]:
    """Return the agents that may be running, apps first."""
    apps = await _apps(hass)
    known = {found.address for found in apps}
    sockets = await hass.async_add_executor_job(_sockets)
    return apps + [found for found in sockets if found.address not in known]


async def _apps(hass: HomeAssistant) -> list[FoundAgent]:
    """Return the agents that Supervisor discovered."""
    if not is_hassio(hass):
        return []
    # The library is installed only under Supervisor.
    from aiohasupervisor import SupervisorError  # noqa: PLC0415

    from homeassistant.components.hassio import get_supervisor_client  # noqa: PLC0415

    try:
        messages = await get_supervisor_client(hass).discovery.list()
    except SupervisorError, LookupError, TypeError, ValueError:
        # The library refuses an answer of another form with these.
        return []
    agents = (
        announced(message.config, message.addon)
        for message in messages
        if message.service == DOMAIN
    )
    return [found for found in agents if found is not None]


async def is_app_removed(hass: HomeAssistant, data: Mapping[str, Any]) -> bool | None:
    """Return whether the app of an entry's data is no longer installed; None if Supervisor does not tell."""
    app = data.get(CONF_APP)
    if app is None or not is_hassio(hass):
        return False
    # The library is installed only under Supervisor.
    from aiohasupervisor import SupervisorError  # noqa: PLC0415

    from homeassistant.components.hassio import get_supervisor_client  # noqa: PLC0415

    try:
        installed = await get_supervisor_client(hass).addons.list()
    except SupervisorError, LookupError, TypeError, ValueError:
        # As above.
        return None
    return all(it.slug != app for it in installed)


def _sockets() -> list[FoundAgent]:
    """Return the agents with a socket at a usual path."""
    return [
        FoundAgent(address=normalize_address(path))
        for path in USUAL_SOCKETS
        if Path(path).is_socket()
    ]
