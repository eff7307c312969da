"""A real browser on Home Assistant's own frontend."""
