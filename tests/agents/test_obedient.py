"""The obedient agent does what its description says; what each statement brings about is the conformance suite's."""

import re

import pytest
from helpers import hello, serving

from agent_ws.agents import obedient as module
from agent_ws.agents import resolve
from agent_ws.agents.obedient import KNOWN, obedient
from agent_ws.testing.client import connect

pytestmark = pytest.mark.virtual


def test_what_is_described_is_known_and_what_is_known_is_described() -> None:
    described = set(re.findall(r"^    ([a-z]+)", module.__doc__ or "", re.MULTILINE))
    assert described == set(KNOWN.pattern.split("|"))
    assert resolve("obedient") is obedient


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("What is this?", "You said: What is this?"),
        ("say a; What is this?", "You said: say a; What is this?"),
        (";;", "You said: ;;"),
        ("say a\nsay b ; say c", "abc"),
        ("words 3", "1 2 3 "),
        ("fill 2005; say .", "abcdefghij" * 200 + "abcde."),
        ("section s One; say a; end; say b", "ab"),
        ("sections a b each words 2", "1 2 1 2 "),
        ("together one say a | two wait 1", "a"),
    ],
)
async def test_what_it_says(message: str, text: str) -> None:
    async with serving(obedient) as app, connect(app) as client:
        await hello(client)
        await client.send({"message": message})
        await client.until("done")
        assert client.text() == text


@pytest.mark.parametrize("message", ["words", "words many", "wait", "call pay 0 {", "say a; end", "fail"])
async def test_a_statement_that_can_not_be_done_fails_the_run(message: str) -> None:
    async with serving(obedient) as app, connect(app) as client:
        await hello(client)
        await client.send({"message": message})
        assert (await client.until("error"))["code"] == "agent_error"
