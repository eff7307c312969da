"""Actions of the S3 Backup Agent integration."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import ATTR_DEVICE_ID, ATTR_MODE
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import config_validation as cv, device_registry as dr
from homeassistant.helpers.service import async_register_admin_service

from . import operations
from .client import Backup, Checked, Verified
from .const import DOMAIN
from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry
from .devices import location_of

if TYPE_CHECKING:
    import probatio as vol
else:
    # Home Assistant 2026.3 has voluptuous; later versions alias it to probatio.
    import voluptuous as vol

ATTR_BACKUP_ID: Final = "backup_id"
MODE_QUICK: Final = "quick"
MODE_FULL: Final = "full"

_LOCATION: dict[Any, Any] = {vol.Required(ATTR_DEVICE_ID): cv.string}
_BACKUP: dict[Any, Any] = {
    **_LOCATION,
    vol.Required(ATTR_BACKUP_ID): cv.string,
    vol.Optional(ATTR_MODE, default=MODE_QUICK): vol.In([MODE_QUICK, MODE_FULL]),
}


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""

    def register(
        name: str,
        action: Callable[[ServiceCall], Coroutine[Any, Any, ServiceResponse]],
        supports_response: SupportsResponse,
        schema: dict[Any, Any] = _LOCATION,
    ) -> None:
        # Home Assistant's own backup actions are for administrators, too.
        async_register_admin_service(
            hass,
            DOMAIN,
            name,
            action,
            schema=vol.Schema(schema),
            supports_response=supports_response,
        )

    register("cancel_upload", _cancel_upload, SupportsResponse.NONE)
    register("check_location", _check_location, SupportsResponse.OPTIONAL)
    register("refresh", _refresh, SupportsResponse.OPTIONAL)
    register("verify_backup", _verify_backup, SupportsResponse.OPTIONAL, _BACKUP)


async def _cancel_upload(call: ServiceCall) -> None:
    """Cancel the uploads to a location."""
    await operations.cancel_uploads(*_target(call))


async def _check_location(call: ServiceCall) -> ServiceResponse:
    """Check a location; without a response, a failed check is an error."""
    if not call.return_response:
        await operations.require_working(*_target(call))
        return None
    return _check_response(await operations.check(*_target(call)))


async def _refresh(call: ServiceCall) -> ServiceResponse:
    """List a location's backups from the bucket."""
    return _refresh_response(await operations.refresh(*_target(call)))


async def _verify_backup(call: ServiceCall) -> ServiceResponse:
    """Verify a backup; without a response, damage is an error."""
    backup_id = call.data[ATTR_BACKUP_ID]
    full = call.data[ATTR_MODE] == MODE_FULL
    coordinator, location_id = _target(call)
    verified = await operations.verify(coordinator, location_id, backup_id, full=full)
    if not verified["ok"] and not call.return_response:
        raise operations.damaged(coordinator, backup_id, verified)
    return _verify_response(verified)


def _check_response(checked: Checked) -> ServiceResponse:
    """Return the response for a check."""
    step, error = operations.failure_of(checked)
    return {
        "ok": checked["ok"],
        "failed_step": step["step"] if step else None,
        "problem": error["code"] if error else None,
        "details": error["detail"] if error else None,
        "hint": error["hint"] if error else None,
        "steps": [
            {"step": it["step"], "ok": it["ok"], "duration_ms": it["duration_ms"]}
            for it in checked["steps"]
        ],
    }


def _refresh_response(backups: list[Backup]) -> ServiceResponse:
    """Return the response for a list of backups."""
    keys = ("backup_id", "name", "date", "size")
    return {"backups": [{key: backup[key] for key in keys} for backup in backups]}


def _verify_response(verified: Verified) -> ServiceResponse:
    """Return the response for a verification."""
    keys = ("ok", "mode", "size_bytes", "read_bytes", "sha256", "problems")
    known = {key: verified.get(key) for key in keys}
    return cast(ServiceResponse, {**known, "notes": verified.get("notes", [])})


def _target(call: ServiceCall) -> tuple[AgentCoordinator, str]:
    """Return the coordinator and the location id of a call; raises ServiceValidationError."""
    device_id = call.data[ATTR_DEVICE_ID]
    registry = dr.async_get(call.hass)
    entries: list[S3BackupAgentConfigEntry] = call.hass.config_entries.async_entries(
        DOMAIN
    )
    for entry in entries:
        for device in dr.async_entries_for_config_entry(registry, entry.entry_id):
            if device.id == device_id and (location_id := location_of(device)):
                if entry.state is not ConfigEntryState.LOADED:
                    raise ServiceValidationError(
                        translation_domain=DOMAIN, translation_key="not_connected"
                    )
                return entry.runtime_data, location_id
    raise ServiceValidationError(
        translation_domain=DOMAIN,
        translation_key="unknown_device",
        translation_placeholders={"device_id": device_id},
    )
