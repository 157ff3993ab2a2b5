# ruff: noqa: ASYNC240 - nothing else runs on the event loop while the files are read
"""`kill -9` right after a deletion was answered: nothing of it comes back, whatever was going."""

import json
from pathlib import Path

import pytest
from processes import Open, Serve
from websockets.exceptions import ConnectionClosed
from wire import Net

from agent_ws.events import Interrupted

LIST = "/api/agent/sessions"
SECRET = "What the deleted one was about"


async def test_a_deleted_session_stays_deleted(serve: Serve, open_tab: Open, tmp_path: Path) -> None:
    server = await serve("endless")
    tab = await open_tab(server)
    run = await tab.say(SECRET)
    while len(tab.text(run)) < 1000:
        await tab.receive()
    session, token = tab.session["session"], tab.session["token"]
    bearing = {"authorization": f"Bearer {token}"}
    net = Net(await server.port())
    answer = await net.request("PATCH", f"{LIST}/{session}", {"title": f"{SECRET}, renamed"}, bearing)
    assert (answer.status, await answer.json()) == (200, {"session": session, "title": f"{SECRET}, renamed"})
    answer = await net.request("DELETE", f"{LIST}/{session}", fields=bearing)
    assert (answer.status, await answer.json()) == (200, {"deleted": session})
    await server.kill()
    with pytest.raises(ConnectionClosed) as closed:
        await tab.until("none such")
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4410, "deleted")
    assert [event.reason for event in tab.copy.events if isinstance(event, Interrupted)] == ["deleted"]
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert "test.db" in files
    assert [name for name, content in files.items() if SECRET.encode() in content] == []

    server = await serve("endless")
    net.port = await server.port()
    answer = await net.request("DELETE", f"{LIST}/{session}", fields=bearing)
    assert answer.status == 404
    late = await net.websocket()
    late.send(json.dumps({"type": "hello", "session": session, "token": token}))
    assert await late.close_code() == 4404
    net.close()
