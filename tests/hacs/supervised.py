"""Helpers for discovery by Supervisor and the flow by hand."""

from collections.abc import Callable, Coroutine
from typing import Any

from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.config_entries import SOURCE_USER
from homeassistant.core import HomeAssistant

from .agent import TOKEN, Agent

SLUG = "local_s3_backup_agent"


type Announce = Callable[..., Coroutine[None, None, None]]


def message(agent: Agent, token: str = TOKEN) -> dict[str, str]:
    """Return an app's discovery message."""
    return {"socket": str(agent.socket), "token": token}


async def submit(hass: HomeAssistant, flow: Any, **fields: str) -> Any:
    """Fill in a form, or choose from a menu."""
    result = await hass.config_entries.flow.async_configure(flow["flow_id"], fields)
    await hass.async_block_till_done()
    return result


async def begin(hass: HomeAssistant) -> Any:
    """Start the flow by hand."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )


def entries(hass: HomeAssistant) -> list[Any]:
    """Return the integration's entries."""
    return hass.config_entries.async_entries(DOMAIN)
