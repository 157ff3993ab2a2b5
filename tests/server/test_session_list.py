"""The list of an owner's sessions: what it has, what is found in it, and what is gone from it for good."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from helpers import Frame, Http, drained, got, hello, of, say, serving, sse, stubborn
from starlette.applications import Starlette

from agent_ws import Identity, Limits, Settings, Turn, build_app
from agent_ws.agents.scripted import Gate, Scripted
from agent_ws.errors import StoreError
from agent_ws.sessions import Sessions
from agent_ws.stores import Batch, Feed, Mark, MemoryStore, Page, Saved
from agent_ws.testing.client import Client, Closed, connect, running

pytestmark = pytest.mark.virtual

LIST = "/api/agent/sessions"
COOKIE = {"cookie": "agent_ws_owner=" + "c" * 22}
OTHER = {"cookie": "agent_ws_owner=" + "d" * 22}
LONG = 1.0
"""Until everything has gone on that takes no longer."""


async def parrot(turn: Turn) -> None:
    turn.content(f"You said {turn.message}.")


def one(opened: Frame) -> str:
    return f"{LIST}/{opened['session']}"


def bearing(opened: Frame) -> dict[str, str]:
    return {"authorization": f"Bearer {opened['token']}"}


async def listed(app: Starlette, headers: dict[str, str] = COOKIE, **query: Any) -> dict[str, Any]:
    request = Http(app, f"{LIST}?{urlencode(query)}", None, headers)
    answer = await request.json()
    assert request.status == 200, answer
    assert request.headers["cache-control"] == "no-store"
    return answer


async def titles(app: Starlette, headers: dict[str, str] = COOKIE, **query: Any) -> list[str]:
    return [card["title"] for card in (await listed(app, headers, **query))["sessions"]]


async def asked(request: Http) -> tuple[int, Any]:
    body = await request.json()
    return request.status, body.get("error", {}).get("code") if request.status != 200 else body


async def rename(app: Starlette, opened: Frame, title: Any, **headers: str) -> tuple[int, Any]:
    return await asked(Http(app, one(opened), {"title": title}, headers, method="PATCH"))


async def delete(app: Starlette, opened: Frame, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    return await asked(Http(app, one(opened), None, bearing(opened) if headers is None else headers, method="DELETE"))


@asynccontextmanager
async def talking(
    app: Starlette, *messages: str, headers: dict[str, str] = COOKIE
) -> AsyncGenerator[tuple[Client, Frame]]:
    """A client with a session of its own, in which that was said and answered."""
    async with connect(app, headers=headers) as client:
        opened = await hello(client)
        for message in messages:
            await say(client, message)
            await drained(client, LONG)
        yield client, opened


class Reluctant(MemoryStore):
    """A store whose removals and saves wait for `gate`, and fail as `fault` says."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.saving = asyncio.Event()
        self.saving.set()
        self.fault: StoreError | None = None
        self.removals = 0

    async def save(self, batches: Sequence[Batch]) -> None:
        await self.saving.wait()
        await super().save(batches)

    async def remove(self, session: str) -> None:
        self.removals += 1
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        await super().remove(session)


@pytest.fixture
def store() -> Reluctant:
    return Reluctant()


# The list


async def test_the_list_has_what_the_owner_said_something_in_the_newest_first() -> None:
    async with serving(parrot) as app:
        async with talking(app, "One\nand more"), talking(app), talking(app, "Theirs", headers=OTHER):
            pass
        async with talking(app, "Two"), talking(app, "  Three  words ") as (_, opened):
            found = await listed(app)
            assert [card["title"] for card in found["sessions"]] == ["Three words", "Two", "One"]
            assert "next" not in found
            card = found["sessions"][0]
            assert card.keys() == {"session", "title", "created", "updated"}
            assert card["session"] == opened["session"]
            assert card["updated"] >= card["created"] > 1.7e9
            assert await titles(app, OTHER) == ["Theirs"]


async def test_a_token_lists_nothing_and_who_has_no_cookie_gets_one() -> None:
    async with serving(parrot) as app, talking(app, "One") as (_, opened):
        for headers in ({}, bearing(opened)):
            request = Http(app, LIST, None, headers)
            assert await request.json() == {"sessions": []}
            assert request.headers["set-cookie"].startswith("agent_ws_owner=")
        request = Http(app, LIST, None, COOKIE)
        await request.text()
        assert "set-cookie" not in request.headers


