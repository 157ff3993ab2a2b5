"""The browser's own events bring a page back at once, whatever its back-off says."""

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Site, Tab
from playwright.async_api import expect

from agent_ws import Turn

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

NEVER = """
Math.random = () => 1; // the whole first wait: 500 ms
const later = setTimeout;
window.setTimeout = (call, ms, ...more) => later(call, ms > 450 && ms <= 500 ? 1e9 : ms, ...more);
"""
"""A back-off that doesn't end: whoever comes back was told to."""


async def agent(turn: Turn) -> None:
    turn.content("Here.")


async def lost(site: Site) -> Tab:
    """A page whose connection is lost, and which doesn't come back by itself."""
    tab = await site.tab()
    await tab.page.add_init_script(NEVER)
    await tab.page.reload()
    await expect(tab.state).to_have_text("Connected")
    site.relay.cut()
    await expect(tab.page.locator("#state")).to_have_attribute("data-state", "waiting")
    site.relay.up = True
    await tab.frame()
    await expect(tab.page.locator("#state")).to_have_attribute("data-state", "waiting")
    return tab


async def answers(tab: Tab) -> None:
    await expect(tab.state).to_have_text("Connected")
    await tab.say("Are you there?")
    await expect(tab.answer).to_have_text("Here.")
    tab.faults.clear()  # the lost connection


async def test_the_network_is_back(make_site: MakeSite) -> None:
    site = await make_site(agent)
    tab = await lost(site)
    try:
        await site.context.set_offline(offline=True)
        await expect(tab.state).to_have_text("Offline")
    finally:
        await site.context.set_offline(offline=False)  # it is of all tests
    await answers(tab)


async def test_the_person_is_back(make_site: MakeSite) -> None:
    tab = await lost(await make_site(agent))
    seen = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
    seen += "document.dispatchEvent(new Event('visibilitychange')); }"
    await tab.page.evaluate(seen, True)  # noqa: FBT003 - it is what the script takes
    await tab.frame()
    await expect(tab.page.locator("#state")).to_have_attribute("data-state", "waiting")
    await tab.page.evaluate(seen, False)  # noqa: FBT003 - the same
    await answers(tab)
