"""Tests of the integration, in Home Assistant's own test library and against the real agent."""
