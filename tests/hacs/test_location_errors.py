"""Errors and corrections in the form of a location."""

from typing import Any
from unittest.mock import patch

from lab.garage import Garage
from lab.process import free_port
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AGENT_UNREACHABLE, AgentClient
from custom_components.s3_backup_agent.location.form import (
    IN_SECTION,
    SECTIONS,
    SEE_ABOVE,
    SEVERAL,
)
from custom_components.s3_backup_agent.location.outcome import INVALID_SETTING
from homeassistant.config_entries import SOURCE_RECONFIGURE, SOURCE_USER
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .agent import Agent
from .location_forms import Fields, LocationForms, is_required, values_of


async def test_errors_are_shown_at_field(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """Each failed step is an error of its field."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    tried: list[tuple[Fields, dict[str, str], str]] = [
        ({"endpoint": nowhere}, {"endpoint": "storage_unreachable"}, "port"),
        ({"bucket": "nowhere"}, {"bucket": "bucket_not_found"}, "nowhere"),
        ({"bucket": "a b"}, {"bucket": INVALID_SETTING}, "the bucket's name alone"),
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
            {
                "bucket": "no",
                "speed": {"upload_limit": "much"},
                "connection": {"proxy": "x"},
            },
            {
                "base": SEVERAL,
                "bucket": SEE_ABOVE,
                "speed": IN_SECTION,
                "connection": IN_SECTION,
            },
            "Upload limit: Enter a speed such as 2 MB/s",
        ),
        (
            {"storage": {"encryption": "SSE-C"}},
            {"base": INVALID_SETTING, "storage": IN_SECTION},
            "SSE key (provider-side encryption): Enter 32 bytes",
        ),
    ]
    form = await forms.begin(loaded)
    for change, errors, details in tried:
        form = await forms.submit(form, {**fields, **change})
        assert form["type"] is FlowResultType.FORM, form
        assert form["step_id"] == "location"
        assert form["errors"] == errors
        assert details in form["description_placeholders"]["details"]
        for name in SECTIONS:
            collapsed = form["data_schema"].schema[name].options["collapsed"]
            assert collapsed is (name not in errors)
    form = await forms.submit(form, fields)
    assert form["type"] is FlowResultType.CREATE_ENTRY


async def test_entered_values_are_kept(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """After an error, entered values are kept, and secrets are stored without being shown."""
    secret = fields.pop("secret_access_key")
    form = await forms.begin(loaded)
    proxy = f"http://me:hidden@127.0.0.1:{free_port()}"
    fields |= {"name": "Cellar", "connection": {"proxy": proxy}}
    form = await forms.submit(form, {**fields, "secret_access_key": secret})
    in_connection = {"base": "storage_unreachable", "connection": IN_SECTION}
    assert form["errors"] == in_connection
    values = values_of(form)
    assert values["secret_access_key"] is None
    assert not is_required(form, "secret_access_key")
    assert (values["name"], values["bucket"]) == ("Cellar", fields["bucket"])
    shown_proxy = proxy.replace(":hidden", "")
    assert values["connection"]["proxy"] == shown_proxy
    assert "hidden" not in str(form)

    # The URL as shown keeps its stored password.
    form = await forms.submit(form, {**fields, "connection": {"proxy": shown_proxy}})
    in_connection = {"base": "storage_unreachable", "connection": IN_SECTION}
    assert form["errors"] == in_connection
    result = await forms.submit(form, {**fields, "connection": {}})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["secret_access_key"] == secret
    assert "proxy" not in subentry.data


async def test_region_correction_is_offered(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """A wrong region is corrected with one click."""
    form = await forms.begin(loaded, "other")
    wrong = {**fields, "connection": {"region": "eu-west-1"}}
    menu = await forms.submit(form, wrong)
    assert menu["type"] is FlowResultType.MENU
    assert menu["step_id"] == "corrected"
    assert menu["menu_options"] == ["take", "location"]
    assert menu["description_placeholders"]["changes"] == "- **Region**: `garage`"
    assert menu["description_placeholders"]["details"]

    # Corrected by hand, the form shows the error.
    form = await forms.submit(menu, {"next_step_id": "location"})
    assert form["type"] is FlowResultType.FORM
    assert form["errors"] == {"base": "wrong_region", "connection": IN_SECTION}
    assert values_of(form)["connection"]["region"] == "eu-west-1"

    menu = await forms.submit(form, {**wrong, "secret_access_key": ""})
    result = await forms.submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["region"] == "garage"
    assert subentry.data["provider"] == "other"


@pytest.mark.parametrize("choice", ["use", "keep"])
async def test_folder_with_backups_is_offered(
    loaded: MockConfigEntry,
    *,
    garage: Garage,
    bucket: str,
    fields: Fields,
    forms: LocationForms,
    choice: str,
) -> None:
    """Where the folder is empty and another one has backups, that one is offered."""
    for ending in ("tar", "metadata.json"):
        key = f"home/backups/Nightly.{ending}"
        garage.client().put_object(Bucket=bucket, Key=key, Body=b"{}")
    entered = {**fields, "prefix": "Home"}
    menu = await forms.submit(await forms.begin(loaded), entered)
    assert menu["type"] is FlowResultType.MENU
    assert menu["step_id"] == "suggested"
    assert menu["menu_options"] == ["use", "keep", "location"]
    details = menu["description_placeholders"]["details"]
    assert "`home/backups/` has some (1)" in details
    form = await forms.submit(menu, {"next_step_id": "location"})
    assert form["errors"] == {}

    menu = await forms.submit(form, {**entered, "secret_access_key": ""})
    result = await forms.submit(menu, {"next_step_id": choice})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["prefix"] == {"use": "home", "keep": "Home"}[choice]


async def test_plain_http_is_offered(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """A server without TLS is used after a confirmation."""
    endpoint = fields["endpoint"].replace("http:", "https:")
    menu = await forms.submit(
        await forms.begin(loaded), {**fields, "endpoint": endpoint}
    )
    assert menu["step_id"] == "unencrypted"
    changes = menu["description_placeholders"]["changes"]
    assert changes == f"- **Endpoint**: `{fields['endpoint']}`"
    form = await forms.submit(menu, {"next_step_id": "location"})
    assert form["errors"] == {"endpoint": "storage_certificate"}
    assert values_of(form)["endpoint"] == endpoint


async def test_endpoint_with_bucket_is_corrected(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An endpoint that contains the bucket is corrected."""
    form = await forms.begin(loaded)
    endpoint = f"{fields['endpoint']}/{fields['bucket']}"
    menu = await forms.submit(form, {**fields, "endpoint": endpoint})
    changes = menu["description_placeholders"]["changes"]
    assert changes == f"- **Endpoint**: `{fields['endpoint']}`"
    result = await forms.submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_pasted_bucket_is_corrected(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """A bucket that is pasted with its folder is taken apart."""
    pasted = {**fields, "bucket": f"s3://{fields['bucket']}/home"}
    menu = await forms.submit(await forms.begin(loaded), pasted)
    changes = menu["description_placeholders"]["changes"]
    assert changes == f"- **Bucket**: `{fields['bucket']}`\n- **Folder**: `home`"
    result = await forms.submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = loaded.subentries.values()
    assert subentry.data["bucket"] == fields["bucket"]
    assert subentry.data["prefix"] == "home"


async def test_notes_are_shown(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """Notes of a check are shown, for working settings and others."""
    note = {"code": "brand_new", "key": "endpoint", "message": "It is not encrypted."}
    check = AgentClient.check_settings

    async def with_note(client: AgentClient, settings: Any) -> Any:
        return {**await check(client, settings), "notes": [note]}

    with patch.object(AgentClient, "check_settings", with_note):
        form = await forms.submit(
            await forms.begin(loaded), {**fields, "bucket": "no-such"}
        )
        details = form["description_placeholders"]["details"]
        assert details.endswith(" It is not encrypted.")
        result = await forms.submit(form, fields)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["description"] == "first_notes"
    assert result["description_placeholders"]["notes"] == "It is not encrypted."


async def test_unreachable_agent_keeps_input(
    hass: HomeAssistant,
    *,
    agent: Agent,
    loaded: MockConfigEntry,
    fields: Fields,
    forms: LocationForms,
) -> None:
    """Without its agent, nothing is added, and the input is kept."""
    form = await forms.begin(loaded)
    await agent.stop()
    form = await forms.submit(form, fields)
    assert form["errors"] == {"base": AGENT_UNREACHABLE}

    await agent.start()
    assert await hass.config_entries.async_unload(loaded.entry_id)
    form = await forms.submit(form, fields)
    assert form["errors"] == {"base": AGENT_UNREACHABLE}
    assert await hass.config_entries.async_setup(loaded.entry_id)
    await agent.stop()

    handler = (loaded.entry_id, "location")
    start = hass.config_entries.subentries.async_init
    result = await start(handler, context={"source": SOURCE_USER})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "cannot_connect"

    await agent.start()
    result = await forms.submit(form, {**fields, "secret_access_key": ""})
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


async def test_correction_is_tried_to_the_end(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """An endpoint without scheme, a pasted bucket and a wrong region are corrected at once, and work."""
    endpoint = fields["endpoint"].removeprefix("http://")
    wrong = {
        **fields,
        "endpoint": endpoint,
        "bucket": f"s3://{fields['bucket']}/home",
    }
    form = await forms.begin(loaded)
    menu = await forms.submit(form, wrong)
    # https:// is tried first; the server has no TLS.
    assert menu["step_id"] == "unencrypted"
    changes = menu["description_placeholders"]["changes"]
    assert changes.splitlines() == [
        f"- **Bucket**: `{fields['bucket']}`",
        f"- **Endpoint**: `{fields['endpoint']}`",
        "- **Folder**: `home`",
    ]
    result = await forms.submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY, result

    form = await forms.begin(loaded, "other")
    region = {"connection": {"region": "eu-west-1"}}
    pasted = {**fields, **region, "bucket": f"s3://{fields['bucket']}/attic"}
    menu = await forms.submit(form, pasted)
    assert menu["step_id"] == "corrected"
    changes = menu["description_placeholders"]["changes"]
    assert changes.splitlines() == [
        f"- **Bucket**: `{fields['bucket']}`",
        "- **Folder**: `attic`",
        "- **Region**: `garage`",
    ]
    result = await forms.submit(menu, {"next_step_id": "take"})
    assert result["type"] is FlowResultType.CREATE_ENTRY, result


async def test_unproven_correction_is_filled_in(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """What is understood is shown in the form, beside the errors that remain."""
    pasted = {"bucket": f"{fields['endpoint']}/{fields['bucket']}/home"}
    form = await forms.begin(loaded)
    form = await forms.submit(
        form,
        {**fields, **pasted, "secret_access_key": "not-the-secret", "name": "Cellar"},
    )
    assert form["step_id"] == "location"
    assert form["errors"] == {"secret_access_key": "storage_auth"}
    values = values_of(form)
    assert (values["bucket"], values["prefix"]) == (fields["bucket"], "home")
    details = form["description_placeholders"]["details"]
    bucket = fields["bucket"]
    filled = f"Filled in from what you entered: Bucket: {bucket}, Folder: home"
    assert details.endswith(filled)

    # With another invalid setting, nothing can be tried.
    more = {**pasted, "speed": {"part_size": "1 MiB"}}
    form = await forms.submit(await forms.begin(loaded), {**fields, **more})
    assert form["errors"] == {"base": INVALID_SETTING, "speed": IN_SECTION}
    assert values_of(form)["bucket"] == fields["bucket"]


async def test_url_of_a_bucket_chooses_the_provider(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """A pasted URL of a bucket tells the provider, and fills in the form."""
    first = await forms.open(loaded)
    url = "https://my-bucket.s3.eu-central-1.amazonaws.com/home"
    form = await forms.submit(first, {"provider": url})
    assert form["description_placeholders"]["provider"] == "Amazon S3"
    values = values_of(form)
    assert (values["bucket"], values["prefix"]) == ("my-bucket", "home")
    assert values["region"] == "eu-central-1"

    form = await forms.submit(
        await forms.open(loaded), {"provider": "https://nas.example.com:9000/backups"}
    )
    assert form["description_placeholders"]["provider"] == "S3"
    values = values_of(form)
    assert values["endpoint"] == "https://nas.example.com:9000"
    assert values["bucket"] == "backups"

    form = await forms.submit(await forms.open(loaded), {"provider": "nas.example.com"})
    assert values_of(form)["endpoint"] == "nas.example.com"
    form = await forms.submit(
        await forms.open(loaded), {"provider": "hetzner object storage"}
    )
    assert form["description_placeholders"]["provider"] == "Hetzner Object Storage"
    form = await forms.submit(await forms.open(loaded), {"provider": "Atlantis"})
    assert form["step_id"] == "beside_configured"
    assert form["errors"] == {"provider": "unknown_provider"}
    form = await forms.submit(form, {"provider": "garage"})
    assert (await forms.submit(form, fields))["type"] is FlowResultType.CREATE_ENTRY
