"""Loaded before pytest's other plugins, as `-p tests.hacs.early`: makes Home Assistant and its test library agree."""

# First of all: Home Assistant refuses to start once anything else has imported httpx.
from homeassistant.components import logger
from homeassistant.components.logger import helpers

# The test library is one release behind the newest Home Assistant, which has moved this.
MOVED = "_clear_logger_overwrites"
if not hasattr(logger, MOVED):
    setattr(logger, MOVED, getattr(helpers, MOVED))
