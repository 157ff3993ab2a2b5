"""The list of conversations, and what can be done with one of them."""

import json
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Tab
from playwright.async_api import expect

from agent_ws import Turn

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def parrot(turn: Turn) -> None:
    turn.thinking("It speaks.")
    async with turn.tool("listen", {"to": turn.message}) as call:
        call.output = "``` heard"
    turn.content(f"**You said** {turn.message}.")


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
