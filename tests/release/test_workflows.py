"""The workflows on GitHub: of the right form, with no more rights than they need, and with scripts that are there."""

from __future__ import annotations

from importlib.resources import files
import json
from pathlib import Path
import re
import subprocess
import sysconfig
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
IDS = [path.name for path in WORKFLOWS]
SCHEMA = (
    files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json"
)
WRITES = {
    ("release.yaml", "image"): {"packages", "id-token", "attestations"},
    ("release.yaml", "publish"): {"contents", "id-token", "attestations"},
}


def load(path: Path) -> dict[str, Any]:
    """Return a workflow; YAML takes the key `on` for a word that means yes."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in content.items()}


def steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_form(path: Path) -> None:
    """GitHub knows all keys (SchemaStore's schema, which check-jsonschema brings)."""
    jsonschema.validate(load(path), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_audit(path: Path) -> None:
    """Zizmor finds nothing: no injection, no credentials left behind, nothing unpinned."""
    zizmor = Path(sysconfig.get_path("scripts")) / "zizmor"
    command = [
        str(zizmor),
        "--offline",
        "--no-progress",
        "--persona",
        "pedantic",
        str(path),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_rights(path: Path) -> None:
    """Nothing by default; each job reads, and writes only what it is for. None runs for ever."""
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        writes = {key for key, right in job["permissions"].items() if right == "write"}
        assert writes == WRITES.get((path.name, name), set())
        assert job["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_actions_are_pinned(path: Path) -> None:
    """By a commit, with its name beside it; one action is one commit everywhere."""
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert uses
    for action, name in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # (v\d+\.\d+\.\d+|main|master)", name), action
    assert len({action for action, _ in uses}) == len(
        {action.split("@")[0] for action, _ in uses}
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_commands(path: Path) -> None:
    """Bash understands them, and each script of ours that they name is there to be run."""
    for run in [step["run"] for step in steps(path) if "run" in step]:
        subprocess.run(["bash", "-n"], input=run, text=True, check=True)
        for script in re.findall(r"(?<![\w/])((?:\.ci|scripts|tests)/[\w/-]+)", run):
            assert (ROOT / script).stat().st_mode & 0o111, script


def test_release_is_made_of_what_is_made_here() -> None:
    """Both architectures, one image with the name that the app has."""
    release = load(next(path for path in WORKFLOWS if path.name == "release.yaml"))
    matrix = release["jobs"]["build"]["strategy"]["matrix"]["include"]
    built = [job["architecture"] for job in matrix]
    script = (ROOT / "scripts" / "release").read_text()
    assert f"ARCHITECTURES=({' '.join(built)})" in script
    app = yaml.safe_load((ROOT / "addon" / "config.yaml").read_text())
    assert release["env"]["IMAGE"] == app["image"]