async def test_an_owner_sees_the_list_of_the_login_on_every_device() -> None:
    async def login(connection: Any) -> Identity | None:
        name = connection.headers.get("authorization", "")
        return Identity(name.removeprefix("Bearer ").partition("-")[0]) if name else None

    app = build_app(parrot, login=login)
    phone, desk, eve = ({"authorization": f"Bearer {name}"} for name in ("alice-1", "alice-2", "eve-1"))
    async with running(app), connect(app, headers=phone) as client:
        await client.send({"type": "hello"})
        opened = await client.until("session")
        await say(client, "One")
        assert await titles(app, desk) == ["One"]
        assert await titles(app, eve) == []
        assert (await asked(Http(app, LIST, None, COOKIE)))[0] == 401
        assert await asked(Http(app, one(opened), {"title": "x"}, eve, method="PATCH")) == (404, "session_not_found")
        assert await delete(app, opened, eve) == (404, "session_not_found")
        assert await delete(app, opened, desk) == (200, {"deleted": opened["session"]})
        with pytest.raises(Closed, match="4410 deleted"):
            await client.until("none such")
        assert await titles(app, phone) == []


async def test_what_is_going_says_so() -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate, "b"])) as app, connect(app, headers=COOKIE) as client:
        await hello(client)
        await say(client, "One")
        await gate.reached.wait()
        [card] = (await listed(app))["sessions"]
        assert card["going"] is True
        gate.set()
        await client.until("settled")
        [card] = (await listed(app))["sessions"]
        assert "going" not in card


async def test_the_list_comes_in_pages_that_miss_and_repeat_nothing() -> None:
    async with serving(parrot) as app:
        names = [f"Number {i}" for i in range(7)]
        for name in names:
            async with talking(app, name):
                pass
        query: dict[str, Any] = {"limit": 3}
        pages: list[list[str]] = []
        while True:
            page = await listed(app, **query)
            pages.append([card["title"] for card in page["sessions"]])
            if "next" not in page:
                break
            query["before"] = page["next"]
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [title for page in pages for title in page] == names[::-1]


async def test_words_are_searched_in_titles_messages_and_answers_that_ended() -> None:
    gate = Gate()
    script = Scripted(["A mon", "ad is ", gate, "a MONOID."])
    async with serving(script) as app, connect(app, headers=COOKIE) as client:
        opened = await hello(client)
        await say(client, "What is it?")
        await gate.reached.wait()
        assert await titles(app, words="what IT") == ["What is it?"]
        assert await titles(app, words="monad") == []
        gate.set()
        await client.until("done")
        assert await titles(app, words="monad monoid") == ["What is it?"], "as soon as it has ended"
        assert await titles(app, words="monad burrito") == []
        assert await titles(app, OTHER, words="monad") == []
        assert (await rename(app, opened, "Apples", **COOKIE))[0] == 200
        assert await titles(app, words="apple monoid") == ["Apples"]


async def test_a_search_ends_after_its_time_and_says_where_to_go_on() -> None:
    class Slow(MemoryStore):
        async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
            await asyncio.sleep(0.4)
            page = await super().page(owner, [], before, min(1, limit))  # one a look
            return Page(() if words else page.cards, page.next)

    async with serving(parrot, store=Slow()) as app:
        for i in range(6):
            async with talking(app, f"Number {i}"):
                pass
        page = await listed(app, words="nothing")
        assert page["sessions"] == []
        page = await listed(app, words="nothing", before=page["next"])
        assert "next" not in page
        page = await listed(app)
        assert [card["title"] for card in page["sessions"]] == ["Number 5", "Number 4", "Number 3"]


