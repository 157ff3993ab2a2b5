# ruff: noqa: ASYNC221, ASYNC240 - nothing else runs on the event loop while these tests wait
import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from agent_ws import Settings, Turn
from agent_ws.errors import StoreError
from agent_ws.events import ToolStart
from agent_ws.sessions import Sessions
from agent_ws.stores import Batch
from agent_ws.stores.base import BatchError
from agent_ws.stores.sqlite import SqliteStore
from agent_ws.testing.stores import Make, StoreSuite, begin, more, record, texts, told


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: SqliteStore(tmp_path / "agent.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


async def silent(_: Turn) -> None:
    """An agent that says nothing."""


async def tail(path: Path, session: str) -> int:
    store = SqliteStore(path)
    await store.open()
    found = await store.load(session)
    await store.close()
    return len(found.events) if found else -1


async def refused(path: Path) -> str:
    """What `open` says."""
    store = SqliteStore(path)
    with pytest.raises(StoreError) as error:
        await store.open()
    with pytest.raises(StoreError, match="not open"):
        await store.load("a")
    return str(error.value)


def child(code: str, path: Path, before: str = "") -> "subprocess.Popen[str]":
    """A process that runs `before`, opens a `store` and goes on with `code`."""
    program = (
        "import asyncio, os, signal, sqlite3, sys\n"
        "from agent_ws.stores.sqlite import SqliteStore\n"
        "from agent_ws.testing.stores import begin, more\n"
        f"{before}\n"
        "async def main():\n"
        "    store = SqliteStore(sys.argv[1])\n"
        "    await store.open()\n"
        f"    {code}\n"
        "asyncio.run(main())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


Hook: TypeAlias = Callable[[sqlite3.Connection], object]


class Hooked(sqlite3.Connection):
    """A connection that calls `hook` after it wrote events and before the commit."""

    hook: Hook = staticmethod(id)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        cursor = super().execute(sql, parameters)
        if sql.startswith("INSERT INTO events"):
            Hooked.hook(self)
        return cursor


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hook], None]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Hooked))
    return lambda wanted: monkeypatch.setattr(Hooked, "hook", staticmethod(wanted))


# One process, one file


@pytest.mark.process
async def test_a_second_process_is_told_what_to_do(path: Path) -> None:
    with child("print('open', flush=True); sys.stdin.read()", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert await refused(path) == f"another process has {path} open; stop it or choose another --store"
        process.communicate()
    assert await tail(path, "a") == -1


async def test_a_second_store_in_the_process_is_refused_and_takes_nothing_away(path: Path) -> None:
    first = SqliteStore(path)
    await first.open()
    for _ in range(2):
        assert "another process" in await refused(path)
    # Still locked against others, although a file of ours was closed: see `_open`.
    probe = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM sessions')"
    done = subprocess.run([sys.executable, "-c", probe, str(path)], capture_output=True, text=True, check=False)
    assert "database is locked" in done.stderr
    await first.save([begin("a", 1)])
    await first.close()
    assert await tail(path, "a") == 1


# Crashes


@pytest.mark.process
async def test_kill_9_keeps_what_was_saved_and_no_half_of_a_save(path: Path) -> None:
    code = (
        "await store.save([begin('a', 1), begin('b', 1)])\n"
        "    for n in range(2, 10**9, 10):\n"
        "        await store.save([more('a', n, n + 9), more('b', n, n + 9)])\n"
        "        print(n + 9, flush=True)"
    )
    for saves in (1, 2, 30, 200):
        path.unlink(missing_ok=True)
        with child(code, path) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(saves)]
            process.kill()
            said += map(int, process.stdout.read().split())
        kept = await tail(path, "a")
        assert kept in {said[-1], said[-1] + 10}, "only the save under way may be there or not"
        assert await tail(path, "b") == kept


@pytest.mark.process
async def test_kill_9_between_write_and_commit_leaves_no_trace(path: Path) -> None:
    before = (
        "connect, commits = sqlite3.connect, []\n"
        "def traced(sql):\n"
        "    commits.extend([sql] * (sql == 'COMMIT'))\n"
        "    if len(commits) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"  # the schema, the first save, the second
        "def dying(*args, **options):\n"
        "    db = connect(*args, **options)\n"
        "    db.set_trace_callback(traced)\n"
        "    return db\n"
        "sqlite3.connect = dying"
    )
    code = "await store.save([begin('a', 3)]); await store.save([more('a', 4, 5000), begin('b', 5000)])"
    with child(code, path, before) as process:
        assert process.wait() == -signal.SIGKILL
    assert await tail(path, "a") == 3
    assert await tail(path, "b") == -1


