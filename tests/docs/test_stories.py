"""What the pages show works as it is printed, from the top of each page to its end."""

import re
from pathlib import Path

import pytest
from pages import BROWSER, PATTERNS, ROOT, STORY, TYPED, anchors, blocks, links, pages
from props import props
from story import told

from agent_ws.cli import COMMANDS

COMMANDS_KNOWN = {command.__name__.rpartition(".")[2] for command in COMMANDS}
PLAYED = [page for page in pages() if any(block.language in STORY for block in blocks(page)) and page != PATTERNS]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PLAYED, ids=name)
async def test_a_page_works_as_it_is_printed(page: Path, tmp_path: Path) -> None:
    async with props(name(page), tmp_path) as (ports, environment), told(tmp_path, ports, environment) as story:
        for block in blocks(page):
            if block.language in STORY:
                await story.play(block)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_no_block_escapes(page: Path) -> None:
    known = {*STORY, *BROWSER, *TYPED}
    odd = [f"{block}: {block.language or 'no language'}" for block in blocks(page) if block.language not in known]
    assert odd == [], f"nothing runs these; expected one of {sorted(known)}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_each_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(there), f"{name(page)}: {target}"


def test_the_commands_that_pages_name_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in pages():
        for target in re.findall(r"`make (\w+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name(page)}: make {target}"
        for command in re.findall(r"(?:`|^\$ )agent-ws ([a-z]+)\b", page.read_text(), re.MULTILINE):
            assert command in COMMANDS_KNOWN, f"{name(page)}: agent-ws {command}"
