"""What buttons and actions do with a location."""

from datetime import datetime
from operator import itemgetter
from typing import Final

from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
import homeassistant.util.dt as dt_util

from .client import AgentError, Backup, Checked, CheckStep, Report, Turn, Verified
from .connection import AgentConnection
from .const import DOMAIN
from .errors import action_error, agent_errors_as

_LONG_AGO: Final = dt_util.utc_from_timestamp(0)


@agent_errors_as(action_error)
async def check(connection: AgentConnection, location_id: str) -> Checked:
    """Try whether a location works."""
    return await connection.client.check_location(location_id)


@agent_errors_as(action_error)
async def require_working(connection: AgentConnection, location_id: str) -> None:
    """Try whether a location works; raises HomeAssistantError when it does not."""
    checked = await check(connection, location_id)
    if not checked["ok"] and (error := failure_of(checked)[1]):
        raise AgentError.of(error)


def failure_of(checked: Checked) -> tuple[CheckStep | None, Report | None]:
    """Return the step that failed, and why."""
    for step in checked["steps"]:
        if not step["ok"]:
            return step, step["error"]
    return None, None


@agent_errors_as(action_error)
async def refresh(connection: AgentConnection, location_id: str) -> list[Backup]:
    """Have the bucket asked for its backups; returns them, the newest first."""
    listing = await connection.client.backups(location_id, refresh=True)
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
    """Return when a backup was made; Home Assistant takes what is no time as well."""
    return dt_util.as_utc(dt_util.parse_datetime(backup["date"]) or _LONG_AGO)


@agent_errors_as(action_error)
async def verify(
    connection: AgentConnection, location_id: str, backup_id: str, *, full: bool
) -> Verified:
    """Look whether a backup is as it was recorded."""
    if "verify" not in connection.info["capabilities"]:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="agent_too_old",
            translation_placeholders={"version": connection.info["version"]},
        )
    return await connection.client.verify(location_id, backup_id, full=full)


def damaged(backup_id: str, verified: Verified) -> HomeAssistantError:
    """Return the error for a backup that is not as it was recorded."""
    problems = "; ".join(problem["detail"] for problem in verified["problems"])
    return HomeAssistantError(
        translation_domain=DOMAIN,
        translation_key="backup_damaged",
        translation_placeholders={"backup_id": backup_id, "details": problems},
    )


@agent_errors_as(action_error)
async def cancel_uploads(connection: AgentConnection, location_id: str) -> None:
    """Cancel the uploads to a location that are under way."""
    uploads = connection.state.uploads_to(location_id)
    if not uploads:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="no_upload"
        )
    for upload in uploads:
        try:
            await connection.client.cancel_upload(upload["upload_id"])
        except AgentError as err:
            # It may have ended by itself meanwhile.
            if err.code != "upload_not_found":
                raise
