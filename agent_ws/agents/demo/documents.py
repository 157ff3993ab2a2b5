"""The project's own documentation, as passages that can be searched.

The one rule: whatever a person types is words to look for, never query syntax. Must not know: turns, streaming.
"""

import re
import sqlite3
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from msgspec import Struct

from ... import __file__ as _package
from .markdown import Section, sections

NAMES = ("README.md", "PROTOCOL.md", "DESIGN.md")
"""The documents that are read one by one; the pages behind them are found by searching."""
PAGES = ("docs/*.md", "docs/how-to/*.md")
EXCERPT = 600
"""Characters of a passage that are shown, about."""
QUERY_WORDS = 24
"""Words of a question that are looked for."""

_STOP = """
a about an and any are as at be been but by can could did do does for from get give had has have how i if in into is it
its let like many may me mean means much must my no not of on or our please s should show so some tell that the their
them then there these they this to too us use was we were what when where which who whose why will with would you your
"""
_STOP_WORDS = frozenset(_STOP.split())
"""Words that any question has: looking for them finds anything."""


class Passage(Struct, frozen=True):
    """One place in the documents that has to do with a question."""

    section: Section
    text: str
    """Its most fitting blocks, as markdown."""


def installed() -> list[Path]:
    """The documents: inside an installed package, else at the checkout's root."""
    package = Path(_package or "").parent
    folder = package / "docs" if (package / "docs").is_dir() else package.parent
    pages = [path for pattern in PAGES for path in sorted(folder.glob(pattern)) if path.name != "index.md"]
    return [*(path for name in NAMES if (path := folder / name).is_file()), *pages]


class Documents:
    """An index of markdown files, in memory, made once. `load` may be called in any thread; the rest is quick then."""

    def __init__(self, paths: Sequence[Path] | None = None) -> None:
        self._paths = paths
        self._lock = Lock()
        self._sections: list[Section] | None = None
        self._db: sqlite3.Connection | None = None

    @property
    def loaded(self) -> bool:
        """Whether it is made: a search takes under a millisecond then."""
        return self._db is not None

    def load(self) -> tuple[list[Section], sqlite3.Connection]:
        """Read and index the files, if that has not been done. Takes some milliseconds: for a thread."""
        with self._lock:
            if self._sections is None or self._db is None:
                paths = installed() if self._paths is None else self._paths
                self._sections = [section for path in paths for section in sections(path.name, path.read_text("utf-8"))]
                self._db = _index(self._sections)
                weakref.finalize(self, self._db.close)  # Python 3.13 warns of a database that nobody closed
            return self._sections, self._db

    def sections(self) -> list[Section]:
        """All of them, in reading order."""
        return self.load()[0]

    def files(self) -> list[str]:
        """The documents' names, without the pages behind them; where there are only such, theirs."""
        found = list(dict.fromkeys(section.file for section in self.sections()))
        return [name for name in found if name in NAMES] or found

    def search(self, question: str, *, limit: int = 2, skip: int = 0, file: str | None = None) -> list[Passage]:
        """The best passages for a question, best first, after the first `skip`; of one `file` only, if it is given.

        A section counts when it has at least half of the question's words, without those that every question has.
        """
        all_sections, db = self.load()
        wanted = words(question)
        found: Counter[int] = Counter()
        for word in wanted:
            found.update(
                row for (row,) in db.execute("SELECT rowid FROM sections WHERE sections MATCH ?", (_quoted(word),))
            )
        query = " OR ".join(map(_quoted, wanted))
        # A heading says what its section is about, so a word counts there four times.
        ranked: list[tuple[int]] = db.execute(
            "SELECT rowid FROM sections WHERE sections MATCH ? ORDER BY bm25(sections, 1.0, 4.0, 1.0), rowid",
            (query or '""',),
        ).fetchall()
        enough = [all_sections[row] for (row,) in ranked if 2 * found[row] >= len(wanted)]
        best = [section for section in enough if file in (None, section.file)]
        return [Passage(section, self._excerpt(section, query)) for section in best[skip : skip + limit]]

    def _excerpt(self, section: Section, query: str) -> str:
        all_sections, db = self.load()
        rows = db.execute(
            "SELECT place FROM blocks WHERE blocks MATCH ? AND section = ? ORDER BY bm25(blocks), rowid",
            (query, all_sections.index(section)),
        )
        chosen: list[int] = []
        room = EXCERPT
        # Where only the heading fits the question, the section's beginning is the best there is.
        for i in [place for (place,) in rows] or range(len(section.blocks)):
            room -= len(section.blocks[i].text)
            if chosen and room < 0:
                break
            chosen.append(i)
        return section.markdown(chosen)


def words(question: str) -> list[str]:
    """The words of a question that are worth looking for."""
    found = (word.strip("_") for word in re.findall(r"\w{1,64}", question.casefold()))
    return list(dict.fromkeys(word for word in found if word and word not in _STOP_WORDS))[:QUERY_WORDS]


def _index(all_sections: Sequence[Section]) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    # `porter` finds "interrupts" for "interrupted".
    tokenize = "tokenize = 'porter unicode61 remove_diacritics 2'"
    db.execute(f"CREATE VIRTUAL TABLE sections USING fts5(file, heading, text, {tokenize})")
    db.execute(f"CREATE VIRTUAL TABLE blocks USING fts5(section UNINDEXED, place UNINDEXED, text, {tokenize})")
    for number, section in enumerate(all_sections):
        row = (number, section.file, section.heading, section.markdown())
        db.execute("INSERT INTO sections(rowid, file, heading, text) VALUES (?, ?, ?, ?)", row)
        db.executemany(
            "INSERT INTO blocks(section, place, text) VALUES (?, ?, ?)",
            [(number, place, block.text) for place, block in enumerate(section.blocks)],
        )
    return db


def _quoted(word: str) -> str:
    """A word as FTS5 takes it literally. `words` lets no quotation mark through."""
    return f'"{word}"'