async def test_of_many_searches_one_looks_at_a_time() -> None:
    looking: list[int] = []

    class Slow(MemoryStore):
        async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
            looking.append(looking.count(1) - looking.count(-1))
            looking.append(1)
            await asyncio.sleep(0.1)
            looking.append(-1)
            return await super().page(owner, words, before, limit)

    async with serving(parrot, store=Slow()) as app:
        await asyncio.gather(*(listed(app, words="x") for _ in range(5)))
        assert looking == [0, 1, -1] * 5


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": -1},
        {"limit": "x"},
        {"words": "w" * 201},
        {"words": "a b c d e f g h i"},
        {"before": ""},
        {"before": "x"},
        {"before": "1"},
        {"before": "nan~x"},
        {"before": "1e9~x"},
        {"before": "9" * 400 + "~x"},
    ],
)
async def test_a_list_that_can_not_be_had_is_refused(query: dict[str, Any]) -> None:
    async with serving(parrot) as app:
        assert await asked(Http(app, f"{LIST}?{urlencode(query)}")) == (400, "bad_frame")


@pytest.mark.parametrize("query", [{"limit": 100}, {"words": "w" * 200}, {"words": "a b c d e f g h"}, {"words": "\0"}])
async def test_a_list_at_its_limits_can_be_had(query: dict[str, Any]) -> None:
    async with serving(parrot) as app:
        assert (await listed(app, **query))["sessions"] == []


# The title


