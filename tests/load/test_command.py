"""What `agent-ws bench` refuses before it begins, each in one sentence."""

import importlib.util
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from agent_ws.cli import main
from agent_ws.load.plan import Plan
from agent_ws.load.probe import NoServer, fitted
from agent_ws.load.target import Target
from agent_ws.load.work import TOKEN


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--connections", "0", "from 1 on"),
        ("--rate", "0", "more than 0"),
        ("--rate", "nan", "more than 0"),
        ("--rate", "1e9", "at most 10000"),
        ("--interrupts", "1.5", "from 0 to 1"),
        ("--reconnects", "-0.1", "from 0 to 1"),
        ("--interrupts", "nan", "from 0 to 1"),
        ("--interrupts", "10%", "from 0 to 1"),
        ("--seconds", "0", "more than 0"),
    ],
)
def test_a_wrong_option_is_refused(option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", f"{option}={value}"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert option in said
    assert expected in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ftp://example.org"], "expected the URL of a server"),
        (["http://x", "--token", "a b"], "expected a bearer token"),
        (["http://x", "--provider"], "expected --provider without a URL"),
        (["--json", "/nowhere/at/all.json"], "expected a file in a folder that is there"),
        (["--html", "/nowhere/at/all.html"], "expected a file in a folder that is there"),
    ],
)
def test_what_can_only_go_wrong_is_refused_at_once(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_missing_extra_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    assert main(["bench"]) == 2
    assert "pip install 'agent-ws[cli]'" in capsys.readouterr().err


# The answer before the load

Answering = Callable[[ServerConnection], Awaitable[None]]


def says(*frames: str | bytes) -> Answering:
    async def answer(socket: ServerConnection) -> None:
        await socket.recv()
        for frame in frames:
            await socket.send(frame)

    return answer


async def probed(answering: Answering, plan: Plan) -> Plan:
    async with serve(answering, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await fitted(plan, Target("127.0.0.1", port))


def content(text: str) -> str:
    return f'{{"type":"content","seq":1,"data":"{text}"}}'


async def test_the_loads_own_agent_is_known_by_its_answer() -> None:
    plan = Plan()
    assert await probed(says(content(TOKEN * 2), content(TOKEN * 3), '{"type":"done"}'), plan) is plan


async def test_another_agents_answer_says_what_to_expect_of_the_next() -> None:
    found = await probed(says(content("one"), content("two"), '{"type":"done"}'), Plan(message="hi"))
    assert (found.message, found.tokens, found.exact) == ("hi", 2, False)
    assert found.answer > 0


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (("what?",), "expected frames of agent_ws"),
        (("[]",), "expected frames of agent_ws"),
        ((b"\xff\x00",), "expected frames of agent_ws"),
        ((), "expected an answer from"),
        (('{"type":"done"}',), "got one without"),
        (('{"type":"rejected","code":"overloaded","message":"too busy"}',), r"got rejected: overloaded \(too busy\)"),
        (('{"type":"error","code":"unauthorized","message":""}',), "wants a login"),
    ],
)
async def test_what_is_no_answer_is_told(frames: tuple[str | bytes, ...], expected: str) -> None:
    with pytest.raises(NoServer, match=expected):
        await probed(says(*frames), Plan(message="hi"))
