"""The page as a person meets it.

Every test also fails on any console error, so on any breach of the content policy, on any dialog, and on any request
that leaves the origin (see `make_site`).
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Tab
from playwright.async_api import WebSocketRoute, expect

from agent_ws import AgentError, Status, Turn
from agent_ws.events import Interrupted, User
from agent_ws.fold import runs

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

RESTARTING = 4503
NOT_FOUND = 4404
MANY = 400


class Gate(asyncio.Event):
    """Open it once for each time that an agent may pass."""

    async def passed(self) -> None:
        await self.wait()
        self.clear()


class Counter:
    """Says `word0 word1 ...`, one for each opening of its gate; `to_the_end` opens it for good."""

    def __init__(self, words: int = 20) -> None:
        self.gate = Gate()
        self.words = words
        self.free = False
        self.stopped = False
        self.turns: list[str] = []

    async def __call__(self, turn: Turn) -> AsyncGenerator[str]:
        self.turns.append(turn.message)
        try:
            for i in range(self.words):
                yield f"word{i} "
                if not self.free:
                    await self.gate.passed()
                await asyncio.sleep(0)
        finally:
            self.stopped = True

    def to_the_end(self) -> None:
        self.free = True
        self.gate.set()

    def text(self, words: int | None = None) -> str:
        return "".join(f"word{i} " for i in range(self.words if words is None else words))


async def shows(tab: Tab, text: str) -> None:
    """Wait until the last answer is exactly `text`."""
    await expect(tab.answer.locator(".content > .text:not(.unseen)")).to_have_text(text.strip())
    assert await tab.text() == text


async def settled(tab: Tab) -> None:
    await expect(tab.runs.last.locator(".receipt")).to_be_visible()


# Chat


async def test_words_appear_as_they_come(make_site: MakeSite) -> None:
    agent = Counter(3)
    tab = await (await make_site(agent)).tab()
    await tab.say("Count")
    for words in (1, 2, 3):
        await shows(tab, agent.text(words))
        await expect(tab.button("Stop Esc")).to_be_visible()
        agent.gate.set()
    await settled(tab)
    await expect(tab.button("Stop Esc")).to_be_hidden()
    await expect(tab.page.locator("#news")).to_have_text(f"Answer finished. {agent.text().strip()}")
    assert runs(await tab.log())[0].text() == await tab.text()


async def test_paragraphs_code_and_newlines_are_kept(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        for piece in (
            "One\ntwo\n\nThree ``",
            "`\n```py\nx = 1\n\ny",
            " = 2\n```\n## Four",
            " *f * g*\n**",
            "b <i>** 2 * 3 * 4",
        ):
            turn.content(piece)
            await asyncio.sleep(0.05)

    tab = await (await make_site(agent)).tab()
    await tab.say("two\nlines")
    await settled(tab)
    parts = await tab.answer.evaluate(
        "f => [...f.querySelector('.text').children].map(c => [c.localName, (c.querySelector('pre') ?? c).textContent])"
    )
    assert parts == [
        ["p", "One\ntwo"],
        ["p", "Three ```"],
        ["figure", "x = 1\n\ny = 2"],
        ["h4", "Four f * g"],
        ["p", "b <i> 2 * 3 * 4"],
    ]
    assert await tab.runs.last.locator(".words").inner_text() == "two\nlines"


async def test_a_table_grows_by_rows(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        for piece in (
            "| a | b |\n| --",
            "- | :-: |\n| `x\\|y` | **2** \\| <i>3 |",
            "\n| c",
            " | d |\ne\n\n| no | table |",
        ):
            turn.content(piece)
            await asyncio.sleep(0.05)

    tab = await (await make_site(agent)).tab()
    await tab.say("a table")
    await settled(tab)
    cells = "f => [...f.querySelectorAll('.text tr')].map(r => [...r.children].map(c => [c.localName, c.textContent]))"
    assert await tab.answer.evaluate(cells) == [
        [["th", "a"], ["th", "b"]],
        [["td", "x|y"], ["td", "2 | <i>3"]],
        [["td", "c"], ["td", "d"]],
        [["td", "e"], ["td", ""]],
    ]
    assert await tab.answer.locator(".text p").inner_text() == "| no | table |"


async def test_text_that_is_taken_back_disappears(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def agent(turn: Turn) -> None:
        turn.content("Kept. ")
        turn.content("Gone 👋🏽.")
        await gate.wait()
        turn.take_back(len("Gone 👋🏽."))
        turn.status("retrying", "the model is overloaded", attempt=2)
        turn.content("Better.")

    tab = await (await make_site(agent)).tab()
    await tab.say("Try")
    await expect(tab.answer).to_contain_text("Gone 👋🏽.")
    gate.set()
    await settled(tab)
    await expect(tab.answer).to_contain_text("Trying again (attempt 2): the model is overloaded")
    assert await tab.text() == "Kept. Better." == runs(await tab.log())[0].text()


async def test_a_failure_is_explained(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("I was ")
        raise AgentError("The calendar is not connected.")

    tab = await (await make_site(agent)).tab()
    await tab.say("Plan")
    await expect(tab.endings.last).to_contain_text("The calendar is not connected. agent_error")
    assert await tab.text() == "I was "


# Stop


@pytest.mark.parametrize("how", ["button", "Esc"])
async def test_stop_stops_and_shows_it(make_site: MakeSite, how: str) -> None:
    agent = Counter()
    tab = await (await make_site(agent)).tab()
    await tab.say("Count")
    await shows(tab, "word0 ")
    if how == "button":
        await tab.button("Stop Esc").click()
    else:
        await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_contain_text("Stopped")
    await settled(tab)
    assert agent.stopped
    assert await tab.text() == "word0 "
    ending = runs(await tab.log())[0].ending
    assert isinstance(ending, Interrupted)
    assert ending.seen == len("word0 ")
    await expect(tab.words).to_be_focused()
    await expect(tab.button("Stop Esc")).to_be_hidden()


async def test_a_stop_without_a_network_shows_at_once_and_arrives_later(make_site: MakeSite) -> None:
    agent = Counter()
    site = await make_site(agent)
    tab = await site.tab()
    await tab.say("Count")
    await shows(tab, "word0 ")
    site.relay.cut()
    await expect(tab.state).not_to_contain_text("Connected")
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_have_text("Stopping…")
    agent.gate.set()  # the agent goes on where nobody sees it
    site.relay.up = True
    await expect(tab.endings.last).to_contain_text("Stopped")
    assert await tab.answer.locator(".content > .text:not(.unseen)").inner_text() == "word0 "
    tab.faults.clear()  # the refused connections


async def test_words_that_were_on_their_way_are_not_shown_after_a_stop(make_site: MakeSite) -> None:
    agent = Counter()
    tab = await (await make_site(agent)).tab()
    slow = asyncio.Event()

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        async def to_server(data: str | bytes) -> None:
            if '"interrupt"' in str(data):
                await slow.wait()
            server.send(data)

        route.on_message(to_server)

    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await tab.say("Count")
    await shows(tab, "word0 ")
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_have_text("Stopping…")
    agent.gate.set()
    while len(runs(await tab.log())[0].text()) == len("word0 "):  # noqa: ASYNC110 - the log has no event for a test
        await asyncio.sleep(0.005)
    await tab.frame()
    assert await tab.text() == "word0 "
    await expect(tab.answer).to_have_text("word0")
    slow.set()
    await expect(tab.endings.last).to_contain_text("Stopped")
    await expect(tab.answer.locator(".cut")).to_have_text("cut here")
    await expect(tab.answer.locator(".unseen")).to_have_text("word1")
    ending = runs(await tab.log())[0].ending
    assert isinstance(ending, Interrupted)
    assert ending.seen == len("word0 ")


async def test_a_message_can_wait_be_withdrawn_steer_or_go_first(make_site: MakeSite) -> None:
    steered: list[str] = []

    async def agent(turn: Turn) -> None:
        turn.content(f"Answer to {turn.message}. ")
        if turn.message == "first":
            steered.extend(await turn.wait_steered())
            await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    waiting = tab.page.locator("#waiting .message")
    await tab.say("first")
    await expect(tab.answer).to_contain_text("Answer to first")
    await tab.say("second")
    await tab.say("third")
    await expect(waiting).to_have_text([re.compile("second"), re.compile("third")])
    await expect(waiting.last).to_contain_text("waiting")
    await waiting.filter(has_text="second").get_by_role("button", name="Withdraw").click()
    await expect(waiting).to_have_count(1)
    await tab.page.get_by_label("Steer").check()
    await tab.say("shorter")
    await expect(tab.runs.first).to_contain_text("read by the agent")
    assert steered == ["shorter"]
    await tab.page.get_by_label("Send now").check()
    await tab.say("fourth")
    await expect(tab.runs).to_have_count(4)
    await expect(tab.runs.nth(0).locator("> .ending")).to_contain_text("Stopped for your next message")
    await expect(tab.runs.last).to_contain_text("Answer to third")
    began = [view.messages[0].data for view in runs(await tab.log()) if view.started]
    shown = await tab.runs.evaluate_all("all => all.map(r => r.querySelector('.words').textContent)")
    assert [words for words in shown if words != "second"] == began == ["first", "fourth", "third"]
    await expect(tab.runs.filter(has_text="second").locator("> .ending")).to_contain_text("never started")


# Resume


async def test_a_reload_in_mid_answer_goes_on_where_it_was(make_site: MakeSite) -> None:
    agent = Counter()
    tab = await (await make_site(agent)).tab()
    await tab.say("Count")
    await shows(tab, "word0 ")
    agent.gate.set()
    await shows(tab, agent.text(2))
    await tab.page.reload()
    await shows(tab, agent.text(2))
    agent.to_the_end()
    await settled(tab)
    assert await tab.text() == agent.text() == runs(await tab.log())[0].text()
    assert agent.turns == ["Count"]


async def test_a_network_cut_loses_and_doubles_nothing(make_site: MakeSite) -> None:
    agent = Counter()
    site = await make_site(agent)
    tab = await site.tab()
    await tab.say("Count")
    await shows(tab, "word0 ")
    site.relay.cut()
    await expect(tab.state).to_contain_text(re.compile("Reconnecting in|Connecting"))
    await tab.say("And again")
    await expect(tab.page.locator("#waiting .message")).to_contain_text("sending…")
    agent.to_the_end()
    site.relay.up = True
    await expect(tab.state).to_contain_text("Connected")
    await expect(tab.runs).to_have_count(2)
    await settled(tab)
    assert await tab.text() == agent.text()
    assert agent.turns == ["Count", "And again"]
    assert len([e for e in await tab.log() if isinstance(e, User)]) == len(agent.turns)
    first = tab.runs.first.locator(".content .text").first
    assert await first.inner_text() == agent.text() == runs(await tab.log())[0].text()
    tab.faults.clear()  # the refused connections


async def test_a_message_that_could_not_leave_survives_a_reload(make_site: MakeSite) -> None:
    agent = Counter(1)
    agent.to_the_end()
    site = await make_site(agent)
    tab = await site.tab()
    blocked = True

    def relay(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        route.on_message(lambda data: None if blocked and '"message"' in str(data) else server.send(data))

    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await tab.say("Hello")
    await expect(tab.page.locator("#next")).to_contain_text("sending…")
    blocked = False
    await tab.page.reload()
    await shows(tab, agent.text())
    await settled(tab)
    assert agent.turns == ["Hello"]


async def test_two_tabs_show_the_same(make_site: MakeSite) -> None:
    agent = Counter()
    site = await make_site(agent)
    one = await site.tab()
    await one.say("Count")
    await shows(one, "word0 ")
    two = await site.tab()
    await shows(two, "word0 ")
    agent.gate.set()
    await shows(one, agent.text(2))
    await shows(two, agent.text(2))
    await two.button("Stop Esc").click()
    for tab in (one, two):
        await expect(tab.endings.last).to_contain_text("Stopped")
        await settled(tab)
    log = "document.getElementById('log').innerHTML"
    assert await one.page.evaluate(log) == await two.page.evaluate(log)


async def test_a_lost_session_is_explained_and_a_new_one_offered(make_site: MakeSite) -> None:
    agent = Counter(1)
    agent.to_the_end()
    tab = await (await make_site(agent)).tab()
    await tab.page.goto(f"{tab.site.url}#no-such-session")
    await expect(tab.page.get_by_role("alert")).to_contain_text("no longer on the server")
    await tab.page.get_by_role("alert").get_by_role("button", name="New conversation").click()
    await expect(tab.state).to_have_text("Connected")
    await tab.say("Hello")
    await shows(tab, agent.text())


async def test_a_server_that_restarts_is_named_and_awaited(make_site: MakeSite) -> None:
    agent = Counter(1)
    agent.to_the_end()
    tab = await (await make_site(agent)).tab()
    down = True

    async def relay(route: WebSocketRoute) -> None:
        if down:
            await route.close(code=RESTARTING, reason="shutting_down")
        else:
            route.connect_to_server()

    await tab.page.add_init_script("Math.random = () => 1")  # the longest wait, so that it can be read
    await tab.page.route_web_socket("**/ws", relay)
    await tab.page.reload()
    await expect(tab.state).to_have_text(re.compile(r"The server is restarting; trying again in \d s"))
    down = False
    await expect(tab.state).to_have_text("Connected")


async def test_what_only_a_server_in_trouble_says(make_site: MakeSite) -> None:
    """Frames as after a crash: a run that was lost, and an answer of which another client had seen less."""
    tab = await (await make_site(Counter())).tab()
    events: list[dict[str, Any]] = [
        {"type": "user", "id": "a", "data": "Once", "run": "r1", "at": 1.0},
        {"type": "start", "run": "r1", "at": 1.0},
        {"type": "content", "run": "r1", "data": "Half an ans"},
        {"type": "error", "run": "r1", "code": "lost", "message": "gone"},
        {"type": "settled", "run": "r1", "task": "lost"},
        {"type": "user", "id": "b", "data": "Twice", "run": "r2", "at": 2.0},
        {"type": "start", "run": "r2"},
        {"type": "content", "run": "r2", "data": "Seen, unseen"},
        {"type": "a_newer_event", "run": "r2"},
        {"type": "interrupted", "run": "r2", "seen": 5},
        {"type": "settled", "run": "r2", "task": "cancelled", "stop_ms": 7},
    ]

    def server(route: WebSocketRoute) -> None:
        def answer(_: str | bytes) -> None:
            limits = {"message_bytes": 65_536, "queued": 8}
            session = {"session": "s", "epoch": "e2", "after": 0, "resumed": False, "limits": limits}
            route.send(json.dumps({**session, "type": "session"}))
            route.send(json.dumps({"type": "reset", "epoch": "e2", "reason": "ahead"}))
            for seq, event in enumerate(events, 1):
                for _twice in range(2):  # a duplicate is dropped
                    route.send(json.dumps({**event, "seq": seq}))

        route.on_message(answer)

    await tab.page.route_web_socket("**/ws", server)
    await tab.page.reload()
    await expect(tab.runs.first.locator("> .ending")).to_contain_text("What had come until then is kept")
    await expect(tab.runs.first.locator("> .flow")).to_have_text("Half an ans")
    await expect(tab.answer.locator(".text")).to_have_text(["Seen,", "unseen"])
    await expect(tab.endings.last).to_contain_text("Time to stop7 ms")


# What an agent shows


async def test_tools_are_rows_with_their_fate(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.thinking("I should search.")
        turn.tools(t1="search", t2="sleep", t3="mail")
        async with turn.tool("search", {"query": "tides"}, tool="t1") as call:
            call.output = "3 hits"
        async with turn.tool("sleep", tool="t2"):
            await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    await tab.say("Search")
    rows = tab.answer.locator(".tool")
    await expect(rows.locator("summary .note")).to_have_text([re.compile("done"), re.compile("running…"), "planned"])
    await rows.first.locator("summary").click()
    await expect(rows.first).to_contain_text("3 hits")
    await tab.answer.locator(".thinking summary").click()
    await expect(tab.answer.locator(".thinking")).to_contain_text("I should search.")
    await tab.page.keyboard.press("Escape")
    await expect(rows.locator("summary .note")).to_have_text(
        [re.compile("done"), re.compile("stopped while running"), "never started"]
    )


async def test_an_outline_fills_in_and_a_section_can_be_skipped(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.outline(s1="Idea", s2="Proof", s3="End")
        async with turn.section("s1") as section:
            section.content("An idea.")
        async with turn.section("s2") as section:
            section.content("A long pr")
            await asyncio.sleep(60)
        async with turn.section("s3") as section:
            section.content("The end.")

    tab = await (await make_site(agent)).tab()
    await tab.say("Write")
    sections = tab.answer.locator(".section")
    await expect(sections).to_have_count(3)
    await expect(sections.nth(1)).to_contain_text("A long pr")
    await expect(sections.nth(2)).to_have_attribute("data-state", "planned")
    await tab.button("Skip Proof").click()
    await settled(tab)
    await expect(sections.locator("header .note")).to_have_text(["", "skipped", ""])
    await expect(sections.locator(".flow")).to_have_text(["An idea.", "A long pr", "The end."])


async def test_a_title_has_its_marks_as_marks(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.outline(s1="`cursor.py` and *the* [log](https://example.org/) &amp; <b>")
        await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    await tab.say("Write")
    title = tab.answer.locator(".section h3")
    await expect(title).to_have_text("cursor.py and the log & <b>")
    assert [await title.locator(mark).inner_text() for mark in ("code", "em", "a")] == ["cursor.py", "the", "log"]
    await expect(tab.page.get_by_role("region", name="cursor.py and the log & <b>", exact=True)).to_be_visible()


async def test_agents_stand_side_by_side_and_one_can_be_stopped(make_site: MakeSite) -> None:
    gate = asyncio.Event()

    async def optimist(turn: Turn) -> None:
        turn.content("It will work")
        await gate.wait()
        turn.content(" indeed.")

    async def pessimist(turn: Turn) -> None:
        turn.content("It will fail")
        await asyncio.sleep(60)

    async def agent(turn: Turn) -> None:
        await turn.together(optimist=optimist, pessimist=pessimist)
        turn.content("We shall see.")

    tab = await (await make_site(agent)).tab()
    await tab.say("Discuss")
    columns = tab.answer.locator(".agent")
    await expect(columns.locator(".flow")).to_have_text(["It will work", "It will fail"])
    await tab.button("Stop pessimist").click()
    await expect(columns.nth(1).locator("header")).to_contain_text("stopped")
    gate.set()
    await settled(tab)
    await expect(columns.locator(".flow")).to_have_text(["It will work indeed.", "It will fail"])
    await expect(tab.answer).to_contain_text("We shall see.")
    await expect(tab.answer.get_by_role("button")).to_have_count(0)


async def test_approvals_and_questions_by_keyboard_alone(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        approved = await turn.ask("approval", "Delete 3 files?")
        answer = await turn.ask("question", "Which name?")
        turn.content(f"{approved} {answer}")
        await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    press, type_text = tab.page.keyboard.press, tab.page.keyboard.type
    await expect(tab.words).to_be_focused()
    await type_text("Clean")
    await press("Shift+Enter")
    await type_text("up")
    await press("Enter")
    await expect(tab.runs.last.locator(".words")).to_have_text("Clean\nup")
    await expect(tab.page.locator("#news")).to_have_text("The agent asks: Delete 3 files?")
    await expect(tab.words).to_be_focused()
    for _ in range(2):
        await press("Shift+Tab")
    await expect(tab.button("Approve")).to_be_focused()
    await press("Enter")
    await expect(tab.answer.locator(".request").first).to_contain_text("Approved")
    await expect(tab.button("Approve")).to_be_hidden()
    await expect(tab.words).to_be_focused()
    for _ in range(2):
        await press("Shift+Tab")
    await type_text("Ada")
    await press("Enter")
    await expect(tab.answer).to_contain_text("{'approved': True} {'text': 'Ada'}")
    await press("Escape")
    await expect(tab.endings.last).to_contain_text("Stopped")
    await expect(tab.page.get_by_label("Which name?")).to_be_disabled()


# The frame around it


async def test_markup_in_any_text_stays_text(make_site: MakeSite) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script></p><a href='javascript:alert(3)'>x</a>"
    evil_id = evil[:64]  # an id has no room for more

    async def child(turn: Turn) -> None:
        turn.content(evil)

    async def agent(turn: Turn) -> None:
        turn.thinking(evil)
        turn.content(f"{turn.message}\n\n```{evil}\n{evil}\n```")
        turn.outline(**{evil_id: evil})
        turn.tools(**{evil_id: evil})
        async with turn.tool(evil, {evil: evil}) as call:
            call.output = evil
        async with turn.section(evil_id, evil) as section:
            section.content(evil)
        await turn.together(**{evil_id: child})
        turn.write(Status("working", evil))
        await turn.ask("approval", evil, data=evil)
        raise AgentError(evil)

    tab = await (await make_site(agent)).tab()
    await tab.say(evil)
    await tab.button("Refuse").click()
    await expect(tab.endings.last).to_contain_text(evil)
    for details in await tab.page.locator("details summary").all():
        await details.click()
    assert await tab.page.locator("#log :is(img, script, a, iframe, style)").count() == 0
    assert await tab.page.get_by_text(evil).count() > 10


async def test_the_page_stays_where_the_reader_put_it(make_site: MakeSite) -> None:
    agent = Counter(MANY)

    async def lines(turn: Turn) -> AsyncGenerator[str]:
        async for word in agent(turn):
            yield f"{word}\n"

    tab = await (await make_site(lines)).tab()
    scroller = tab.page.locator("#scroller")
    place = "s => [s.scrollTop, s.scrollHeight - s.clientHeight - s.scrollTop]"
    await tab.say("Go")
    for _ in range(60):
        agent.gate.set()
        await asyncio.sleep(0.002)
    await expect(tab.answer).to_contain_text("word60")
    assert (await scroller.evaluate(place))[1] <= 1, "at the end, it follows"
    await scroller.hover()
    await tab.page.mouse.wheel(0, -300)
    await expect(tab.button("Latest")).to_be_visible()
    top = (await scroller.evaluate(place))[0]
    agent.to_the_end()
    await settled(tab)
    assert (await scroller.evaluate(place))[0] == top, "elsewhere, it stays"
    await tab.button("Latest").click()
    assert (await scroller.evaluate(place))[1] <= 1
    await expect(tab.button("Latest")).to_be_hidden()


async def test_a_new_conversation_begins_empty_and_stays_the_newest(make_site: MakeSite) -> None:
    agent = Counter(1)
    agent.to_the_end()
    site = await make_site(agent)
    old, tab = await site.tab(), await site.tab()
    await tab.say("Hello")
    await expect(old.runs).to_have_count(1)
    await tab.button("New conversation").click()
    await expect(tab.runs).to_have_count(0)
    await expect(tab.page.locator("#empty")).to_be_visible()
    await tab.say("Hello again")
    await settled(tab)
    assert len(runs(await tab.log())) == 1
    site.relay.cut()
    await expect(old.state).not_to_have_text("Connected")
    await tab.page.close()
    site.relay.up = True
    await expect(old.state).to_have_text("Connected")
    for one in (old, tab):
        one.faults.clear()  # the refused connections
    await expect(old.runs.last.locator(".words")).to_have_text("Hello")
    await expect((await site.tab()).runs.last.locator(".words")).to_have_text("Hello again")


@pytest.mark.parametrize("width", [320, 1400])
async def test_it_fits_a_phone_and_a_desk(make_site: MakeSite, width: int) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("a" * 500 + "\n\n```\n" + "b" * 500 + "\n```")
        async with turn.tool("c" * 60, {"d": "e" * 500}):
            await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    await tab.page.set_viewport_size({"width": width, "height": 640})
    await tab.say("f" * 500)
    await expect(tab.answer.locator(".tool")).to_be_visible()
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert await tab.page.locator("#scroller").evaluate("s => s.scrollWidth <= s.clientWidth")
