"""Adding and changing locations in Home Assistant, with the real agent and a real S3 server."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
import json
import logging
import secrets
from typing import Any
from unittest.mock import patch

from lab.garage import Garage
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import (
    ClientSessionGenerator,
    WebSocketGenerator,
)

from custom_components.s3_backup_agent.check import INVALID_SETTING
from custom_components.s3_backup_agent.client import (
    AGENT_UNREACHABLE,
    AgentClient,
    Provider,
)
from custom_components.s3_backup_agent.const import CONF_APP, DOMAIN
from custom_components.s3_backup_agent.errors import FORM_ERRORS, OTHER_ERROR
from custom_components.s3_backup_agent.location_form import ADVANCED, LocationForm
from homeassistant.config_entries import SOURCE_RECONFIGURE, SOURCE_USER, ConfigSubentry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, section
from homeassistant.setup import async_setup_component

from .agent import REPOSITORY, Agent, free_port

TRANSLATIONS = REPOSITORY / "hacs" / "custom_components" / DOMAIN / "translations"

type Fields = dict[str, Any]
type Call = Callable[..., Coroutine[None, None, Any]]


@pytest.fixture
async def fields(garage: Garage) -> Fields:
    """Return what to enter for a new bucket."""
    bucket = await garage.create_bucket(f"bucket-{secrets.token_hex(4)}")
    return {
        "endpoint": garage.endpoint,
        "bucket": bucket,
        "access_key_id": garage.key_id,
        "secret_access_key": garage.secret_key,
        ADVANCED: {},
    }


@pytest.fixture
async def loaded(hass: HomeAssistant, entry: MockConfigEntry) -> MockConfigEntry:
    """Return the entry of the agent, set up."""
    assert await async_setup_component(hass, "backup", {})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


@pytest.fixture
def submit(hass: HomeAssistant) -> Call:
    """Return what fills in a form, or chooses from a menu."""

    async def submit(flow: Any, user_input: Fields) -> Any:
        result = await hass.config_entries.subentries.async_configure(
            flow["flow_id"], user_input
        )
        await hass.async_block_till_done()
        return result

    return submit


@pytest.fixture
def begin(hass: HomeAssistant, submit: Call) -> Call:
    """Return what begins to add a location, up to the form for a provider's fields."""

    async def begin(entry: MockConfigEntry, provider: str = "garage") -> Any:
        flow = await hass.config_entries.subentries.async_init(
            (entry.entry_id, "location"), context={"source": SOURCE_USER}
        )
        assert flow["type"] is FlowResultType.FORM
        assert flow["step_id"] in ("user", "beside_configured")
        form = await submit(flow, {"provider": provider})
        assert form["step_id"] == "location"
        assert form["errors"] == {}
        return form

    return begin


@pytest.fixture
def add(begin: Call, submit: Call) -> Call:
    """Return what adds a location that works."""

    async def add(entry: MockConfigEntry, fields: Fields) -> ConfigSubentry:
        result = await submit(await begin(entry), fields)
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        subentry: ConfigSubentry = list(entry.subentries.values())[-1]
        return subentry

    return add


def shown(form: Any) -> Fields:
    """Return what a form shows in its fields."""

    def values(schema: Any) -> Fields:
        return {
            str(key): values(field.schema)
            if isinstance(field, section)
            else (key.description or {}).get("suggested_value")
            for key, field in schema.schema.items()
        }

    return values(form["data_schema"])


def is_required(form: Any, name: str) -> bool:
    """Return whether a form insists on a field."""
    (key,) = (key for key in form["data_schema"].schema if key == name)
    return type(key).__name__ == "Required"


