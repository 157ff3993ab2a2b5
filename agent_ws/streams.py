"""Patterns of streaming, pure: text cut where a reader wants it.

The one rule: nothing is lost, doubled or reordered; a combinator only decides when text is let through.
"""

import re
from typing import Literal

ChunkMode = Literal["token", "word", "sentence"]

_WORD = re.compile(r"\s+(?=\S)|\s+\Z")
_SENTENCE = re.compile(
    r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*|\n+"  # noqa: RUF001 - marks of other scripts are meant
)


def boundary(text: str, mode: ChunkMode) -> int:
    """How many characters of `text` can be let through in this mode: up to the end of the last whole word or sentence.

    A word ends with the white space behind it. A sentence ends with its mark and the white space behind it (so that
    "3.14" is not cut), with a full-width mark, or at a line's end.
    """
    match mode:
        case "token":
            return len(text)
        case "word":
            cut = len(text.rstrip())
            if cut < len(text):
                return len(text)
            ends = [m.end() for m in _WORD.finditer(text)]
        case "sentence":
            ends = [m.end() for m in _SENTENCE.finditer(text)]
    return ends[-1] if ends else 0
