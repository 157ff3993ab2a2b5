"""Items as text for a terminal.

The one rule: what others wrote is never read as markup or as control codes; only Markdown of a passage is.
"""

from collections.abc import Iterable
from io import StringIO
from typing import assert_never

from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from .parts import Item, Kind, Line, Passage, Said

WIDEST = 100
"""Columns: longer lines are hard to read."""
STYLES: dict[Kind, tuple[str, str]] = {
    "note": ("  ", "dim"),
    "live": ("  ", "dim italic"),
    "tool": ("  * ", "cyan"),
    "title": ("## ", "bold"),
    "ask": ("? ", "bold yellow"),
    "stop": ("  ■ ", "yellow"),
    "error": ("  ✗ ", "red"),
    "queued": ("  … ", "dim"),
}


def ansi(items: Iterable[Item], columns: int) -> str:
    """The items with the terminal's codes, each ended by a line end. `NO_COLOR` is respected."""
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=max(20, min(columns, WIDEST)), highlight=False)
    for item in items:
        match item:
            case Said(text=text):
                console.print()
                console.print(Text(f"> {text}", style="bold green"))
                console.print()
            case Passage(text=text):
                console.print(Markdown(text, code_theme="ansi_dark", hyperlinks=False))
                console.print()
            case Line(kind=kind, text=text):
                mark, style = STYLES[kind]
                console.print(Text(f"{mark}{text}", style=style))
                if kind == "title":
                    console.print()
            case _:
                assert_never(item)
    return out.getvalue()
