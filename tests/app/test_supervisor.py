"""The agent under Supervisor: discovery always works, and invalid options do not stop it."""

import asyncio
from collections.abc import Callable
import stat
from typing import Any

from lab.app import SLUG, TOKEN, App
from lab.garage import Garage
from lab.process import free_port
from lab.supervisor import Supervisor
import pytest

NOTHING = {"log_level": "info", "locations": []}
SECRET = "aSecretAccessKeyThatMustNotLeak"
GOOD = {
    "name": "Cellar",
    "provider": "garage",
    "endpoint": "http://127.0.0.1:3900",
    "region": "garage",
    "bucket": "backups",
    "access_key_id": "GK0123",
    "secret_access_key": SECRET,
}


async def until(condition: Callable[[], Any]) -> None:
    """Wait for an expected condition."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_agent_announces_itself_at_start() -> None:
    """Home Assistant finds socket and token in the message; only root may open the socket."""
    async with (
        Supervisor(tokens={TOKEN: SLUG}) as supervisor,
        App(NOTHING, supervisor=supervisor.host) as app,
    ):
        await until(lambda: supervisor.messages)
        (message,) = supervisor.messages
        assert (message["addon"], message["service"]) == (SLUG, "s3_backup_agent")
        assert message["config"] == {"socket": str(app.socket), "token": app.token}
        assert len(app.token) >= 32
        modes = [
            stat.S_IMODE(path.stat().st_mode)
            for path in (app.socket, app.socket.parent, app.data / "token")
        ]
        assert modes == [0o600, 0o700, 0o600]
        assert (await app.get("/v1/info"))["problems"] == []
        assert (await app.get("/v1/locations"))["locations"] == []
        assert "announced the agent to Home Assistant" in app.log()


async def test_announcement_waits_for_supervisor() -> None:
    """It is up immediately, and logs once that it waits."""
    port = free_port()
    async with App(NOTHING, supervisor=f"127.0.0.1:{port}") as app:
        await until(lambda: "cannot announce the agent to Home Assistant" in app.log())
        assert (await app.get("/v1/health"))["status"] == "ok"
        async with Supervisor(port=port, tokens={TOKEN: SLUG}) as supervisor:
            supervisor.is_broken = True
            await until(lambda: "not ready with state: setup" in app.log())
            supervisor.is_broken = False
            await until(lambda: supervisor.messages)
        assert app.log().count("Supervisor is unreachable") == 1


async def test_message_during_the_start_of_home_assistant_is_sent_again() -> None:
    """Supervisor drops it, and any repetition of its content; after a connection, nothing changes any more."""
    async with (
        Supervisor(tokens={TOKEN: SLUG}) as supervisor,
        App(NOTHING, supervisor=supervisor.host) as app,
    ):
        supervisor.is_home_assistant_up = False
        await until(lambda: supervisor.posts)
        supervisor.is_home_assistant_up = True
        await until(lambda: supervisor.told)
        (told,) = supervisor.told
        assert (told["socket"], told["token"]) == (str(app.socket), app.token)
        assert len(supervisor.messages) == 1
        async with app.client() as client, client.get("/v1/events") as events:
            assert b"hello" in await events.content.readline()
        await app.stop()
        await app.start()
        async with app.client() as client, client.get("/v1/events") as events:
            assert b"hello" in await events.content.readline()
            posted = len(supervisor.posts)
            await asyncio.sleep(18)
            assert len(supervisor.posts) <= posted + 1


async def test_new_token_replaces_the_announced_one() -> None:
    """After deletion or damage of the token, Home Assistant receives the new one without a click."""
    async with (
        Supervisor(tokens={TOKEN: SLUG}) as supervisor,
        App(NOTHING, supervisor=supervisor.host) as app,
    ):
        await until(lambda: supervisor.messages)
        first, uuid = app.token, supervisor.messages[0]["uuid"]
        for damage in (b"", b"short", b"\xff\xfe broken"):
            assert await app.stop() == 0
            (app.data / "token").write_bytes(damage)
            await app.start()
            await until(lambda: supervisor.messages[0]["config"]["token"] == app.token)
            assert len(app.token) >= 32
            assert app.token != first
            assert supervisor.messages[0]["uuid"] == uuid
        assert len(supervisor.messages) == 1


async def test_same_token_after_a_restart() -> None:
    """Nothing changes for Home Assistant."""
    async with (
        Supervisor(tokens={TOKEN: SLUG}) as supervisor,
        App(NOTHING, supervisor=supervisor.host) as app,
    ):
        await until(lambda: len(supervisor.posts) == 1)
        assert await app.stop() == 0
        # A reinstalled Supervisor knows nothing.
        supervisor.messages.clear()
        await app.start()
        await until(lambda: len(supervisor.posts) == 2)
        assert supervisor.posts[0] == supervisor.posts[1]
        assert len(supervisor.messages) == 1


async def test_stopped_app_leaves_nothing_in_the_shared_folder() -> None:
    """Supervisor removes the app's data with the app, but not the folder of its socket."""
    async with App(NOTHING) as app:
        assert app.socket.exists()
        assert await app.stop() == 0
        assert not app.socket.parent.exists()
        await app.start()
        assert app.socket.exists()


