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

# Files that contain the version once each. docs/openapi.json has the protocol's version instead.
PLACES = {
    "Cargo.toml": r'^name = "s3-backup-agent"\nversion = "(.+)"$',
    "Cargo.lock": r'^name = "s3-backup-agent"\nversion = "(.+)"$',
    "addon/config.yaml": r'^version: "?([^"\s]+)"?$',
    "custom_components/s3_backup_agent/manifest.json": r'^  "version": "(.+)",?$',
}

# The image's reference, any number of times in any of these files.
IMAGE = re.compile(r"ghcr\.io/s3-backup-agent/s3-backup-agent:(\d+\.\d+\.\d+)")
IMAGE_FILES = ("README.md", "docs/**/*.md", "docker/*.yaml")


def main() -> None:
    """Do what the arguments say."""
    folder, *version = sys.argv[1:]
    if version:
        _write(Path(folder), version[0])
    print(_agreed(Path(folder)))


def _agreed(folder: Path) -> str:
    """Return the version that all files name."""
    found = [(_match(folder, path).group(1), path) for path in PLACES]
    for file in _image_files(folder):
        found += [(it, str(file)) for it in IMAGE.findall(file.read_text())]
    version = found[0][0]
    if any(named != version for named, _ in found):
        lines = [f"  {named}  {path}" for named, path in found]
        sys.exit("\n".join(["These files name different versions:", *lines]))
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
    for file in _image_files(folder):
        file.write_text(IMAGE.sub(lambda it: _with(it, version), file.read_text()))
    changelog.write_text(_replaced(newest, version))


def _image_files(folder: Path) -> list[Path]:
    """Return the files that may name the image."""
    return [file for pattern in IMAGE_FILES for file in sorted(folder.glob(pattern))]


def _match(folder: Path, path: str) -> re.Match[str]:
    """Find the one place of the version in a file."""
    file = folder / path
    if not file.exists():
        sys.exit(f"{path}, which names the version, is missing.")
    matches = list(re.finditer(PLACES[path], file.read_text(), re.MULTILINE))
    if len(matches) != 1:
        sys.exit(f"{path} must name the version once, and does {len(matches)} times.")
    return matches[0]


def _with(match: re.Match[str], version: str) -> str:
    """Return what matched, with another version in the place of the first group."""
    start, end = match.start(1) - match.start(), match.end(1) - match.start()
    return match[0][:start] + version + match[0][end:]


def _replaced(match: re.Match[str], version: str) -> str:
    """Return the whole text of a file with another version in one place."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    return before + _with(match, version) + after


if __name__ == "__main__":
    main()
