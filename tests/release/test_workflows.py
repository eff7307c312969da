"""The workflows on GitHub: valid, with minimal permissions, and in step with the scripts."""

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
    """Return a workflow; YAML reads the key `on` as true."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in content.items()}


def steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_workflow_matches_schema(path: Path) -> None:
    """SchemaStore's schema, shipped with check-jsonschema, accepts the workflow."""
    jsonschema.validate(load(path), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_workflow_passes_security_audit(path: Path) -> None:
    """Zizmor reports nothing: no injection, no leftover credentials, nothing unpinned."""
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
def test_permissions_are_minimal(path: Path) -> None:
    """The default is none; jobs read, and write only for their purpose. Every job has a timeout."""
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        writes = {key for key, right in job["permissions"].items() if right == "write"}
        assert writes == WRITES.get((path.name, name), set())
        assert job["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_actions_are_pinned(path: Path) -> None:
    """Actions are pinned by commit, with a version beside it, and to one commit everywhere."""
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert uses
    for action, name in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # (v\d+\.\d+\.\d+|main|master)", name), action
    assert len({action for action, _ in uses}) == len(
        {action.split("@")[0] for action, _ in uses}
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=IDS)
def test_commands_are_valid(path: Path) -> None:
    """Bash parses them, and each named script of the repository is executable."""
    for run in [step["run"] for step in steps(path) if "run" in step]:
        subprocess.run(["bash", "-n"], input=run, text=True, check=True)
        for script in re.findall(r"(?<![\w/])((?:\.ci|scripts|tests)/[\w/-]+)", run):
            assert (ROOT / script).stat().st_mode & 0o111, script


def test_release_publishes_all_architectures_and_the_app_image() -> None:
    """The release builds both architectures, and one image with the app's name."""
    release = load(next(path for path in WORKFLOWS if path.name == "release.yaml"))
    matrix = release["jobs"]["build"]["strategy"]["matrix"]["include"]
    built = [job["architecture"] for job in matrix]
    script = (ROOT / "scripts" / "release").read_text()
    assert f"ARCHITECTURES=({' '.join(built)})" in script
    app = yaml.safe_load((ROOT / "addon" / "config.yaml").read_text())
    assert release["env"]["IMAGE"] == app["image"]


def test_matrix_runs_every_suite_once() -> None:
    """The matrix and `scripts/test` have the same suites; `quick` selects from others, `nightly` has its own job."""
    jobs = load(ROOT / ".github" / "workflows" / "ci.yaml")["jobs"]
    matrices = [job["strategy"]["matrix"] for job in jobs.values() if "strategy" in job]
    run = [
        suite
        for matrix in matrices
        for suites in matrix["suites"]
        for suite in suites.split()
    ]
    script = (ROOT / "scripts" / "test").read_text()
    suites = set(re.findall(r"^suite_(\w+)\(\)", script, re.MULTILINE)) - {"quick"}
    nightly = [step["run"] for step in jobs["nightly"]["steps"] if "run" in step]
    assert "scripts/test nightly" in nightly
    assert sorted(run) == sorted(suites - {"nightly"})


def test_jobs_cache_their_parts() -> None:
    """Every job of the matrix, the checks and the build restore a cache before their command."""
    jobs = load(ROOT / ".github" / "workflows" / "ci.yaml")["jobs"]
    for name in ("check", "agent", "rust", "suites"):
        steps = jobs[name]["steps"]
        cached = [
            number
            for number, step in enumerate(steps)
            if step.get("uses", "").startswith("actions/cache@")
        ]
        run = [number for number, step in enumerate(steps) if "run" in step]
        assert cached, name
        assert min(cached) < min(run), name