async def test_a_title_that_was_given_stays(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, talking(app) as (client, opened):
        answer = {"session": opened["session"], "title": "My own"}
        assert await rename(app, opened, "  My \n own ", **bearing(opened)) == (200, answer)
        await say(client, "One")
        assert await titles(app) == ["My own"]
        body = {"title": "Another", "token": opened["token"]}
        assert (await asked(Http(app, one(opened), body, method="PATCH")))[0] == 200
    async with serving(parrot, store=store) as app:
        assert await titles(app) == ["Another"], "it was durable"
        assert await rename(app, opened, "Not loaded", **COOKIE) == (200, answer | {"title": "Not loaded"})
        assert await titles(app) == ["Not loaded"]


@pytest.mark.parametrize("title", ["", " \n ", "x" * 121, 5, None])
async def test_a_title_that_is_none_is_refused(title: Any) -> None:
    async with serving(parrot) as app, talking(app, "One") as (_, opened):
        assert await rename(app, opened, title, **COOKIE) == (400, "bad_frame")
        assert await titles(app) == ["One"]


async def test_who_has_neither_token_nor_cookie_changes_nothing() -> None:
    async with serving(parrot) as app, talking(app, "One") as (_, opened):
        for headers in ({}, OTHER, {"authorization": "Bearer guess"}):
            assert await rename(app, opened, "x", **headers) == (404, "session_not_found")
            assert await delete(app, opened, headers) == (404, "session_not_found")
        for name in ("nobody", "%F0%9F%91%A9", "x" * 5000):
            assert await delete(app, opened | {"session": name}, COOKIE) == (404, "session_not_found")
        assert await titles(app) == ["One"]


async def test_a_message_keeps_the_session_where_a_rename_fails(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, connect(app, headers=COOKIE) as client:
        store.saving.clear()
        opened = await hello(client)
        assert await rename(app, opened, "x", **COOKIE) == (503, "store_failed"), (
            "it waits for the store, and not for ever"
        )
        store.saving.set()
        assert await rename(app, opened, "x", **COOKIE) == (200, {"session": opened["session"], "title": "x"})


# Deletion


async def test_a_deleted_session_is_gone_from_everywhere(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, talking(app, "Apples") as (client, opened), talking(app, "Pears"):
        assert await delete(app, opened) == (200, {"deleted": opened["session"]})
        with pytest.raises(Closed, match="4410 deleted"):
            await client.until("none such")
        assert client.frames[-1]["type"] == "error"
        assert client.frames[-1]["code"] == "deleted"
        assert "seq" not in client.frames[-1]
    for _ in range(2):
        async with serving(parrot, store=store) as app:
            assert await titles(app) == ["Pears"]
            assert await titles(app, words="apples") == []
            assert await delete(app, opened) == (404, "session_not_found")
            assert await rename(app, opened, "x", **bearing(opened)) == (404, "session_not_found")
            async with connect(app, headers=COOKIE) as client:
                await client.send({"type": "hello", "session": opened["session"], "token": opened["token"]})
                with pytest.raises(Closed, match="4404"):
                    await client.until("session")
            body = {"session": opened["session"], "token": opened["token"]}
            assert await asked(Http(app, "/api/agent/stream", body)) == (404, "session_not_found")


@pytest.mark.parametrize("slow", [False, True])
async def test_what_goes_is_interrupted_and_every_client_is_told(store: Reluctant, *, slow: bool) -> None:
    gate = Gate()
    script = Scripted(["a", gate, "b"], ["never"])
    async with serving(script, store=store) as app, connect(app) as client, connect(app) as other, connect(app) as held:
        opened = await hello(client)
        await hello(other, opened)
        await hello(held, opened)
        await say(client, "One")
        await say(client, "Waits")
        await gate.reached.wait()
        await held.send({"type": "pause"})
        body = {"session": opened["session"], "token": opened["token"]}
        streams = [Http(app, "/api/agent/stream", body | more) for more in ({}, {"message": "One", "id": "One"})]
        for stream in streams:
            await stream.until("content")
        if slow:
            store.gate.clear()
            asyncio.get_running_loop().call_later(LONG, store.gate.set)
        assert await delete(app, opened) == (200, {"deleted": opened["session"]})
        for tab in (client, other, held):
            with pytest.raises(Closed, match="4410 deleted"):
                await tab.until("none such")
            assert tab.frames[-1]["code"] == "deleted"
        for tab in (client, other):
            assert [frame["reason"] for frame in of(tab, "interrupted")] == ["deleted"] * 2
        before = asyncio.get_running_loop().time()
        of_session, of_run = [sse(await stream.text()) for stream in streams]
        assert of_session[-1][2] == {"type": "error", "code": "deleted", "message": of_session[-1][2]["message"]}
        assert {data.get("reason") for name, _, data in of_session if name == "interrupted"} == {"deleted"}
        assert "end" not in {name for name, _, _ in of_session}
        assert [name for name, _, _ in of_run[-2:]] == ["interrupted", "end"]
        assert asyncio.get_running_loop().time() < before + LONG, "they don't wait for a heartbeat"
        assert len(script.turns) == 1, "what waited never began"
        assert app.state.gateway.sessions.busy(opened["session"]) is False


async def test_a_stream_goes_on_where_the_deletion_fails(store: Reluctant) -> None:
    gates = Gate(), Gate()
    async with serving(Scripted(["a", gates[0]], ["b", gates[1]]), store=store) as app, connect(app) as client:
        opened = await hello(client)
        await say(client, "One")
        stream = Http(app, "/api/agent/stream", {"session": opened["session"], "token": opened["token"]})
        await stream.until("content")
        store.fault = StoreError("the disk is full")
        store.gate.clear()
        asyncio.get_running_loop().call_later(LONG, store.gate.set)
        assert (await delete(app, opened))[0] == 503
        await say(client, "Two")
        await stream.until('"content":"b"')
        gates[1].set()
        assert sse(await stream.text())[-1][2] == "[DONE]"


async def test_an_agent_that_does_not_let_go_holds_no_deletion_up() -> None:
    gate = Gate()
    wrote: list[str] = []
    async with serving(stubborn(gate, wrote)) as app, connect(app, headers=COOKIE) as client:
        opened = await hello(client)
        await say(client, "One")
        await gate.reached.wait()
        before = asyncio.get_running_loop().time()
        assert (await delete(app, opened))[0] == 200
        assert asyncio.get_running_loop().time() < before + LONG
        await asyncio.sleep(5)
        gate.set()
        await asyncio.sleep(5)
        assert wrote, "or it proves nothing"
        assert {line.partition(": ")[2] for line in wrote} == {"Fenced"}
        assert await titles(app) == []


async def test_two_deletions_at_once_are_one(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, talking(app, "One") as (_, opened):
        store.gate.clear()
        both = [asyncio.create_task(delete(app, opened, headers)) for headers in (COOKIE, bearing(opened))]
        guess = asyncio.create_task(delete(app, opened, OTHER))
        assert await guess == (404, "session_not_found")
        await asyncio.sleep(LONG)
        store.gate.set()
        assert await asyncio.gather(*both) == [(200, {"deleted": opened["session"]})] * 2
        assert store.removals == 1


async def test_a_message_that_crosses_a_deletion_has_an_outcome(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, connect(app) as client:
        opened = await hello(client)
        await drained(client, LONG)
        store.saving.clear()
        store.gate.clear()
        await client.send({"type": "message", "data": "Before", "id": "before"})
        await drained(client, LONG)
        deleting = asyncio.create_task(delete(app, opened))
        await drained(client, LONG)
        assert of(client, "accepted", "rejected") == []
        refused = await say(client, "Meanwhile")
        assert (refused["type"], refused["code"]) == ("rejected", "deleted")
        store.saving.set()
        await drained(client, LONG)
        assert [frame["id"] for frame in of(client, "accepted")] == ["before"], "the store had it first"
        store.gate.set()
        assert (await deleting)[0] == 200
        with pytest.raises(Closed, match="4410"):
            await client.until("none such")


async def test_a_message_the_store_never_had_is_rejected_before_the_close(store: Reluctant) -> None:
    class Refusing(Reluctant):
        """Fails to save, so that who waits goes on waiting for the next try."""

        async def save(self, batches: Sequence[Batch]) -> None:
            if self.fault is not None and any(batch.events for batch in batches):
                await asyncio.sleep(1)
                raise StoreError("the disk is slow")
            await super().save(batches)

        async def remove(self, session: str) -> None:
            await MemoryStore.remove(self, session)

    store = Refusing()
    async with serving(parrot, store=store) as app, connect(app) as client:
        opened = await hello(client)
        await drained(client, LONG)
        store.fault = StoreError("the disk is slow")
        await client.send({"type": "message", "data": "Before", "id": "before"})
        body = {"session": opened["session"], "token": opened["token"], "message": "By HTTP"}
        by_http = asyncio.create_task(asked(Http(app, "/api/agent/stream", body)))
        await client.until("content")
        assert (await delete(app, opened))[0] == 200
        with pytest.raises(Closed, match="4410"):
            await client.until("none such")
        assert [(frame["id"], frame["code"]) for frame in of(client, "rejected")] == [("before", "deleted")]
        assert await by_http == (410, "deleted")


async def test_a_store_that_fails_leaves_the_session_as_it_was(store: Reluctant) -> None:
    gate = Gate()
    async with serving(Scripted(["a", gate], ["b"]), store=store) as app, connect(app, headers=COOKIE) as client:
        opened = await hello(client)
        await say(client, "One")
        store.fault = StoreError("the disk is full")
        request = Http(app, one(opened), None, COOKIE, method="DELETE")
        assert await asked(request) == (503, "store_failed")
        assert request.headers["retry-after"] == "1"
        assert (await client.until("interrupted"))["reason"] == "deleted"
        assert await titles(app) == ["One"]
        assert (await say(client, "Two"))["type"] == "accepted"
        await got(client, "done")
        assert client.text()[-1] == "b"
        await drained(client, LONG)
        saved = await store.load(opened["session"])
        assert saved is not None
        assert [event.seq for event in saved.events] == [frame["seq"] for frame in client.events]
        store.fault = None
        assert (await delete(app, opened))[0] == 200


async def test_a_tab_that_comes_back_meanwhile_waits_for_what_comes_of_it(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, talking(app, "One", "Two") as (_, opened):
        for fault in (StoreError("the disk is full"), None):
            store.fault = fault
            store.gate.clear()
            deleting = asyncio.create_task(delete(app, opened))
            await asyncio.sleep(LONG)
            async with connect(app) as tab:
                await tab.send({"type": "hello", "session": opened["session"], "token": opened["token"]})
                assert await drained(tab, LONG) == []
                store.gate.set()
                if fault is None:
                    with pytest.raises(Closed, match="4404 session_not_found"):
                        await tab.until("session")
                else:
                    await tab.until("session")
                    assert (await say(tab, "Three"))["type"] == "accepted"
            assert (await deleting)[0] == (200 if fault is None else 503)


async def test_a_store_that_does_not_answer_is_told_and_its_answer_counts(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, talking(app, "One") as (client, opened):
        store.gate.clear()
        assert await delete(app, opened) == (503, "store_failed")
        again = asyncio.create_task(delete(app, opened))
        assert await drained(client, LONG) == []
        store.gate.set()
        assert await again == (200, {"deleted": opened["session"]})
        assert store.removals == 1
        with pytest.raises(Closed, match="4410"):
            await client.until("none such")


async def test_who_asked_and_left_has_it_deleted_all_the_same(
    store: Reluctant, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(parrot, store=store) as app, talking(app, "One") as (client, opened):
        for fault in (StoreError("the disk is full"), None):
            store.gate.clear()
            store.fault = fault
            assert (await delete(app, opened))[0] == 503, "nobody waits any more"
            store.gate.set()
            await asyncio.sleep(LONG)
            gc.collect()
            assert "never retrieved" not in caplog.text
        with pytest.raises(Closed, match="4410"):
            await client.until("none such")
        assert await titles(app) == []


async def test_a_shutdown_waits_for_a_deletion_that_is_under_way(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, talking(app, "One") as (_, opened):
        sessions = app.state.gateway.sessions
        store.gate.clear()
        deleting = asyncio.create_task(sessions.delete(opened["session"], owner=None, token=opened["token"]))
        asyncio.get_running_loop().call_later(LONG, store.gate.set)
        await asyncio.sleep(0)
    assert deleting.done()
    await deleting
    async with serving(parrot, store=store) as app:
        assert await titles(app) == []


async def test_a_session_that_can_not_be_loaded_can_be_listed_renamed_and_deleted() -> None:
    class Damaged(MemoryStore):
        async def load(self, session: str) -> Saved | None:
            del session
            raise StoreError("can't read the store: an event is damaged")

    store = Damaged()
    async with serving(parrot, store=store) as app, talking(app, "One") as (_, opened):
        pass
    async with serving(parrot, store=store) as app:
        assert await titles(app) == ["One"]
        assert (await rename(app, opened, "Two", **bearing(opened)))[0] == 200
        assert await titles(app) == ["Two"]
        assert (await delete(app, opened))[0] == 200
        assert await titles(app) == []


async def test_a_deletion_while_its_session_is_being_loaded_leaves_none_behind() -> None:
    class Slow(MemoryStore):
        async def load(self, session: str) -> Saved | None:
            found = await super().load(session)
            await asyncio.sleep(1)
            return found

    store = Slow()
    async with serving(parrot, store=store) as app, talking(app, "One") as (_, opened):
        pass
    async with serving(parrot, store=store) as app, connect(app) as tab:
        await tab.send({"type": "hello", "session": opened["session"], "token": opened["token"]})
        await asyncio.sleep(0.5)
        assert (await delete(app, opened))[0] == 200
        with pytest.raises(Closed, match="4410 deleted"):
            await tab.until("none such")
        assert await store.load(opened["session"]) is None
        async with connect(app) as other:
            await other.send({"type": "hello", "session": opened["session"], "token": opened["token"]})
            with pytest.raises(Closed, match="4404"):
                await other.until("session")


async def test_a_session_that_the_store_has_not_yet_is_deleted_too(store: Reluctant) -> None:
    async with serving(parrot, store=store) as app, connect(app) as client:
        store.saving.clear()
        opened = await hello(client)
        await drained(client, LONG)  # its first save is under way
        deleting = asyncio.create_task(delete(app, opened))
        await drained(client, LONG)
        store.saving.set()
        assert (await deleting)[0] == 200
        await asyncio.sleep(LONG)
        assert await store.record(opened["session"]) is None


async def test_a_session_that_is_being_deleted_is_not_let_go_from_memory(store: Reluctant) -> None:
    async with serving(parrot, Settings(limits=Limits(loaded_sessions=1)), store) as app:
        async with talking(app, "One") as (_, opened):
            pass
        store.gate.clear()
        deleting = asyncio.create_task(delete(app, opened))
        await asyncio.sleep(LONG)
        async with talking(app), talking(app):
            store.gate.set()
            assert (await deleting)[0] == 200
            assert await titles(app) == []


async def test_deleting_makes_room_for_another_session() -> None:
    settings = Settings(limits=Limits(owner_sessions=2))
    async with serving(parrot, settings) as app, talking(app) as (_, opened), talking(app):
        async with connect(app, headers=COOKIE) as client:
            await client.send({"type": "hello"})
            with pytest.raises(Closed, match="too_many_sessions"):
                await client.until("session")
        await delete(app, opened)
        async with talking(app, "Three"):
            assert await titles(app) == ["Three"]


class Fickle(MemoryStore):
    """A store that takes any time, and fails now and then."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def _wait(self) -> None:
        await asyncio.sleep(self._chance.choice((0, 0, 0.01, 0.3, 1)))
        if self._chance.random() < 0.2:
            raise StoreError("the disk is full")

    async def load(self, session: str) -> Saved | None:
        await asyncio.sleep(self._chance.choice((0, 0.01, 0.3)))
        return await super().load(session)

    async def save(self, batches: Sequence[Batch]) -> None:
        await self._wait()
        await super().save(batches)

    async def remove(self, session: str) -> None:
        await self._wait()
        await super().remove(session)


@pytest.mark.virtual(seeds=40)
async def test_whatever_crosses_a_deletion_it_is_whole_or_not_at_all(request: pytest.FixtureRequest) -> None:
    chance = random.Random(request.node.name)
    store = Fickle(chance)
    statuses: list[int] = []
    codes: list[int] = []

    async def agent(turn: Turn) -> None:
        for _ in range(chance.randrange(6)):
            turn.content("on and on ")
            await asyncio.sleep(chance.choice((0, 0.1, 1)))

    async def tab(app: Starlette, opened: Frame, n: int) -> None:
        for k in range(4):
            await asyncio.sleep(chance.choice((0, 0.2, 1, 3)))
            async with connect(app, push=chance.random() < 0.5) as client:
                try:
                    await client.send({"type": "hello", "session": opened["session"], "token": opened["token"]})
                    await client.until("session")
                    answer = await say(client, f"{n} {k}", when_busy=chance.choice(("queue", "interrupt", "steer")))
                    assert answer["type"] == "accepted" or answer["code"] in ("deleted", "store_failed", "queue_full")
                    await drained(client, chance.choice((0, 0.3, 2)))
                except Closed as closed:
                    codes.append(closed.code)

    async def deleter(app: Starlette, opened: Frame) -> None:
        for _ in range(3):
            await asyncio.sleep(chance.choice((0, 0.2, 1, 4)))
            statuses.append((await delete(app, opened))[0])

    async with serving(agent, store=store) as app:
        async with connect(app, headers=COOKIE) as client:
            opened = await hello(client)
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(tab(app, opened, n))
            for _ in range(2):
                group.create_task(deleter(app, opened))
        assert set(statuses) <= {200, 404, 503}
        assert set(codes) <= {4404, 4410, 4500}
        sessions: Sessions = app.state.gateway.sessions
        gone = 200 in statuses
        assert (404 in statuses) <= gone
        assert gone or not {4404, 4410} & {*codes}
        await asyncio.sleep(60)
        assert (await store.record(opened["session"]) is None) == gone
        feed: Feed = vars(sessions)["_feed"]
        assert (opened["session"] not in vars(feed)["_fed"]) or not gone
        assert (opened["session"] not in vars(sessions)["_loaded"]) or not gone
        if gone:
            assert await titles(app) == []
        else:
            session = await sessions.find(opened["session"], owner=None, token=opened["token"])
            await asyncio.sleep(60)
            saved = await store.load(opened["session"])
            assert saved is not None
            assert list(saved.events) == session.log.read(0)


# Around it


async def test_the_list_counts_as_requests_of_its_address() -> None:
    settings = Settings(limits=Limits(frame_burst=3))
    for method, path in (("GET", LIST), ("PATCH", f"{LIST}/x"), ("DELETE", f"{LIST}/x")):
        async with serving(parrot, settings) as app:
            statuses = [
                (await asked(Http(app, path, {"title": "x"} if method == "PATCH" else None, method=method)))[0]
                for _ in range(4)
            ]
            assert statuses[-1] == 429
            assert 429 not in statuses[:3]


async def test_a_page_of_an_allowed_origin_may_rename_and_delete() -> None:
    origin = "https://app.example"
    async with serving(parrot, Settings(origins=(origin,))) as app:
        for method in ("PATCH", "DELETE"):
            headers = {"origin": origin, "access-control-request-method": method}
            request = Http(app, f"{LIST}/x", None, headers, method="OPTIONS")
            await request.text()
            assert request.status == 200
            assert request.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("POST", LIST, "GET, HEAD"), ("GET", f"{LIST}/x", "DELETE, PATCH")]
)
async def test_another_method_is_told_which_there_are(method: str, path: str, allowed: str) -> None:
    async with serving(parrot) as app:
        request = Http(app, path, {} if method == "POST" else None, method=method)
        assert await asked(request) == (405, "method_not_allowed")
        assert ", ".join(sorted(request.headers["allow"].split(", "))) == allowed
