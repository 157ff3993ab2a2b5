"""What the pages show in JavaScript runs in a browser, what they show for the TypeScript client in node.

The one rule: as printed, but for the port. `show` and `finish`, which a page leaves to its reader, are the test's.
"""

import asyncio
import subprocess
from collections.abc import AsyncGenerator

import pytest
from browser import FLAGS, NAMES, find_browser
from built import WEB, built
from live import serving
from pages import BROWSER, TYPED, Block, blocks, pages

from agent_ws import Turn


async def agent(turn: Turn) -> AsyncGenerator[str]:
    for word in f"You said: {turn.message}".split():
        yield word + " "
        await asyncio.sleep(0)


def written_in(languages: tuple[str, ...]) -> list[Block]:
    return [block for page in pages() for block in blocks(page) if block.language in languages]


@pytest.mark.e2e
@pytest.mark.parametrize("block", written_in(BROWSER), ids=str)
async def test_it_runs_in_a_browser(block: Block) -> None:
    api = pytest.importorskip("playwright.async_api", reason="the scripts of the pages need the package playwright")
    path = find_browser()
    if path is None:
        pytest.skip(f"the scripts of the pages need a browser: one of {', '.join(NAMES)}")
    async with serving(agent) as site, api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{site.port}/healthz")
        script = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{site.port}")
        text = await page.evaluate(
            "script => new Promise(done => { let text = ''; window.show = data => { text += data };"
            " window.finish = () => done(text); (0, eval)(script) })",
            script,
        )
        await browser.close()
    assert text == "You said: Hello agent "


@pytest.mark.parametrize("block", written_in(TYPED), ids=str)
async def test_it_runs_in_node(block: Block) -> None:
    client = built(WEB / "client")
    async with serving(agent) as site:
        script = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{site.port}")
        node = ["node", "--experimental-websocket", "--no-warnings", "--input-type=module", "-e", script]
        ran = await asyncio.to_thread(
            subprocess.run, node, cwd=client, capture_output=True, text=True, check=False, timeout=30
        )
    assert (ran.stdout, ran.stderr) == ("You said: Hello agent \n", "")
