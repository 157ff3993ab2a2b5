"""Where Markdown that is still being written may be cut.

The one rule: what is before the cut looks the same whatever comes behind it, but for definitions of links.
"""

from markdown_it import MarkdownIt

MOST = 32_768
"""Characters of one block: beyond that it is cut between two lines, or a list without end would be read again and again
as a whole."""

_parser = MarkdownIt().enable(["table", "strikethrough"])


def finished(text: str) -> int:
    """How many of the characters are blocks (paragraphs, lists, tables, code) that nothing can be added to."""
    whole = text.rfind("\n") + 1  # a line that has just begun may turn out to be anything
    starts = [token.map[0] for token in _parser.parse(text[:whole]) if token.level == 0 and token.map is not None]
    if not starts or starts[-1] == 0:
        return whole if whole > MOST else 0
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[: starts[-1]]))
