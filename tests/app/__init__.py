"""Tests of the app: what Supervisor reads of it, and the agent as it runs there."""
