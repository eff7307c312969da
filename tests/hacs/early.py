"""Plugin `-p tests.hacs.early`: adapts the test library to the newest Home Assistant, before other plugins load."""

# The first import: Home Assistant refuses to start if httpx is imported before.
from homeassistant.components import logger
from homeassistant.components.logger import helpers

# The newest Home Assistant moved a function that the test library uses.
MOVED = "_clear_logger_overwrites"
if not hasattr(logger, MOVED):
    setattr(logger, MOVED, getattr(helpers, MOVED))
