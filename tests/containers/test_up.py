"""docker/up with an imitation of Docker: which project it starts."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OF_VERSION_0_1 = "GARAGE_RPC_SECRET=1\nGARAGE_KEY_ID=GK2\nGARAGE_SECRET_KEY=3\n"
NAME = "COMPOSE_PROJECT_NAME=s3-backup-agent"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of docker/, beside the integration."""
    ignored = shutil.ignore_patterns("__pycache__", ".env", "homeassistant")
    for name in ("docker", "custom_components"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
    return tmp_path / "docker"


def start(copy: Path) -> str:
    """Run docker/up; return the last arguments of Docker."""
    called = copy.parent / "called"
    docker = copy.parent / "bin" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(f'#!/bin/sh\necho "$*" >{called}\n')
    docker.chmod(0o755)
    path = f"{docker.parent}:{os.environ['PATH']}"
    subprocess.run([copy / "up"], env={**os.environ, "PATH": path}, check=True)
    return called.read_text().strip()


def test_new_setup_names_its_project_in_env(copy: Path) -> None:
    """Compose reads the project's name from .env, and later starts keep the file."""
    assert start(copy) == "compose up --detach"
    first = (copy / ".env").read_text()
    assert NAME in first.splitlines()
    start(copy)
    assert (copy / ".env").read_text() == first


def test_setup_of_version_0_1_keeps_its_project(copy: Path) -> None:
    """A project without a name in .env keeps the folder's, which its volumes have: compose.yaml has none either."""
    (copy / ".env").write_text(OF_VERSION_0_1)
    assert start(copy) == "compose up --detach"
    assert (copy / ".env").read_text() == OF_VERSION_0_1
    lines = (copy / "compose.yaml").read_text().splitlines()
    assert not [line for line in lines if line.startswith("name:")]
