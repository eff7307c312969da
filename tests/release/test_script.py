"""`scripts/release` refuses invalid releases, and is atomic."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib

import pytest

from .conftest import Scratch


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-version", "'one.two' is no version"),
        ("older", "is older than"),
        ("wrong-branch", "this is 'topic': git switch main"),
        ("dirty", "README.md"),
        ("no-entry", "addon/CHANGELOG.md says nothing of"),
        ("no-binaries", "s3-backup-agent-amd64"),
        ("wrong-machine", "s3-backup-agent-arm64 is not for arm64"),
        ("old-binaries", "Build it of this version"),
        ("again", "is released"),
        ("other-version", "and not"),
        ("disagreement", "These files name different versions"),
    ],
)
def test_refuses(scratch: Scratch, name: str, words: str) -> None:
    """The message names the problem, and nothing has changed."""
    attempt = scratch.attempt(name)
    assert attempt.code == 1, attempt.output
    assert words in attempt.output
    assert attempt.is_unchanged


def test_check_agrees(scratch: Scratch) -> None:
    """All files name one version, with or without the tag's letter."""
    attempt = scratch.attempt("check")
    assert (attempt.code, attempt.output) == (0, scratch.text("current"))


def test_dry_run_changes_nothing(scratch: Scratch) -> None:
    """It builds everything, shows checksums and changes, and keeps nothing."""
    attempt = scratch.attempt("dry-run")
    assert attempt.code == 0, attempt.output
    assert attempt.is_unchanged
    assert re.findall(r"^[0-9a-f]{64}  (.+)$", attempt.output, re.MULTILINE) == [
        "s3-backup-agent-amd64",
        "s3-backup-agent-arm64",
        "s3-backup-agent.cdx.json",
        "s3-backup-agent.service",
    ]
    assert "custom_components/s3_backup_agent/manifest.json" in attempt.output


def test_interruption_leaves_nothing(scratch: Scratch) -> None:
    """Ctrl-C in the middle leaves no commit, tag, folder or temporary file."""
    attempt = scratch.attempt("interrupted")
    assert attempt.code != 0
    assert attempt.is_unchanged, attempt.output


def test_release_is_one_commit_and_one_tag(scratch: Scratch) -> None:
    """The commit is on main and changes only the version; the tag points to it."""
    attempt = scratch.attempt("release")
    assert attempt.code == 0, attempt.output
    assert scratch.text("tag.type") == "tag"
    tagged, main = scratch.text("commits").splitlines()
    assert tagged == main
    image = f"ghcr.io/s3-backup-agent/s3-backup-agent:{scratch.text('current')}"
    assert {*scratch.text("changed").splitlines()} == {
        "Cargo.lock",
        "Cargo.toml",
        "addon/CHANGELOG.md",
        "addon/config.yaml",
        "custom_components/s3_backup_agent/manifest.json",
        # And every documented image name.
        *(
            path
            for path, content in scratch.tree("before").files.items()
            if path.startswith(("README.md", "docs/", "docker/"))
            and image.encode() in content
        ),
    }


def test_interrupted_release_resumes(scratch: Scratch) -> None:
    """If main has the version already, the same command creates the tag without a second commit."""
    attempt = scratch.attempt("resumed")
    assert attempt.code == 0, attempt.output
    assert scratch.text("resumed.commits") == scratch.text("commits")


def test_nothing_but_the_version_changes(scratch: Scratch) -> None:
    """The old version becomes the new one, line by line."""
    before, after = scratch.tree("before").files, scratch.tree("main").files
    old, new = scratch.text("current").encode(), scratch.next.encode()
    assert before.keys() == after.keys()
    for path in before:
        pairs = zip(before[path].splitlines(), after[path].splitlines(), strict=True)
        for was, is_now in (pair for pair in pairs if pair[0] != pair[1]):
            assert is_now == was.replace(old, new).replace(b"Unreleased", new)


def test_files_match_their_checksums(scratch: Scratch) -> None:
    """Four files, and a matching list."""
    folder = scratch.folder / "dist"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: checksum for checksum, name in map(str.split, lines)}
    assert {*listed, "SHA256SUMS"} == {path.name for path in folder.iterdir()}
    for name, checksum in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum


def test_bill_of_materials_names_all_dependencies(scratch: Scratch) -> None:
    """Each dependency with version, licence and checksum from the lock file; no path of the build machine."""
    text = (scratch.folder / "dist" / "s3-backup-agent.cdx.json").read_text()
    listed = json.loads(text)
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.5")
    assert listed["metadata"]["component"]["version"] == scratch.next
    lock = tomllib.loads(scratch.tree("main").files["Cargo.lock"].decode())
    locked = {
        (package["name"], package["version"], package.get("checksum"))
        for package in lock["package"]
    }
    found = {
        (it["name"], it["version"], it["hashes"][0]["content"])
        for it in listed["components"]
    }
    assert found <= locked
    assert {"rustls", "aws-lc-sys", "object_store", "tokio"} <= {it[0] for it in found}
    # A dependency of tests alone.
    assert "rcgen" not in {it[0] for it in found}
    assert all(it.get("licenses") for it in listed["components"])
    assert str(scratch.folder) not in text


def test_notes_are_the_newest_entry(scratch: Scratch) -> None:
    """GitHub and the app show the same notes."""
    notes = scratch.attempt("notes").output
    changelog = scratch.tree("main").files["addon/CHANGELOG.md"].decode()
    assert notes
    assert f"## {scratch.next}\n\n{notes}\n" in f"{changelog}\n"


@pytest.mark.parametrize("name", ["unit", "unit-security"])
def test_unit_is_valid_and_hardened(scratch: Scratch, name: str) -> None:
    """Systemd itself says so."""
    attempt = scratch.attempt(name)
    assert attempt.code == 0, attempt.output
