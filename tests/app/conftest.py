"""The parts that the tests of the page share."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lab.app import App
from lab.browser import launch_options
from lab.garage import Garage
from lab.ingress import ADDRESS, HOST
from lab.sample import make_sample
from playwright.async_api import Browser, async_playwright, expect
import pytest_asyncio

from .page import BUCKET, TIMEOUT_MS

UPLOAD_LIMIT = "3 MiB"  # Slow enough to watch a small upload.
NIGHTS = 13


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def garage() -> AsyncIterator[Garage]:
    """Start an S3 server with a bucket."""
    async with Garage() as garage:
        await garage.create_bucket(BUCKET)
        yield garage


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def app(garage: Garage) -> AsyncIterator[App]:
    """Start the app: a location with backups, one with a missing bucket, and one with an invalid setting."""
    cellar = {
        "id": "cellar",
        "name": "Garage in the cellar",
        "provider": "garage",
        "endpoint": garage.endpoint,
        "region": garage.region,
        "bucket": BUCKET,
        "prefix": "homeassistant",
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
        "part_size": "5 MiB",
        "concurrency": 1,
        "upload_limit": UPLOAD_LIMIT,
    }
    attic = {**cellar, "id": "attic", "name": "Attic", "bucket": "no-such-bucket"}
    wrong = {**cellar, "id": "wrong", "endpoint": "nonsense", "upload_limit": "fast"}
    options = {"log_level": "info", "locations": [cellar, attic, wrong]}
    async with App(options, page_from=["127.0.0.1", ADDRESS]) as app:
        for night in range(NIGHTS):
            date = f"2026-11-{night + 1:02}T04:47:12.345678+01:00"
            backup, tar = make_sample(
                f"night{night}", 20_000 * (night + 1), f"Automatic backup {night}", date
            )
            assert await app.upload("cellar", backup, tar) == 200
        yield app


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Start the browser."""
    expect.set_options(timeout=TIMEOUT_MS)
    options = launch_options(f"--host-resolver-rules=MAP {HOST} 127.0.0.1")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options)
        yield browser
        await browser.close()
