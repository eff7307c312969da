"""Adding the integration and its locations, each within a minute."""

from __future__ import annotations

from lab.homeassistant import DOMAIN
from playwright.async_api import expect

from .frontend import Frontend
from .stage import CELLAR_BUCKET, FOLDER, PAGE, PART_SIZE, UPLOAD_LIMIT, Stage

ICON = f"img[src*='{DOMAIN}']"


async def test_the_integration_is_added(stage: Stage, frontend: Frontend) -> None:
    """Search by name, enter the address, done."""
    await frontend.open("/config/integrations/dashboard")
    await frontend.button("Add integration").click()
    await frontend.page.get_by_placeholder("Search for a brand name").fill("S3 Backup")
    dialog = frontend.page.locator("dialog-add-integration")
    await expect(dialog.get_by_text("S3 Backup Agent")).to_be_visible()
    await frontend.shot("01-search")
    await dialog.get_by_text("S3 Backup Agent").click()
    await frontend.flow.shows("The agent keeps your backups")
    await frontend.shot("02-address")
    await frontend.flow.fill({"Address": "unix:///nowhere/agent.sock"})
    await frontend.flow.press("Submit")
    await frontend.flow.shows("Can't reach the agent")
    assert "ssl:" not in await frontend.words()
    await frontend.shot("03-address-wrong")
    await frontend.flow.fill({"Address": stage.agent.address})
    await frontend.flow.press("Submit")
    # A bucket is next.
    await frontend.flow.shows("Select your storage provider")
    await frontend.shot("04-bucket-next")
    await frontend.flow.close()


async def test_pasted_url_is_taken_apart(stage: Stage, frontend: Frontend) -> None:
    """The URL of a bucket chooses the provider, and fills in the form."""
    await stage.entry_id()
    url = "https://my-bucket.s3.eu-central-1.amazonaws.com/home"
    await begin_location(frontend, url)
    await frontend.flow.press("Submit")
    await frontend.flow.shows("Amazon S3 bucket")
    await expect(frontend.flow.field("Bucket")).to_have_value("my-bucket")
    await expect(frontend.flow.field("Folder")).to_have_value("home")
    await frontend.shot("04b-pasted")
    await frontend.flow.close()


async def test_a_wrong_region_is_corrected_with_one_click(
    stage: Stage, frontend: Frontend
) -> None:
    """The check detects the region, and one click applies it."""
    await stage.entry_id()
    await begin_location(frontend, "Garage")
    await frontend.shot("05-providers")
    await frontend.flow.press("Submit")
    await frontend.flow.shows("Garage bucket")
    await frontend.shot("06-settings")
    await frontend.flow.fill(
        {
            "Endpoint": stage.garage.endpoint,
            "Bucket": await stage.bucket(CELLAR_BUCKET),
            "Folder": FOLDER,
            "Access key ID": stage.garage.key_id,
            "Secret access key": stage.garage.secret_key,
            "Name": "Cellar",
        }
    )
    await frontend.flow.press("Connection")
    await frontend.flow.fill({"Region": "eu-west-1"})
    await frontend.flow.press("Speed")
    await frontend.flow.choose("Part size", PART_SIZE)
    await frontend.flow.choose("Upload limit", UPLOAD_LIMIT)
    await frontend.shot("07-sections")
    await frontend.flow.press("Submit")
    await frontend.flow.shows("Suggested correction")
    await frontend.flow.shows("These settings were tested and work")
    await frontend.shot("08-corrected")
    await frontend.flow.press("Use these settings")
    await frontend.flow.shows("turn on this location")
    await frontend.shot("08b-schedule-next")
    await frontend.flow.finish()
    await expect(frontend.text("Cellar")).to_be_visible()
    await frontend.shot("09-location")
    assert stage.garage.secret_key not in await frontend.words()


async def test_other_provider_is_added_with_suggestions(
    stage: Stage, frontend: Frontend
) -> None:
    """S3-compatible servers are added as *other*; a failed step appears at its field with a suggestion."""
    await stage.entry_id()
    await begin_location(frontend, "Other S3-compatible storage")
    await frontend.flow.press("Submit")
    await frontend.flow.fill(
        {
            "Endpoint": stage.garage.endpoint,
            "Bucket": "no-such-bucket",
            "Access key ID": stage.garage.key_id,
            "Secret access key": stage.garage.secret_key,
            "Name": "Attic",
        }
    )
    await frontend.flow.press("Submit")
    await frontend.flow.shows("The bucket does not exist")
    await frontend.shot("10-no-bucket")
    await frontend.flow.fill({"Bucket": await stage.bucket("ha-attic")})
    await frontend.flow.press("Connection")
    await frontend.flow.fill({"Region": "eu-west-1"})
    await frontend.flow.press("Submit")
    await frontend.flow.shows("Suggested correction")
    await frontend.flow.press("Edit manually")
    error = frontend.flow.root.get_by_text("The bucket is in another region").first
    await frontend.shot("10b-wrong-region", of=error)
    await frontend.flow.shows("A value in this section needs correction")
    await expect(frontend.flow.field("Region")).to_be_visible()
    await frontend.flow.press("Submit")
    await frontend.flow.press("Use these settings")
    await frontend.flow.finish()
    await expect(frontend.text("Attic")).to_be_visible()


async def test_a_location_is_a_device(stage: Stage, frontend: Frontend) -> None:
    """The device page shows status and actions."""
    await stage.cellar()
    await frontend.open(PAGE)
    await frontend.shot("11-integration")
    await expect(frontend.page.locator(ICON).first).to_have_js_property(
        "complete", True
    )
    await frontend.open("/config/devices/dashboard?historyBack=1")
    await frontend.text("Cellar").click()
    await expect(frontend.text("Upload progress")).to_be_visible()
    await frontend.shot("12-device")
    await frontend.open(f"/config/entities?domain={DOMAIN}")
    await expect(frontend.text("Upload progress")).to_be_visible()
    await frontend.shot("13-entities")


async def begin_location(frontend: Frontend, provider: str) -> None:
    """Choose the provider of a new location."""
    await frontend.open(PAGE)
    await frontend.button("Add a bucket").click()
    await frontend.flow.choose("Provider", provider)
