"""Errors of the agent as errors of Home Assistant."""

import json

from custom_components.s3_backup_agent import errors
from custom_components.s3_backup_agent.client import AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup import BackupAgentError
from homeassistant.core import HomeAssistant

from .agent import REPOSITORY

INTEGRATION = REPOSITORY / "custom_components" / DOMAIN


def test_error_codes_are_translated() -> None:
    """Each error code of the protocol that can reach a user has a translation with details."""
    strings = json.loads((INTEGRATION / "translations" / "en.json").read_text())
    for key in errors.TRANSLATED | {"agent_error"}:
        assert "{details}" in strings["exceptions"][key]["message"]
    openapi = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
    codes = set(openapi["components"]["schemas"]["Code"]["enum"])
    # These need a change of the code, not of a setting.
    assert codes - errors.TRANSLATED == {
        "invalid_request",
        "not_found",
        "upload_not_found",
    }


async def test_unknown_error_code_keeps_details(hass: HomeAssistant) -> None:
    """An unknown error code of a newer agent keeps its details."""
    error = errors.backup_error(AgentError("brand_new", "Something", hint="Do it."))
    assert type(error) is BackupAgentError
    assert error.translation_key == "agent_error"
    assert error.translation_placeholders == {"details": "Something. Do it."}
