"""The examples of clients do what they say, against the real server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from live import serving
from pages import ROOT

import agent_ws
from agent_ws.scenarios.files import read
from agent_ws.scenarios.playing import play_served

EXAMPLES = ROOT / "examples"


def example(name: str) -> Any:
    spec = spec_from_file_location(name, EXAMPLES / "clients" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def tides(turn: agent_ws.Turn) -> AsyncGenerator[str]:
    if turn.history:
        yield f"You heard: {turn.history[-1].text}"
    else:
        yield "The moon pulls the sea. The sea bulges towards it. "
        yield "The earth turns below. So the water comes and goes."


async def test_who_talks_over_the_voice_is_heard_and_the_model_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = example("voice")
    monkeypatch.setattr(voice, "LETTERS_A_SECOND", 1000)
    enough = asyncio.Event()
    say = voice.Voice.say

    async def counted(self: Any, text: str) -> None:
        async with asyncio.TaskGroup() as group:
            speaking = group.create_task(say(self, text))
            while not speaking.done():
                await asyncio.sleep(0)
                if self.spoken >= 30:
                    enough.set()

    monkeypatch.setattr(voice.Voice, "say", counted)

    async def heard() -> AsyncIterator[str]:
        yield "Why are there tides?"
        async with asyncio.timeout(10):
            await enough.wait()
        yield "What did I hear?"

    async with serving(tides) as site, agent_ws.connect(f"http://127.0.0.1:{site.port}", chunk="sentence") as client:
        async with asyncio.timeout(20):
            await voice.converse(client, heard())
    first, second = capsys.readouterr().out.split(" -\n")
    assert 30 <= len(first) < 60
    assert second == f"You heard: {first}\n"


async def test_a_script_takes_as_much_as_it_wants() -> None:
    summary = example("summary")
    async with serving(tides) as site:
        url = f"http://127.0.0.1:{site.port}"
        assert await summary.asked(url, "Why?", 1000) == (
            "The moon pulls the sea. The sea bulges towards it. The earth turns below. So the water comes and goes.",
            "done",
        )
        text, _ = await summary.asked(url, "Why?", 9)
        assert text == "The moon "


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", sorted((EXAMPLES / "scenarios").glob("*.yaml")), ids=lambda path: path.name)
async def test_the_scenarios_pass(path: Path) -> None:
    for script in read(path):
        outcome = await play_served(script)
        assert outcome.result == "passed", outcome.failure


@pytest.mark.parametrize("path", sorted((EXAMPLES / "clients").glob("*.py")), ids=lambda path: path.name)
def test_each_says_how_it_is_run(path: Path) -> None:
    assert f"python examples/clients/{path.name}" in path.read_text()
