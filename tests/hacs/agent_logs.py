"""The agent's log in Home Assistant's."""

import pytest

from custom_components.s3_backup_agent.const import DOMAIN

INTEGRATION = f"custom_components.{DOMAIN}"


LOGGER = f"{INTEGRATION}.agent"


def lines_of(caplog: pytest.LogCaptureFixture, level: int = 0) -> list[str]:
    """Return the messages of the agent's logger, of one level or all."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == LOGGER and level in (0, record.levelno)
    ]
