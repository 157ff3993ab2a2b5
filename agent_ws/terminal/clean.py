"""Text of others, made harmless for a terminal.

The one rule: whatever an agent, a tool or a server wrote, it moves no cursor, sets no title and pastes nothing.
"""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Without control characters; line ends and tabs stay. What turns the direction of text is one of them."""
    return _CONTROL.sub("", text)


def line(text: str, chars: int = 200) -> str:
    """The same as one line, cut."""
    words = " ".join(clean(text).split())
    return words if len(words) <= chars else f"{words[: chars - 1]}…"
