"""From a browser's socket to a provider that others wrote, and back: real processes, on both wires."""

from collections.abc import Iterator
from typing import TypeVar

import pytest
from mocked import aimock
from processes import Open, Serve, Server, Tab

from agent_ws.events import Content, Done, Interrupted, Settled, Status, Thinking, ToolInput, ToolResult, ToolRun

ANSWERS = {
    "think": "Done.",
    "look it up": "Let me see.A monad is a monoid.",
    "busy": "Here I am.",
    "cut": "This was said to its end.",
    "hi": "Hello there.",
}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The provider, where the server's environment says."""
    with aimock() as url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.setenv("AGENT_WS_MODEL", "gpt-5-mini")
        yield url


E = TypeVar("E")


def shown(tab: Tab, run: str) -> str:
    """What a user reads of a run in the end."""
    text = ""
    for event in tab.copy.events:
        if event.run == run and isinstance(event, Content):
            text += event.data
        elif event.run == run and isinstance(event, Status) and event.state == "reset":
            text = text[: len(text) - event.chars]
    return text


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
async def test_a_conversation(serve: Serve, open_tab: Open, provider: str, wire: str) -> None:
    assert provider
    tab = await open_tab(await serve(f"modelled:{wire}", store="memory"))
    runs = {said: await tab.say(said) for said in ANSWERS}
    for said, answer in ANSWERS.items():
        await tab.until("settled", run=runs[said])
        assert shown(tab, runs[said]) == answer, said

    def every(kind: type[E], said: str) -> list[E]:
        return [event for event in tab.copy.events if event.run == runs[said] and isinstance(event, kind)]

    assert "".join(event.data for event in every(Thinking, "think")) == "What was it?"
    assert [event.input for event in every(ToolRun, "look it up")] == [{"word": "monad"}, {"word": "monoid"}]
    assert len(every(ToolInput, "look it up")) > 1
    assert [event.output for event in every(ToolResult, "look it up")] == ["monad means a lot", "monoid means a lot"]
    assert [event.state for event in every(Status, "busy")] == ["retrying"]
    assert [event.state for event in every(Status, "cut")] == ["reset", "retrying"]
    for said in ANSWERS:
        (done,) = every(Done, said)
        assert (done.stop_reason, done.streamed) == ("end_turn", True)
        (receipt,) = every(Settled, said)
        assert receipt.upstream_closed is True
    # A Stop in mid-answer, and the next request is one that the provider takes.
    runs["slow"] = await tab.say("slow")
    await tab.until("content", run=runs["slow"])
    await tab.send({"type": "interrupt", "run": runs["slow"]})
    settled = await tab.until("settled", run=runs["slow"])
    assert (settled["task"], settled["upstream_closed"]) == ("cancelled", True)
    assert every(Interrupted, "slow")
    run = await tab.say("hi")
    await tab.until("settled", run=run)
    assert tab.text(run) == "Hello there."


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
async def test_it_is_served_by_its_name(open_tab: Open, provider: str, wire: str) -> None:
    assert provider
    server = await Server.start("-m", "agent_ws", "serve", wire, "--port", "0", "--store", "memory")
    try:
        tab = await open_tab(server)
        run = await tab.say("hi")
        await tab.until("settled", run=run)
        assert tab.text(run) == "Hello there."
        assert f"agent: {wire}\n" in server.output
    finally:
        await server.kill()
