"""Sentences about errors in Home Assistant's language."""

import json
import re
from typing import Any

from lab.process import free_port
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.s3_backup_agent.client import AgentClient, AgentError
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.texts import (
    details_of,
    note_text,
    option_problem,
    plain,
    provider_help,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_load_integrations

from .agent import REPOSITORY
from .home import MakeEntry, Settings, shown
from .location_forms import Fields, LocationForms

CODES: dict[str, list[str]] = json.loads(
    (REPOSITORY / "docs" / "settings.json").read_text()
)["codes"]
TRANSLATIONS = REPOSITORY / "custom_components" / DOMAIN / "translations"
# Words that every English sentence of the agent has one of.
ENGLISH = re.compile(r"\b(the|is|a|not|Check|Could|must|of|and)\b")


@pytest.fixture
async def german(hass: HomeAssistant) -> None:
    """Set Home Assistant's language to German."""
    await hass.config.async_update(language="de")
    await async_load_integrations(hass, {DOMAIN})


@pytest.mark.parametrize(
    "language", sorted(path.stem for path in TRANSLATIONS.glob("*.json"))
)
def test_each_code_has_a_sentence(language: str) -> None:
    """Each code of the agent's errors, problems and notes has a sentence in each language."""
    texts = json.loads((TRANSLATIONS / f"{language}.json").read_text())["exceptions"]
    assert len(CODES["hint"]) > 60
    missing = [
        f"{kind}_{code}"
        for kind in ("hint", "problem", "note", "finding")
        for code in CODES[kind]
        if f"{kind}_{code}" not in texts
    ]
    assert missing == []


@pytest.mark.usefixtures("german")
async def test_error_is_german(
    loaded: MockConfigEntry, fields: Fields, forms: LocationForms
) -> None:
    """A form in German has no English sentence of the agent's, and the provider's own words."""
    form = await forms.begin(loaded)
    tried: list[tuple[Fields, list[str]]] = [
        ({"secret_access_key": "wrong"}, ["Prüfe den geheimen Zugriffsschlüssel"]),
        ({"bucket": "nowhere"}, ["Prüfe den Namen des Buckets", "NoSuchBucket"]),
        ({"endpoint": f"http://127.0.0.1:{free_port()}"}, ["Prüfe den Port"]),
        (
            {"bucket": "no", "speed": {"upload_limit": "viel", "part_size": "1 KiB"}},
            ["Bucket: Gib nur", "Upload-Limit: Gib", "Größe der Teile: Gib"],
        ),
        (
            {"storage": {"encryption": "SSE-C"}},
            ["SSE-Schlüssel (Verschlüsselung beim Anbieter): Gib"],
        ),
    ]
    for change, words in tried:
        form = await forms.submit(form, {**fields, **change})
        details = form["description_placeholders"]["details"]
        assert all(word in details for word in words), details
        assert not re.search(r"[*`]", details), details
        # The provider's words are between brackets.
        own = re.sub(r"\([^()]*(\([^()]*\)[^()]*)*\)", "", details)
        assert not ENGLISH.search(own), own
    menu = await forms.submit(form, {**fields, "bucket": f"s3://{fields['bucket']}/a"})
    assert menu["step_id"] == "corrected"
    assert "- **Ordner**: `a`" in menu["description_placeholders"]["changes"]


@pytest.mark.usefixtures("german")
async def test_notes_are_german(
    garage: Any,
    bucket: str,
    loaded: MockConfigEntry,
    fields: Fields,
    forms: LocationForms,
) -> None:
    """A note of the real check is German, too."""
    for ending in ("tar", "metadata.json"):
        key = f"home/backups/Nightly.{ending}"
        garage.client().put_object(Bucket=bucket, Key=key, Body=b"{}")
    menu = await forms.submit(await forms.begin(loaded), {**fields, "prefix": "Home"})
    details = menu["description_placeholders"]["details"]
    assert details == (
        "In `Home/backups/` ist kein Backup, aber in `home/backups/` sind welche (1). "
        "Diesen Ordner verwenden?"
    )


@pytest.mark.usefixtures("german")
async def test_refused_location_is_german(
    hass: HomeAssistant, settings: Settings, make_entry: MakeEntry
) -> None:
    """The issue of a refused location says in German what is wrong."""
    entry = make_entry(bad={**settings, "bucket": "a b", "concurrency": "99"})
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    placeholders = shown(hass)["location_refused"].translation_placeholders
    assert placeholders is not None
    assert "**Bucket**: Gib nur den Namen" in placeholders["details"]
    assert "**Parallele Übertragungen**: Gib eine Zahl" in placeholders["details"]
    assert "1 – 16" in placeholders["details"]


@pytest.mark.usefixtures("german")
async def test_options_are_german(hass: HomeAssistant) -> None:
    """An invalid option of the app is explained with what the agent does about it."""
    text = option_problem(
        hass,
        {
            "option": "locations[0].part_size",
            "message": "must be a size. The default is used instead.",
            "reason": "not_a_size",
            "placeholders": {"range": "5 MiB – 512 MiB"},
            "effect": "default",
        },
    )
    assert text == (
        "`locations[0].part_size`: Gib eine Größe ein, etwa `16 MiB` (5 MiB – 512 MiB). "
        "Stattdessen gilt die Voreinstellung."
    )
    # An older agent sends no code.
    older: Any = {"option": "log.level", "message": "must be one of a, b"}
    assert option_problem(hass, older) == "`log.level` must be one of a, b"


def test_plain_text_has_no_markdown() -> None:
    """An error of a form shows a text as it is."""
    text = "Set *Region* to `a`:\n\n- **Bucket**: `b`\n- **Folder**: `c`\n\nTry."
    assert plain(text) == "Set “Region” to a: Bucket: b, Folder: c. Try."
    assert plain("One.\n\nTwo") == "One. Two"


@pytest.mark.usefixtures("german")
async def test_newer_codes_keep_the_agents_words(hass: HomeAssistant) -> None:
    """What a newer agent says under an unknown code is shown in its own words."""
    newer = AgentError("storage_error", "It rains", hint="Wait.", reason="rain")
    assert details_of(hass, newer) == "It rains. Wait."
    note: Any = {"code": "rain", "key": None, "message": "It rains"}
    assert note_text(hass, note) == "It rains"
    # A sentence that names what this agent does not send.
    lacking = AgentError("storage_error", "No", hint="Buy one.", reason="socket_denied")
    assert details_of(hass, lacking) == "No. Buy one."


async def test_provider_is_explained(
    hass: HomeAssistant,
    client: AgentClient,
    loaded: MockConfigEntry,
    forms: LocationForms,
) -> None:
    """The form explains the provider's key, its permissions and quirks."""
    form = await forms.begin(loaded, "backblaze_b2")
    text = form["description_placeholders"]["help"]
    (b2,) = (it for it in await client.providers() if it["id"] == "backblaze_b2")
    for line in (b2["keys"]["help"], b2["permissions"]["help"], *b2["quirks"]):
        assert f"- {line}" in text
    await hass.config.async_update(language="de")
    await async_load_integrations(hass, {DOMAIN})
    form = await forms.begin(loaded, "aws")
    text = form["description_placeholders"]["help"]
    assert "Lege in der IAM-Konsole" in text
    assert '"s3:ListBucketMultipartUploads"' in text.partition("```json")[2]
    for provider in await client.providers():
        own = provider_help(hass, provider["id"])
        assert own, provider["id"]
        assert provider["keys"]["help"] not in own
