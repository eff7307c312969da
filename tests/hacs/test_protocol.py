"""The agent's answers against docs/openapi.json."""

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from itertools import batched
import json
import re
from typing import Any
import zlib

import aiohttp
import jsonschema
import pytest

from homeassistant.components.backup import AgentBackup

from .agent import REPOSITORY, TOKEN, Agent
from .backups import make_backup

OPENAPI = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())


def close(schema: Any) -> None:
    """Forbid unknown keys in a schema and its parts."""
    if isinstance(schema, list):
        for part in schema:
            close(part)
    elif isinstance(schema, dict):
        if "allOf" in schema:
            # A closed part would reject the keys of the other parts, so the whole is closed instead.
            schema["allOf"] = [opened(part) for part in schema["allOf"]]
        if "properties" in schema or "allOf" in schema:
            schema["unevaluatedProperties"] = False
        for key, part in schema.items():
            if key != "allOf":
                close(part)


def opened(part: Any) -> Any:
    """Return a part of an allOf: a copy that is closed within, but not itself."""
    if "$ref" in part:
        part = OPENAPI["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    part = deepcopy(part)
    if "allOf" in part:
        part["allOf"] = [opened(inner) for inner in part["allOf"]]
    close(part.get("properties", {}))
    return part


STRICT = deepcopy(OPENAPI)
close(STRICT["components"]["schemas"])
close(STRICT["paths"])


def resolve(part: Any) -> Any:
    """Follow a reference within the document."""
    while "$ref" in part:
        target: Any = STRICT
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        part = target
    return part


def validate(instance: Any, schema: Any) -> None:
    """Validate a value against a schema of the document."""
    jsonschema.Draft202012Validator(
        {**schema, "components": STRICT["components"]},
        format_checker=jsonschema.FormatChecker(),
    ).validate(instance)


def operation_of(method: str, path: str) -> Any:
    """Return the operation of a call."""
    for template, item in STRICT["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return item[method.lower()]
    raise AssertionError(f"{path} is not in the document")


class Checked:
    """Makes calls, and validates their answers."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Initialize with a session to the agent."""
        self.session = session
        self.seen: set[tuple[str, int]] = set()

    async def __call__(self, method: str, path: str, status: int, **kwargs: Any) -> Any:
        """Make a call; return the JSON or the bytes of its answer, which must have the status."""
        operation = operation_of(method, path.partition("?")[0])
        async with self.session.request(
            method, f"http://agent{path}", **kwargs
        ) as answer:
            body = await answer.read()
            assert answer.status == status, body
            self.seen.add((operation["operationId"], status))
            response = resolve(operation["responses"][str(status)])
            for name, header in response.get("headers", {}).items():
                schema = header["schema"]
                value: Any = answer.headers[name]
                if schema.get("type") == "integer":
                    value = int(value)
                validate(value, schema)
            content = response.get("content")
            if content is None:
                return body
            assert answer.content_type in content
            schema = content[answer.content_type].get("schema")
            if schema is None:
                return body
            instance = json.loads(body)
            validate(instance, schema)
            if "problem" in answer.content_type:
                assert instance["status"] == status
            return instance


@pytest.fixture
async def call(agent: Agent) -> AsyncIterator[Checked]:
    """Return a function that makes validated calls."""
    connector = aiohttp.UnixConnector(str(agent.socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Checked(session)


async def store(call: Checked, backup: AgentBackup, tar: bytes) -> Any:
    """Upload a backup."""
    announcement = {"backup": backup.as_dict(), "filename": "name.tar"}
    created = await call("POST", "/v1/locations/local/uploads", 201, json=announcement)
    uploads = (await call("GET", "/v1/uploads", 200))["uploads"]
    assert [upload["upload_id"] for upload in uploads] == [created["upload_id"]]
    path = f"/v1/uploads/{created['upload_id']}"
    received = await call("PUT", f"{path}/content", 200, data=tar)
    assert received["size"] == len(tar)
    counted = {"size": len(tar), "crc32": f"{zlib.crc32(tar):08x}"}
    return await call("POST", f"{path}/complete", 200, json=counted)


async def test_agent_serves_openapi_document(call: Checked) -> None:
    """The agent serves this checkout's document, which is valid."""
    assert await call("GET", "/v1/openapi.json", 200) == OPENAPI
    for schema in OPENAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def locations_come_and_go(call: Checked) -> None:
    """Register, check and remove an unreachable location."""
    settings = {
        "provider": "minio",
        "endpoint": "http://127.0.0.1:9",
        "bucket": "nowhere",
        "access_key_id": " pasted ",
        "secret_access_key": "a-secret-that-is-not-repeated",
    }
    location = await call("PUT", "/v1/locations/away", 200, json=settings)
    assert location["source"] == "registered"
    for path in ("/v1/locations/away/check", "/v1/locations/check"):
        checked = await call("POST", path, 200, json=settings)
        assert (checked["ok"], checked["steps"][-1]["step"]) == (False, "connect")
    assert [note["code"] for note in checked["notes"]] == ["spaces_removed"]
    wrong = {**settings, "endpoint": "nowhere.example.com"}
    checked = await call("POST", "/v1/locations/check", 200, json=wrong)
    assert checked["steps"][0]["key"] == "endpoint"
    assert checked["corrected"] == {"endpoint": "https://nowhere.example.com"}
    problem = await call("PUT", "/v1/locations/away", 400, json=wrong)
    assert problem["problems"][0]["suggestion"] == "https://nowhere.example.com"
    await call("DELETE", "/v1/locations/away", 204)
    local = await call("POST", "/v1/locations/local/check", 200)
    assert local["ok"]


async def tars_are_adopted(call: Checked) -> None:
    """Recover existing tars and a missing one."""
    recover = "/v1/locations/local/recover"
    assert await call("POST", recover, 200, json={"dry_run": True}) == {
        "recovered": [],
        "failed": [],
        "too_young": 0,
    }
    answer = await call("POST", recover, 200, json={"keys": ["backups/none.tar"]})
    assert [failed["code"] for failed in answer["failed"]] == ["backup_not_found"]


async def test_successful_answers_match_document(call: Checked) -> None:
    """Each successful answer matches the document."""
    await call("GET", "/v1/health", 200)
    await call("GET", "/v1/info", 200)
    providers = (await call("GET", "/v1/providers", 200))["providers"]
    for field in (field for provider in providers for field in provider["fields"]):
        for value in (field["example"], *field["choices"]):
            assert re.search(field["pattern"], value), field
    for provider in providers:
        path = f"/v1/settings?provider={provider['id']}"
        settings = (await call("GET", path, 200))["settings"]
        names = [setting["name"] for setting in settings]
        assert {"bucket", "access_key_id", "secret_access_key"} <= set(names)
        assert len(names) == len(set(names))
    backup, tar = make_backup(size=10_000_000)
    stored = await store(call, backup, tar)
    assert "s3_backup_agent" in stored
    listing = await call("GET", "/v1/locations/local/backups?refresh=true", 200)
    assert listing["backups"] == [stored]
    listing = await call("GET", "/v1/locations/local/backups", 200)
    assert listing["backups"] == [stored]
    async with call.session.get(
        "http://agent/v1/locations/local/backups",
        headers={"Accept": "application/x-ndjson"},
    ) as answer:
        assert answer.content_type == "application/x-ndjson"
        lines = [json.loads(line) async for line in answer.content]
    for line in lines:
        validate(line, {"$ref": "#/components/schemas/ListingLine"})
    assert [line["type"] for line in lines] == ["listing", "backup", "end"]
    assert lines[1]["backup"] == stored
    locations = await call("GET", "/v1/locations", 200)
    location = await call("GET", "/v1/locations/local", 200)
    assert locations == {"locations": [location]}
    assert (location["status"], location["backups"]) == ("ok", 1)
    assert location["size_bytes"] == len(tar)

    path = f"/v1/locations/local/backups/{backup.backup_id}"
    assert await call("GET", path, 200) == stored
    assert await call("GET", f"{path}/content", 200) == tar
    result = await call("POST", f"{path}/verify", 200, json={"mode": "quick"})
    assert (result["type"], result["ok"]) == ("result", True)
    key = await call("POST", f"{path}/key", 200, json={"password": "its-key"})
    assert key == {"result": "not_encrypted"}
    async with call.session.post(
        f"http://agent{path}/verify", json={"mode": "full"}
    ) as answer:
        lines = [json.loads(line) async for line in answer.content]
    for line in lines:
        validate(line, {"$ref": "#/components/schemas/VerifyLine"})
    assert lines[-1]["sha256"] == stored["s3_backup_agent"]["sha256"]
    for asked, expected in {
        "bytes=0-9": tar[:10],
        "bytes=100-": tar[100:],
        "bytes=-7": tar[-7:],
        f"bytes=8388600-{len(tar) + 5}": tar[8388600:],
    }.items():
        part = await call("GET", f"{path}/content", 206, headers={"Range": asked})
        assert part == expected
    await call("GET", f"{path}/content", 416, headers={"Range": f"bytes={len(tar)}-"})
    await call("POST", "/v1/locations/local/check", 200)
    diagnostics = await call("GET", "/v1/diagnostics", 200)
    assert diagnostics["locations"][0]["location"]["id"] == "local"
    assert b"s3_backup_agent_location_up" in await call("GET", "/metrics", 200)
    await call("DELETE", path, 204)
    await tars_are_adopted(call)
    assert await call("PUT", "/v1/log", 200, json={"level": "debug"}) == {
        "level": "debug"
    }
    default = await call("PUT", "/v1/log", 200, json={"level": None})
    assert default == {"level": "info"}
    schedule = {"next_backup": "2026-11-30T04:45:00+00:00", "administrators": ["ad01"]}
    await call("PUT", "/v1/schedule", 204, json=schedule)
    await locations_come_and_go(call)
    documented = {
        operation["operationId"]
        for item in STRICT["paths"].values()
        for name, operation in item.items()
        if name != "parameters"
    }
    seen = {name for name, _ in call.seen}
    assert documented - seen == {"getEvents", "getOpenApi", "cancelUpload"}


async def test_errors_match_document(call: Checked) -> None:
    """Each client error matches the document."""
    backup, tar = make_backup(size=100_000)
    announcement = {"backup": backup.as_dict(), "filename": "name.tar"}
    local = "/v1/locations/local"

    async def refused(
        code: str, method: str, path: str, status: int, **kwargs: Any
    ) -> None:
        problem = await call(method, path, status, **kwargs)
        assert problem["code"] == code
        assert problem["retryable"] is (code in ("size_mismatch", "checksum_mismatch"))

    await refused("invalid_request", "GET", "/v1/settings?provider=unknown", 400)
    unknown = "/v1/locations/unknown"
    await refused("location_not_found", "GET", unknown, 404)
    await refused("location_not_found", "GET", f"{unknown}/backups", 404)
    await refused(
        "location_not_found", "POST", f"{unknown}/uploads", 404, json=announcement
    )
    for method, path in (
        ("GET", f"{local}/backups/unknown"),
        ("DELETE", f"{local}/backups/unknown"),
        ("GET", f"{local}/backups/unknown/content"),
    ):
        await refused("backup_not_found", method, path, 404)
    verify = f"{local}/backups/unknown/verify"
    await refused("backup_not_found", "POST", verify, 404, json={"mode": "quick"})
    await refused("invalid_request", "POST", verify, 400, json={"mode": "brief"})
    upload = "/v1/uploads/unknown"
    await refused("upload_not_found", "DELETE", upload, 404)
    await refused("upload_not_found", "PUT", f"{upload}/content", 404, data=b"")
    counted = {"size": 1, "crc32": "00000000"}
    await refused("upload_not_found", "POST", f"{upload}/complete", 404, json=counted)

    uploads = f"{local}/uploads"
    for garbage in (b"", b"{", b"[]", b'{"backup": {}}'):
        await refused("invalid_request", "POST", uploads, 400, data=garbage)
    strange = {**backup.as_dict(), "date": "last night"}
    await refused(
        "invalid_metadata",
        "POST",
        uploads,
        422,
        json={**announcement, "backup": strange},
    )
    await refused("invalid_request", "PUT", "/v1/log", 400, json={"level": "loud"})

    created = await call("POST", uploads, 201, json=announcement)
    path = f"/v1/uploads/{created['upload_id']}"
    await refused("size_mismatch", "PUT", f"{path}/content", 409, data=tar[:-10_240])
    created = await call("POST", uploads, 201, json=announcement)
    path = f"/v1/uploads/{created['upload_id']}"
    await call("PUT", f"{path}/content", 200, data=tar)
    wrong = {"size": len(tar), "crc32": "00000000"}
    await refused("checksum_mismatch", "POST", f"{path}/complete", 409, json=wrong)
    created = await call("POST", uploads, 201, json=announcement)
    path = f"/v1/uploads/{created['upload_id']}"
    await call("DELETE", path, 204)
    await refused("upload_not_found", "DELETE", path, 404)


async def test_unknown_paths_return_problem(call: Checked) -> None:
    """Unknown paths and methods return a problem."""
    for method, path in (("GET", "/"), ("GET", "/v2/info"), ("POST", "/v1/unknown")):
        async with call.session.request(method, f"http://agent{path}") as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["code"]) == (404, "not_found")
            validate(problem, {"$ref": "#/components/schemas/Problem"})


async def test_events_match_document(call: Checked) -> None:
    """Each event of successful and failed uploads matches the document."""
    backup, tar = make_backup(size=20_000_000)
    announcement = {"backup": backup.as_dict(), "filename": "name.tar"}
    async with call.session.get("http://agent/v1/events?log=debug") as answer:
        assert answer.content_type == "application/x-ndjson"
        await store(call, backup, tar)
        failing = replace(backup, backup_id="another")
        announcement = {"backup": failing.as_dict(), "filename": "other.tar"}
        created = await call(
            "POST", "/v1/locations/local/uploads", 201, json=announcement
        )
        await call(
            "PUT", f"/v1/uploads/{created['upload_id']}/content", 409, data=tar[:-1]
        )
        events: list[Any] = []
        async with asyncio.timeout(10):
            while not events or events[-1].get("state") != "failed":
                events.append(json.loads(await answer.content.readline()))
                validate(events[-1], {"$ref": "#/components/schemas/Event"})
    assert events[0]["type"] == "hello"
    seen = {event["type"] for event in events}
    assert {"hello", "upload", "location", "backups", "log"} <= seen
    assert events[-1]["error"]["code"] == "size_mismatch"
    states = [event["state"] for event in events if event["type"] == "upload"]
    assert {"receiving", "complete", "failed"} <= set(states)


async def test_token_is_required_everywhere() -> None:
    """Each call except health needs the token."""
    calls = [
        (method, re.sub(r"\{\w+\}", "local", template))
        for template, item in STRICT["paths"].items()
        for method in item
        if method != "parameters" and template != "/v1/health"
    ]
    # An agent throttles after twenty wrong tokens.
    for some in batched(calls, 10):
        async with Agent(token=TOKEN) as agent:
            connector = aiohttp.UnixConnector(str(agent.socket))
            async with aiohttp.ClientSession(connector=connector) as session:
                call = Checked(session)
                await call("GET", "/v1/health", 200)
                for method, path in some:
                    for headers in ({}, {"Authorization": "Bearer wrong"}):
                        problem = await call(method, path, 401, headers=headers)
                        assert problem["code"] == "unauthorized"