async def test_a_commit_waits_for_the_disk(path: Path, hook: Callable[[Hook], None]) -> None:
    # Loss of power can't be staged here, so this is the promise of https://www.sqlite.org/pragma.html#pragma_synchronous.
    seen: list[tuple[object, ...]] = []
    hook(lambda db: seen.extend(db.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")))
    store = SqliteStore(path)
    await store.open()
    await store.save([begin("a", 1)])
    await store.close()
    assert seen == [("wal",), (2,)]


@pytest.mark.process
async def test_kill_9_right_after_a_removal_brings_nothing_back(path: Path) -> None:
    secret = "canary of the deleted"
    code = (
        f"await store.save([told('a', title='{secret}', said='{secret}'), told('b', title='B')])\n"
        f"    await store.save([Batch('a', None, (), tuple(Content(seq=n, run='r', data='{secret}')"
        " for n in range(1, 2000)))])\n"
        "    print(flush=True)\n"
        "    await store.remove('a')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    before = (
        "from agent_ws.testing.stores import told\n"
        "from agent_ws.stores import Batch\n"
        "from agent_ws.events import Content"
    )
    with child(code, path, before) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        assert process.wait() == -signal.SIGKILL
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert secret.encode() not in left, "no file has any of it"
    store = SqliteStore(path)
    await store.open()
    assert (await store.load("a"), await names(store, "me")) == (None, ["b"])
    await store.close()


# The event loop


async def test_a_save_waits_for_one_look_of_a_search_and_not_for_the_search(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    text = "word " * 100_000
    for i in range(40):
        await store.save([told(f"s{i}", updated=float(i + 1), said=text)])
    done: list[str] = []

    async def search() -> None:
        mark, looks = None, 0
        while looks == 0 or mark is not None:
            page = await store.page("me", ["needle"], mark, 10)
            mark, looks = page.next, looks + 1
            done.append("look")

    searching = asyncio.create_task(search())
    await asyncio.sleep(0)
    await store.save([told("new", updated=99.0)])
    done.append("save")
    await searching
    assert done.index("save") <= 1
    assert done.count("look") >= 4, "or nothing was shown"
    await store.close()


async def test_a_slow_save_does_not_block_the_event_loop(path: Path, hook: Callable[[Hook], None]) -> None:
    turned = threading.Event()
    hook(lambda _: turned.wait(20))
    store = SqliteStore(path)
    await store.open()
    save = asyncio.create_task(store.save([begin("a", 1)]))
    await asyncio.sleep(0)
    assert not save.done()
    turned.set()
    await save
    await store.close()


async def test_a_save_cancelled_before_its_commit_leaves_no_transaction_open(
    path: Path, hook: Callable[[Hook], None]
) -> None:
    writing, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(writing.set)
        assert go_on.wait(20)

    hook(wait)
    store = SqliteStore(path)
    await store.open()
    save = asyncio.create_task(store.save([begin("a", 3)]))
    await writing.wait()
    save.cancel()
    with pytest.raises(asyncio.CancelledError):
        await save
    go_on.set()
    await store.save([more("a", 4, 4)])
    await store.close()
    assert await tail(path, "a") == 4


async def test_a_cancelled_open_or_close_leaves_the_file_free(path: Path) -> None:
    for steps in range(10):
        store = SqliteStore(path)
        for work in (store.open(), store.close()):
            task = asyncio.ensure_future(work)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await store.close()
        assert await tail(path, "a") == -1


async def test_no_thread_is_left(path: Path) -> None:
    before = set(threading.enumerate())
    store = SqliteStore(path)
    await store.open()
    [worker] = set(threading.enumerate()) - before
    await store.close()
    worker.join(20)
    assert not worker.is_alive()


# The file


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
async def test_only_its_owner_can_read_the_file_and_its_journal(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.save([begin("a", 1)])
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"agent.db", "agent.db-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await store.close()
    assert list(path.parent.iterdir()) == [path], "close moves the journal into the file"


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    assert await tail(tmp_path / "a" / "b" / "agent.db", "a") == -1


async def test_the_home_folder_can_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    await tail(Path("~/agent.db"), "a")
    assert (tmp_path / "agent.db").exists()


async def test_events_can_be_read_with_the_sqlite3_shell(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.save([begin("a", 1)])
    await store.close()
    db = sqlite3.connect(path)
    rows = db.execute("SELECT session, seq, data FROM events").fetchall()
    db.close()
    assert rows == [("a", 1, '{"type":"content","data":"word 1 ","seq":1,"run":"r1"}')]


async def test_a_newer_file_is_refused_and_not_touched(path: Path) -> None:
    await tail(path, "a")
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 3")
    db.close()
    before = path.read_bytes()
    assert "was written by a newer agent-ws (schema 3, expected at most 2)" in await refused(path)
    assert path.read_bytes() == before


# A file of version 1: of a server that was killed while it answered alice, with a message waiting

OLD = Path(__file__).with_name("version1.db")
ALICE, LOST, EMPTY, BOB = (
    "Uym780qSSF5zikGQysyR6A",
    "Zn5Wb0AeF-TtCUSyW1ucRA",
    "dfWWdgDMDRUAYKotLJSXzA",
    "CAGwvQC0fZ_Bjj7i7veu5g",
)


async def names(store: SqliteStore, owner: str, *words: str) -> list[str]:
    return [card.session for card in (await store.page(owner, words, None, 10)).cards]


async def test_a_file_of_version_1_is_listed_and_searched(path: Path) -> None:
    shutil.copy(OLD, path)
    store = SqliteStore(path)
    await store.open()
    cards = (await store.page("login:alice", [], None, 10)).cards
    assert [(card.session, card.title) for card in cards] == [
        (LOST, "This one is never ended"),
        (ALICE, "What is a monad?"),
    ]
    assert cards[1].updated > cards[1].created > 1.7e9
    assert await names(store, "login:bob") == [BOB]
    assert await names(store, "login:alice", "few words") == [ALICE], "what the user said"
    assert await names(store, "login:alice", "a monad is a monoid") == [ALICE], "a word that came in pieces"
    assert await names(store, "login:alice", "strasse", "draft") == [ALICE]
    assert await names(store, "login:alice", "gone") == [], "it was taken back"
    assert await names(store, "login:alice", "half") == [], "it has no ending yet"
    assert await store.record(EMPTY) is not None
    before = [await store.load(session) for session in (ALICE, LOST, EMPTY, BOB)]
    await store.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()
    await store.open()
    assert [await store.load(session) for session in (ALICE, LOST, EMPTY, BOB)] == before
    assert await names(store, "login:alice", "monad") == [ALICE]
    await store.close()


async def test_an_old_answer_that_was_lost_is_searched_once_it_has_its_ending(path: Path) -> None:
    shutil.copy(OLD, path)
    async with Sessions(silent, Settings(store=f"sqlite:{path}")) as sessions:
        assert (await sessions.page("login:alice", ["half"], None, 10)).cards == ()
        session = await sessions.find(LOST, owner="login:alice", token=None)
        assert not session.busy
    async with Sessions(silent, Settings(store=f"sqlite:{path}")) as sessions:
        [card] = (await sessions.page("login:alice", ["half"], None, 10)).cards
        assert card.session == LOST


async def test_a_damaged_session_does_not_keep_an_old_file_from_being_opened(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(OLD, path)
    db = sqlite3.connect(path)
    db.execute("UPDATE events SET data = '{' WHERE session = ? AND seq = 2", (ALICE,))
    db.commit()
    db.close()
    store = SqliteStore(path)
    await store.open()
    assert f"can't read the store: an event is damaged (session={ALICE})" in caplog.text
    assert await names(store, "login:alice") == [LOST]
    with pytest.raises(StoreError):
        await store.load(ALICE)
    assert await store.record(ALICE) is not None, "so that it can be deleted"
    await store.remove(ALICE)
    assert await store.load(ALICE) is None
    await store.close()


@pytest.mark.process
async def test_kill_9_while_an_old_file_is_brought_up_leaves_it_old_and_whole(path: Path) -> None:
    shutil.copy(OLD, path)
    before = (
        "connect = sqlite3.connect\n"
        "def traced(sql):\n"
        "    if sql.startswith('INSERT INTO said'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def dying(*args, **options):\n"
        "    db = connect(*args, **options)\n"
        "    db.set_trace_callback(traced)\n"
        "    return db\n"
        "sqlite3.connect = dying"
    )
    with child("pass", path, before) as process:
        assert process.wait() == -signal.SIGKILL
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert "title" not in {row[1] for row in db.execute("PRAGMA table_info(sessions)")}
    db.close()
    store = SqliteStore(path)
    await store.open()
    assert await names(store, "login:alice", "monad") == [ALICE]
    await store.close()


async def test_another_programs_database_is_refused_and_not_touched(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (a)")
    db.close()
    before = path.read_bytes()
    assert "another program's database" in await refused(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_not_touched(path: Path) -> None:
    path.write_text("# Notes\n" * 1000)
    assert "the file is no SQLite database" in await refused(path)
    assert path.read_text() == "# Notes\n" * 1000


async def test_a_folder_and_a_file_in_the_way_are_refused(tmp_path: Path) -> None:
    assert "can't be opened" in await refused(tmp_path)
    (tmp_path / "file").touch()
    assert "can't open" in await refused(tmp_path / "file" / "agent.db")


async def test_damage_is_a_store_error(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.save([begin("a", 5000)])
    await store.close()
    content = bytearray(path.read_bytes())
    content[8192:-4096] = b"\xff" * len(content[8192:-4096])
    path.write_bytes(content)
    await store.open()
    with pytest.raises(StoreError, match="the file is damaged"):
        await store.load("a")
    await store.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("""UPDATE events SET data = '{"type":"from the future"}' WHERE seq = 2""", "an event is damaged"),
        ("UPDATE events SET data = '{' WHERE seq = 2", "an event is damaged"),
        ("DELETE FROM events WHERE seq = 2", "an event is missing"),
        ("UPDATE events SET data = CAST(x'7b22ff22' AS TEXT) WHERE seq = 2", "can't read the store"),
    ],
)
async def test_a_session_with_a_damaged_event_is_a_store_error_and_others_go_on(
    path: Path, change: str, reason: str
) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.save([begin("a", 3), begin("b", 1)])
    await store.close()
    db = sqlite3.connect(path)
    db.execute(change)
    db.commit()
    db.close()
    await store.open()
    with pytest.raises(StoreError, match=reason):
        await store.load("a")
    assert await store.load("b") is not None
    await store.close()


async def test_a_full_disk_refuses_the_whole_save_and_keeps_the_rest(path: Path, hook: Callable[[Hook], None]) -> None:
    store = SqliteStore(path)
    hook(lambda db: db.execute("PRAGMA max_page_count = 40"))
    await store.open()
    await store.save([begin("a", 2), begin("b", 1)])
    with pytest.raises(StoreError, match="the disk is full: free some space"):
        await store.save([more("a", 3, 3), more("b", 2, 5000)])
    await store.save([more("a", 3, 4)])  # smaller ones still fit
    hook(lambda db: db.execute("PRAGMA max_page_count = 100000"))
    await store.save([more("b", 2, 2)])
    await store.save([more("b", 3, 5000)])
    await store.close()
    assert [await tail(path, name) for name in "ab"] == [4, 5000]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_IOERR_WRITE, "the disk reports an error"),
        (sqlite3.SQLITE_READONLY, "check the permissions"),
        (sqlite3.SQLITE_MISUSE, r"SQLite can't do it \(OperationalError, code 21\)"),
    ],
)
async def test_an_error_of_the_engine_is_told_in_our_words(
    path: Path, hook: Callable[[Hook], None], code: int, reason: str
) -> None:
    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("near 'what the user said'")
        error.sqlite_errorcode = code
        raise error

    store = SqliteStore(path)
    await store.open()
    hook(fail)
    with pytest.raises(StoreError, match=reason) as error:
        await store.save([begin("a", 1)])
    assert "user" not in str(error.value)
    hook(id)
    await store.save([begin("a", 1)])
    await store.close()


@pytest.mark.parametrize("value", [object(), "\ud83d", {1: object()}], ids=["object", "half-a-character", "inside"])
async def test_what_json_cannot_say_breaks_its_own_session_only(path: Path, value: object) -> None:
    store = SqliteStore(path)
    await store.open()
    event = ToolStart(seq=1, run="r1", tool="t1", name="n", input=value)
    with pytest.raises(BatchError, match="can't be written as JSON: ToolStart") as error:
        await store.save([begin("b", 1), Batch("a", record("a"), (), (event,))])
    assert error.value.session == "a"
    await store.save([begin("b", 1), Batch("a", record("a"), (), texts(1, 1))])
    await store.close()
