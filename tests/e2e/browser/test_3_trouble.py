"""Problems are visible, explained, and fixable in place."""

from __future__ import annotations

from playwright.async_api import expect

from .frontend import Frontend
from .stage import CELLAR_BUCKET, PAGE, Stage


async def test_a_key_is_changed_and_refused(stage: Stage, frontend: Frontend) -> None:
    """A wrong key is rejected, no secret is shown, and a revoked key triggers reauthentication."""
    await stage.cellar()
    key_id, secret = await stage.garage.create_key(CELLAR_BUCKET)
    await frontend.open(PAGE)
    cellar = frontend.page.locator("ha-config-sub-entry-row", has_text="Cellar")
    await cellar.get_by_role("button", name="Change the settings").click()
    await expect(frontend.flow.field("Secret access key")).to_have_value("")
    await frontend.flow.fill({"Access key ID": key_id, "Secret access key": "wrong"})
    await frontend.flow.press("Submit")
    await frontend.flow.shows("The storage provider rejects the access key")
    await frontend.shot("30-wrong-key")
    await frontend.flow.fill({"Secret access key": secret})
    await frontend.flow.press("Submit")
    await frontend.flow.shows("Reconfiguration was successful")
    await frontend.shot("31-right-key")
    await frontend.flow.close()

    await stage.garage.delete_key(key_id)
    await stage.refresh("Cellar")
    await frontend.open(PAGE)
    await frontend.shot("32-reauth", of=frontend.text("ha-cellar/homeassistant"))
    await frontend.button("Reconfigure").click()
    await frontend.flow.shows("The provider rejects the access key")
    await frontend.shot("33-another-key")
    await frontend.flow.fill(
        {
            "Access key ID": stage.garage.key_id,
            "Secret access key": stage.garage.secret_key,
        }
    )
    await frontend.flow.press("Submit")
    await frontend.flow.shows("The new access key was saved")
    await frontend.shot("34-key-works")
    await frontend.flow.close()
    # An open page keeps showing the question until it is reloaded.
    await frontend.open(PAGE)
    await expect(frontend.text("ha-cellar/homeassistant")).to_be_visible()
    await expect(frontend.text("Needs attention")).to_be_hidden()
    await stage.wait_for_status("Cellar", "ok")


async def test_a_repair_corrects_the_region(stage: Stage, frontend: Frontend) -> None:
    """After the server's move to another region, a repair corrects the setting."""
    await stage.cellar()
    await stage.garage.move_to("attic-1")
    await stage.refresh("Cellar")
    await frontend.open("/config/repairs")
    await frontend.text("Wrong region for Cellar").click()
    await frontend.flow.shows("These settings were tested and work")
    await frontend.shot("35-repair")
    await frontend.flow.press("Submit")
    await frontend.flow.shows("The issue is repaired!")
    await frontend.flow.finish()
    await expect(frontend.text("Wrong region for Cellar")).to_be_hidden()
    await frontend.shot("36-repaired")
    await stage.wait_for_status("Cellar", "ok")


async def test_debug_logging(stage: Stage, frontend: Frontend) -> None:
    """*Enable debug logging* adds the agent's own records to Home Assistant's log."""
    await stage.cellar()
    await frontend.open(PAGE)
    menu = frontend.page.locator("ha-config-integration-page ha-dropdown").first
    await frontend.press_in_menu(menu.get_by_role("button"), "Enable debug logging")
    await expect(frontend.text("Debug logging enabled")).to_be_visible()
    await frontend.shot("37-debug")
    await stage.refresh("Cellar")
    await frontend.open("/config/logs")
    menu = frontend.page.locator("ha-config-logs ha-dropdown").first
    await frontend.press_in_menu(menu.get_by_role("button"), "Show full logs")
    lines = frontend.page.get_by_text("custom_components.s3_backup_agent.agent")
    await expect(lines.last).to_be_visible()
    await frontend.shot("38-log", of=lines.last)
    await frontend.open(PAGE)
    await frontend.button("Disable").click()
    await expect(frontend.text("Debug logging enabled")).to_be_hidden()


async def test_system_health(stage: Stage, frontend: Frontend) -> None:
    """System information names the agent's version and its locations' status."""
    await stage.cellar()
    await frontend.open("/config/repairs")
    menu = frontend.page.locator("ha-config-repairs-dashboard ha-dropdown").first
    await frontend.press_in_menu(menu.get_by_role("button"), "System information")
    await expect(frontend.text("Agent version")).to_be_visible()
    await frontend.shot("39-system", of=frontend.text("Agent version"))


async def test_in_german(stage: Stage, frontend: Frontend) -> None:
    """Everything is translated, except the words of the storage."""
    await stage.cellar()
    await stage.speak("de")
    await frontend.speak("de")
    await frontend.open(PAGE)
    await frontend.button("Bucket hinzufügen").click()
    other = "Anderer S3-kompatibler Speicher"
    await frontend.flow.choose("Anbieter", other)
    chosen = frontend.flow.root.get_by_role("button", name="Anbieter")
    await expect(chosen).to_contain_text(other)
    await frontend.shot("40-german-provider")
    await frontend.flow.press("OK")
    await frontend.flow.shows("S3-Bucket")
    await frontend.flow.fill(
        {
            "Endpunkt": stage.garage.endpoint,
            "Bucket": CELLAR_BUCKET,
            "Zugriffsschlüssel-ID": stage.garage.key_id,
            "Geheimer Zugriffsschlüssel": "falsch",
        }
    )
    await frontend.flow.press("Geschwindigkeit")
    await frontend.shot("41-german-settings")
    await frontend.flow.press("OK")
    await frontend.flow.shows("lehnt den Zugriffsschlüssel ab")
    await frontend.flow.shows("Prüfe den geheimen Zugriffsschlüssel")
    await frontend.shot("42-german-wrong-key")
    await frontend.flow.close(name="Schließen")
    await frontend.open("/config/devices/dashboard")
    await frontend.text("Cellar").click()
    await expect(frontend.text("Upload-Fortschritt")).to_be_visible()
    await frontend.shot("43-german-device")
    await frontend.open("/config/backup/settings")
    await frontend.shot("44-german-picker", of=frontend.text("S3 Backup Agent: Cellar"))
    await frontend.speak("en")
    await stage.speak("en")
