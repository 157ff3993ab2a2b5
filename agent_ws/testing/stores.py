"""The conformance suite of the stores: what every driver promises, as pytest tests.

A driver's test file is a factory and nothing else; needs pytest and pytest-asyncio:

    class TestMine(StoreSuite):
        @pytest.fixture
        def make(self, tmp_path: Path) -> Make:
            return lambda: MyStore(tmp_path / "mine")

The one rule: it asks only for what `agent_ws.stores.base.Store` says.
"""
# ruff: noqa: S101, PLR2004 - pytest's assertions are assert statements, and a number in one is the expected value itself

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias, get_args

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ..errors import StoreError
from ..events import (
    Call,
    Content,
    Done,
    Error,
    Event,
    Interrupted,
    Outline,
    Request,
    Resolved,
    Section,
    SectionEnd,
    SectionStart,
    Seen,
    Settled,
    Start,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
    Usage,
    User,
)
from ..log import Epoch
from ..stores.base import Batch, BatchError, Record, Saved, Store
from ..stores.cards import Card, Mark, News, folded

Make: TypeAlias = Callable[[], Store]
"""Makes a driver that is not open yet. In one test all of them are on the same storage, which was empty before."""

NASTY = "\x00 \x7f \u2028 \U0001f469\u200d\U0001f680 \ufffe \"'\\ \r\n %_;-- </script> é"
"""Text that a careless driver mangles."""

USAGE = Usage(input_tokens=1, output_tokens=2**53 - 1, cache_read_tokens=3, cache_write_tokens=4)
ANY: Any = {"a": [1, 2.5, None, True, {"b": NASTY}], "": {}}
ALL: tuple[Event, ...] = (
    User(id="c1", data=NASTY, at=1790000000.123456, steer=True),
    Start(at=0.1 + 0.2),
    Thinking(data=NASTY, section="s"),
    Content(data=NASTY, section="s"),
    Content(data=""),
    Tools(calls=(Call("t1", "search"), Call("t2", NASTY))),
    ToolStart(tool="t1", name="search", input=ANY, at=1.0),
    ToolStart(tool="t2", name="search", waits=True),
    ToolInput(tool="t2", data=NASTY),
    ToolRun(tool="t2", input=ANY, at=1.0),
    ToolResult(tool="t1", outcome="interrupted", output=NASTY, at=2.0),
    Outline(sections=(Section("s1", "Idea"), Section("s2", NASTY))),
    SectionStart(section="s1", title=NASTY, redo=True),
    SectionEnd(section="s1", outcome="skipped"),
    Request(request="q1", kind="tool", prompt=NASTY, tool="t1", data=ANY, at=1.0, expires=2.0),
    Resolved(request="q1", outcome="replied", data=ANY),
    Status(state="degraded", detail=NASTY, attempt=2, chars=3, thinking=4, id="c1", streamed=False),
    Done(at=1.0, stop_reason="end_turn", usage=USAGE, streamed=False),
    Interrupted(at=1.0, reason="barge_in", seen=0),
    Interrupted(),
    Error(code="lost", message=NASTY, at=1.0),
    Settled(
        task="abandoned",
        at=1.0,
        stop_ms=3,
        upstream_closed=False,
        tools={"t1": "finished_after_stop", "": "running"},
        chunks=4,
        chars=5,
        seen=0,
        usage=USAGE,
    ),
    Settled(task="finished"),
    Seen(chars=2**53 - 1),
)
"""At least one event of each type, with every field set."""


def record(session: str) -> Record:
    """The identity of a session."""
    return Record(session, owner=f"owner of {session}", token_hash="0f" * 32, created=1790000000.123456)


def texts(first: int, last: int) -> tuple[Event, ...]:
    """Events `first` to `last` of a log."""
    return tuple(Content(seq=seq, run="r1", data=f"word {seq} ") for seq in range(first, last + 1))


def begin(session: str, count: int, epoch: str = "e1") -> Batch:
    """A session's first batch, with events 1 to `count`."""
    return Batch(session, record(session), (Epoch(epoch, 1),), texts(1, count))


def more(session: str, first: int, last: int) -> Batch:
    """A later batch."""
    return Batch(session, None, (), texts(first, last))


def told(session: str, *, owner: str = "me", title: str = "", updated: float = 1.0, said: str = "") -> Batch:
    """A session's first batch, with something for the list."""
    identity = replace(record(session), owner=owner)
    news = News(title=title, updated=updated, said=(folded(said),) if said else ())
    return Batch(session, identity, (Epoch("e1", 1),), (), news)


