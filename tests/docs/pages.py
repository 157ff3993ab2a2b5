"""The pages of the documents, as blocks.

The one rule: what is fenced is found by a parser of Markdown, so no block can hide from the tests that run them.
"""

import re
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from msgspec import Struct

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "reference"
PATTERNS = ROOT / "docs" / "patterns.md"
"""It has tests of its own, in `test_patterns.py`, which count its blocks."""

STORY = ("console", "python", "yaml", "toml", "ini", "nginx", "caddy", "json")
"""What `test_stories.py` plays, page by page."""
BROWSER = ("js",)
"""What `test_scripts.py` runs, in a browser."""
TYPED = ("ts",)
"""What `test_scripts.py` compiles against the client."""

_NAMED = re.compile(r"(?:#|//) ([\w./-]+\.[a-z]+|Caddyfile)\n\n*")


class Block(Struct, frozen=True):
    """One fenced block."""

    path: Path
    line: int
    """Where its fence begins."""
    language: str
    text: str

    @property
    def name(self) -> str | None:
        """The file that it is, if its first line says so: `# hello.py`."""
        found = _NAMED.match(self.text)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """The pages that somebody wrote, those that a person reads first at the front."""
    return [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if GENERATED not in p.parents)]


def blocks(path: Path) -> list[Block]:
    """The page's blocks. Code that is only indented has no language: its language is empty."""
    return [
        Block(path, token.map[0] + 1, token.info.split(" ")[0], token.content)
        for token in MarkdownIt().parse(path.read_text(encoding="utf-8"))
        if token.type in {"fence", "code_block"} and token.map is not None
    ]


def links(path: Path) -> list[str]:
    """Where the page's links and pictures lead."""
    found: list[str] = []
    for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                found.append(str(target))
    return found


def anchors(path: Path) -> set[str]:
    """The headings of a page, as links name them."""
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
