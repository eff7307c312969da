"""Shared fixtures: figures, and a server for buckets."""

pytest_plugins = ["lab.fixtures"]
