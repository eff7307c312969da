"""Home Assistant's own Marketplace installs the release's tag; only GitHub is imitated."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from aiohttp import web
from aiohttp.test_utils import TestServer
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import pytest_socket

from homeassistant.components.lovelace.const import LOVELACE_DATA
from homeassistant.components.marketplace import profiles
from homeassistant.components.marketplace.base import MarketplaceManager
from homeassistant.components.marketplace.coordinator import (
    MarketplaceUpdateCoordinator,
)
from homeassistant.components.marketplace.enums import RepositoryCategory
from homeassistant.components.marketplace.exceptions import AppRepositoryError
from homeassistant.components.marketplace.repositories.base import RepositoryArchive
from homeassistant.components.marketplace.repositories.integration import (
    IntegrationRepository,
)
from homeassistant.core import HomeAssistant
from homeassistant.loader import async_get_custom_components

from .conftest import DOMAIN, Scratch, Tree

REPOSITORY = "s3-backup-agent/s3-backup-agent"
ID = "4711"


@pytest.fixture
def hass_config_dir(tmp_path: Path) -> str:
    """Return an empty configuration folder for Home Assistant."""
    return str(tmp_path)


@pytest.fixture
async def github(scratch: Scratch) -> AsyncIterator[str]:
    """Serve the release's tag and main, like GitHub's archives, single files and API (docs.github.com/rest)."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    tag = f"v{scratch.next}"
    trees = {tag: scratch.tree("tag"), "main": scratch.tree("main")}

    async def archive(request: web.Request) -> web.Response:
        return web.Response(body=trees[tag].archive)

    async def raw(request: web.Request) -> web.Response:
        return web.Response(body=trees[tag].files[request.match_info["path"]])

    async def repository(request: web.Request) -> web.Response:
        known = {"id": int(ID), "full_name": REPOSITORY, "default_branch": "main"}
        return web.json_response(known | {"archived": False, "has_issues": True})

    async def releases(request: web.Request) -> web.Response:
        release = {"tag_name": tag, "draft": False, "prerelease": False, "assets": []}
        return web.json_response([release])

    async def tree(request: web.Request) -> web.Response:
        found = RepositoryArchive(trees[request.match_info["ref"]].archive).tree
        entries = [{"path": entry.path, "type": entry.type} for entry in found]
        return web.json_response({"tree": entries})

    async def contents(request: web.Request) -> web.Response:
        content = trees[request.query["ref"]].files[request.match_info["path"]]
        return web.json_response({"content": b64encode(content).decode()})

    async def branch(request: web.Request) -> web.Response:
        return web.json_response({"commit": {"sha": "0" * 40}})

    app = web.Application()
    api = f"/repos/{REPOSITORY}"
    app.router.add_get(api, repository)
    app.router.add_get(f"{api}/releases", releases)
    app.router.add_get(f"{api}/git/trees/{{ref}}", tree)
    app.router.add_get(f"{api}/contents/{{path:.+}}", contents)
    app.router.add_get(f"{api}/branches/main", branch)
    app.router.add_get(f"/{REPOSITORY}/archive/refs/tags/{tag}.zip", archive)
    app.router.add_get(f"/{REPOSITORY}/{tag}/{{path:.+}}", raw)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


@pytest.fixture
async def manager(hass: HomeAssistant, github: str) -> MarketplaceManager:
    """Return the Marketplace, connected to our server instead of GitHub."""
    hass.data[LOVELACE_DATA] = cast(Any, SimpleNamespace(resource_mode="storage"))
    entry = MockConfigEntry(domain="marketplace")
    entry.add_to_hass(hass)
    profile = profiles.DownloadProfile(
        id="default",
        operator="tests",
        api=github,
        github=github,
        raw=github,
        catalog=github,
    )
    with patch.dict(profiles.PROFILES, {profile.id: profile}):
        manager = MarketplaceManager(hass, entry)
    manager.coordinators["integration"] = MarketplaceUpdateCoordinator()
    return manager


def installed(hass: HomeAssistant) -> dict[str, bytes]:
    """Return the integration's files in Home Assistant's configuration folder."""
    folder = Path(hass.config.path("custom_components", DOMAIN))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def ours(main: Tree) -> dict[str, bytes]:
    """Return the integration's files in this repository."""
    prefix = f"custom_components/{DOMAIN}/"
    return {
        path.removeprefix(prefix): content
        for path, content in main.files.items()
        if path.startswith(prefix)
    }


async def test_installs_the_tag(
    hass: HomeAssistant, manager: MarketplaceManager, scratch: Scratch, main: Tree
) -> None:
    """One click in the catalog installs all files, and Home Assistant's loader finds them without a restart."""
    repository = IntegrationRepository(manager, REPOSITORY)
    repository.data.id, repository.data.domain = ID, DOMAIN
    repository.data.last_version, repository.data.releases = f"v{scratch.next}", True
    manager.repositories.register(repository, default=True)
    async with asyncio.timeout(20):
        await repository.async_install_repository()
    assert installed(hass) == ours(main)
    assert repository.data.installed_version == f"v{scratch.next}"
    assert not repository.pending_restart
    integration = (await async_get_custom_components(hass))[DOMAIN]
    assert str(integration.version) == scratch.next
    assert integration.config_flow


async def test_add_from_link(
    hass: HomeAssistant, manager: MarketplaceManager, scratch: Scratch, main: Tree
) -> None:
    """*Add from link*, as in the README: recognised as an integration and installed."""
    for category in RepositoryCategory:
        manager.enable_category(category)
        manager.coordinators[category] = MarketplaceUpdateCoordinator()
    async with asyncio.timeout(20):
        (category,) = await manager.async_detect_categories(REPOSITORY)
        assert category is RepositoryCategory.INTEGRATION
        assert not await manager.async_register_repository(REPOSITORY, category)
        repository = manager.repositories.get_by_full_name(REPOSITORY)
        assert repository is not None
        assert repository.display_name == "S3 Backup Agent"
        await repository.async_install_repository()
    assert installed(hass) == ours(main)
    assert repository.data.installed_version == f"v{scratch.next}"


@pytest.mark.parametrize("name", ["before", "main", "tag"])
async def test_repository_is_an_integration(
    manager: MarketplaceManager, scratch: Scratch, name: str
) -> None:
    """The Marketplace finds it, although the same repository is one of apps for Supervisor."""
    repository = IntegrationRepository(manager, REPOSITORY)
    repository.tree = RepositoryArchive(scratch.tree(name).archive).tree
    repository.treefiles = [entry.path for entry in repository.tree]
    repository.try_resolve_content()
    assert repository.content.path.remote == f"custom_components/{DOMAIN}"


async def test_integration_below_a_folder_is_not_found(
    manager: MarketplaceManager, scratch: Scratch
) -> None:
    """The Marketplace reads such a repository as one of apps: the reason for the files at the root."""
    repository = IntegrationRepository(manager, REPOSITORY)
    repository.tree = [
        entry
        for entry in RepositoryArchive(scratch.tree("main").archive).tree
        if not entry.path.startswith("custom_components")
    ]
    repository.treefiles = [entry.path for entry in repository.tree]
    with pytest.raises(AppRepositoryError):
        repository.try_resolve_content()
