"""Tells the agent what its page needs to know: when the next automatic backup is due, and who is an administrator."""

from typing import TYPE_CHECKING, Final

from homeassistant.components.backup.const import DATA_MANAGER
from homeassistant.core import HomeAssistant, callback

from .client import AgentError, Event
from .const import DOMAIN

if TYPE_CHECKING:
    from .coordinator import AgentCoordinator, S3BackupAgentConfigEntry

_CAPABILITY: Final = "schedule"


class NextBackup:
    """Tells one agent the next backup that goes to one of its locations, and the administrators."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: S3BackupAgentConfigEntry,
        coordinator: AgentCoordinator,
    ) -> None:
        """Initialize it; nothing is told yet."""
        self._hass = hass
        self._entry = entry
        self._coordinator = coordinator
        # What the running agent was told; None before.
        self._told: tuple[str | None, list[str]] | None = None

    @callback
    def start(self) -> None:
        """Tell it now, and after each change, until the entry is unloaded."""
        self._entry.async_on_unload(self._coordinator.listen(self._on_event))

    @callback
    def _on_event(self, event: Event) -> None:
        """Tell a change; the agent pings every 15 seconds, and forgets it at a restart."""
        if event["type"] == "hello":
            self._told = None
        elif event["type"] != "ping":
            return
        if _CAPABILITY not in self._coordinator.info["capabilities"]:
            return
        self._entry.async_create_background_task(
            self._hass, self._tell(), f"{DOMAIN} next backup"
        )

    async def _tell(self) -> None:
        """Tell a change; a failure is retried at the next ping."""
        users = await self._hass.auth.async_get_users()
        administrators = sorted(it.id for it in users if it.is_active and it.is_admin)
        now = (self._due(), administrators)
        if self._told == now:
            return
        self._told = now
        try:
            await self._coordinator.client.set_schedule(*now)
        except AgentError:
            self._told = None

    def _due(self) -> str | None:
        """Return when the next automatic backup for one of the agent's locations is due."""
        config = self._hass.data[DATA_MANAGER].config.data
        agents = {f"{DOMAIN}.{location}" for location in self._coordinator.locations}
        if agents.isdisjoint(config.create_backup.agent_ids):
            return None
        due = config.schedule.next_automatic_backup
        return due.isoformat() if due else None