def update(session: str, *, title: str = "", updated: float = 0.0, said: str = "") -> Batch:
    """A later one."""
    return Batch(session, None, (), (), News(title=title, updated=updated, said=(folded(said),) if said else ()))


class Storage:
    """The storage of one test: a driver that is open, and others that come after it."""

    def __init__(self, make: Make, *, outlives: bool) -> None:
        self._make = make
        self._outlives = outlives
        self.store = make()

    async def load(self, session: str) -> Saved | None:
        """What the store has; if it lasts, also after it was closed and opened anew."""
        found = await self.store.load(session)
        if self._outlives:
            await self.again()
            assert await self.store.load(session) == found
        return found

    async def save(self, *batches: Batch) -> None:
        await self.store.save(batches)

    async def pages(self, owner: str = "me", words: str = "", limit: int = 3) -> list[list[Card]]:
        """The owner's list, page by page, without the pages that have nothing."""
        pages: list[list[Card]] = []
        mark: Mark | None = None
        while True:
            page = await self.store.page(owner, folded(words).split(), mark, limit)
            assert len(page.cards) <= limit
            pages += [[*page.cards]] if page.cards else []
            if page.next is None:
                return pages
            assert mark is None or (page.next.updated, page.next.session) < (mark.updated, mark.session), "no way on"
            mark = page.next

    async def names(self, owner: str = "me", words: str = "") -> list[str]:
        """The sessions of the owner's list."""
        return [card.session for page in await self.pages(owner, words) for card in page]

    async def again(self) -> None:
        """Close it and open it anew, if it lasts."""
        if self._outlives:
            await self.store.close()
            self.store = self._make()
            await self.store.open()

    async def tail(self, session: str) -> int:
        """The last `seq`; -1 for a session that the store doesn't have."""
        found = await self.load(session)
        return len(found.events) if found else -1


