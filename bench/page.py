"""`python -m bench.page`: how the page feels, by the browser's own performance API.

The one rule: it measures and judges nothing in a test: what a browser needs depends on what else the machine does. It
needs the development environment and a Chromium.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from statistics import median, quantiles
from typing import TYPE_CHECKING

from agent_ws import Settings, Turn
from agent_ws.server.serve import make_server

if TYPE_CHECKING:
    from playwright.async_api import Page

STOPS = 20
WORDS = 10_000
AT_ONCE = 10
PAUSE_S = 0.01
TARGETS = {"stop": 100, "task": 50}
NAMES = ("chromium", "chromium-browser", "google-chrome")
PARAGRAPH = 60
"""Words, and then something else: a heading, a list, code, a table."""
EXTRAS = (
    "\n\n## What follows\n\n",
    "\n\n- one thing\n- **another** thing\n- and `code`\n\n",
    '\n\n```python\ndef f(x: int) -> str:\n    return f"{x}"  # the same again\n```\n\n',
    "\n\n| a | b |\n| --- | ---: |\n| one | 1 |\n| two | 2 |\n\n",
    "\n\n",
)

WATCH = """
window.stops = [];
window.tasks = [];
window.frames = [];
new PerformanceObserver(list => tasks.push(...list.getEntries().map(e => e.duration))).observe({type: "longtask"});
let before = 0;
const tick = now => { if (before) frames.push(now - before); before = now; requestAnimationFrame(tick); };
requestAnimationFrame(tick);
addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  const look = () => {
    const run = [...document.querySelectorAll(".run")].at(-1);
    if (run?.dataset.phase !== "interrupted") return;
    observer.disconnect();
    // Behind the frame that shows it.
    requestAnimationFrame(() => {
      const {port1, port2} = new MessageChannel();
      port2.onmessage = () => stops.push(performance.now() - event.timeStamp);
      port1.postMessage(0);
    });
  };
  const observer = new MutationObserver(look);
  observer.observe(document.querySelector("#log"), {subtree: true, childList: true, attributes: true});
}, true);
"""

ARRIVED = """n => new Promise(done => {
  const timer = setInterval(() => { if (stops.length === n) { clearInterval(timer); done(); } }, 5);
})"""
"""Not `wait_for_function`, which the page's policy forbids."""


async def _agent(turn: Turn) -> None:
    if turn.message == "stop":
        while True:
            turn.content("word ")
            await asyncio.sleep(PAUSE_S)
    for i in range(WORDS):
        turn.content(f"word{i} ")
        if i % PARAGRAPH == PARAGRAPH - 1:
            turn.content(EXTRAS[i // PARAGRAPH % len(EXTRAS)])
        if i % AT_ONCE == 0:
            await asyncio.sleep(PAUSE_S)


async def _say(page: "Page", words: str) -> None:
    field = page.get_by_label("Your message")
    await field.fill(words)
    await field.press("Enter")


async def _measure(page: "Page", say: Callable[[str], None]) -> None:
    for i in range(STOPS):
        await _say(page, "stop")
        await page.locator(".run[data-phase=going]").get_by_text("word word").wait_for()
        await page.keyboard.press("Escape")
        await page.evaluate(ARRIVED, i + 1)
    stops: list[float] = await page.evaluate("stops")
    say(
        f"Esc to visible *stopped*, {STOPS} times: median {median(stops):.0f} ms, longest {max(stops):.0f} ms"
        f" (target: below {TARGETS['stop']})"
    )
    await page.get_by_role("button", name="New conversation").click()
    await page.wait_for_selector("#empty")
    await page.evaluate("tasks.length = 0; frames.length = 0")
    await _say(page, "write")
    await page.wait_for_selector(".run[data-phase=done]", timeout=120_000)
    tasks: list[float] = await page.evaluate("tasks")
    frames: list[float] = await page.evaluate("frames")
    late = quantiles(frames, n=100)
    say(
        f"{WORDS:,} words in {sum(frames) / 1000:.0f} s: {len(tasks)} tasks of 50 ms and more, longest"
        f" {max(tasks, default=0):.0f} ms (target: none); a frame took {median(frames):.0f} ms, p99 {late[98]:.0f} ms,"
        f" longest {max(frames):.0f} ms"
    )
    await page.evaluate("tasks.length = 0")
    await page.reload()
    await page.wait_for_selector(".run[data-phase=done]")
    await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tasks = await page.evaluate("tasks")
    say(f"the same, shown at once after a reload: longest task {max(tasks, default=0):.0f} ms")


async def _main() -> int:
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - the benchmark's own environment has none
    except ImportError:
        sys.exit("Needs playwright: run it by `.venv/bin/python -m bench.page`")
    browser_path = next(filter(None, map(shutil.which, NAMES)), None)
    if browser_path is None:
        sys.exit(f"Needs a browser: one of {', '.join(NAMES)} (Debian: apt install chromium)")
    server = make_server(_agent, Settings(), host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(PAUSE_S)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; server and browser share them")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.add_init_script(WATCH)
        await page.goto(f"http://127.0.0.1:{port}/")
        await page.wait_for_selector("#empty")
        await _measure(page, print)
        await browser.close()
    server.should_exit = True
    await serving
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
