"""Each step does what its words say, against the real server on a real socket; and what fails is told."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from playing_here import fails, passes, played

from agent_ws.agents.scripted import Gate, Raise, Scripted, Wait
from agent_ws.events import SectionEnd, SectionStart, Thinking, ToolResult, ToolStart
from agent_ws.scenarios.files import Script, parse, read
from agent_ws.scenarios.player import play
from agent_ws.scenarios.served import serving
from agent_ws.scenarios.stage import Target
from agent_ws.settings import Timeouts
from agent_ws.turn import Turn

STORY = Scripted(
    [
        Thinking("Hm. "),
        "Once upon ",
        Wait(0.02),
        "a time",
        ToolStart("t1", "search", {"q": 1}),
        ToolResult("t1", output="3 hits"),
        SectionStart("s1", "Moral"),
        " and on",
        Wait(0.02),
        ".",
        SectionEnd("s1"),
    ]
)


async def asking(turn: Turn) -> str:
    answer = await turn.ask("question", "Which?")
    return f"You said {answer['text']}."


async def endless(turn: Turn) -> AsyncGenerator[str]:
    assert turn.message
    for number in range(1_000_000):
        yield f"{number} "
        await asyncio.sleep(0.002)


async def flood(turn: Turn) -> AsyncGenerator[str]:
    for _ in range(20_000):
        yield turn.message * 50


@pytest.mark.parametrize("script", read(Path(__file__).parent / "steps.yaml"), ids=lambda script: script.title)
async def test_a_step_does_what_it_says(script: Script) -> None:
    async with serving(STORY) as url:
        outcome = await play(script, Target(url=url))
    assert outcome.failure is None


async def test_a_stream_comes_back_with_its_cursor() -> None:
    for accept in ("ndjson", "sse"):
        gate = Gate()
        steps = (
            f"- stream:\n  accept: {accept}\n  body: {{message: Hi}}\n- expect: {{text: one}}\n- drop: close\n"
            f"- connect: other\n  to: me\n- send: {{type: message, data: x, when_busy: steer}}\n  by: other\n"
            f"- stream:\n  accept: {accept}\n  resume: true\n- expect: {{type: content, data: two}}\n- expect: done"
        )
        agent = Scripted(["one", gate, "two"])

        async def opener(gate: Gate = gate) -> None:
            await gate.reached.wait()
            await asyncio.sleep(0.3)
            gate.set()

        opening = asyncio.create_task(opener())
        await passes(steps, agent)
        await opening


async def test_an_interrupt_waits_for_characters_a_section_and_a_tool() -> None:
    gate = Gate()
    agent = Scripted(["one two", ToolStart("t1", "search"), SectionStart("s1", "A"), gate])
    for after in ("{chars: 7}", "{tool: search}", "{section: s1}", "{frame: {type: tool_start}, chars: 3}"):
        await passes(
            f"- connect:\n- send: Hi\n- interrupt: {{seen: 3, reason: enough}}\n  after: {after}\n  as: stop\n"
            "- expect: {type: interrupted, seen: 3, reason: enough}\n  as: stopped\n  none: [{text: {contains: x}}]\n"
            "- assert: {time: {start: stop, end: stopped, most: 1}}\n- expect: settled",
            agent,
        )


async def test_a_reply_answers_the_newest_request() -> None:
    await passes("- connect:\n- send: Hi\n- reply: {text: this}\n- expect: {text: You said this.}", asking)
    await passes(
        "- connect:\n- send: Hi\n- expect: request\n  as: q\n- reply: {text: that}\n  request: $q.request\n"
        "- expect: {type: resolved, data: {text: that}}",
        asking,
    )


@pytest.mark.parametrize("how", ["close", "reset", "half_open"])
async def test_a_drop_is_one_and_the_run_goes_on(how: str) -> None:
    await passes(
        f"- connect:\n- connect: other\n  to: me\n- send: Hi\n- drop: {how}\n  after: {{chars: 6}}\n- assert: "
        "{open: false}\n- expect: {text: {length: {least: 40}}}\n  by: other\n- reconnect:\n- expect: content\n"
        "- interrupt:\n- expect: settled\n- expect: settled\n  by: other\n- assert: {same_as: other, over: true}",
        endless,
    )


async def test_a_half_open_client_takes_all_and_says_nothing() -> None:
    """Not even the end: another sees that the server still counts it as there, so nothing is orphaned."""
    outcome = await played(
        "- connect:\n- send: Hi\n- drop: half_open\n- sleep: 0.5\n- connect: other\n  to: me\n- expect: "
        "{text: {length: {least: 400}}}\n  by: other\n- interrupt:\n  by: other\n- expect: interrupted\n  by: other",
        endless,
        timeouts=Timeouts(orphan=0.2),
    )
    assert outcome.result == "passed", outcome.failure


async def test_who_is_dropped_by_a_reset_is_gone() -> None:
    await passes(
        "- connect:\n- send: Hi\n- expect: start\n- drop: reset\n- sleep: 0.6\n- reconnect:\n"
        "- expect: {type: interrupted, reason: orphaned}",
        endless,
        timeouts=Timeouts(orphan=0.2),
    )


async def test_who_reads_nothing_is_cut_off_and_who_reads_slowly_is_not() -> None:
    head = "- connect:\n  receive_buffer: 4096\n"
    ask = "- send: {type: message, data: {repeat: x, times: 10}}\n"
    await passes(
        head + "- slow: 0\n" + ask + "- sleep: 1\n- slow: null\n- expect: closed",
        flood,
        timeouts=Timeouts(stall=0.3),
    )
    await passes(
        head + "- slow: 1000000\n" + ask + "- expect: {text: {length: {least: 100000}}}\n- assert: {open: true}",
        flood,
        timeouts=Timeouts(stall=0.5),
    )


@pytest.mark.parametrize(
    ("steps", "line", "message"),
    [
        ("- connect:\n- expect: pong\n  within: 0.05", 5, r"expected `pong` within 0.05 s, got nothing"),
        ("- connect:\n- send: Hi\n- expect: {type: done, stop_reason: x}\n  within: 0.3", 6, r"got \d+ frames: .*done"),
        ("- connect:\n- send: Hi\n- expect: settled\n  at_most: 2", 6, r"after at most 2 others, got \d+ frames"),
        ("- connect:\n- send: Hi\n- expect: done\n  none: [tool_start]", 6, r"none of `tool_start` before `done`"),
        ("- connect:\n- drop: reset\n- expect: pong", 6, r"got the end of the connection: .*1006"),
        ("- connect:\n- send: Hi\n  by: bob", 5, r"got bob; connected: me"),
        ("- connect:\n- send: $you.run", 5, r"got \$you"),
        ("- connect:\n- reply: yes", 5, r"expected an open request of the agent's within 1 s"),
        ("- connect:\n- interrupt:\n  after: {chars: 3}", 5, r"expected 3 characters of the answer"),
        (
            "- connect:\n- send: Hi\n- expect: done\n- assert: {text: Never}",
            7,
            r"expected the content 'Never', got 'Once",
        ),
        ("- connect:\n- assert: {count: {session: 2}}", 5, r"expected 2 of `session`, got 1"),
        ("- connect:\n- assert: {open: false}", 5, r"expected the connection to be closed"),
        ("- connect:\n- assert: {order: [session, pong]}", 5, r"expected `pong` in its place"),
        ("- connect:\n- assert: {equal: [$me.session, 1]}", 5, r"expected the same"),
        ("- connect:\n- assert: {different: [1, 2, 1]}", 5, r"expected no two alike"),
        ("- connect:\n- send: Hi\n- expect: start\n- assert: {over: true}", 7, r"expected an ending and a receipt"),
        (
            "- connect:\n- send: Hi\n  as: a\n- sleep: 0.1\n- assert: {time: {start: a, most: 0.05}}",
            8,
            r"at most 0.05 s",
        ),
        ("- connect:\n- send: Hi\n  as: a\n- assert: {time: {start: a, least: 9}}", 7, r"at least 9 s from a to now"),
        ("- assert: {time: {start: a, least: 9}}", 4, r"got a; kept: none"),
        ("- connect:\n- connect: b\n- send: Hi\n- expect: done\n- assert: {same_as: b}", 8, r"expected 0 entries"),
        ("- connect:\n  subprotocols: [nonsense]", 4, r"expected a WebSocket, got HTTP 400"),
        ("- request: GET /none", 4, r"expected the status 200 to 299, got 404"),
        ("- request: GET /healthz\n  json: {ok: maybe}", 4, r"expected an answer like"),
        ("- request: GET /healthz\n  header: {x-none: a}", 4, r"expected the header x-none"),
        ("- restart: kill", 4, r"expected a way to restart the server"),
        ("- connect:\n- send: Hi\n  as: me", 5, r"expected a name of its own"),
        (
            "- connect:\n- send: {type: ping, data: a}\n- expect: {type: pong, data: {regex: (}}",
            6,
            r"expected a regular expression",
        ),
    ],
)
async def test_what_fails_is_told_with_its_line(steps: str, line: int, message: str) -> None:
    at, told = await fails(steps, STORY)
    assert at == line
    assert re.search(message, told), told


async def test_a_failure_shows_the_last_frames_and_no_secret() -> None:
    outcome = await played(
        "- connect:\n- reconnect:\n- send: Hi\n- expect: pong\n  within: 0.2", Scripted([Raise(ValueError())])
    )
    assert outcome.failure is not None
    shown = "\n".join(outcome.failure.frames)
    assert "-> " in shown
    assert '"agent_error"' in shown
    assert '"token":"…"' in shown


async def test_a_server_that_is_not_there_is_told() -> None:
    (script,) = parse("scenario: a\nsteps:\n- connect:")
    outcome = await play(script, Target(url="http://127.0.0.1:1"))
    assert outcome.failure is not None
    assert "expected a server at ws://127.0.0.1:1/ws, got none" in outcome.failure.message


async def test_what_a_server_has_not_is_skipped_and_says_so() -> None:
    (script,) = parse("scenario: a\nneeds: [login]\nsteps:\n- connect:")
    outcome = await play(script, Target(url="http://127.0.0.1:1"))
    assert (outcome.result, outcome.skipped) == ("skipped", "needs a server with login")


async def test_patience_stretches_every_deadline() -> None:
    steps = "- connect:\n- expect: pong\n  within: 0.05"
    (script,) = parse(f"scenario: a\nsteps:\n{steps}")
    async with serving(STORY) as url:
        outcome = await play(script, Target(url=url, patience=3))
    assert outcome.failure is not None
    assert "expected `pong` within 0.15 s" in outcome.failure.message


async def test_a_server_is_restarted_as_the_step_says() -> None:
    told: list[str] = []

    async def restart(how: str) -> None:
        told.append(how)

    (script,) = parse("scenario: a\nneeds: [restart]\nsteps:\n- restart: stop\n- restart: kill")
    target = Target(url="http://127.0.0.1:1", has=frozenset({"restart"}), restart=restart)
    assert (await play(script, target)).result == "passed"
    assert told == ["stop", "kill"]


async def test_nothing_is_left_of_a_server_that_was_played_against() -> None:
    before = asyncio.all_tasks()
    await passes("- connect:\n- send: Hi\n- expect: start", Scripted([Gate()]))
    assert asyncio.all_tasks() == before
