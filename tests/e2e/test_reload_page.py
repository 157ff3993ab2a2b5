"""A reload, frame by frame: what a person sees must never go back."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Tab
from playwright.async_api import Route, WebSocketRoute, expect

from agent_ws import Turn

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

SHOWN = "[...document.querySelectorAll('#log .words, #log .content .text')].map(e => e.textContent).join('|')"
PLACE = "(s => s && [s.scrollTop, s.scrollHeight - s.clientHeight - s.scrollTop])(document.getElementById('scroller'))"
SAMPLE = f"""
window.samples = [];
requestAnimationFrame(function look() {{
    const title = document.querySelector('h1')?.textContent;
    const list = [...document.querySelectorAll('#sidebar .title')].map(e => e.textContent).join('|');
    samples.push([{SHOWN}, {PLACE}, document.querySelector('#stop') !== null, `${{title}}|${{list}}`]);
    requestAnimationFrame(look);
}});
"""
"""What each frame of a page shows from its first one on: the text, where the reader is in it, whether it can be
stopped, the title and those in the list.
"""
FRAMES = 10


class Teller:
    """Says `word0 word1 ...`, as far as it was let."""

    def __init__(self) -> None:
        self.words = 0
        self.over = False
        self._more = asyncio.Event()

    def go_on(self, words: int, *, over: bool = False) -> None:
        self.words += words
        self.over = over
        self._more.set()

    async def __call__(self, _turn: Turn) -> AsyncGenerator[str]:
        said = 0
        while not self.over or said < self.words:
            if said < self.words:
                yield f"word{said} " + ("\n\n" if said % 10 == 9 else "")
                said += 1
            else:
                self._more.clear()
                await self._more.wait()


class Line:
    """The WebSocket of a tab, which can be held."""

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def route(self, tab: Tab) -> None:
        held: list[Any] = []

        def serve(route: WebSocketRoute) -> None:
            server = route.connect_to_server()

            async def pass_on(data: Any) -> None:
                held.append(data)
                await self.free.wait()
                for one in held:
                    route.send(one)
                held.clear()

            server.on_message(pass_on)

        await tab.page.route_web_socket("**/ws", serve)


async def late(route: Route) -> None:
    """Bring a script when the page has painted without it, or doesn't mean to."""
    response = await route.fetch()
    await route.request.frame.evaluate("new Promise(done => { requestAnimationFrame(done); setTimeout(done, 200); })")
    await route.fulfill(response=response)


async def frames(tab: Tab, more: int = FRAMES) -> list[list[Any]]:
    """What was painted, once there are so many frames more."""
    return await tab.page.evaluate(
        """more => new Promise(done => {
            const enough = samples.length + more;
            requestAnimationFrame(function look() {
                if (samples.length >= enough) done(samples);
                else requestAnimationFrame(look);
            });
        })""",
        more,
    )


async def ready(tab: Tab, agent: Teller, words: int) -> str:
    """An answer that is going on, and what the page shows of it."""
    await tab.say("Count")
    agent.go_on(words)
    await expect(tab.answer).to_contain_text(f"word{words - 1}")
    await expect(tab.page.locator("#sidebar .title")).to_have_text("Count")  # the server's list comes when it comes
    await tab.frame()
    await tab.page.add_init_script(SAMPLE)
    return await tab.page.evaluate(SHOWN)


async def test_no_frame_shows_less_than_the_one_before_the_reload(make_site: MakeSite) -> None:
    agent, line = Teller(), Line()
    tab = await (await make_site(agent)).tab()
    before = await ready(tab, agent, 12)
    await line.route(tab)
    await tab.page.route("**/chat.js", late)
    await tab.page.reload()
    early = await frames(tab)
    assert {shown for shown, *_ in early} == {before}, "from the first frame on, long before the server has answered"
    assert all(stop for *_, stop, _ in early), "it can be stopped all the while"
    assert {titles for *_, titles in early} == {"Count|Count"}
    agent.go_on(8)
    line.free.set()
    await expect(tab.answer).to_contain_text("word19")
    agent.go_on(2, over=True)
    await expect(tab.runs.last.locator(".receipt")).to_be_visible()
    last = before
    for shown, *_ in await frames(tab):
        assert shown.startswith(last), "text only ever comes to it"
        last = shown
    assert last.endswith("word21 ")


async def test_no_frame_leaves_the_end_or_the_place_of_the_reader(make_site: MakeSite) -> None:
    agent, line = Teller(), Line()
    tab = await (await make_site(agent)).tab()
    await ready(tab, agent, 600)
    await line.route(tab)
    await tab.page.reload()
    assert all(place[1] <= 1 for _, place, *_ in await frames(tab)), "at the end, it stays there"
    line.free.set()
    await expect(tab.state).to_have_text("Connected")
    assert all(place[1] <= 1 for _, place, *_ in await frames(tab))
    await tab.page.locator("#scroller").hover()
    await tab.page.mouse.wheel(0, -400)
    await expect(tab.button("Latest")).to_be_visible()
    await tab.frame()
    top = (await tab.page.evaluate(PLACE))[0]
    line.free.clear()
    await tab.page.reload()
    await frames(tab)
    line.free.set()
    agent.go_on(1, over=True)
    await expect(tab.runs.last.locator(".receipt")).to_be_visible()
    assert {place[0] for _, place, *_ in await frames(tab)} == {top}, "elsewhere, it stays there"


async def test_what_is_shown_goes_where_the_server_no_longer_has_it(make_site: MakeSite) -> None:
    agent = Teller()
    tab = await (await make_site(agent)).tab()
    await ready(tab, agent, 3)

    def serve(route: WebSocketRoute) -> None:
        route.on_message(lambda _: asyncio.ensure_future(route.close(code=4404, reason="session_not_found")))

    await tab.page.route_web_socket("**/ws", serve)
    await tab.page.reload()
    await expect(tab.page.get_by_role("alert")).to_contain_text("no longer on the server")
    await expect(tab.runs).to_have_count(0)


async def test_no_frame_lists_other_conversations_than_the_one_before_the_reload(make_site: MakeSite) -> None:
    agent, line = Teller(), Line()
    agent.go_on(1, over=True)
    site = await make_site(agent)
    tab = await site.tab()
    for message in ("One", "Two"):
        await tab.button("New conversation").click()
        await tab.say(message)
        await expect(tab.runs.last.locator(".receipt")).to_be_visible()
    await tab.button("This conversation").click()
    await tab.button("Rename").click()
    await tab.page.get_by_label("Title").fill("Renamed")
    await tab.page.get_by_label("Title").press("Enter")
    await expect(tab.page.locator("#sidebar .title")).to_have_text(["Renamed", "One"])
    await tab.page.add_init_script(SAMPLE)
    await line.route(tab)
    await tab.page.reload()
    assert {titles for *_, titles in await frames(tab)} == {"Renamed|Renamed|One"}
    line.free.set()
    await expect(tab.state).to_have_text("Connected")
    assert {titles for *_, titles in await frames(tab)} == {"Renamed|Renamed|One"}


async def test_a_stop_right_after_the_reload_counts(make_site: MakeSite) -> None:
    agent, line = Teller(), Line()
    tab = await (await make_site(agent)).tab()
    await ready(tab, agent, 5)
    await line.route(tab)
    await tab.page.reload()
    await frames(tab)
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_have_text("Stopping…")
    line.free.set()
    await expect(tab.endings.last).to_contain_text("Stopped")
    await expect(tab.answer.locator(".unseen")).to_have_count(0)
