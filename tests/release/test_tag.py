"""HACS and Home Assistant's Marketplace install the tag, HACS also main; Supervisor reads main."""

from __future__ import annotations

from pathlib import PurePosixPath
import posixpath
import re
from typing import TYPE_CHECKING, Any

from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
import pytest
import yaml

from .conftest import DOMAIN, Scratch, Tree

if TYPE_CHECKING:
    import probatio as vol
else:
    import voluptuous as vol

INTEGRATION = f"custom_components/{DOMAIN}"
LINK = re.compile(r"""(?:\]\(|src="|href=")([^)"\s]+)""")
OWN = "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/"
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)

# hacs/integration, custom_components/hacs/utils/validate.py: HACS_MANIFEST_JSON_SCHEMA.
HACS_JSON = vol.Schema(
    {
        vol.Required("name"): str,
        vol.Optional("content_in_root"): bool,
        vol.Optional("country"): vol.Any(str, [str]),
        vol.Optional("filename"): str,
        vol.Optional("hacs"): str,
        vol.Optional("hide_default_branch"): bool,
        vol.Optional("homeassistant"): str,
        vol.Optional("persistent_directory"): str,
        vol.Optional("render_readme"): bool,
        vol.Optional("zip_release"): bool,
    }
)
# The same file: INTEGRATION_MANIFEST_JSON_SCHEMA.
MANIFEST = vol.Schema(
    {
        vol.Required("codeowners"): list,
        vol.Required("documentation"): vol.Url(),
        vol.Required("domain"): str,
        vol.Required("issue_tracker"): vol.Url(),
        vol.Required("name"): str,
        vol.Required("version"): vol.Coerce(AwesomeVersion),
    },
    extra=vol.ALLOW_EXTRA,
)
# home-assistant/supervisor, supervisor/store/validate.py: SCHEMA_REPOSITORY_CONFIG.
REPOSITORY_YAML = vol.Schema(
    {
        vol.Required("name"): str,
        vol.Optional("url"): vol.Url(),
        vol.Optional("maintainer"): str,
    },
    extra=vol.REMOVE_EXTRA,
)


def below(tree: Tree, folder: str) -> dict[str, bytes]:
    """Return the files of a folder by path."""
    return {
        path.removeprefix(f"{folder}/"): content
        for path, content in tree.files.items()
        if path.startswith(f"{folder}/")
    }


# Before the first release, and for users who choose it, HACS installs main.
EACH = pytest.mark.parametrize("name", ["before", "main", "tag"])


def test_tag_is_main(main: Tree, tag: Tree) -> None:
    """Byte for byte."""
    assert tag.files == main.files


def test_folder_leads_to_the_integration(main: Tree) -> None:
    """HACS follows no link, so the files are at the root."""
    links = below(main, "hacs")
    assert links.pop("README.md")
    assert links == {
        name: f"../{name}".encode() for name in ("custom_components", "hacs.json")
    }


@EACH
def test_hacs_json(scratch: Scratch, name: str) -> None:
    """HACS: validate/hacsjson.py; the oldest Home Assistant is a version."""
    content = HACS_JSON(scratch.tree(name).json("hacs.json"))
    assert not content.get("zip_release")
    assert AwesomeVersion(content["homeassistant"]).valid
    # Once there is a release, HACS offers releases alone.
    assert content["hide_default_branch"]


@EACH
def test_manifest(scratch: Scratch, name: str) -> None:
    """HACS: validate/integration_manifest.py; HA's loader accepts the version."""
    manifest = MANIFEST(scratch.tree(name).json(f"{INTEGRATION}/manifest.json"))
    assert manifest["domain"] == DOMAIN
    expected = scratch.text("current") if name == "before" else scratch.next
    assert manifest["version"] == expected
    AwesomeVersion(manifest["version"], ensure_strategy=AwesomeVersionStrategy.SEMVER)


@EACH
def test_hacs_finds_one_integration(scratch: Scratch, name: str) -> None:
    """HACS: repositories/integration.py uses the first folder; there is only one."""
    tree = scratch.tree(name)
    folders = {path.split("/")[0] for path in below(tree, "custom_components")}
    assert folders == {DOMAIN}


@EACH
def test_brand_images(scratch: Scratch, name: str) -> None:
    """HACS: validate/brands.py looks for this file before the repository of brands."""
    icon = scratch.tree(name).files[f"{INTEGRATION}/brand/icon.png"]
    assert icon.startswith(b"\x89PNG")


@EACH
def test_information_and_licence(scratch: Scratch, name: str) -> None:
    """HACS: validate/information.py and license.py."""
    tree = scratch.tree(name)
    assert tree.files["README.md"]
    assert b"Apache License" in tree.files["LICENSE"]


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", document), re.MULTILINE)
    kept = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def test_documents_lead_somewhere(tag: Tree) -> None:
    """The Marketplace shows the tag's README with pictures; no document has a dead link, nor an unknown anchor."""
    there = {*tag.files}
    there |= {str(it) for path in tag.files for it in PurePosixPath(path).parents}
    texts = {
        path: content.decode()
        for path, content in tag.files.items()
        if path.endswith(".md")
    }
    known = {path: anchors(text) for path, text in texts.items()}
    links = []
    for path, text in texts.items():
        for link in LINK.findall(FENCED.sub("", text).replace(OWN, "/")):
            file, _, anchor = link.partition("#")
            if "://" not in link:
                folder = "" if file.startswith("/") else posixpath.dirname(path)
                target = posixpath.normpath(posixpath.join(folder, file.lstrip("/")))
                links.append((path, target if file else path, anchor))
    assert ("README.md", "docs/pictures/progress.png", "") in links
    assert [link for link in links if link[1] not in there] == []
    unknown = [it for it in links if it[2] and it[2] not in known.get(it[1], {it[2]})]
    assert unknown == []


def test_supervisor_finds_the_repository(main: Tree) -> None:
    """Supervisor: store/data.py, _read_git_repository."""
    assert not {"repository.json", "repository.yml"} & main.files.keys()
    content = REPOSITORY_YAML(yaml.safe_load(main.files["repository.yaml"]))
    assert content["name"]


@pytest.mark.parametrize("name", ["main", "tag"])
def test_supervisor_finds_one_app(scratch: Scratch, name: str) -> None:
    """Supervisor: store/data.py, _find_app_configs, reads every config.yaml outside of hidden folders."""
    found = [
        path
        for path in scratch.tree(name).files
        if (it := PurePosixPath(path)).stem == "config"
        and it.suffix in {".yaml", ".yml", ".json"}
        and not any(part.startswith(".") or part == "rootfs" for part in it.parts)
    ]
    assert found == ["addon/config.yaml"]


def test_supervisor_offers_this_version(main: Tree, scratch: Scratch) -> None:
    """The image's tag is the app's version, for all built architectures."""
    app: dict[str, Any] = yaml.safe_load(main.files["addon/config.yaml"])
    assert app["version"] == scratch.next
    assert app["slug"] == DOMAIN
    assert app["image"] == "ghcr.io/s3-backup-agent/s3-backup-agent"
    assert {*app["arch"]} == {"amd64", "aarch64"}
