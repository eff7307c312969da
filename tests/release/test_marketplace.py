"""Home Assistant's own Marketplace installs the release's tag; only GitHub is a stand-in."""

from __future__ import annotations

import asyncio
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
    """Give Home Assistant an empty configuration folder."""
    return str(tmp_path)


@pytest.fixture
async def github(scratch: Scratch) -> AsyncIterator[str]:
    """Serve the tag's archive and its single files, at the paths that GitHub has them."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    tag = f"v{scratch.next}"
    tree = scratch.tree("tag")

    async def archive(request: web.Request) -> web.Response:
        return web.Response(body=tree.archive)

    async def raw(request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if path not in tree.files:
            raise web.HTTPNotFound
        return web.Response(body=tree.files[path])

    app = web.Application()
    app.router.add_get(f"/{REPOSITORY}/archive/refs/tags/{tag}.zip", archive)
    app.router.add_get(f"/{REPOSITORY}/{tag}/{{path:.+}}", raw)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


@pytest.fixture
async def manager(hass: HomeAssistant, github: str) -> MarketplaceManager:
    """Return the Marketplace, which takes our server for GitHub."""
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


def repository_of(manager: MarketplaceManager, version: str) -> IntegrationRepository:
    """Return the repository as the Marketplace's catalog would name it."""
    repository = IntegrationRepository(manager, REPOSITORY)
    repository.data.id = ID
    repository.data.domain = DOMAIN
    repository.data.last_version = version
    repository.data.releases = True
    manager.repositories.register(repository, default=True)
    return repository


async def test_installs_the_tag(
    hass: HomeAssistant, manager: MarketplaceManager, scratch: Scratch, main: Tree
) -> None:
    """One click: the integration's files are there, whole, and Home Assistant's loader finds it without a restart."""
    version = f"v{scratch.next}"
    repository = repository_of(manager, version)
    async with asyncio.timeout(20):
        await repository.async_install_repository()
    folder = Path(hass.config.path("custom_components", DOMAIN))
    installed = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    prefix = f"hacs/custom_components/{DOMAIN}/"
    assert installed == {
        path.removeprefix(prefix): content
        for path, content in main.files.items()
        if path.startswith(prefix)
    }
    assert repository.data.installed_version == version
    assert not repository.pending_restart
    integration = (await async_get_custom_components(hass))[DOMAIN]
    assert str(integration.version) == scratch.next
    assert integration.config_flow
    assert repository.display_name == "S3 Backup Agent"


async def test_main_alone_is_an_app(
    hass: HomeAssistant, manager: MarketplaceManager, scratch: Scratch
) -> None:
    """Without the tag's tree, the Marketplace takes the repository for one of apps: why the tag is made."""
    repository = repository_of(manager, f"v{scratch.next}")
    archive = RepositoryArchive(scratch.tree("main").archive)
    repository.tree = archive.tree
    repository.treefiles = [entry.path for entry in archive.tree]
    with pytest.raises(AppRepositoryError):
        repository.try_resolve_content()
