"""Pictures of the page for the documents, made from answers that are always the same.

PYTHONPATH=tests/e2e .venv/bin/python -m pictures
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from browser import FLAGS, NAMES, find_browser

from agent_ws import Settings, Turn
from agent_ws.server.serve import make_server

FOLDER = Path(__file__).parents[2] / "web" / "chat" / "pictures"
TEXT = """## Interrupts that stop

An interrupt is **written first**, then the task is cancelled. Nothing of the run can come *after* its ending.

| gesture | what happens | how soon |
| --- | --- | ---: |
| Stop | the run ends | 3 ms |
| Send now | the next one begins | 5 ms |

```python
async def agent(turn):
    # one word at a time
    for word in f"You said: {turn.message}".split():
        yield word + " "
        await asyncio.sleep(0.1)
```
"""


async def _speak(turn: Turn, text: str, pause: float = 0.005) -> None:
    for i in range(0, len(text), 8):
        turn.content(text[i : i + 8])
        await asyncio.sleep(pause)


async def _steps(turn: Turn) -> None:
    turn.thinking("They want the old drafts gone. I look first, then I ask.")
    turn.tools(t1="search_documents", t2="delete_files")
    async with turn.tool("search_documents", {"query": "drafts", "limit": 5}, tool="t1") as call:
        await asyncio.sleep(0.2)
        call.output = "notes/old.md\nnotes/draft.md"
    turn.content("Two files have not been opened since March.")
    await turn.ask("approval", "Delete 2 files?", data={"paths": ["notes/old.md", "notes/draft.md"]})


async def _together(turn: Turn) -> None:
    async def optimist(turn: Turn) -> None:
        await _speak(turn, "It will work. The tests are green, and the design can be read in an evening.")

    async def pessimist(turn: Turn) -> None:
        async with turn.tool("search_documents", {"query": "failures"}) as call:
            call.output = "2"
        await _speak(turn, "It will fail where **nobody looked**: the proxy between, the disk on a Sunday.")
        await asyncio.sleep(60)

    await turn.together(optimist=optimist, pessimist=pessimist)


async def agent(turn: Turn) -> None:
    """By what the person says."""
    match turn.message:
        case "How does an interrupt stop a run?":
            await _speak(turn, TEXT)
            await asyncio.sleep(60)
        case "Tidy up my drafts":
            await _steps(turn)
        case _:
            await _together(turn)


async def _take(context: Any, url: str, name: str, message: str, behind: str, *, stop: bool = False) -> None:
    page = await context.new_page()
    await page.goto(url)
    if await page.locator(".run").count():
        await page.get_by_role("button", name="New conversation").click()
    words = page.get_by_label("Your message")
    await words.fill(message)
    await words.press("Enter")
    await page.locator("#log").get_by_text(behind).last.wait_for()
    if stop:
        await page.keyboard.press("Escape")
        await page.locator(".stopped").wait_for()
        await page.locator(".receipt summary").click()
        await page.locator("#scroller").evaluate("s => s.scrollTop = s.scrollHeight")
    await page.mouse.move(0, 0)
    await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await page.screenshot(path=FOLDER / f"{name}.png", animations="disabled", caret="hide")
    await page.keyboard.press("Escape")
    await page.close()


async def main() -> None:
    """Write them all."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - the package may be missing

    path = find_browser()
    if path is None:
        sys.exit(f"Needs a browser: one of {', '.join(NAMES)} (Debian: apt install chromium)")
    FOLDER.mkdir(exist_ok=True)
    server = make_server(agent, Settings(), host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    question = "How does an interrupt stop a run?"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for scheme in ("light", "dark"):
            context = await browser.new_context(viewport={"width": 1100, "height": 760}, color_scheme=scheme)
            if scheme == "light":
                await _take(context, url, "answer", question, "0.1")
                await _take(context, url, "approval", "Tidy up my drafts", "Open until")
            else:
                await _take(context, url, "stopped-dark", question, "0.1", stop=True)
                await _take(context, url, "parallel-dark", "Will it work?", "Sunday")
            await context.close()
        phone = await browser.new_context(
            viewport={"width": 390, "height": 760}, has_touch=True, is_mobile=True, color_scheme="light"
        )
        await _take(phone, url, "phone", "Tidy up my drafts", "Open until")
        await browser.close()
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
