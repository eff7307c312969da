"""`scripts/release`: refuses what would be wrong, and makes all or nothing."""

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
    """It says what is wrong, and has changed nothing."""
    attempt = scratch.attempt(name)
    assert attempt.code == 1, attempt.output
    assert words in attempt.output
    assert attempt.is_unchanged


def test_check_agrees(scratch: Scratch) -> None:
    """All files name one version, with or without the letter of a tag before it."""
    attempt = scratch.attempt("check")
    assert (attempt.code, attempt.output) == (0, scratch.text("current"))


def test_dry_run_changes_nothing(scratch: Scratch) -> None:
    """It makes all of it, shows the checksums and what the tag adds, and keeps nothing."""
    attempt = scratch.attempt("dry-run")
    assert attempt.code == 0, attempt.output
    assert attempt.is_unchanged
    assert re.findall(r"^[0-9a-f]{64}  (.+)$", attempt.output, re.MULTILINE) == [
        "s3-backup-agent-amd64",
        "s3-backup-agent-arm64",
        "s3-backup-agent.cdx.json",
    ]
    assert "custom_components/s3_backup_agent\nhacs.json\n" in f"{attempt.output}\n"


def test_interruption_leaves_nothing(scratch: Scratch) -> None:
    """Ctrl-C in the middle: no commit, no tag, no folder, no temporary files."""
    attempt = scratch.attempt("interrupted")
    assert attempt.code != 0
    assert attempt.is_unchanged, attempt.output


def test_release_is_one_commit_and_one_tag(scratch: Scratch) -> None:
    """The commit is on main and changes the version alone; the tag stands on it."""
    attempt = scratch.attempt("release")
    assert attempt.code == 0, attempt.output
    assert scratch.text("tag.type") == "tag"
    parent, main = scratch.text("parents").splitlines()
    assert parent == main
    image = f"ghcr.io/s3-backup-agent/s3-backup-agent:{scratch.text('current')}"
    assert {*scratch.text("changed").splitlines()} == {
        "Cargo.lock",
        "Cargo.toml",
        "addon/CHANGELOG.md",
        "addon/config.yaml",
        "hacs/custom_components/s3_backup_agent/manifest.json",
        # And wherever people are told which image to get.
        *(
            path
            for path, content in scratch.tree("before").files.items()
            if path.startswith(("README.md", "docs/", "docker/"))
            and image.encode() in content
        ),
    }


def test_goes_on_where_it_ended(scratch: Scratch) -> None:
    """The version was on main already: the same command makes the tag, and no second commit."""
    attempt = scratch.attempt("resumed")
    assert attempt.code == 0, attempt.output
    assert scratch.text("resumed.parents") == scratch.text("parents")


def test_nothing_but_the_version_changes(scratch: Scratch) -> None:
    """Line by line, what was the old version is the new one."""
    before, after = scratch.tree("before").files, scratch.tree("main").files
    old, new = scratch.text("current").encode(), scratch.next.encode()
    assert before.keys() == after.keys()
    for path in before:
        pairs = zip(before[path].splitlines(), after[path].splitlines(), strict=True)
        for was, is_now in (pair for pair in pairs if pair[0] != pair[1]):
            assert is_now == was.replace(old, new).replace(b"Unreleased", new)


def test_files_are_what_their_checksums_say(scratch: Scratch) -> None:
    """Three files, and a list that fits them."""
    folder = scratch.folder / "dist"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: checksum for checksum, name in map(str.split, lines)}
    assert {*listed, "SHA256SUMS"} == {path.name for path in folder.iterdir()}
    for name, checksum in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum


def test_list_names_what_is_in_the_binary(scratch: Scratch) -> None:
    """Each dependency with version, licence and checksum, as it is locked; no path of the machine that built it."""
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
    # Only the tests use it.
    assert "rcgen" not in {it[0] for it in found}
    assert all(it.get("licenses") for it in listed["components"])
    assert str(scratch.folder) not in text


def test_notes_are_the_newest_entry(scratch: Scratch) -> None:
    """What GitHub shows of the release is what the app shows."""
    notes = scratch.attempt("notes").output
    changelog = scratch.tree("main").files["addon/CHANGELOG.md"].decode()
    assert notes
    assert f"## {scratch.next}\n\n{notes}\n" in f"{changelog}\n"
