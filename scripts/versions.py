"""The version of a release: it stands in several files and is one.

python versions.py FOLDER           prints it; fails when the files do not agree
python versions.py FOLDER 1.2.0     writes it, and gives what the changelog holds as unreleased this heading
"""

from pathlib import Path
import re
import sys

CHANGELOG = "addon/CHANGELOG.md"
UNRELEASED = "Unreleased"
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)

# Where the version stands: exactly one match in each file. openapi.json has the protocol's version, which is another.
PLACES = {
    "Cargo.toml": r'^name = "s3-backup-agent"\nversion = "(.+)"$',
    "Cargo.lock": r'^name = "s3-backup-agent"\nversion = "(.+)"$',
    "addon/config.yaml": r'^version: "?([^"\s]+)"?$',
    "hacs/custom_components/s3_backup_agent/manifest.json": r'^  "version": "(.+)",?$',
}


def main() -> None:
    """Do what the arguments say."""
    folder, *version = sys.argv[1:]
    if version:
        _write(Path(folder), version[0])
    print(_agreed(Path(folder)))


def _agreed(folder: Path) -> str:
    """Return the version that all files name."""
    found = {path: _match(folder, path).group(1) for path in PLACES}
    if len(set(found.values())) > 1:
        lines = [f"  {version}  {path}" for path, version in found.items()]
        sys.exit("\n".join(["These files name different versions:", *lines]))
    version = found["Cargo.toml"]
    newest = next(HEADING.finditer((folder / CHANGELOG).read_text()), None)
    if newest is None or newest[1] not in {UNRELEASED, version}:
        sys.exit(f"{CHANGELOG} must begin with '## {version}' or '## {UNRELEASED}'.")
    return version


def _write(folder: Path, version: str) -> None:
    """Write a version into all files, and into the changelog as the heading of its newest entry."""
    changelog = folder / CHANGELOG
    text = changelog.read_text()
    newest = next(HEADING.finditer(text), None)
    entry = HEADING.split(text)[2] if newest else ""
    if newest is None or newest[1] not in {UNRELEASED, version} or not entry.strip():
        sys.exit(
            f"{CHANGELOG} says nothing of {version}: write what is new at its top, "
            f"below '## {UNRELEASED}', and commit that."
        )
    for path in PLACES:
        match = _match(folder, path)
        (folder / path).write_text(_replaced(match, version))
    changelog.write_text(_replaced(newest, version))


def _match(folder: Path, path: str) -> re.Match[str]:
    """Find the one place of the version in a file."""
    file = folder / path
    if not file.exists():
        sys.exit(f"{path}, which names the version, is missing.")
    matches = list(re.finditer(PLACES[path], file.read_text(), re.MULTILINE))
    if len(matches) != 1:
        sys.exit(f"{path} must name the version once, and does {len(matches)} times.")
    return matches[0]


def _replaced(match: re.Match[str], version: str) -> str:
    """Return a match's whole text with another version in the place of the first group."""
    start, end = match.span(1)
    return match.string[:start] + version + match.string[end:]


if __name__ == "__main__":
    main()
