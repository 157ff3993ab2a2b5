"""What a person does while an answer is written."""

import asyncio
import re

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Tab
from playwright.async_api import WebSocketRoute, expect

from agent_ws import Turn
from agent_ws.events import User
from agent_ws.fold import runs
from agent_ws.turn import TurnSection

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def settled(tab: Tab) -> None:
    await expect(tab.runs.last.locator(".receipt")).to_be_visible()


async def test_a_message_that_waits_can_be_edited(make_site: MakeSite) -> None:
    gate = asyncio.Event()
    turns: list[str] = []

    async def agent(turn: Turn) -> None:
        turns.append(turn.message)
        turn.content(f"To {turn.message}. ")
        await gate.wait()

    tab = await (await make_site(agent)).tab()
    await tab.say("first")
    await expect(tab.answer).to_contain_text("To first")
    await tab.say("secnd")
    waiting = tab.page.locator("#waiting .message")
    await expect(waiting).to_contain_text("waiting")
    await tab.words.fill("and more")
    await waiting.get_by_role("button", name="Edit").click()
    await expect(tab.words).to_have_value("secnd\n\nand more")
    await expect(tab.words).to_be_focused()
    await expect(waiting).to_have_count(0)
    await tab.words.fill("second")
    await tab.words.press("Enter")
    await expect(waiting).to_have_count(1)
    gate.set()
    await expect(tab.answer).to_contain_text("To second")
    assert turns == ["first", "second"]


