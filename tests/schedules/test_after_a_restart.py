"""What a session still knows when it comes back from its store."""

import pytest
from chaos import World

pytestmark = pytest.mark.virtual


async def test_a_message_that_moved_is_known_by_its_last_run() -> None:
    world = await World.make(tabs=1, seconds=0)
    [tab] = world.tabs
    await world.say(tab, "w", None)
    await world.settle()
    await world.say(tab, "t", "steer", "moved")
    await world.pass_time(1)
    steered, own = [event.run for event in world.events() if getattr(event, "id", "") == "moved"]
    assert steered != own, "its run ended before it was taken, so it got one of its own"
    for restarted in (False, True):
        if restarted:
            await world.restart()
        await world.say(tab, "t", None, "moved")
        await world.settle()
        assert tab.client is not None
        assert tab.client.frames[-1]["run"] == own
    await world.finish()