async def test_adds_a_bucket(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """The bucket and its key are enough, and are kept as the agent takes them."""
    form = await begin(loaded)
    assert form["description_placeholders"]["provider"] == "Garage"
    result = await submit(form, {**fields, "bucket": f" {fields['bucket']} "})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.title == fields["bucket"]
    assert subentry.subentry_type == "location"
    assert subentry.unique_id is not None
    assert subentry.unique_id.startswith("ha-")
    del fields[ADVANCED]
    assert subentry.data == {"provider": "garage", **fields}


async def test_adds_a_bucket_with_everything(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, add: Call
) -> None:
    """What else there is goes to the agent too, and is kept."""
    advanced = {
        "region": "garage",
        "addressing": "path",
        "checksum": "auto",
        "encryption": "SSE-C",
        "encryption_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "upload_limit": "2 MiB",
    }
    fields |= {"prefix": "home/cellar", "name": "Cellar", ADVANCED: advanced}
    subentry = await add(loaded, fields)
    assert subentry.title == "Cellar"
    del fields[ADVANCED], fields["name"], advanced["checksum"]
    assert subentry.data == {"provider": "garage", **fields, **advanced}
    location = loaded.runtime_data.locations[subentry.unique_id]
    assert (location["name"], location["prefix"]) == ("Cellar", "home/cellar")


async def test_has_the_fields_that_a_provider_needs(
    loaded: MockConfigEntry, begin: Call
) -> None:
    """No provider has more than its own fields outside of the section."""
    keys = ["bucket", "prefix", "access_key_id", "secret_access_key", "name", ADVANCED]
    for provider, own, required in (
        ("aws", ["region"], False),
        ("cloudflare_r2", ["account_id", "jurisdiction"], True),
        ("backblaze_b2", ["region"], True),
        ("other", ["endpoint"], True),
    ):
        form = await begin(loaded, provider)
        assert list(shown(form)) == own + keys
        assert is_required(form, own[0]) is required
        assert is_required(form, "secret_access_key")
        assert ("region" in own) is ("region" not in shown(form)[ADVANCED])
        assert ("endpoint" in own) is ("endpoint" not in shown(form)[ADVANCED])
    form = await begin(loaded, "hetzner")
    region = form["data_schema"].schema["region"].config
    assert region["custom_value"] is True
    assert {"value": "fsn1", "label": "Falkenstein (fsn1)"} in region["options"]
    form = await begin(loaded, "cloudflare_r2")
    jurisdiction = form["data_schema"].schema["jurisdiction"].config
    assert [option["value"] for option in jurisdiction["options"]] == [
        *("eu", "us", "fedramp")
    ]


async def test_says_what_is_wrong_beside_the_field(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """Each step that fails is about a field, and the next try may succeed."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    tried: list[tuple[Fields, dict[str, str], str]] = [
        ({"endpoint": nowhere}, {"endpoint": "storage_unreachable"}, "port"),
        ({"bucket": "nowhere"}, {"bucket": "bucket_not_found"}, "nowhere"),
        ({"bucket": "a/b"}, {"bucket": INVALID_SETTING}, "the name alone"),
        (
            {"access_key_id": "GK000000000000000000000000"},
            {"access_key_id": "storage_auth"},
            "access key ID",
        ),
        (
            {"secret_access_key": "wrong"},
            {"secret_access_key": "storage_auth"},
            "secret",
        ),
        (
            {"bucket": "no", ADVANCED: {"upload_limit": "much", "proxy": "x"}},
            {"bucket": INVALID_SETTING, ADVANCED: INVALID_SETTING},
            "upload_limit: must be",
        ),
        (
            {ADVANCED: {"encryption": "SSE-C"}},
            {"base": INVALID_SETTING},
            "encryption_key: must be 32 bytes",
        ),
    ]
    form = await begin(loaded)
    for change, errors, details in tried:
        form = await submit(form, {**fields, **change})
        assert form["type"] is FlowResultType.FORM, form
        assert form["step_id"] == "location"
        assert form["errors"] == errors
        assert details in form["description_placeholders"]["details"]
        collapsed = form["data_schema"].schema[ADVANCED].options["collapsed"]
        assert collapsed is (ADVANCED not in errors)
    form = await submit(form, fields)
    assert form["type"] is FlowResultType.CREATE_ENTRY


async def test_keeps_what_was_entered(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """After an error only the wrong field must be entered again; secrets stay without being shown."""
    secret = fields.pop("secret_access_key")
    form = await begin(loaded)
    proxy = f"http://me:hidden@127.0.0.1:{free_port()}"
    fields |= {"name": "Cellar", ADVANCED: {"proxy": proxy}}
    form = await submit(form, {**fields, "secret_access_key": secret})
    assert form["errors"] == {ADVANCED: "storage_unreachable"}
    values = shown(form)
    assert values["secret_access_key"] is None
    assert not is_required(form, "secret_access_key")
    assert (values["name"], values["bucket"]) == ("Cellar", fields["bucket"])
    shown_proxy = proxy.replace(":hidden", "")
    assert values[ADVANCED]["proxy"] == shown_proxy
    assert "hidden" not in str(form)

    # Shown and sent back, it is still the one with the password.
    form = await submit(form, {**fields, ADVANCED: {"proxy": shown_proxy}})
    assert form["errors"] == {ADVANCED: "storage_unreachable"}
    result = await submit(form, {**fields, ADVANCED: {}})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["secret_access_key"] == secret
    assert "proxy" not in subentry.data


async def test_offers_what_would_work(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """A wrong region is put right with one click."""
    form = await begin(loaded, "other")
    wrong = {**fields, ADVANCED: {"region": "eu-west-1"}}
    menu = await submit(form, wrong)
    assert menu["type"] is FlowResultType.MENU
    assert menu["step_id"] == "corrected"
    assert menu["menu_options"] == ["take", "location"]
    assert menu["description_placeholders"]["changes"] == "- `region`: `garage`"
    assert menu["description_placeholders"]["details"]

    # By hand, it is there with its error.
    form = await submit(menu, {"next_step_id": "location"})
    assert form["type"] is FlowResultType.FORM
    assert set(form["errors"]) == {ADVANCED}
    assert shown(form)[ADVANCED]["region"] == "eu-west-1"

    menu = await submit(form, {**wrong, "secret_access_key": ""})
    result = await submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["region"] == "garage"
    assert subentry.data["provider"] == "other"


async def test_offers_to_leave_tls_out(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """A server without TLS is reached without it, once that was agreed to."""
    endpoint = fields["endpoint"].replace("http:", "https:")
    menu = await submit(await begin(loaded), {**fields, "endpoint": endpoint})
    changes = menu["description_placeholders"]["changes"]
    assert changes == f"- `endpoint`: `{fields['endpoint']}`"
    form = await submit(menu, {"next_step_id": "location"})
    assert form["errors"] == {"endpoint": "storage_certificate"}
    assert shown(form)["endpoint"] == endpoint


async def test_offers_a_setting_that_was_meant(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """An endpoint with the bucket in it is what providers' pages show."""
    form = await begin(loaded)
    endpoint = f"{fields['endpoint']}/{fields['bucket']}"
    menu = await submit(form, {**fields, "endpoint": endpoint})
    changes = menu["description_placeholders"]["changes"]
    assert changes == f"- `endpoint`: `{fields['endpoint']}`"
    result = await submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_adds_a_folder_of_a_bucket_once(
    hass: HomeAssistant,
    *,
    loaded: MockConfigEntry,
    fields: Fields,
    add: Call,
    begin: Call,
    submit: Call,
) -> None:
    """The same folder is no second location; another one is; and a removed one comes back under its id."""
    first = await add(loaded, fields)
    same = {**fields, "endpoint": f"{fields['endpoint']}/", "prefix": "/"}
    result = await submit(await begin(loaded), same)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    second = await add(loaded, {**fields, "prefix": "attic"})
    assert second.title == f"{fields['bucket']}/attic"
    assert second.unique_id != first.unique_id

    assert hass.config_entries.async_remove_subentry(loaded, first.subentry_id)
    again = await add(loaded, fields)
    assert again.unique_id == first.unique_id
    assert again.subentry_id != first.subentry_id


async def test_does_not_add_what_the_agent_has(
    hass: HomeAssistant, fields: Fields, begin: Call, submit: Call
) -> None:
    """A folder of the agent's own configuration is there already."""
    settings = {key: text for key, text in fields.items() if key != ADVANCED}
    toml = [f"{key} = {json.dumps(text)}" for key, text in settings.items()]
    async with Agent(more="\n".join(["[[locations]]", *toml])) as agent:
        entry = MockConfigEntry(domain=DOMAIN, data={CONF_ADDRESS: agent.address})
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        form = await begin(entry)
        result = await submit(form, fields)
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "already_configured"
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_says_what_the_agent_has(hass: HomeAssistant, submit: Call) -> None:
    """Locations of the agent's own configuration are named, with the page where they are changed."""
    async with Agent(locations={"here": "Here", "there": "There"}) as agent:
        entry = MockConfigEntry(
            domain=DOMAIN, data={CONF_ADDRESS: agent.address, CONF_APP: "local_agent"}
        )
        entry.add_to_hass(hass)
        assert await hass.config_entries.async_setup(entry.entry_id)
        flow = await hass.config_entries.subentries.async_init(
            (entry.entry_id, "location"), context={"source": SOURCE_USER}
        )
        assert flow["step_id"] == "beside_configured"
        placeholders = flow["description_placeholders"]
        assert placeholders == {
            "configured": "Here, There",
            "page": "/config/app/local_agent/config",
        }
        form = await submit(flow, {"provider": "garage"})
        assert form["step_id"] == "location"
        assert await hass.config_entries.async_unload(entry.entry_id)


async def test_says_what_is_worth_knowing(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """What works may still have a note, and so may what does not."""
    note = {"code": "plain_http", "key": "endpoint", "message": "It is not encrypted."}
    check = AgentClient.check_settings

    async def with_note(client: AgentClient, settings: Any) -> Any:
        return {**await check(client, settings), "notes": [note]}

    with patch.object(AgentClient, "check_settings", with_note):
        form = await submit(await begin(loaded), {**fields, "bucket": "no-such"})
        details = form["description_placeholders"]["details"]
        assert details.endswith("\nIt is not encrypted.")
        result = await submit(form, fields)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["description"] == "notes"
    assert result["description_placeholders"] == {"notes": "It is not encrypted."}


async def test_takes_a_part_size(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """And says when it cannot be."""
    form = await submit(
        await begin(loaded), {**fields, ADVANCED: {"part_size": "1 MiB"}}
    )
    assert form["errors"] == {ADVANCED: INVALID_SETTING}
    result = await submit(form, {**fields, ADVANCED: {"part_size": "16 MiB"}})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["part_size"] == "16 MiB"


async def test_verifies_on_a_schedule_if_wanted(
    loaded: MockConfigEntry, fields: Fields, begin: Call, submit: Call
) -> None:
    """It is off without it, a time that is none is told, and the agent follows the one that was taken."""
    verify = {"verify_every": "7d", "verify_sample": "all", "verify_mode": "quick"}
    form = await begin(loaded)
    assert all(shown(form)[ADVANCED][name] is None for name in verify)
    wrong = {**fields, ADVANCED: {**verify, "verify_every": "weekly"}}
    form = await submit(form, wrong)
    assert form["errors"] == {ADVANCED: INVALID_SETTING}
    assert "verify_every: must be" in form["description_placeholders"]["details"]
    assert shown(form)[ADVANCED]["verify_mode"] == "quick"
    result = await submit(form, {**fields, ADVANCED: verify})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert verify.items() <= subentry.data.items()

    def verification(subentry: ConfigSubentry) -> Any:
        return loaded.runtime_data.locations[subentry.unique_id]["verification"]

    assert verification(subentry)["next_at"]
    form = await submit(await begin(loaded), {**fields, "prefix": "never"})
    assert form["type"] is FlowResultType.CREATE_ENTRY
    assert verification(list(loaded.subentries.values())[-1]) is None


async def test_token_belongs_to_its_key(client: AgentClient) -> None:
    """A temporary key's token is a secret that stays with it, and goes with it."""
    (garage,) = [it for it in await client.providers() if it["id"] == "garage"]
    form = LocationForm(garage)
    known = {
        "access_key_id": "GK1",
        "secret_access_key": "secret",
        "session_token": "token",
    }
    assert "token" not in str(form.values(known, ""))
    same = {"access_key_id": "GK1", ADVANCED: {}}
    assert form.read(same, known)["session_token"] == "token"
    assert "session_token" not in form.read({**same, "access_key_id": "GK2"}, known)
    assert "session_token" not in form.read({**same, "secret_access_key": "x"}, known)


async def test_changes_a_location(
    hass: HomeAssistant,
    *,
    garage: Garage,
    loaded: MockConfigEntry,
    fields: Fields,
    add: Call,
    submit: Call,
) -> None:
    """A location may move and keeps its id; its secret need not be entered again."""
    subentry = await add(loaded, fields)
    location_id = subentry.unique_id
    form = await loaded.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    assert form["step_id"] == "location"
    values = shown(form)
    assert (values["bucket"], values["name"]) == (fields["bucket"], "")
    assert values["secret_access_key"] is None
    assert garage.secret_key not in str(form)

    bucket = await garage.create_bucket(f"bucket-{secrets.token_hex(4)}")
    changed = {key: text for key, text in fields.items() if key != "secret_access_key"}
    changed |= {"bucket": bucket, "name": "Cellar"}
    form = await submit(form, {**changed, "access_key_id": "wrong"})
    assert set(form["errors"]) == {"access_key_id"}
    result = await submit(form, changed)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reconfigure_successful"
    assert subentry.unique_id == location_id
    assert subentry.title == "Cellar"
    assert subentry.data["bucket"] == bucket
    assert subentry.data["secret_access_key"] == garage.secret_key
    location = loaded.runtime_data.locations[location_id]
    assert (location["bucket"], location["name"]) == (bucket, "Cellar")

    # The same place again is no conflict with itself, and where it was before is free.
    form = await loaded.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    assert shown(form)["name"] == "Cellar"
    assert (await submit(form, changed))["reason"] == "reconfigure_successful"
    other = await add(loaded, fields)
    assert other.unique_id == f"{location_id}-2"
    form = await loaded.start_subentry_reconfigure_flow(hass, other.subentry_id)
    assert (await submit(form, changed))["reason"] == "already_configured"


async def test_drops_a_key_with_its_encryption(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    fields: Fields,
    add: Call,
    submit: Call,
) -> None:
    """The key stays for as long as its kind of encryption does, and goes with it."""
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    encryption = {"encryption": "SSE-C", "encryption_key": key}
    subentry = await add(loaded, {**fields, ADVANCED: encryption})
    for advanced, kept in (({"encryption": "SSE-C"}, encryption), ({}, {})):
        form = await loaded.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
        assert "encryption_key" in shown(form)[ADVANCED]
        result = await submit(form, {**fields, ADVANCED: advanced})
        assert result["reason"] == "reconfigure_successful"
        names = ("encryption", "encryption_key")
        assert {
            name: subentry.data[name] for name in names if name in subentry.data
        } == kept


async def test_needs_the_agent(
    hass: HomeAssistant,
    *,
    agent: Agent,
    loaded: MockConfigEntry,
    fields: Fields,
    begin: Call,
    submit: Call,
) -> None:
    """Without its agent nothing can be added, and what was entered is not lost."""
    form = await begin(loaded)
    await agent.stop()
    form = await submit(form, fields)
    assert form["errors"] == {"base": AGENT_UNREACHABLE}

    handler = (loaded.entry_id, "location")
    start = hass.config_entries.subentries.async_init
    result = await start(handler, context={"source": SOURCE_USER})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "cannot_connect"

    await agent.start()
    result = await submit(form, {**fields, "secret_access_key": ""})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert await hass.config_entries.async_unload(loaded.entry_id)
    for result in (
        await start(handler, context={"source": SOURCE_USER}),
        await start(
            handler,
            context={
                "source": SOURCE_RECONFIGURE,
                "subentry_id": subentry.subentry_id,
            },
        ),
    ):
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "entry_not_loaded"


async def test_does_not_change_what_the_agent_does_not_know(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, add: Call
) -> None:
    """A provider that an older agent does not know is in nobody's way."""
    subentry = await add(loaded, fields)
    hass.config_entries.async_update_subentry(
        loaded, subentry, data={**subentry.data, "provider": "brand_new"}
    )
    result = await hass.config_entries.subentries.async_init(
        (loaded.entry_id, "location"),
        context={
            "source": SOURCE_RECONFIGURE,
            "subentry_id": subentry.subentry_id,
        },
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "unknown_provider"
    await add(loaded, {**fields, "prefix": "attic"})


async def test_keeps_secrets_from_the_browser_and_the_log(
    hass: HomeAssistant,
    *,
    loaded: MockConfigEntry,
    fields: Fields,
    hass_client: ClientSessionGenerator,
    hass_ws_client: WebSocketGenerator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the frontend asks, and however much is logged, no secret comes out."""
    assert await async_setup_component(hass, "config", {})
    caplog.set_level(logging.DEBUG)
    hidden = {
        "secret_access_key": fields.pop("secret_access_key"),
        "encryption_key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }
    http = await hass_client()
    url = "/api/config/config_entries/subentries/flow"
    seen: list[str] = []

    async def post(path: str, body: Fields) -> Any:
        answer = await http.post(f"{url}{path}", json=body)
        text = await answer.text()
        assert answer.status == HTTPStatus.OK, text
        seen.append(text)
        return json.loads(text)

    async def fill(**changes: Any) -> Any:
        advanced = {
            "encryption": "SSE-C",
            "encryption_key": hidden["encryption_key"],
        }
        secret = {"secret_access_key": hidden["secret_access_key"]}
        return {**fields, **secret, ADVANCED: advanced, **changes}

    handler = [loaded.entry_id, "location"]
    flow = await post("", {"handler": handler})
    path = f"/{flow['flow_id']}"
    await post(path, {"provider": "other"})
    form = await post(path, await fill(bucket="nowhere"))
    assert form["errors"] == {"bucket": "bucket_not_found"}
    advanced = {"region": "eu-west-1", "encryption": "SSE-C"}
    menu = await post(path, await fill(secret_access_key="", **{ADVANCED: advanced}))
    assert menu["type"] == "menu"
    result = await post(path, {"next_step_id": "take"})
    assert result["type"] == "create_entry"
    await hass.async_block_till_done()
    (subentry,) = loaded.subentries.values()
    assert hidden.items() <= subentry.data.items()

    again = {"handler": handler, "subentry_id": subentry.subentry_id}
    form = await post("", again)
    assert form["step_id"] == "location"
    socket = await hass_ws_client()
    for message in (
        {"type": "config_entries/subentries/list", "entry_id": loaded.entry_id},
        {"type": "config_entries/get"},
        {"type": "backup/agents/info"},
    ):
        await socket.send_json_auto_id(message)
        answer = await socket.receive_json()
        assert answer["success"]
        seen.append(json.dumps(answer))
    for secret in hidden.values():
        assert secret not in "".join(seen)
        assert secret not in caplog.text


@pytest.mark.parametrize("language", ["en", "de"])
async def test_has_words_for_every_field(language: str, client: AgentClient) -> None:
    """Each field of each provider, each error and each choice has its words, and all words are used."""
    strings = json.loads((TRANSLATIONS / f"{language}.json").read_text())
    location = strings["config_subentries"]["location"]
    step = location["step"]["location"]
    main: set[str] = set()
    advanced: set[str] = set()
    for provider in await client.providers():
        schema = LocationForm(provider).schema({}, ())
        main |= {str(key) for key in schema.schema if key != ADVANCED}
        inner = schema.schema[ADVANCED].schema.schema
        advanced |= {str(key) for key in inner}
        for name in ("addressing", "checksum", "verify_mode"):
            options = strings["selector"][name]["options"]
            assert inner[name].config["options"] == list(options)
    assert set(step["data"]) == set(step["data_description"]) == main
    section_strings = step["sections"][ADVANCED]
    assert set(section_strings["data"]) == advanced
    assert set(section_strings["data_description"]) == advanced
    assert set(location["error"]) == FORM_ERRORS | {OTHER_ERROR, INVALID_SETTING}
    assert all("{details}" in text for text in location["error"].values())


async def test_knows_all_providers(
    hass: HomeAssistant, loaded: MockConfigEntry, client: AgentClient
) -> None:
    """The providers are the agent's, in its order."""
    flow = await hass.config_entries.subentries.async_init(
        (loaded.entry_id, "location"), context={"source": SOURCE_USER}
    )
    assert flow["data_schema"] is not None
    providers: list[Provider] = await client.providers()
    assert flow["data_schema"].schema["provider"].config["options"] == [
        {"value": provider["id"], "label": provider["name"]} for provider in providers
    ]
    assert providers[0]["id"] == "aws"
    # One of them has no name, and is called differently in each language.
    key = flow["data_schema"].schema["provider"].config["translation_key"]
    words = {
        json.loads(path.read_text())["selector"][key]["options"]["other"]
        for path in TRANSLATIONS.glob("*.json")
    }
    assert len(words) == len(list(TRANSLATIONS.glob("*.json"))) == 12
