"""An answer that was stopped goes on: one answer, on every tab, after a reload too."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Tab
from playwright.async_api import WebSocketRoute, expect

from agent_ws import Turn
from agent_ws.events import User
from agent_ws.fold import runs

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


class Poet:
    """Says its text in pieces, one for each opening of its gate, from where the user saw it end."""

    TEXT = "Once upon a time there was `a frog` that did not want to be a prince."

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.heard: list[str | None] = []
        self.free = False

    async def __call__(self, turn: Turn) -> AsyncGenerator[str]:
        self.heard.append(turn.continues)
        left = self.TEXT.removeprefix(turn.continues or "")
        while left:
            yield left[:11]
            left = left[11:]
            await self.gate.wait()
            if left and not self.free:
                self.gate.clear()


async def stop(tab: Tab) -> None:
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_contain_text("Stopped")


async def shows(tab: Tab, text: str) -> None:
    """Wait until the one answer is one paragraph with `text`, on whatever tab."""
    await expect(tab.answer.locator("p")).to_have_text([text])
    await expect(tab.runs).to_have_count(1)
    await expect(tab.runs.locator(".message .words")).to_have_text(["A story"])


async def test_it_is_one_answer_that_goes_on_in_mid_word(make_site: MakeSite) -> None:
    agent = Poet()
    site = await make_site(agent)
    tab, other = await site.tab(), await site.tab()
    await tab.say("A story")
    await shows(tab, "Once upon a")
    agent.gate.set()
    await shows(tab, "Once upon a time there")
    agent.gate.set()
    await shows(tab, "Once upon a time there was `a fro")
    await stop(tab)
    await tab.button("Continue").click()
    await shows(tab, "Once upon a time there was a frog that did")
    await expect(tab.button("Continue")).to_have_count(0)
    await expect(tab.answer.locator("code")).to_have_text("a frog")
    await expect(tab.words).to_be_focused()
    await other.page.goto(tab.page.url)
    await other.page.reload()
    await shows(other, "Once upon a time there was a frog that did")
    await stop(tab)
    await tab.page.reload()
    await shows(tab, "Once upon a time there was a frog that did")
    await other.button("Continue").click()
    for one in (tab, other):
        await shows(one, "Once upon a time there was a frog that did not want t")
    for words in (" be a prin", " be a prince."):
        agent.gate.set()
        for one in (tab, other):
            await shows(one, f"Once upon a time there was a frog that did not want to{words}")
    agent.gate.set()
    await expect(tab.runs.last.locator(".receipt")).to_be_visible()
    await expect(tab.endings.locator(".stopped")).to_have_count(0)
    assert agent.heard == [None, Poet.TEXT[:33], Poet.TEXT[:44]]
    log = await tab.log()
    assert [event.data for event in log if isinstance(event, User)] == ["A story", "", ""]
    assert "".join(view.text() for view in runs(log)) == Poet.TEXT


async def test_text_that_was_not_seen_is_gone_when_it_goes_on(make_site: MakeSite) -> None:
    agent = Poet()
    tab = await (await make_site(agent)).tab()
    slow = asyncio.Event()

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        async def later(data: str | bytes) -> None:
            if '"interrupt"' in str(data):
                await slow.wait()
            server.send(data)

        route.on_message(later)

    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await tab.say("A story")
    await shows(tab, "Once upon a")
    await tab.page.keyboard.press("Escape")
    agent.gate.set()
    while "time" not in runs(await tab.log())[0].text():  # noqa: ASYNC110 - the log has no event for a test
        await asyncio.sleep(0.005)
    slow.set()
    await expect(tab.answer.locator(".unseen")).to_have_text("time there")
    await tab.button("Continue").click()
    await shows(tab, "Once upon a time there")
    await expect(tab.answer.locator(".unseen")).to_have_count(0)
    assert agent.heard == [None, "Once upon a"]


async def test_a_continue_that_another_tab_was_first_with_shows_what_that_one_did(make_site: MakeSite) -> None:
    agent = Poet()
    site = await make_site(agent)
    tab = await site.tab()
    free = asyncio.Event()

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        async def later(data: str | bytes) -> None:
            if '"continues"' in str(data):
                await free.wait()
            server.send(data)

        route.on_message(later)

    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await tab.say("A story")
    await shows(tab, "Once upon a")
    await stop(tab)
    other = await site.tab()
    await tab.button("Continue").click()
    await expect(tab.endings.last).to_have_text("Going on…")
    await other.button("Continue").click()
    await shows(other, "Once upon a time there")
    await shows(tab, "Once upon a time there")
    agent.free = True
    agent.gate.set()
    whole = Poet.TEXT.replace("`", "")
    await shows(tab, whole)
    free.set()
    while await tab.page.evaluate("'agent-ws.outbox' in sessionStorage"):  # noqa: ASYNC110 - it has no event for a test
        await asyncio.sleep(0.005)
    await tab.frame()
    await shows(tab, whole)
    await expect(tab.endings.last).not_to_contain_text("Going on")
    await expect(tab.page.locator("#notice")).to_be_hidden()
    await expect(tab.page.locator("#waiting")).to_be_hidden()
    assert agent.heard == [None, "Once upon a"]
