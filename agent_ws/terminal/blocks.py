"""Where Markdown that is still being written may be cut.

The one rule: what is before the cut looks the same whatever comes behind it, but for definitions of links.
"""

from markdown_it import MarkdownIt

MOST = 32_768
"""Characters of one block: beyond that it is cut between two lines, or a list without end would be read again and again
as a whole. A line is cut at twice as many."""
LIVE = 4_096
"""Characters of a block that is shown while it is written: more than a screen has."""

_parser = MarkdownIt().enable(["table", "strikethrough"])


def split(text: str) -> tuple[str, str]:
    """The blocks (paragraphs, lists, tables, code) that nothing can be added to, and the rest of it. Where code is so
    long that it has to be cut, the rest begins as code does.
    """
    whole = text.rfind("\n") + 1  # a line that has just begun may turn out to be anything
    starts = [token.map[0] for token in _parser.parse(text[:whole]) if token.level == 0 and token.map is not None]
    if starts and starts[-1] > 0:
        cut = sum(map(len, text.splitlines(keepends=True)[: starts[-1]]))
        return text[:cut], text[cut:]
    if whole > MOST:
        return text[:whole], _opening(text) + text[whole:]
    return (text, "") if len(text) > 2 * MOST else ("", text)


def tail(text: str) -> str:
    """The end of an unfinished block, to be shown meanwhile; code stays code."""
    if len(text) <= LIVE:
        return text
    end = text[-LIVE:]
    return _opening(text) + end[end.find("\n") + 1 :]


def _opening(text: str) -> str:
    """The first line of a block of code."""
    first = text[: text.find("\n") + 1]
    return first if first.startswith(("```", "~~~")) else ""
