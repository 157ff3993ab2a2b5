"""The page of a server that wants a login."""

import asyncio
import json
from collections.abc import AsyncGenerator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Site, Tab
from playwright.async_api import expect

from agent_ws import Timeouts, Turn

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

ALICES, ALICES_SECOND, BOBS = "alices-token", "alices-second-token", "bobs-token"
REFUSED = "This token is not valid, or not any more."


class Agent:
    """Says `one`, and `two` when it may."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def __call__(self, turn: Turn) -> AsyncGenerator[str]:
        yield "one "
        await self.gate.wait()
        yield f"two, {turn.message}"


class Office:
    """Where the tokens file is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.admit(alice=[ALICES, ALICES_SECOND], bob=[BOBS])

    def admit(self, **owners: list[str]) -> None:
        lines = [
            f"{owner} sha256:{sha256(token.encode()).hexdigest()}\n" for owner, held in owners.items() for token in held
        ]
        self.path.write_text("".join(lines))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "tokens")


async def guarded(make_site: MakeSite, office: Office, agent: Any) -> Site:
    return await make_site(agent, tokens=str(office.path), timeouts=Timeouts(look=0.01))


async def log_in(tab: Tab, token: str) -> None:
    await tab.page.get_by_label("This server wants a login. Your token:").fill(token)
    await tab.button("Log in").click()


async def tab_of(site: Site) -> Tab:
    tab = Tab(await site.context.new_page(), site)
    site.tabs.append(tab)
    await tab.page.goto(site.url)
    return tab


async def test_a_person_logs_in_and_stays_so_until_the_tab_is_closed(make_site: MakeSite, office: Office) -> None:
    agent = Agent()
    site = await guarded(make_site, office, agent)
    await site.context.clear_cookies()  # they know no ports: those of other tests would come along
    tab = await tab_of(site)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.on("websocket", lambda socket: asked.append(socket.url))
    field = tab.page.get_by_label("This server wants a login. Your token:")
    await expect(field).to_be_focused()
    assert await field.get_attribute("type") == "password"
    await expect(tab.state).to_have_text("Not logged in")
    await expect(tab.words).to_be_hidden()
    for wrong in ("wrong", "wröng", "two words"):
        await log_in(tab, wrong)
        await expect(tab.page.get_by_role("alert").filter(has_text=REFUSED)).to_be_visible()
        await expect(field).to_be_focused()
        await expect(field).to_have_value("")
    assert await tab.page.evaluate("({...sessionStorage})") == {}
    assert len(tab.faults) == 1  # that one was sent, and answered 401
    assert "401" in tab.faults.pop()
    await log_in(tab, ALICES)
    await expect(tab.words).to_be_focused()
    await expect(tab.state).to_have_text("Connected")
    await expect(field).to_be_hidden()
    await tab.say("hello")
    await expect(tab.answer).to_contain_text("one")
    await tab.page.reload()
    await expect(tab.state).to_have_text("Connected")
    await expect(tab.answer).to_contain_text("one")
    site.relay.cut()
    await expect(tab.state).not_to_have_text("Connected")
    site.relay.up = True
    await expect(tab.state).to_have_text("Connected", timeout=20_000)  # with another ticket
    tab.faults.clear()  # the refused connections
    agent.gate.set()
    await expect(tab.answer).to_contain_text("one two, hello")
    assert asked
    assert not any("token" in url or "ticket=" in url for url in asked)
    kept: dict[str, str] = await tab.page.evaluate("({...localStorage})")
    assert ALICES not in json.dumps(kept)
    assert await tab.page.context.cookies(site.url) == []
    other = await tab_of(site)
    await expect(other.page.get_by_label("This server wants a login. Your token:")).to_be_visible()


async def test_a_login_that_ends_in_mid_answer_is_asked_for_and_nothing_is_lost(
    make_site: MakeSite, office: Office
) -> None:
    agent = Agent()
    site = await guarded(make_site, office, agent)
    tab = await tab_of(site)
    await log_in(tab, ALICES)
    await tab.say("hello")
    await expect(tab.answer).to_contain_text("one")
    office.admit(alice=[ALICES_SECOND], bob=[BOBS])
    await expect(tab.page.get_by_role("alert").filter(has_text=REFUSED)).to_be_visible()
    await expect(tab.state).to_have_text("Not logged in")
    tab.faults[:] = [fault for fault in tab.faults if "401" not in fault]  # the list may just have been asked for
    agent.gate.set()
    await log_in(tab, ALICES_SECOND)
    await expect(tab.answer).to_contain_text("one two, hello")
    await expect(tab.runs).to_have_count(1)


async def test_what_was_shown_is_not_kept_beyond_the_login(make_site: MakeSite, office: Office) -> None:
    agent = Agent()
    agent.gate.set()
    site = await guarded(make_site, office, agent)
    tab = await tab_of(site)
    await log_in(tab, ALICES)
    await tab.say("a secret")
    await expect(tab.answer).to_contain_text("one two, a secret")
    office.admit(bob=[BOBS])
    await expect(tab.state).to_have_text("Not logged in")
    await tab.page.add_init_script("window.kept = JSON.stringify({...sessionStorage})")
    await tab.page.reload()
    await expect(tab.state).to_have_text("Not logged in")
    assert "secret" not in await tab.page.evaluate("kept")
    await expect(tab.runs).to_have_count(0)
    tab.faults[:] = [fault for fault in tab.faults if "401" not in fault]


async def test_another_person_gets_nothing_of_the_conversation(make_site: MakeSite, office: Office) -> None:
    agent = Agent()
    agent.gate.set()
    site = await guarded(make_site, office, agent)
    first = await tab_of(site)
    await log_in(first, ALICES)
    await first.say("a secret")
    await expect(first.answer).to_contain_text("one two, a secret")
    second = await tab_of(site)
    assert await second.page.evaluate("({...localStorage})") == {}
    await second.page.goto(first.page.url)  # with the address of the conversation
    await second.page.reload()
    await log_in(second, BOBS)
    await expect(second.page.locator("#notice")).to_contain_text("it belongs to somebody else")
    await expect(second.runs).to_have_count(0)
    await second.page.locator("#notice").get_by_role("button", name="New conversation").click()
    await second.say("mine")
    await expect(second.answer).to_contain_text("one two, mine")
    assert "a secret" not in await second.page.content()
