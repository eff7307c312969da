"""All tests run in their own network namespace."""

from lab.network import leave_the_machines_network
import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    """Leave the machine's network; tests, agent and server reach only each other."""
    leave_the_machines_network()
