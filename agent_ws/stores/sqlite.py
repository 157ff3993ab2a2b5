"""The store in one SQLite file: every save is one transaction, on the disk before it returns.

The one rule: one process has the file, and in it one thread, so nobody waits for a lock and the event loop for nothing.
While the server is stopped, `sqlite3 FILE` shows the sessions and their events as JSON.

Events cross into SQLite and back many in one JSON text. The sqlite3 module lets go of the interpreter lock at each row
and has to win it back from a busy event loop each time: row by row a save of 10,000 events took 2.8 s, and so 30 ms.
"""

import asyncio
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import StoreError
from ..events import Event
from ..journal import note
from ..log import Epoch
from .base import Batch, BatchError, Record, Saved, check
from .cards import Card, Mark, News, Page, answers, folded, news

T = TypeVar("T")

APPLICATION = 0x61677773
"""`agws`: how our file is told from another program's."""
VERSION = 2
"""Of the schema. A file with a higher one is refused; a change of the schema or of an event's fields raises it."""
BUSY_S = 0.2
"""How long to wait for a process that is just letting go of the file."""
ROWS = 1000
"""Events in one JSON text: SQLite takes no text above 1 GB."""
LOOK_SESSIONS = 256
"""Sessions that one look for a page goes through."""
LOOK = 4_000_000
"""Characters that it goes through: a save may have to wait for it, some 10 ms."""

FIRST_SCHEMA = f"""
CREATE TABLE sessions (
    session TEXT PRIMARY KEY, owner TEXT NOT NULL, token_hash TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE epochs (
    n INTEGER PRIMARY KEY, session TEXT NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL
);
CREATE INDEX epochs_of_session ON epochs (session);
CREATE TABLE events (
    session TEXT, seq INTEGER, data TEXT NOT NULL, PRIMARY KEY (session, seq)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
"""
LISTS = """
ALTER TABLE sessions ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN folded TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN updated REAL NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN chars INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_of_owner ON sessions (owner, updated, session);
CREATE TABLE said (n INTEGER PRIMARY KEY, session TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX said_of_session ON said (session);
"""
"""What version 2 has more. `folded` is the title as it is searched, `chars` the size of what was said."""

NEWS = """
UPDATE sessions SET
    folded = CASE title WHEN '' THEN :folded ELSE folded END,
    title = CASE title WHEN '' THEN :title ELSE title END,
    updated = max(updated, :updated),
    chars = chars + :chars
WHERE session = :session
"""
# `quote`: in JSON SQLite cuts a number off at 15 digits.
CANDIDATES = """
SELECT json_group_array(json_array(session, title, quote(created), quote(updated), chars)) FROM (
    SELECT session, title, created, updated, chars FROM sessions
    WHERE owner = ? AND updated > 0 AND (updated, session) < (?, ?)
    ORDER BY updated DESC, session DESC LIMIT ?
)
"""
FOUND = """
SELECT json_group_array(session) FROM sessions WHERE session IN (SELECT value FROM json_each(?)) AND NOT EXISTS (
    SELECT 1 FROM json_each(?) AS word
    WHERE NOT instr(folded, word.value) AND NOT EXISTS (
        SELECT 1 FROM said WHERE said.session = sessions.session AND instr(said.text, word.value)
    )
)
"""

