"""The list of conversations, and what can be done with one of them."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Site, Tab
from playwright.async_api import expect

from agent_ws import Timeouts, Turn
from agent_ws.errors import StoreError
from agent_ws.server.gateway import Gateway
from agent_ws.stores import Store

if TYPE_CHECKING:
    from playwright.async_api import Locator

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def parrot(turn: Turn) -> None:
    turn.thinking("It speaks.")
    async with turn.tool("listen", {"to": turn.message}) as call:
        call.output = "``` heard"
    turn.content(f"**You said** {turn.message}.")


async def endless(turn: Turn) -> None:
    while True:
        turn.content("on and on ")
        await asyncio.sleep(0.05)


async def fails(*_: object, **__: object) -> None:
    raise StoreError("the disk is full")


async def talk(tab: Tab, *messages: str) -> None:
    """A conversation for each message."""
    for message in messages:
        if await tab.runs.count():
            await tab.button("New conversation").click()
            await expect(tab.runs).to_have_count(0)
        await tab.say(message)
        await expect(tab.runs.last.locator(".receipt")).to_be_visible()


async def choose(tab: Tab, words: str) -> None:
    await tab.button("This conversation").click()
    await tab.button(words).click()


async def test_conversations_are_listed_searched_and_opened(make_site: MakeSite) -> None:
    tab = await (await make_site(parrot)).tab()
    listed = tab.page.get_by_role("navigation").get_by_role("link")
    await talk(tab, "Apples and pears", "Bread", "Cheese with\napples")
    await expect(listed.locator(".title")).to_have_text(["Cheese with", "Bread", "Apples and pears"])
    await expect(listed.first).to_have_attribute("aria-current", "page")
    search = tab.page.get_by_label("Search conversations")
    await search.fill("APPLE")
    await expect(listed.locator(".title")).to_have_text(["Cheese with", "Apples and pears"])
    await search.fill("apple pears")
    await expect(listed.locator(".title")).to_have_text(["Apples and pears"])
    await listed.first.click()
    await expect(tab.runs.last.locator(".words")).to_have_text("Apples and pears")
    await expect(tab.page).to_have_title("Apples and pears · agent_ws")
    await search.fill("you said cheese")
    await expect(listed.locator(".title")).to_have_text(["Cheese with"])  # the agent said it
    await search.fill("nothing of this")
    await expect(tab.page.get_by_text("Nothing found.")).to_be_visible()
    await tab.page.go_back()
    await expect(tab.runs.last.locator(".words")).to_have_text("Cheese with\napples")


async def test_the_address_leads_to_its_conversation_also_from_another_tab(make_site: MakeSite) -> None:
    site = await make_site(parrot)
    tab = await site.tab()
    await talk(tab, "One")
    address = tab.page.url
    await talk(tab, "Two")
    other = await site.tab()
    await expect(other.runs.last.locator(".words")).to_have_text("Two")
    await other.page.goto(address)
    await expect(other.runs.last.locator(".words")).to_have_text("One")
    await talk(tab, "Three")
    titles = other.page.get_by_role("navigation").locator(".title")
    await expect(titles).to_have_text(["Three", "Two", "One"])


async def test_a_conversation_is_renamed_and_deleted(make_site: MakeSite) -> None:
    tab = await (await make_site(parrot)).tab()
    titles = tab.page.get_by_role("navigation").locator(".title")
    await talk(tab, "One", "Two")
    await choose(tab, "Rename")
    title = tab.page.get_by_label("Title")
    await expect(title).to_be_focused()
    await title.fill("Not this")
    await title.press("Escape")
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("Two")
    await choose(tab, "Rename")
    await title.fill("Second")
    await title.press("Enter")
    await expect(titles).to_have_text(["Second", "One"])
    await tab.say("More")
    await expect(titles).to_have_text(["Second", "One"])
    await tab.page.reload()
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("Second")
    await choose(tab, "Delete…")
    await tab.button("Keep it").click()
    await expect(titles).to_have_text(["Second", "One"])
    await choose(tab, "Delete…")
    await tab.button("Delete").click()
    await expect(titles).to_have_text(["One"])
    await expect(tab.page.locator("#empty")).to_be_visible()
    await tab.page.reload()
    await expect(titles).to_have_text(["One"])
    await expect(tab.runs).to_have_count(0)


# The server's list


async def device(site: Site, token: str | None = None) -> Tab:
    """A tab in a browser of its own, which shares nothing with the others."""
    assert site.context.browser is not None
    context = await site.context.browser.new_context()
    tab = Tab(await context.new_page(), site)
    site.tabs.append(tab)
    await tab.page.goto(site.url)
    if token is not None:
        await tab.page.get_by_label("This server wants a login. Your token:").fill(token)
        await tab.button("Log in").click()
    await tab.words.wait_for()
    return tab


def gateway(site: Site) -> Gateway:
    return cast("Any", site.server.config.app).state.gateway


def titles(tab: Tab) -> "Locator":
    return tab.page.get_by_role("navigation").locator(".title")


async def come_to_the_front(tab: Tab) -> None:
    # No page of a headless browser is ever hidden; the event is what the browser would send.
    await tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def test_another_device_with_the_same_login_has_the_same_list(make_site: MakeSite, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    held = {"desk": "alice", "phone": "alice", "bobs": "bob"}
    tokens.write_text("".join(f"{who} sha256:{sha256(token.encode()).hexdigest()}\n" for token, who in held.items()))
    site = await make_site(parrot, tokens=str(tokens), timeouts=Timeouts(look=0.01))
    desk = await device(site, "desk")
    await talk(desk, "Apples and pears", "Bread")
    phone, bob = await device(site, "phone"), await device(site, "bobs")
    await expect(titles(phone)).to_have_text(["Bread", "Apples and pears"])
    await expect(bob.page.get_by_text("What you talk about is listed here.")).to_be_visible()
    await phone.page.get_by_role("link", name="Apples and pears").click()
    await expect(phone.runs.last.locator(".words")).to_have_text("Apples and pears")
    await phone.say("And plums?")
    await expect(phone.runs.last.locator(".receipt")).to_be_visible()
    await choose(phone, "Rename")
    await phone.page.get_by_label("Title").fill("Fruit")
    await phone.page.get_by_label("Title").press("Enter")
    await expect(titles(phone)).to_have_text(["Fruit", "Bread"])
    await expect(titles(desk)).to_have_text(["Bread", "Apples and pears"])
    await come_to_the_front(desk)
    await expect(titles(desk)).to_have_text(["Fruit", "Bread"])
    await desk.page.get_by_label("Search conversations").fill("plums pears")
    await expect(titles(desk)).to_have_text(["Fruit"])
    for kept in ("({...localStorage})", "({...sessionStorage})"):
        assert "Fruit" not in json.dumps(await desk.page.evaluate(kept))
        assert "pears" not in json.dumps(await desk.page.evaluate(kept))
    await desk.page.get_by_label("Search conversations").fill("")
    await expect(titles(desk)).to_have_text(["Fruit", "Bread"])
    tokens.write_text(tokens.read_text().replace("alice", "carol"))
    await expect(desk.page.get_by_label("This server wants a login. Your token:")).to_be_visible()
    await expect(titles(desk)).to_have_count(0)  # who comes next must not read them
    for tab in (desk, phone, bob):
        tab.faults.clear()  # the handshakes without a login
        await tab.page.context.close()


async def test_what_is_deleted_is_gone_from_the_server_and_every_tab_is_told(make_site: MakeSite) -> None:
    site = await make_site(endless)
    tab = await site.tab()
    await tab.say("Forget me")
    await expect(tab.answer).to_contain_text("on and on")
    other = await site.tab()
    await expect(other.answer).to_contain_text("on and on")
    session = tab.page.url.rpartition("#")[2]
    sessions = gateway(site).sessions
    store: Store = vars(sessions)["_store"]
    record = await store.record(session)
    assert record is not None
    await choose(tab, "Delete…")
    await tab.button("Delete").click()
    await expect(tab.page.locator("#empty")).to_be_visible()
    await expect(titles(tab)).to_have_count(0)
    await expect(other.page.get_by_role("alert")).to_contain_text("This conversation was deleted.")
    await expect(titles(other)).to_have_count(0)
    await other.page.reload()
    await expect(other.page.get_by_role("alert")).to_contain_text("no longer on the server")
    for page in (tab.page, other.page):
        kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert "Forget me" not in kept
        assert "on and on" not in kept
    assert await store.load(session) is None
    assert (await sessions.page(record.owner, [], None, 10)).cards == ()
    await other.page.get_by_role("alert").get_by_role("button", name="New conversation").click()
    await expect(other.state).to_have_text("Connected")
    await tab.page.goto(f"{site.url}#{session}")
    await expect(tab.page.get_by_role("alert")).to_contain_text("no longer on the server")


async def test_what_is_deleted_elsewhere_leaves_nothing_in_this_browser(make_site: MakeSite) -> None:
    site = await make_site(endless)
    tab = await site.tab()
    await tab.say("Forget me")
    await expect(tab.answer).to_contain_text("on and on")
    await expect(titles(tab)).to_have_text(["Forget me"])
    session = tab.page.url.rpartition("#")[2]
    sessions = gateway(site).sessions
    store: Store = vars(sessions)["_store"]
    record = await store.record(session)
    assert record is not None
    await sessions.delete(session, owner=record.owner, token=None)
    await expect(tab.page.get_by_role("alert").locator("p")).to_have_text("This conversation was deleted.")
    await expect(titles(tab)).to_have_count(0)
    new = await site.tab()
    await expect(new.page.locator("#empty")).to_be_visible()
    await tab.page.goto(f"{site.url}healthz")  # of the same origin, and keeps nothing itself
    kept = await tab.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "Forget me" not in kept
    assert "on and on" not in kept
    assert session not in kept
    tab.faults.clear()  # there is no icon


async def test_a_conversation_is_in_the_list_while_it_is_answered(make_site: MakeSite) -> None:
    site = await make_site(endless)
    tab, other = await site.tab(), await site.tab()
    await tab.say("Go on")
    for each in (tab, other):
        await expect(titles(each)).to_have_text(["Go on"])
        await expect(each.page.locator("#sidebar .going")).to_have_text("answering")
    await tab.page.keyboard.press("Escape")
    for each in (tab, other):
        await expect(each.page.locator("#sidebar .going")).to_have_count(0)
    await expect(titles(tab)).to_have_text(["Go on"])


async def test_one_that_is_being_deleted_is_not_in_the_list_meanwhile(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make_site(parrot)
    tab = await site.tab()
    await talk(tab, "One", "Two")
    sessions, gate, asked = gateway(site).sessions, asyncio.Event(), asyncio.Event()
    delete = sessions.delete

    async def slowly(session: str, **proof: Any) -> None:
        asked.set()
        await gate.wait()
        await delete(session, **proof)

    monkeypatch.setattr(sessions, "delete", slowly)
    await choose(tab, "Delete…")
    await tab.button("Delete").click()
    await asked.wait()
    await expect(titles(tab)).to_have_text(["One"])
    async with tab.page.expect_response("**/api/agent/sessions?*"):
        await come_to_the_front(tab)
    await tab.frame()
    await expect(titles(tab)).to_have_text(["One"])
    async with tab.page.expect_response("**/api/agent/sessions/*"):
        gate.set()
    await expect(titles(tab)).to_have_text(["One"])


async def test_a_long_list_comes_in_pieces(make_site: MakeSite) -> None:
    tab = await (await make_site(parrot)).tab()
    await tab.page.evaluate(
        """async () => {
            for (let n = 0; n < 120; n++) {
                const answer = await fetch("api/agent/stream", {
                    method: "POST", body: JSON.stringify({ message: `Number ${n}` }),
                });
                await answer.text();
            }
        }"""
    )
    await tab.page.reload()
    await expect(titles(tab)).to_have_count(50)
    await expect(titles(tab).first).to_have_text("Number 119")
    await talk(tab, "One more")
    await expect(titles(tab).first).to_have_text("One more")
    await expect(titles(tab)).to_have_count(50)
    await tab.button("Show more").click()
    await expect(titles(tab)).to_have_count(100)
    await tab.button("Show more").click()
    await expect(titles(tab)).to_have_count(121)
    await expect(tab.button("Show more")).to_have_count(0)
    await expect(titles(tab).last).to_have_text("Number 0")
    await talk(tab, "Another")
    await expect(titles(tab)).to_have_count(122)
    await tab.page.get_by_label("Search conversations").fill("number")
    await expect(titles(tab)).to_have_count(50)
    await tab.button("Show more").click()
    await expect(titles(tab)).to_have_count(100)


async def test_what_the_server_can_not_do_is_told_and_undone(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make_site(parrot)
    tab = await site.tab()
    await talk(tab, "One")
    monkeypatch.setattr(gateway(site).sessions, "rename", fails)
    monkeypatch.setattr(gateway(site).sessions, "delete", fails)
    await choose(tab, "Rename")
    await tab.page.get_by_label("Title").fill("Two")
    await tab.page.get_by_label("Title").press("Enter")
    alert = tab.page.get_by_role("alert")
    await expect(alert).to_have_text("The conversation could not be renamed: the disk is full")
    await expect(titles(tab)).to_have_text(["One"])
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("One")
    await choose(tab, "Delete…")
    await tab.button("Delete").click()
    await expect(alert).to_have_text("The conversation could not be deleted: the disk is full")
    await expect(titles(tab)).to_have_text(["One"])
    await titles(tab).first.click()
    await expect(tab.runs.last.locator(".words")).to_have_text("One")
    monkeypatch.undo()
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("One")
    await choose(tab, "Rename")
    await tab.page.get_by_label("Title").fill("Two")
    await tab.page.get_by_label("Title").press("Enter")
    await expect(titles(tab)).to_have_text(["Two"])
    await expect(tab.page.get_by_role("alert")).to_have_count(0)
    tab.faults.clear()  # the browser says of itself that a request was answered 503


@pytest.mark.parametrize("kind", ["Markdown", "JSON"])
async def test_a_conversation_is_exported(make_site: MakeSite, tmp_path: Path, kind: str) -> None:
    tab = await (await make_site(parrot)).tab()
    await talk(tab, "Hello there")
    async with tab.page.expect_download() as started:
        await choose(tab, f"Export as {kind}")
    download = await started.value
    await download.save_as(tmp_path / "file")
    text = (tmp_path / "file").read_text()
    if kind == "JSON":
        assert download.suggested_filename == "Hello there.json"
        (run,) = json.loads(text)["runs"]
        assert run["messages"][0]["data"] == "Hello there"
        assert [block["kind"] for block in run["blocks"]] == ["thinking", "tool", "text"]
    else:
        assert download.suggested_filename == "Hello there.md"
        assert text.startswith("# Hello there\n\n**You**\n\n> Hello there\n\n**Agent**\n\n*Thinking*\n\n> It speaks.\n")
        assert "````\n``` heard\n````" in text
        assert text.endswith("**You said** Hello there.\n")
