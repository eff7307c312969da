"""Changing a location."""

import secrets

from lab.garage import Garage
from pytest_homeassistant_custom_component.common import MockConfigEntry

from homeassistant.config_entries import SOURCE_RECONFIGURE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from .location_forms import Fields, LocationForms, values_of


async def test_location_moves_and_keeps_id(
    hass: HomeAssistant,
    *,
    garage: Garage,
    loaded: MockConfigEntry,
    fields: Fields,
    forms: LocationForms,
) -> None:
    """A location moves to another bucket, and keeps its id and its secret."""
    subentry = await forms.add(loaded, fields)
    location_id = subentry.unique_id
    form = await loaded.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    assert form["step_id"] == "change"
    assert form["description_placeholders"]["location"] == fields["bucket"]
    values = values_of(form)
    assert (values["bucket"], values["name"]) == (fields["bucket"], "")
    assert values["secret_access_key"] is None
    assert garage.secret_key not in str(form)

    bucket = await garage.create_bucket(f"bucket-{secrets.token_hex(4)}")
    changed = {key: text for key, text in fields.items() if key != "secret_access_key"}
    changed |= {"bucket": bucket, "name": "Cellar"}
    form = await forms.submit(form, {**changed, "access_key_id": "wrong"})
    assert set(form["errors"]) == {"access_key_id"}
    result = await forms.submit(form, changed)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reconfigure_successful"
    assert subentry.unique_id == location_id
    assert subentry.title == "Cellar"
    assert subentry.data["bucket"] == bucket
    assert subentry.data["secret_access_key"] == garage.secret_key
    location = loaded.runtime_data.locations[location_id]
    assert (location["bucket"], location["name"]) == (bucket, "Cellar")

    # A location does not conflict with itself, and its old folder is free.
    form = await loaded.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
    assert values_of(form)["name"] == "Cellar"
    assert (await forms.submit(form, changed))["reason"] == "reconfigure_successful"
    other = await forms.add(loaded, fields)
    assert other.unique_id == f"{location_id}-2"
    form = await loaded.start_subentry_reconfigure_flow(hass, other.subentry_id)
    assert (await forms.submit(form, changed))["reason"] == "already_configured"


async def test_encryption_key_is_dropped_with_encryption(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """The key is stored as long as its kind of encryption."""
    key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    encryption = {"encryption": "SSE-C", "encryption_key": key}
    subentry = await forms.add(loaded, {**fields, "storage": encryption})
    for advanced, kept in (({"encryption": "SSE-C"}, encryption), ({}, {})):
        form = await loaded.start_subentry_reconfigure_flow(hass, subentry.subentry_id)
        assert "encryption_key" in values_of(form)["storage"]
        result = await forms.submit(form, {**fields, "storage": advanced})
        assert result["reason"] == "reconfigure_successful"
        names = ("encryption", "encryption_key")
        assert {
            name: subentry.data[name] for name in names if name in subentry.data
        } == kept


async def test_unknown_provider_aborts(
    hass: HomeAssistant, loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """A provider unknown to the agent aborts only its own flow."""
    subentry = await forms.add(loaded, fields)
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
    await forms.add(loaded, {**fields, "prefix": "attic"})