async def test_refused_announcement_is_logged_and_the_agent_runs() -> None:
    """The agent cannot fix a wrong Supervisor token."""
    async with (
        Supervisor(tokens={"another token": SLUG}) as supervisor,
        App(NOTHING, supervisor=supervisor.host) as app,
    ):
        await until(lambda: len(supervisor.posts) >= 2)
        assert app.log().count("403 Forbidden") == 1
        assert not supervisor.messages
        assert (await app.get("/v1/health"))["status"] == "ok"
        assert TOKEN not in app.log()


@pytest.mark.parametrize(
    ("changes", "option", "message"),
    [
        ({"bucket": ""}, "locations[1].bucket", ""),
        ({"bucket": "No Bucket"}, "locations[1].bucket", ""),
        ({"provider": "garages"}, "locations[1].provider", ""),
        ({"endpoint": "nonsense"}, "locations[1].endpoint", ""),
        ({"secret_access_key": None}, "locations[1].secret_access_key", ""),
        ({"access_key_id": ""}, "locations[1].access_key_id", ""),
        ({"ca_certificate": "nonsense"}, "locations[1].ca_certificate", ""),
        ({"encryption": "SSE-C"}, "locations[1].encryption_key", ""),
        ({"prefix": "a//b"}, "locations[1].prefix", ""),
        ({"bukcet": "x"}, "locations[1].bukcet", "not a known key"),
        ({"encryptoin": "SSE-C"}, "locations[1].encryptoin", "encryption"),
        ({"folder": "home"}, "locations[1].folder", "not a known key"),
        (
            {"secret_access_key": "${NOWHERE}"},
            "locations[1].secret_access_key",
            "NOWHERE",
        ),
    ],
)
async def test_invalid_location_is_skipped_and_named(
    changes: dict[str, Any], option: str, message: str
) -> None:
    """The other location works."""
    bad = {**GOOD, "bucket": "another", **changes}
    async with App({**NOTHING, "locations": [GOOD, bad]}) as app:
        (problem,) = (await app.get("/v1/info"))["problems"]
        assert problem["option"] == option
        assert message in problem["message"]
        assert "The location is missing" in problem["message"]
        locations = (await app.get("/v1/locations"))["locations"]
        assert [location["name"] for location in locations] == ["Cellar"]
        assert f"ignored in the configuration: {option}" in app.log()
        assert SECRET not in app.log()
        assert SECRET not in str(await app.get("/v1/diagnostics"))


@pytest.mark.parametrize(
    ("changes", "option", "message"),
    [
        ({"part_size": "abc"}, "locations[1].part_size", "from 5 MiB"),
        ({"concurrency": 99}, "locations[1].concurrency", "from 1 to 16"),
        ({"checksum": "md5"}, "locations[1].checksum", "one of"),
        ({"addressing": "both"}, "locations[1].addressing", "one of"),
        ({"upload_limit": "fast"}, "locations[1].upload_limit", "16 Mbit/s"),
        ({"outage_seconds": "1h"}, "locations[1].outage_seconds", "seconds"),
        ({"verify_every": "weekly"}, "locations[1].verify_every", "7d"),
        ({"storage_class": "GLACIER"}, "locations[1].storage_class", "restored"),
        ({"id": "Not An Id"}, "locations[1].id", "lower-case"),
        ({"part_sise": "8 MiB"}, "locations[1].part_sise", "part_size"),
    ],
)
async def test_location_stays_with_an_invalid_detail(
    changes: dict[str, Any], option: str, message: str
) -> None:
    """Its default is used, and the option is named."""
    bad = {**GOOD, "name": "Attic", "bucket": "another", **changes}
    async with App({**NOTHING, "locations": [GOOD, bad]}) as app:
        (problem,) = (await app.get("/v1/info"))["problems"]
        assert problem["option"] == option
        assert message in problem["message"]
        assert "The default is used" in problem["message"]
        locations = (await app.get("/v1/locations"))["locations"]
        assert [location["name"] for location in locations] == ["Cellar", "Attic"]


@pytest.mark.parametrize(
    "options",
    ["", "{", "[]", "null", '{"locations": 5}', '{"log_level": "loud"}', "\x00"],
)
async def test_agent_runs_with_invalid_options(options: str) -> None:
    """The app stays up, because its page reports the problem."""
    async with App(options) as app:
        assert len((await app.get("/v1/info"))["problems"]) == 1


async def test_unreadable_options_do_not_leak_secrets() -> None:
    """Parsers tend to quote the faulty line."""
    async with App(
        f'{{"locations": [{{"secret_access_key": "{SECRET}" oops}}]}}'
    ) as app:
        (problem,) = (await app.get("/v1/info"))["problems"]
        assert "cannot be read" in problem["message"]
        assert SECRET not in app.log() + problem["message"]


async def test_locations_of_the_options_work() -> None:
    """A location from the options is registered, and lists its backups."""
    async with Garage() as garage:
        bucket = await garage.create_bucket("options")
        location = {
            **GOOD,
            "endpoint": garage.endpoint,
            "region": garage.region,
            "bucket": bucket,
            "access_key_id": garage.key_id,
            "secret_access_key": garage.secret_key,
        }
        bad = {**location, "bucket": ""}
        async with App({**NOTHING, "locations": [location, bad]}) as app:
            (known,) = (await app.get("/v1/locations"))["locations"]
            # The command line uses the valid part too, but reports the problem.
            assert await app.exit_code("check", known["id"]) == 0, app.log()
            assert await app.exit_code("check") == 1, app.log()
            assert known["name"] == "Cellar"
            backups = await app.get(f"/v1/locations/{known['id']}/backups")
            assert backups["backups"] == []
