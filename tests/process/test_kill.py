"""`kill -9` in an answer's middle, then the same file again: what was acknowledged is there, the rest is told."""

from ahead import LOST
from processes import Open, Serve, Tab

from agent_ws.events import Content, Error, Settled, User
from agent_ws.fold import merge


async def ended_as_lost(tab: Tab, run: str) -> None:
    """Receive the two events that end a run whose process died."""
    error = await tab.until("error", run=run)
    assert error["code"] == "lost"
    settled = await tab.until("settled", run=run)
    assert settled["task"] == "lost"


async def goes_on(tab: Tab) -> None:
    """The session takes another message and answers it."""
    run = await tab.say("again")
    await tab.until("done", run=run)
    await tab.until("settled", run=run)


async def same_as_new(tab: Tab) -> None:
    """A client that came back holds what one gets that comes for the first time."""
    new = tab.new_window()
    await new.connect()
    while new.copy.cursor != tab.copy.cursor:
        await new.receive()
    assert merge(new.copy.events) == merge(tab.copy.events)
    await new.leave()


async def test_what_was_acknowledged_is_there_and_the_run_is_lost(serve: Serve, open_tab: Open) -> None:
    server = await serve("half")
    tab = await open_tab(server)
    run = await tab.say("first", id="m1")
    while tab.text(run) != "Half of the answer":
        await tab.receive()
    # `accepted` for a later message says that the store has all before it, too.
    queued = await tab.say("second", id="m2", when_busy="queue")
    held = list(tab.copy.events)
    await server.kill()

    await tab.connect(await serve("half"))
    assert tab.session["resumed"] is True
    await ended_as_lost(tab, run)
    await ended_as_lost(tab, queued)
    assert tab.copy.events[: len(held)] == held
    assert tab.text(run) == "Half of the answer"
    assert await tab.say("first", id="m1") == run, "an acknowledged message is not run a second time"
    await goes_on(tab)
    await same_as_new(tab)


async def test_a_client_ahead_of_the_store_is_told_to_begin_anew(serve: Serve, open_tab: Open) -> None:
    server = await serve("ahead:agent")
    tab = await open_tab(server)
    run = await tab.say("hi")
    request = await tab.until("request", run=run)
    # A message that is durable here vouches for everything before it.
    await tab.say("and?", when_busy="queue")
    await tab.send({"type": "reply", "request": request["request"], "data": True})
    while LOST not in tab.text(run):
        await tab.receive()
    await tab.send({"type": "message", "data": "Are you there?", "id": "late"})
    for _ in range(3):  # round trips: what is answered at once has come by then
        await tab.send({"type": "ping"})
        await tab.until("pong")
    assert "late" not in tab.accepted, "nothing is acknowledged that a crash would take back"
    await server.kill()

    await tab.connect(await serve("half"))
    assert tab.session["resumed"] is False
    reset = await tab.receive()
    assert (reset["type"], reset["reason"]) == ("reset", "ahead")
    assert tab.copy.events == []
    await ended_as_lost(tab, run)
    assert tab.text(run) == "This does. ", "what the store never had is gone, the rest is not"
    assert "late" not in {event.id for event in tab.copy.events if isinstance(event, User)}
    await goes_on(tab)
    await same_as_new(tab)


async def test_a_cursor_of_another_log_is_told_to_begin_anew(serve: Serve, open_tab: Open) -> None:
    tab = await open_tab(await serve("echo"))
    await tab.until("settled", run=await tab.say("hi"))
    tab.copy.epoch = "from-nowhere"
    await tab.connect()
    reset = await tab.receive()
    assert (reset["type"], reset["reason"]) == ("reset", "epoch")
    await tab.until("settled")
    await same_as_new(tab)


async def test_a_kill_while_it_streams_leaves_no_gap_and_no_duplicate(serve: Serve, open_tab: Open) -> None:
    """At no chosen moment: either the cursor is honoured or the client is told, never anything in between."""
    server = await serve("endless")
    tab = await open_tab(server)
    for _ in range(2):
        run = await tab.say("go", when_busy="interrupt")
        while len(tab.text(run)) < 100:
            await tab.receive()
        seen = tab.text(run)
        await server.kill()
        server = await serve("endless")
        await tab.connect(server)
        if not tab.session["resumed"]:
            assert (await tab.receive())["type"] == "reset"
        await ended_as_lost(tab, run)
        assert seen.startswith(tab.text(run)) or tab.text(run).startswith(seen)
        await same_as_new(tab)
    endings = [event for event in tab.copy.events if isinstance(event, Error)]
    assert len(endings) == 2
    assert len([event for event in tab.copy.events if isinstance(event, Settled)]) == 2
    assert any(isinstance(event, Content) for event in tab.copy.events)
