"""Tests of the app: its configuration for Supervisor, and the agent inside it."""
