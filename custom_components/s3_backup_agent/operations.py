"""Operations on a location, shared by buttons and actions."""

from datetime import datetime
from operator import itemgetter
from typing import Final

from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
import homeassistant.util.dt as dt_util

from .client import AgentError, Backup, Checked, CheckStep, Report, Turn, Verified
from .const import DOMAIN
from .coordinator import AgentCoordinator
from .errors import action_error, agent_errors_as
from .texts import finding_text

_EPOCH: Final = dt_util.utc_from_timestamp(0)


@agent_errors_as(action_error)
async def check(coordinator: AgentCoordinator, location_id: str) -> Checked:
    """Check a location."""
    return await coordinator.client.check_location(location_id)


@agent_errors_as(action_error)
async def require_working(coordinator: AgentCoordinator, location_id: str) -> None:
    """Check a location; raises HomeAssistantError if it fails."""
    checked = await check(coordinator, location_id)
    if not checked["ok"] and (error := failure_of(checked)[1]):
        raise AgentError.of(error)


def failure_of(checked: Checked) -> tuple[CheckStep | None, Report | None]:
    """Return the failed step and its error."""
    for step in checked["steps"]:
        if not step["ok"]:
            return step, step["error"]
    return None, None


@agent_errors_as(action_error)
async def refresh(coordinator: AgentCoordinator, location_id: str) -> list[Backup]:
    """Return a location's backups from the bucket, newest first."""
    listing = await coordinator.client.backups(location_id, refresh=True)
    if listing["stale"] and (error := listing["error"]):
        raise AgentError.of(error)
    turn = Turn()
    dated: list[tuple[datetime, Backup]] = []
    for backup in listing["backups"]:
        await turn.give_way()
        dated.append((_date_of(backup), backup))
    dated.sort(key=itemgetter(0), reverse=True)
    return [backup for _, backup in dated]


def _date_of(backup: Backup) -> datetime:
    """Return a backup's date; Home Assistant accepts invalid ones."""
    return dt_util.as_utc(dt_util.parse_datetime(backup["date"]) or _EPOCH)


@agent_errors_as(action_error)
async def verify(
    coordinator: AgentCoordinator, location_id: str, backup_id: str, *, full: bool
) -> Verified:
    """Verify a backup."""
    if "verify" not in coordinator.info["capabilities"]:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="agent_too_old",
            translation_placeholders={"version": coordinator.info["version"]},
        )
    return await coordinator.client.verify(location_id, backup_id, full=full)


async def verify_newest(coordinator: AgentCoordinator, location_id: str) -> None:
    """Download and verify the newest backup; raises HomeAssistantError if it is damaged."""
    backups = await refresh(coordinator, location_id)
    if not backups:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="no_backup"
        )
    backup_id = backups[0]["backup_id"]
    verified = await verify(coordinator, location_id, backup_id, full=True)
    if not verified["ok"]:
        raise damaged(coordinator, backup_id, verified)


def damaged(
    coordinator: AgentCoordinator, backup_id: str, verified: Verified
) -> HomeAssistantError:
    """Return the error for a damaged backup."""
    problems = " ".join(
        finding_text(coordinator.hass, problem) for problem in verified["problems"]
    )
    return HomeAssistantError(
        translation_domain=DOMAIN,
        translation_key="backup_damaged",
        translation_placeholders={"backup_id": backup_id, "details": problems},
    )


@agent_errors_as(action_error)
async def cancel_uploads(coordinator: AgentCoordinator, location_id: str) -> None:
    """Cancel the uploads to a location."""
    uploads = coordinator.data.uploads_to(location_id)
    if not uploads:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="no_upload"
        )
    for upload in uploads:
        try:
            await coordinator.client.cancel_upload(upload["upload_id"])
        except AgentError as err:
            # The upload may have ended meanwhile.
            if err.code != "upload_not_found":
                raise