@pytest.mark.asyncio
class StoreSuite:
    """Subclass it as `Test...` with a fixture `make`."""

    outlives = True
    """Whether what was saved is still there after `close`, for another instance."""

    @pytest.fixture
    def make(self) -> Make:
        """To be overridden."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def storage(self, make: Make) -> AsyncIterator[Storage]:
        storage = Storage(make, outlives=self.outlives)
        await storage.store.open()
        yield storage
        await storage.store.close()

    async def test_a_session_that_was_never_saved_is_none(self, storage: Storage) -> None:
        await storage.save(begin("a", 1))
        for name in ("nobody", "", "A", "a\0", "a ", NASTY, "\ud83d"):
            assert await storage.load(name) is None

    async def test_what_was_saved_is_loaded(self, storage: Storage) -> None:
        await storage.save(begin("a", 3))
        assert await storage.load("a") == Saved(record("a"), (Epoch("e1", 1),), texts(1, 3))

    async def test_a_session_may_have_no_events_yet(self, storage: Storage) -> None:
        await storage.save(begin("a", 0))
        assert await storage.load("a") == Saved(record("a"), (Epoch("e1", 1),), ())

    async def test_saving_nothing_is_allowed(self, storage: Storage) -> None:
        await storage.save()
        await storage.save(begin("a", 1))
        await storage.save(Batch("a", None, (), ()))
        assert await storage.tail("a") == 1

    async def test_every_event_comes_back_equal(self, storage: Storage) -> None:
        agents = (None, "b") * len(ALL)
        events = tuple(
            replace(event, seq=seq, run=f"r{seq}", agent=agent)
            for seq, (event, agent) in enumerate(zip((*ALL, *ALL), agents, strict=True), 1)
        )
        assert {type(event) for event in ALL} == set(get_args(Event)), "an event type is not covered"
        await storage.save(Batch("a", record("a"), (Epoch("e1", 1),), events))
        found = await storage.load("a")
        assert found is not None
        assert found.events == events
        assert [type(event) for event in found.events] == [type(event) for event in events]

    async def test_later_saves_follow(self, storage: Storage) -> None:
        await storage.save(begin("a", 2))
        for seq in range(3, 13):
            await storage.save(more("a", seq, seq))
        found = await storage.load("a")
        assert found is not None
        assert found.events == texts(1, 12)

    async def test_a_long_log_comes_back_whole_and_in_order(self, storage: Storage) -> None:
        await storage.save(begin("a", 4321))
        await storage.save(more("a", 4322, 10_000))
        found = await storage.load("a")
        assert found is not None
        assert found.events == texts(1, 10_000)

    async def test_epochs_come_back_in_order_also_where_one_wrote_nothing(self, storage: Storage) -> None:
        epochs = (Epoch("z", 1), Epoch("m", 3), Epoch("x", 3), Epoch("a", 3), Epoch("b", 4))
        await storage.save(Batch("a", record("a"), epochs[:1], texts(1, 2)))
        await storage.save(Batch("a", None, epochs[1:2], ()))
        await storage.save(Batch("a", None, epochs[2:4], texts(3, 3)))
        await storage.save(Batch("a", None, epochs[4:], ()))
        assert await storage.load("a") == Saved(record("a"), epochs, texts(1, 3))

    async def test_sessions_do_not_mix_whatever_their_names(self, storage: Storage) -> None:
        names = ("a", "A", "a%", "a_", "aa", "a'; DROP TABLE events; --", "ä", "a\u0308", " a", "1", "01", '"\\')
        await storage.save(*(begin(name, i, epoch=f"e{i}") for i, name in enumerate(names)))
        for i, name in enumerate(names):
            assert await storage.load(name) == Saved(record(name), (Epoch(f"e{i}", 1),), texts(1, i))

    async def test_one_save_takes_many_sessions(self, storage: Storage) -> None:
        await storage.save(*(begin(f"s{i}", 1) for i in range(500)))
        await storage.save(*(more(f"s{i}", 2, 3) for i in range(500)))
        for i in (0, 250, 499):
            assert await storage.tail(f"s{i}") == 3

    async def test_two_batches_of_one_session_follow_each_other(self, storage: Storage) -> None:
        await storage.save(begin("a", 1), begin("b", 1), more("a", 2, 3))
        assert await storage.tail("a") == 3

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param((more("a", 5, 6),), id="gap"),
            pytest.param((more("a", 3, 4),), id="duplicate"),
            pytest.param((more("a", 1, 4),), id="from-the-start"),
            pytest.param((Batch("a", None, (), texts(4, 5) + texts(7, 7)),), id="gap-inside"),
            pytest.param((Batch("a", None, (), texts(4, 4) + texts(4, 4)),), id="duplicate-inside"),
            pytest.param((more("a", 4, 4), more("a", 4, 4)), id="duplicate-in-two"),
            pytest.param((Batch("a", None, (Epoch("e9", 4),), texts(5, 5)),), id="gap-with-epoch"),
            pytest.param((Batch("a", record("a"), (Epoch("e9", 4),), texts(4, 4)),), id="record-twice"),
        ],
    )
    @pytest.mark.parametrize("where", ["first", "last"])
    async def test_a_save_that_does_not_follow_is_refused_as_a_whole(
        self, storage: Storage, bad: Sequence[Batch], where: str
    ) -> None:
        await storage.save(begin("a", 3), begin("b", 1))
        good = (begin("c", 2), Batch("b", None, (Epoch("e2", 2),), texts(2, 3)))
        with pytest.raises(BatchError) as refused:
            await storage.save(*(*bad, *good) if where == "first" else (*good, *bad))
        assert refused.value.session == "a"
        assert await storage.load("a") == Saved(record("a"), (Epoch("e1", 1),), texts(1, 3))
        assert await storage.load("b") == Saved(record("b"), (Epoch("e1", 1),), texts(1, 1))
        assert await storage.load("c") is None
        await storage.save(more("a", 4, 4), *good)
        assert [await storage.tail(name) for name in "abc"] == [4, 3, 2]

    async def test_a_session_that_does_not_start_at_its_start_is_refused(self, storage: Storage) -> None:
        for batch in (more("a", 1, 1), Batch("a", record("a"), (Epoch("e1", 1),), texts(2, 2))):
            with pytest.raises(BatchError):
                await storage.save(batch)
        assert await storage.load("a") is None

    async def test_a_load_during_a_save_sees_all_of_it_or_nothing(self, storage: Storage) -> None:
        await storage.save(begin("a", 1))
        store = storage.store
        _, *found = await asyncio.gather(store.save([more("a", 2, 500)]), *(store.load("a") for _ in range(5)))
        assert {len(saved.events) for saved in found if saved} <= {1, 500}
        assert None not in found

    async def test_a_cancelled_save_happened_as_a_whole_or_not_at_all(self, storage: Storage) -> None:
        await storage.save(begin("a", 1), begin("b", 1))
        tail = 1
        for steps in range(12):
            save = asyncio.ensure_future(storage.save(more("a", tail + 1, tail + 5), more("b", tail + 1, tail + 5)))
            for _ in range(steps):
                await asyncio.sleep(0)
            save.cancel()
            await asyncio.wait([save])
            before, tail = tail, await storage.tail("a")
            assert tail in {before, before + 5}
            assert await storage.tail("b") == tail
            assert tail == before + 5 or save.cancelled(), "a save that returned is not there"
            await storage.save(more("a", tail + 1, tail + 1), more("b", tail + 1, tail + 1))
            tail += 1

    async def test_a_cancelled_load_leaves_the_store_in_order(self, storage: Storage) -> None:
        await storage.save(begin("a", 1000))
        for steps in range(8):
            load = asyncio.ensure_future(storage.store.load("a"))
            for _ in range(steps):
                await asyncio.sleep(0)
            load.cancel()
            await asyncio.wait([load])
            assert load.cancelled() or load.result() is not None
        await storage.save(more("a", 1001, 1001))
        assert await storage.tail("a") == 1001

    # The list

    async def test_a_list_has_the_owner_s_sessions_the_newest_first_by_pages(self, storage: Storage) -> None:
        await storage.save(*(told(f"s{i}", title=f"Title {i}", updated=1790000000.123456 + i) for i in range(7)))
        await storage.save(told("theirs", owner="them"), told("Me", owner="ME"), told("%", owner="m%"))
        await storage.save(update("s2", updated=1790000100.5))
        for _ in range(2):
            pages = await storage.pages()
            assert [[card.session for card in page] for page in pages] == [
                ["s2", "s6", "s5"],
                ["s4", "s3", "s1"],
                ["s0"],
            ]
            assert pages[0][0] == Card("s2", "Title 2", record("s2").created, 1790000100.5)
            assert pages[0][1].updated == 1790000000.123456 + 6
            assert await storage.names("them") == ["theirs"]
            assert await storage.pages("nobody") == []
            await storage.again()

    async def test_of_two_sessions_of_one_moment_neither_is_lost_between_pages(self, storage: Storage) -> None:
        names = [f"s{i}" for i in range(8)]
        await storage.save(*(told(name, updated=0.1 + 0.2) for name in names))
        for limit in (1, 2, 7, 8, 9):
            pages = await storage.pages(limit=limit)
            assert [card.session for page in pages for card in page] == names[::-1]

    async def test_a_session_in_which_nothing_was_said_is_not_listed(self, storage: Storage) -> None:
        await storage.save(told("a", updated=0.0), begin("b", 3))
        await storage.store.rename("a", "A name")
        assert await storage.names() == []
        assert await storage.names("owner of b") == []
        await storage.save(update("a", title="First", updated=2.0))
        assert [(card.session, card.title) for page in await storage.pages() for card in page] == [("a", "A name")]

    async def test_the_first_title_stays_and_a_given_one_stays_too(self, storage: Storage) -> None:
        await storage.save(told("a", title="First", updated=1.0), told("b", updated=2.0), told("c", title="C"))
        await storage.save(update("a", title="Second", updated=3.0), update("b", title="B"))
        await storage.store.rename("a", NASTY)
        await storage.save(update("a", title="Third", updated=2.0))
        await storage.store.rename("nobody", "Nothing")
        await storage.again()
        [cards] = await storage.pages()
        assert [(card.session, card.title, card.updated) for card in cards] == [
            ("a", NASTY, 3.0),
            ("b", "B", 2.0),
            ("c", "C", 1.0),
        ]

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("", ["c", "b", "a"]),
            ("monad", ["b", "a"]),
            ("MONAD", ["b", "a"]),
            ("ona", ["b", "a"]),
            ("monad apple", ["b"]),
            ("apple  pears", ["b"]),
            ("strasse", ["c"]),
            ("STRAßE", ["c"]),
            ("cafe\u0301", ["c"]),
            ("ﬁne", ["c"]),
            ("100%", ["c"]),
            ("_%", []),
            ("'", ["c"]),
            ('"', ["c"]),
            ("\\", ["c"]),
            ("\0 after", ["c"]),
            ("\U0001f469", ["c"]),
            ("[1]", ["c"]),
            ("nothing", []),
            ("monad nothing", []),
        ],
    )
    async def test_a_search_finds_every_word_in_the_title_or_in_what_was_said(
        self, storage: Storage, words: str, found: list[str]
    ) -> None:
        nasty = 'STRASSE CAF\u00c9 fine 100% it\'s "so" \\ \0after \U0001f469\u200d\U0001f680 [1]'
        await storage.save(
            told("a", title="What is a Monad?", updated=1.0, said="It is a burrito."),
            told("b", title="Fruit", updated=2.0, said="Apples and pears."),
            told("c", title="Other", updated=3.0, said=nasty),
            told("x", owner="them", title="Monad", updated=4.0, said="monad apple"),
        )
        await storage.save(update("b", said="And a monad."))
        assert await storage.names(words=words) == found

    async def test_a_search_finds_a_new_title_and_the_old_one_no_more(self, storage: Storage) -> None:
        await storage.save(told("a", title="Apples"))
        await storage.store.rename("a", "Straße")
        assert await storage.names(words="apple") == []
        assert await storage.names(words="STRASSE") == ["a"]

    async def test_a_search_looks_through_everything_however_much_there_is(self, storage: Storage) -> None:
        text = "word " * 50_000
        for i in range(30):
            await storage.save(told(f"s{i:03}", updated=float(i + 1), said=text + ("needle" if i in (0, 17) else "")))
        await storage.save(*(told(f"t{i:03}", updated=100.0 + i, said="word") for i in range(600)))
        assert await storage.names(words="needle") == ["s017", "s000"]
        assert await storage.names(words="needle word") == ["s017", "s000"]
        assert len(await storage.names(words="word")) == 630

    async def test_a_list_sees_what_was_saved_and_half_a_character_is_nobody_s(self, storage: Storage) -> None:
        await storage.save(told("a"))
        for owner, words in (("\ud83d", []), ("me", ["\ud83d"])):
            assert (await storage.store.page(owner, words, None, 3)).cards == ()

    async def test_a_session_s_record_is_found_without_its_events(self, storage: Storage) -> None:
        await storage.save(begin("a", 1))
        assert await storage.store.record("a") == record("a")
        for name in ("nobody", "", "A", NASTY, "\ud83d"):
            assert await storage.store.record(name) is None

    async def test_a_removed_session_is_gone_for_good_and_others_stay(self, storage: Storage) -> None:
        await storage.save(told("a", title="Apples", said="pears"), told("b", title="Apples", said="pears"))
        await storage.save(more("a", 1, 2000), more("b", 1, 3))
        await storage.store.remove("a")
        for _ in range(2):
            assert await storage.store.load("a") is None
            assert await storage.store.record("a") is None
            assert await storage.names() == ["b"]
            assert await storage.names(words="pears") == ["b"]
            await storage.again()
        await storage.store.remove("a")
        await storage.store.remove("nobody")
        with pytest.raises(BatchError):
            await storage.save(more("a", 2001, 2001))
        assert await storage.tail("b") == 3

    async def test_a_cancelled_remove_happened_as_a_whole_or_not_at_all(self, storage: Storage) -> None:
        for steps in range(8):
            name = f"s{steps}"
            await storage.save(told(name, title="Apples", said="pears"))
            await storage.save(more(name, 1, 300))
            remove = asyncio.ensure_future(storage.store.remove(name))
            for _ in range(steps):
                await asyncio.sleep(0)
            remove.cancel()
            await asyncio.wait([remove])
            found = await storage.load(name)
            listed = name in await storage.names(words="pears")
            assert listed == (found is not None)
            assert found is None or len(found.events) == 300
            assert found is None or remove.cancelled(), "a removal that returned is not there"

    async def test_a_list_during_a_save_sees_all_of_it_or_nothing(self, storage: Storage) -> None:
        await storage.save(told("a", title="A", updated=1.0), told("b", title="B", updated=2.0))
        save = [update("a", updated=3.0, said="new"), update("b", updated=4.0, said="new")]
        saving = asyncio.ensure_future(storage.store.save(save))
        found = await asyncio.gather(*(storage.store.page("me", ["new"], None, 3) for _ in range(5)))
        await saving
        assert {len(page.cards) for page in found} <= {0, 2}
        assert await storage.names(words="new") == ["b", "a"]

    # The end

    async def test_closing_twice_is_harmless(self, make: Make) -> None:
        store = make()
        await store.open()
        await store.save([begin("a", 1)])
        await store.close()
        await store.close()

    async def test_closing_what_was_never_opened_is_harmless(self, make: Make) -> None:
        await make().close()

    async def test_a_refusal_tells_no_data(self, storage: Storage) -> None:
        secret = "s3cr3t"  # noqa: S105 - that is the point
        await storage.save(begin(secret, 1))
        with pytest.raises(StoreError) as refused:
            await storage.save(Batch(secret, None, (), (Content(seq=7, run="r1", data=secret),)))
        assert secret not in str(refused.value)
