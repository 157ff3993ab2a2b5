"""Markdown cut at its headings into sections, and those into blocks that can be shown alone.

The one rule: what is cut out is well-formed markdown by itself: a table row brings its table's head, a code block stays
whole.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct

STEP = " › "  # noqa: RUF001 - the sign of a path through headings
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*$")
_ITEM = re.compile(r"(?:[-*+]|\d+[.)])\s")
_WRAPPED = re.compile(r"\n[ \t]*(?![ \t>*+-]|\d+[.)])")
"""A line's end that a file has for its width's sake: a chat keeps it, and has a width of its own."""
_LINK = re.compile(r"!?\[([^\]]*)\]\((?!https?:)[^)]*\)")
"""A link to another file of the project leads nowhere from a chat."""


class Block(Struct, frozen=True):
    """A paragraph, list item, table row or code block. Those of one `group` belong together: a list, a table."""

    text: str
    group: int
    head: str = ""
    """The header lines of the table that the row is from."""


class Section(Struct, frozen=True):
    """What stands under one heading."""

    file: str
    heading: str
    blocks: tuple[Block, ...]

    @property
    def source(self) -> str:
        """Where to read on."""
        return f"{self.file}{STEP}{self.heading}"

    def markdown(self, chosen: Sequence[int] | None = None) -> str:
        """The section's text; with `chosen` only those blocks, in the order in which they stand."""
        blocks = self.blocks if chosen is None else [self.blocks[i] for i in sorted(chosen)]
        groups: list[str] = []
        for _, members in groupby(blocks, key=lambda block: block.group):
            rows = list(members)
            groups.append("\n".join([rows[0].head] * bool(rows[0].head) + [row.text for row in rows]))
        return "\n\n".join(groups)


def sections(file: str, markdown: str) -> Iterator[Section]:
    """Cut a document at its headings. A heading is told with the one above it, except the document's own title."""
    path: list[str] = []
    lines: list[str] = []
    fenced = False

    def cut() -> Iterator[Section]:
        found = tuple(_blocks(lines))
        if found:
            yield Section(file, STEP.join(path[1:][-2:] or path or [file]), found)
        lines.clear()

    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading is None:
            lines.append(_LINK.sub(r"\1", line) if not fenced else line)
            continue
        yield from cut()
        level = len(heading[1])
        path[level - 1 :] = [*[""] * (level - 1 - len(path)), heading[2]]
    yield from cut()


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    """Cut a section into what can be shown alone."""
    group = 0
    text: list[str] = []
    head: list[str] = []
    fenced = False

    def cut() -> Iterator[Block]:
        if text:
            together = "\n".join(text)
            yield Block(together if together.startswith("```") else _WRAPPED.sub(" ", together), group)
        text.clear()

    for line in lines:
        if line.startswith("```"):
            if not fenced:
                yield from cut()
                group += 1
            text.append(line)
            fenced = not fenced
            if not fenced:
                yield from cut()
                group += 1
        elif fenced:
            text.append(line)
        elif not line.strip():
            yield from cut()
            group += 1
            head.clear()
        elif line.lstrip().startswith("|"):
            yield from cut()
            if len(head) < 2:  # noqa: PLR2004 - a table begins with its titles and a line of dashes
                head.append(line)
            else:
                yield Block(line, group, "\n".join(head))
        elif not line.lstrip().startswith("<"):  # HTML around a logo says nothing
            if _ITEM.match(line):  # one that is indented belongs to the one above
                yield from cut()
            text.append(line)
    if fenced:
        text.append("```")
    yield from cut()
