"""All of it happens in a network namespace of the tests' own."""

from lab.network import leave_the_machines_network
import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    """Leave the machine's network; this process, the agent and the server only talk to each other."""
    leave_the_machines_network()