async def test_a_message_is_shown_once_also_where_its_answer_comes_before_its_acceptance(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def agent(turn: Turn) -> None:
        turn.content(f"To {turn.message}. ")
        await gate.wait()

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        server.on_message(lambda data: None if '"accepted"' in str(data) else route.send(data))

    tab = await (await make_site(agent)).tab()
    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await tab.say("first")
    await expect(tab.answer).to_contain_text("To first")
    await tab.say("second")
    await expect(tab.page.locator("#waiting .note").first).to_contain_text("waiting")
    await tab.frame()
    assert await tab.page.locator(".message .words").all_inner_texts() == ["first", "second"]
    gate.set()
    await expect(tab.answer).to_contain_text("To second")
    assert await tab.page.locator(".message .words").all_inner_texts() == ["first", "second"]


async def test_the_button_says_what_becomes_of_the_message(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def agent(turn: Turn) -> None:
        turn.content("Well")
        await gate.wait()

    tab = await (await make_site(agent)).tab()
    send = tab.page.locator("#send")
    await expect(send).to_have_text("Send")
    await tab.say("first")
    await expect(send).to_have_text("Queue")
    for words in ("Send now", "Steer"):
        await tab.page.get_by_label(words).check()
        await expect(send).to_have_text(words)
    gate.set()
    await settled(tab)
    await expect(send).to_have_text("Send")


async def test_sections_are_skipped_before_they_begin_and_written_again(make_site: MakeSite) -> None:
    gates = {name: asyncio.Event() for name in "abc"}

    async def agent(turn: Turn) -> None:
        async def write(section: TurnSection) -> None:
            section.content(f"{section.section} in draft {section.attempt}")
            await gates[section.section].wait()

        await turn.sections(a=("Idea", write), b=("Proof", write), c=("End", write))

    tab = await (await make_site(agent)).tab()
    await tab.say("Write")
    sections = tab.answer.locator(".section")
    await expect(sections.first).to_contain_text("a in draft 1")
    await tab.button("Skip Proof").click()
    await expect(sections.nth(1)).to_have_attribute("data-state", "skipped")
    for draft in (2, 3):
        await tab.button("Redo Idea").click()
        await expect(sections.first.locator(".flow")).to_have_text(f"a in draft {draft}")
    gates["a"].set()
    await expect(sections.nth(2)).to_contain_text("c in draft 1")
    await expect(tab.answer.locator(".outline > .note")).to_have_text("2 of 3 sections")
    await tab.button("Redo Idea").click()
    gates["c"].set()
    await settled(tab)
    await expect(sections.locator(".flow")).to_have_text(["a in draft 4", "", "c in draft 1"])
    await expect(tab.answer.get_by_role("button")).to_have_count(0)


async def test_a_draft_survives_a_reload(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("Yes")

    tab = await (await make_site(agent)).tab()
    await tab.words.fill("Half a thought")
    await tab.page.reload()
    await expect(tab.words).to_have_value("Half a thought")
    await tab.words.press("Enter")
    await settled(tab)
    await tab.page.reload()
    await expect(tab.runs).to_have_count(1)
    await expect(tab.words).to_have_value("")


async def test_where_websockets_are_blocked_events_come_another_way(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def agent(turn: Turn) -> None:
        turn.content("One ")
        await gate.wait()
        turn.content("two")
        if turn.message == "stop me":
            await asyncio.sleep(60)

    async def block(route: WebSocketRoute) -> None:
        await route.close(code=1011)

    tab = await (await make_site(agent)).tab()
    await tab.page.route_web_socket("**/ws", block)
    await tab.page.goto(tab.site.url)
    await tab.page.evaluate("localStorage.clear()")
    await tab.page.goto(f"{tab.site.url}?anew")
    await expect(tab.state).to_have_text("Connected", timeout=20_000)
    await tab.say("count")
    await expect(tab.answer).to_have_text("One")
    gate.set()
    await expect(tab.answer).to_have_text("One two")
    await settled(tab)
    await tab.say("stop me")
    await expect(tab.runs).to_have_count(2)
    await expect(tab.answer).to_have_text("One two")
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_contain_text("Stopped")
    assert [event.data for event in await tab.log() if isinstance(event, User)] == ["count", "stop me"]
    tab.faults.clear()  # the sockets that were blocked


async def test_frames_that_get_lost_are_asked_for_again(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def agent(turn: Turn) -> None:
        for i in range(30):
            turn.content(f"w{i} ")
            await asyncio.sleep(0.005)
        await gate.wait()
        turn.content("end")

    tab = await (await make_site(agent)).tab()
    taken = 0

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        async def to_page(data: str | bytes) -> None:
            nonlocal taken
            taken += 1
            if taken == 12:
                await route.close(code=1011)  # and what comes behind it is lost
            else:
                route.send(data)

        server.on_message(to_page)

    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await tab.say("go")
    await expect(tab.answer).to_contain_text("w29")
    gate.set()
    await settled(tab)
    assert await tab.text() == "".join(f"w{i} " for i in range(30)) + "end" == runs(await tab.log())[0].text()
    tab.faults.clear()  # the broken socket


async def test_a_reload_in_mid_answer_shows_no_other_page_on_its_way(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("Here I am.")
        await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    await tab.say("hello")
    await expect(tab.answer).to_contain_text("Here I am.")
    await tab.page.add_init_script("""
        window.seen = [];
        new MutationObserver(() => {
            const text = document.querySelector('#scroller')?.innerText.replace(/\\s+/g, ' ').trim();
            if (text !== undefined && text !== window.seen.at(-1)) window.seen.push(text);
        }).observe(document, {subtree: true, childList: true, characterData: true});
    """)
    await tab.page.reload()
    await expect(tab.answer).to_contain_text("Here I am.")
    await tab.frame()
    seen: list[str] = await tab.page.evaluate("window.seen")
    assert [re.sub(r"^You hello ", "", text) for text in seen if text] == ["Answer Here I am."]


async def test_the_reader_finds_the_place_again_after_a_reload(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("\n\n".join(f"Paragraph {i}" for i in range(100)))

    tab = await (await make_site(agent)).tab()
    await tab.say("Long")
    await settled(tab)
    scroller = tab.page.locator("#scroller")
    await scroller.hover()
    await tab.page.mouse.wheel(0, -700)
    await expect(tab.button("Latest")).to_be_visible()
    top = await scroller.evaluate("s => s.scrollTop")
    await tab.page.reload()
    await settled(tab)
    await expect(tab.button("Latest")).to_be_visible()
    assert abs(await scroller.evaluate("s => s.scrollTop") - top) <= 1


async def test_what_is_said_aloud_comes_in_whole_sentences_and_once(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def agent(turn: Turn) -> None:
        turn.content("The first **sentence**. The sec")
        await gate.wait()
        turn.content("ond one.")

    tab = await (await make_site(agent)).tab()
    news = tab.page.locator("#news p")
    await tab.say("Speak")
    await expect(news).to_have_text(["The first sentence."])
    gate.set()
    await expect(news).to_have_text(["The first sentence.", "Answer finished. The second one."])
    await tab.page.reload()
    await settled(tab)
    await tab.say("Again")
    await expect(news).to_have_text(["Answer finished. The first sentence. The second one."])


@pytest.mark.parametrize("wire", ["WebSocket", "requests"])
async def test_a_stop_right_behind_the_message_stops_it(make_site: MakeSite, wire: str) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("Too late")
        await asyncio.sleep(60)

    async def block(route: WebSocketRoute) -> None:
        await route.close(code=1011)

    tab = await (await make_site(agent)).tab()
    if wire == "requests":
        await tab.page.route_web_socket("**/ws", block)
        await tab.page.reload()
        await expect(tab.state).to_have_text("Connected", timeout=20_000)
    await tab.words.fill("Oh no")
    await tab.page.evaluate("""
        const press = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
        press(document.querySelector("#words"), "Enter");
        press(document, "Escape");
    """)
    await expect(tab.endings.last).to_contain_text(re.compile("Stopped|Withdrawn"))
    await expect(tab.button("Stop Esc")).to_be_hidden()
    tab.faults.clear()  # the sockets that were blocked


async def test_a_message_stays_and_can_be_stopped_before_the_log_tells_of_it(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("Too late")
        await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    accepted, events_may_come = asyncio.Event(), asyncio.Event()

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        async def to_page(data: str | bytes) -> None:
            if '"seq"' in str(data):
                await events_may_come.wait()
            route.send(data)
            if '"accepted"' in str(data):
                accepted.set()

        server.on_message(to_page)

    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await expect(tab.state).to_have_text("Connected")
    await tab.say("Wait")
    await accepted.wait()
    await tab.frame()
    await expect(tab.page.locator("#next .words")).to_have_text("Wait")
    await tab.page.keyboard.press("Escape")
    events_may_come.set()
    await expect(tab.endings.last).to_contain_text("Stopped")
    await expect(tab.runs).to_have_count(1)
