"""A live Home Assistant that backs up through the agent: `scripts/demo home-assistant`."""

from __future__ import annotations

import asyncio
import sys
from tempfile import TemporaryDirectory

from lab.agent import Agent, Directory
from lab.homeassistant import NEWEST, HomeAssistant


def say(text: str) -> None:
    """Print a line immediately."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main() -> None:
    """Set up the integration, show the location in the picker, create a backup, and download it."""
    say(f"Starting Home Assistant {NEWEST} and the agent (about 20 seconds)")
    with TemporaryDirectory() as folder:
        directory = Directory(
            id="directory", name="Directory", endpoint=f"file://{folder}"
        )
        async with Agent([directory]) as agent, HomeAssistant(NEWEST) as ha:
            await show(agent, ha)


async def show(agent: Agent[Directory], ha: HomeAssistant) -> None:
    """Back up through a running Home Assistant and a running agent."""
    await ha.add_agent(agent.address)
    ids = await ha.backups.wait_for_agents(1)
    say("Settings > System > Backups offers these locations:")
    for agent_id, name in (await ha.backups.agents()).items():
        say(f"  {name}  ({agent_id})")
    ours = next(agent_id for agent_id in ids if agent_id.startswith("s3_backup_agent."))
    outcome = await ha.backups.create([ours], name="Demo")
    say(f"Backup now: {outcome.state}, backup {outcome.backup_id}")
    assert outcome.backup_id is not None
    backup = await ha.backups.find(outcome.backup_id)
    say(
        f'Home Assistant lists "{backup["name"]}" with {backup["agents"][ours]["size"]} bytes at {ours}'
    )
    target = ha.folder / "again.tar"
    await ha.backups.download(outcome.backup_id, ours, target)
    say(f"Downloaded through Home Assistant: {target.stat().st_size} bytes")
    await ha.backups.delete(outcome.backup_id)
    say("Deleted. That is the whole job.")


if __name__ == "__main__":
    asyncio.run(main())