REASONS = {
    sqlite3.SQLITE_BUSY: "another process uses it",
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it can't be written: check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened: check that it is a file, and the permissions of its folder",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a copy, or move it away to start anew",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: choose another one",
    sqlite3.SQLITE_TOOBIG: "an event is too big",
}
"""What to tell for an error of SQLite, by its primary code. SQLite's own text may quote data."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Event]).decode
_decode_tails = msgspec.json.Decoder(dict[str, int]).decode
_decode_candidates = msgspec.json.Decoder(list[tuple[str, str, str, str, int]]).decode
_decode_names = msgspec.json.Decoder(set[str]).decode


def _reason(error: sqlite3.Error) -> str:
    # Errors of the sqlite3 module itself have no code.
    code: int = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return REASONS.get(code, f"SQLite can't do it ({type(error).__name__}, code {code})")


class SqliteStore:
    """Sessions in the file `path`, which is made, for its owner's eyes only, with its folder, if it is missing.

    A cancelled `save` or `load` leaves the thread to finish what it began.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A shell leaves the ~ in `sqlite:~/agent.db` alone. Absolute: `:memory:` and `file:` mean nothing special.
        self._path = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path's raises for an unknown user
        self._worker: ThreadPoolExecutor | None = None
        """The only thread that touches `_db`."""
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="agent_ws-sqlite")
        try:
            await self._do(self._open)
        except BaseException:
            await self.close()
            raise

    async def load(self, session: str) -> Saved | None:
        return await self._do(lambda: self._load(session))

    async def save(self, batches: Sequence[Batch]) -> None:
        await self._do(lambda: self._save(batches))

    async def record(self, session: str) -> Record | None:
        return await self._do(lambda: self._record(session))

    async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        return await self._do(lambda: self._page(owner, words, before, limit))

    async def rename(self, session: str, title: str) -> None:
        await self._do(lambda: self._rename(session, title))

    async def remove(self, session: str) -> None:
        await self._do(lambda: self._remove(session))

    async def close(self) -> None:
        """Finish what is under way, move what the journal holds into the file, and let go of it."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(worker, self._close)
        worker.shutdown(wait=False)  # the thread ends after the work that it has
        await asyncio.shield(closing)

    async def _do(self, work: Callable[[], T]) -> T:
        """Run `work` on the thread, after all that was asked before."""
        if self._worker is None:
            raise StoreError("the store is not open")
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    # All below runs on the thread.

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                # Only where it is missing: to open and close a file takes away the lock that another store of this
                # process has on it (https://www.sqlite.org/howtocorrupt.html, 2.2). The journal gets the same mode.
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            self._take(self._db)
        except OSError as error:
            raise StoreError(f"can't open {self._path}: {error.strerror}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise StoreError(f"another process has {self._path} open; stop it or choose another --store") from error
            raise StoreError(f"can't open {self._path}: {_reason(error)}") from error

    def _take(self, db: sqlite3.Connection) -> None:
        """Lock the file until it is closed, and make it ours or see that it is."""
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        with db:
            db.execute("BEGIN EXCLUSIVE")
            [application] = db.execute("PRAGMA application_id").fetchone()
            [version] = db.execute("PRAGMA user_version").fetchone()
            if db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
                _run(db, FIRST_SCHEMA)
                version = 1
            elif application != APPLICATION:
                raise StoreError(f"{self._path} is another program's database; choose another --store")
            elif version > VERSION:
                raise StoreError(
                    f"{self._path} was written by a newer agent-ws (schema {version}, expected at most {VERSION});"
                    " update agent-ws or choose another --store"
                )
            if version < VERSION:
                _run(db, LISTS)
                self._list_all(db)
                db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # in WAL mode less than this loses commits when the power fails
        db.execute("PRAGMA secure_delete = ON")  # what is deleted is gone from the file, too

    def _list_all(self, db: sqlite3.Connection) -> None:
        """Find out of all sessions what later ones have told from the start."""
        sessions = db.execute("SELECT session FROM sessions").fetchall()
        if sessions:
            note(logging.INFO, "bringing the store up to a newer schema", count=len(sessions))
        for (session,) in sessions:
            try:
                events = self._events(db, session)
            except StoreError as error:
                note(logging.ERROR, "a session is damaged and can't be listed", error=error, session=session)
                continue
            self._tell(db, [Batch(session, None, (), (), news(events, answers(events)))])

    def _tell(self, db: sqlite3.Connection, batches: Sequence[Batch]) -> None:
        """Write the news."""
        for batch in batches:
            what = batch.news
            if what == News():
                continue
            values = {
                "session": batch.session,
                "title": what.title,
                "folded": folded(what.title),
                "updated": what.updated,
                "chars": sum(map(len, what.said)),
            }
            db.execute(NEWS, values)
            said = [(batch.session, text) for text in what.said]
            db.executemany("INSERT INTO said (session, text) VALUES (?, ?)", said)

    def _record(self, session: str) -> Record | None:
        try:
            found = (
                self._opened()
                .execute("SELECT owner, token_hash, created FROM sessions WHERE session = ?", (session,))
                .fetchone()
            )
        except UnicodeEncodeError:
            return None  # half a character in the name: it was never saved
        except sqlite3.Error as error:
            raise StoreError(f"can't read the store: {_reason(error)}") from error
        return found and Record(session, *found)

    def _page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        after = (before.updated, before.session) if before else (math.inf, "")
        count = LOOK_SESSIONS if words else limit
        try:
            [text] = self._opened().execute(CANDIDATES, (owner, *after, count + 1)).fetchone()
            rows = _decode_candidates(text)
            looked = rows[:count]
            if words:
                sizes = accumulate(chars * len(words) for *_, chars in looked)
                looked = looked[: 1 + sum(size < LOOK for size in sizes)]
            found = self._found(looked, words) if words else {session for session, *_ in looked}
        except UnicodeEncodeError:
            return Page((), None)  # half a character: it was never saved
        except sqlite3.Error as error:
            raise StoreError(f"can't read the store: {_reason(error)}") from error
        except msgspec.MsgspecError as error:
            raise StoreError("can't read the store: a title is damaged") from error
        cards: list[Card] = []
        for place, (session, title, created, updated, _) in enumerate(looked, 1):
            if session in found:
                cards.append(Card(session, title, float(created), float(updated)))
            if (len(cards) == limit or place == len(looked)) and place < len(rows):
                return Page(tuple(cards), Mark(float(updated), session))
        return Page(tuple(cards), None)

    def _found(self, rows: Sequence[tuple[str, str, str, str, int]], words: Sequence[str]) -> set[str]:
        names = [session for session, *_ in rows]
        [text] = self._opened().execute(FOUND, (_encode(names).decode(), _encode(words).decode())).fetchone()
        return _decode_names(text)

    def _rename(self, session: str, title: str) -> None:
        try:
            self._opened().execute(
                "UPDATE sessions SET title = ?, folded = ? WHERE session = ?", (title, folded(title), session)
            )
        except sqlite3.Error as error:
            raise StoreError(f"can't write to the store: {_reason(error)}") from error

    def _remove(self, session: str) -> None:
        db = self._opened()
        try:
            with db:
                db.execute("BEGIN IMMEDIATE")
                for table in ("said", "events", "epochs", "sessions"):
                    db.execute(f"DELETE FROM {table} WHERE session = ?", (session,))  # noqa: S608 - a name of ours
        except sqlite3.Error as error:
            raise StoreError(f"can't write to the store: {_reason(error)}") from error
        # It is gone for whoever asks; this takes it out of the journal too. Where that fails the next one does it.
        with suppress(sqlite3.Error):
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _load(self, session: str) -> Saved | None:
        db = self._opened()
        try:
            found = db.execute(
                "SELECT owner, token_hash, created FROM sessions WHERE session = ?", (session,)
            ).fetchone()
            if found is None:
                return None
            epochs = db.execute("SELECT epoch, first FROM epochs WHERE session = ? ORDER BY n", (session,)).fetchall()
        except UnicodeEncodeError:
            return None  # half a character in the name: it was never saved
        except sqlite3.Error as error:
            raise StoreError(f"can't read the store: {_reason(error)}") from error
        events = self._events(db, session)
        return Saved(Record(session, *found), tuple(Epoch(*row) for row in epochs), tuple(events))

    def _events(self, db: sqlite3.Connection, session: str) -> list[Event]:
        events: list[Event] = []
        try:
            while True:
                [text] = db.execute(
                    "SELECT group_concat(data) FROM"
                    " (SELECT data FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?)",
                    (session, len(events), ROWS),
                ).fetchone()
                if text is None:
                    break
                events += _decode(f"[{text}]")
        except sqlite3.Error as error:
            raise StoreError(f"can't read the store: {_reason(error)}") from error
        except (msgspec.MsgspecError, RecursionError) as error:
            raise StoreError("can't read the store: an event is damaged") from error
        if any(event.seq != seq for seq, event in enumerate(events, 1)):
            raise StoreError("can't read the store: an event is missing")
        return events

    def _save(self, batches: Sequence[Batch]) -> None:
        db = self._opened()
        rows = [(batch.session, event.seq, _json(batch.session, event)) for batch in batches for event in batch.events]
        try:
            with db:
                db.execute("BEGIN IMMEDIATE")
                [tails] = db.execute(
                    "SELECT json_group_object(session,"
                    " (SELECT coalesce(max(seq), 0) FROM events WHERE events.session = sessions.session))"
                    " FROM sessions WHERE session IN (SELECT value FROM json_each(?))",
                    (_encode([batch.session for batch in batches]).decode(),),
                ).fetchone()
                check(batches, _decode_tails(tails))
                db.executemany(
                    "INSERT INTO sessions (session, owner, token_hash, created) VALUES (?, ?, ?, ?)",
                    [(b.session, b.record.owner, b.record.token_hash, b.record.created) for b in batches if b.record],
                )
                db.executemany(
                    "INSERT INTO epochs (session, epoch, first) VALUES (?, ?, ?)",
                    [(batch.session, epoch.epoch, epoch.first) for batch in batches for epoch in batch.epochs],
                )
                for i in range(0, len(rows), ROWS):
                    db.execute(
                        "INSERT INTO events (session, seq, data) SELECT"
                        " json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')"
                        " FROM json_each(?)",
                        (_encode(rows[i : i + ROWS]).decode(),),
                    )
                self._tell(db, batches)
        except sqlite3.Error as error:
            raise StoreError(f"can't write to the store: {_reason(error)}") from error

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()  # the last one out moves the journal into the file; what fails there is done by the next open

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError("the store is not open")
        return self._db


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        db.execute(statement)


def _json(session: str, event: Event) -> str:
    try:
        return _encode(event).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # ValueError: half of a surrogate pair. The text of the error may quote data.
        raise BatchError(
            session, f"an event can't be written as JSON: {type(event).__name__} ({type(error).__name__})"
        ) from error
