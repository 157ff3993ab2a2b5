"""What one agent writes, on its way to being printed.

The one rule: text leaves in whole blocks, in its order, and once.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from .blocks import split

Kind = Literal["note", "tool", "title", "ask", "stop", "error", "live", "queued"]


class Said(Struct, frozen=True):
    """What the person said."""

    text: str


class Passage(Struct, frozen=True):
    """Markdown."""

    text: str


class Line(Struct, frozen=True):
    """Anything else, in one line."""

    kind: Kind
    text: str


Item: TypeAlias = Said | Passage | Line


class Part:
    """What one agent writes, in a section or outside of them."""

    def __init__(self, run: str, agent: str | None, section: str | None) -> None:
        self.run = run
        self.agent = agent
        self.section = section
        self.title = ""
        self.done = False
        self._entries: list[str | Item] = []

    @property
    def over(self) -> bool:
        """Nothing of it is left to be printed, ever."""
        return self.done and not self._entries

    @property
    def rest(self) -> str:
        """The text that is not finished."""
        return "".join(entry for entry in self._entries if isinstance(entry, str))

    @property
    def said(self) -> list[str]:
        """What the person said meanwhile, which is to be printed behind something else."""
        return [entry.text for entry in self._entries if isinstance(entry, Said)]

    def add(self, item: Item) -> None:
        """Behind the text that there is, which is finished by that."""
        self._entries.append(item)

    def write(self, text: str) -> None:
        """More text."""
        if self._entries and isinstance(self._entries[-1], str):
            self._entries[-1] += text
        else:
            self._entries.append(text)

    def take_back(self, chars: int) -> int:
        """Forget the last characters. Returns how many of them are not here any more."""
        for i in range(len(self._entries) - 1, -1, -1):
            entry = self._entries[i]
            if chars and isinstance(entry, str):
                self._entries[i] = entry[: max(0, len(entry) - chars)]
                chars -= min(chars, len(entry))
        return chars

    def clear(self) -> None:
        """Forget what was not printed."""
        self._entries.clear()

    def ready(self) -> Iterator[Item]:
        """What can be printed now; it is gone from here then."""
        while self._entries:
            entry = self._entries[0]
            if not isinstance(entry, str):
                del self._entries[0]
                yield entry
                continue
            open_ = len(self._entries) == 1 and not self.done
            whole, rest = split(entry) if open_ else (entry, "")
            if open_:
                self._entries[0] = rest
            else:
                del self._entries[0]
            if whole.strip():
                yield Passage(whole)
            if open_:
                return
