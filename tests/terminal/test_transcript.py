"""What a terminal shows of a log: what for good, what on its way."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_ws.events import (
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
    ToolResult,
    ToolRun,
    ToolStart,
    User,
)
from agent_ws.terminal.clean import clean, line
from agent_ws.terminal.parts import Item, Line, Passage, Said
from agent_ws.terminal.render import ansi
from agent_ws.terminal.transcript import Transcript


def play(*events: Event, each: bool = True) -> tuple[list[Item], list[Item]]:
    """What is printed in the end, and what is on its way then. `each`: asked after each event, as by a fast screen."""
    transcript = Transcript()
    printed: list[Item] = []
    for event in events:
        transcript.take(replace(event, run=event.run or "r1"))
        if each:
            printed += transcript.ready()
            list(transcript.live())
    printed += transcript.ready()
    return printed, list(transcript.live())


SAID = (User("c1", "hi"), Start(at=1))
A: Any = {"agent": "ann"}
B: Any = {"agent": "bob"}

CASES: dict[str, tuple[Sequence[Event], list[Item], list[Item]]] = {
    "a message that waits": ([User("c1", "hi")], [], [Line("queued", "hi")]),
    "an answer on its way": ([*SAID, Content("One.\n\nTw")], [Said("hi")], [Passage("One.\n\nTw")]),
    "a block that is finished": (
        [*SAID, Content("One.\n\nTwo\n")],
        [Said("hi"), Passage("One.\n\n")],
        [Passage("Two\n")],
    ),
    "an answer": ([*SAID, Content("a"), Content("b"), Done(), Settled("finished")], [Said("hi"), Passage("ab")], []),
    "failed": (
        [*SAID, Content("a"), Error("agent_error", "The calendar is not connected.")],
        [Said("hi"), Passage("a"), Line("error", "The calendar is not connected. (agent_error)")],
        [],
    ),
    "stopped": (
        [*SAID, Content("a"), Interrupted(), Settled("cancelled", stop_ms=3, upstream_closed=True)],
        [
            Said("hi"),
            Passage("a"),
            Line("stop", "stopped"),
            Line("note", "cancelled after 3 ms, the provider's connection is closed"),
        ],
        [],
    ),
    "superseded before it began": (
        [User("c1", "hi"), Interrupted(reason="superseded"), Settled("never_started")],
        [Said("hi"), Line("stop", "stopped: superseded")],
        [],
    ),
    "a stopped answer that goes on": (
        [*SAID, Content("a"), Interrupted(), User("c2", "", continues="r1", run="r2"), Start(run="r2")],
        [Said("hi"), Passage("a"), Line("stop", "stopped"), Line("note", "the answer goes on")],
        [],
    ),
    "two messages in the queue": (
        [*SAID, User("c2", "then?", run="r2"), Content("a"), Done(), Start(run="r2"), Content("b", run="r2")],
        [Said("hi"), Passage("a"), Said("then?")],
        [Passage("b")],
    ),
    "thinking": ([*SAID, Thinking("hm "), Thinking("so")], [Said("hi")], [Line("live", "thinking: hm so")]),
    "thought": (
        [*SAID, Thinking("hm so"), Content("a"), Done()],
        [Said("hi"), Line("note", "thought for 5 characters"), Passage("a")],
        [],
    ),
    "a tool that runs": (
        [*SAID, Content("a"), ToolStart("t1", "search", {"q": 1}, at=2)],
        [Said("hi")],
        [Passage("a"), Line("tool", 'search {"q":1} …')],
    ),
    "a tool that ran": (
        [
            *SAID,
            Content("a"),
            ToolStart("t1", "search", at=2, waits=True),
            ToolRun("t1", {"q": 1}, at=3),
            ToolResult("t1", output="3\nhits", at=4.5),
            Content("b"),
        ],
        [Said("hi"), Passage("a"), Line("tool", 'search {"q":1} → ok 1.5 s: 3 hits')],
        [Passage("b")],
    ),
    "a tool that is as good as never shown": (
        [*SAID, ToolStart("t1", "search"), ToolResult("t1", "withdrawn")],
        [Said("hi")],
        [],
    ),
    "sections that write at the same time come one after the other": (
        [
            *SAID,
            Content("Intro"),
            Outline((Section("s1", "One"), Section("s2", "Two"))),
            SectionStart("s1", "One"),
            SectionStart("s2", "Two"),
            Content("a", "s1"),
            Content("x", "s2"),
            Content("b", "s1"),
        ],
        [Said("hi"), Passage("Intro"), Line("note", "2 sections: One · Two"), Line("title", "One")],
        [Passage("ab"), Line("live", "Two x")],
    ),
    "sections that have ended": (
        [
            *SAID,
            SectionStart("s1", "One"),
            SectionStart("s2", "Two"),
            Content("x", "s2"),
            SectionEnd("s2"),
            Content("a", "s1"),
            SectionEnd("s1", "skipped"),
            Content("Outro"),
            Done(),
        ],
        [
            Said("hi"),
            Line("title", "One"),
            Passage("a"),
            Line("note", "skipped"),
            Line("title", "Two"),
            Passage("x"),
            Passage("Outro"),
        ],
        [],
    ),
    "a section written again": (
        [
            *SAID,
            SectionStart("s1", "One"),
            Content("wrong", "s1"),
            SectionEnd("s1", "interrupted"),
            SectionStart("s1", "One"),
            Content("right", "s1"),
            SectionEnd("s1"),
            Done(),
        ],
        [
            Said("hi"),
            Line("title", "One"),
            Passage("wrong"),
            Line("note", "interrupted"),
            Line("title", "One (again)"),
            Passage("right"),
        ],
        [],
    ),
    "a section written again before it was printed": (
        [
            *SAID,
            SectionStart("s1", "One"),
            SectionStart("s2", "Two"),
            Content("wrong", "s2"),
            SectionEnd("s2", "interrupted"),
            SectionStart("s2", "Two"),
            Content("right", "s2"),
            Done(),
        ],
        [Said("hi"), Line("title", "One"), Line("title", "Two (again)"), Passage("right")],
        [],
    ),
    "agents that write at the same time": (
        [
            *SAID,
            Content("a", **A),
            Content("x", **B),
            Content("b", **A),
            Status("finished", **A),
            Content("y", **B),
            Done(),
        ],
        [Said("hi"), Line("title", "ann"), Passage("ab"), Line("title", "bob"), Passage("xy")],
        [],
    ),
    "taken back before it was printed": (
        [*SAID, Content("One.\n\n"), Content("wrong"), Status("reset", chars=5), Content("right"), Done()],
        [Said("hi"), Passage("One.\n\nright")],
        [],
    ),
    "taken back after it was printed": (
        [*SAID, Content("One.\n\nTwo\n"), Status("reset", chars=10), Content("Uno"), Done()],
        [Said("hi"), Passage("One.\n\n"), Line("note", "the last 6 characters above were taken back"), Passage("Uno")],
        [],
    ),
    "tried again": (
        [*SAID, Status("retrying", "the model is overloaded"), Content("a")],
        [Said("hi"), Line("note", "retrying the model is overloaded")],
        [Passage("a")],
    ),
    "at work": ([*SAID, Status("working", "reads files")], [Said("hi")], [Line("live", "reads files")]),
    "asked": (
        [*SAID, Request("q1", "approval", "Delete?"), Resolved("q1", "replied", {"approved": False})],
        [Said("hi"), Line("ask", "Delete?"), Line("note", "denied")],
        [],
    ),
    "said meanwhile, and not read yet": (
        [*SAID, SectionStart("s1", "One"), Content("a", "s1"), User("c2", "hurry", steer=True)],
        [Said("hi"), Line("title", "One")],
        [Passage("a"), Line("queued", "hurry")],
    ),
    "said meanwhile": (
        [
            *SAID,
            Content("a"),
            User("c2", "hurry", steer=True),
            Status("steered", id="c2"),
            Content("b"),
            Done(),
            Seen(1),
        ],
        [Said("hi"), Passage("a"), Said("hurry"), Line("note", "the agent has read what you said"), Passage("b")],
        [],
    ),
}


@pytest.mark.parametrize(("events", "printed", "live"), CASES.values(), ids=CASES)
def test_what_is_shown(events: Sequence[Event], printed: list[Item], live: list[Item]) -> None:
    assert play(*events) == (printed, live)


def test_what_goes_and_what_is_asked() -> None:
    transcript = Transcript()
    for event in (*SAID, Request("q1", "question", "Well?"), Request("q2", "approval", "Sure?")):
        transcript.take(replace(event, run="r1"))
    assert transcript.busy
    assert list(transcript.requests) == ["q1", "q2"]
    transcript.take(Resolved("q1", "replied", {"text": "x"}, run="r1"))
    assert list(transcript.requests) == ["q2"]
    transcript.take(Interrupted(run="r1"))
    assert not transcript.busy
    assert not transcript.requests


def test_who_draws_seldom_shows_the_same_text() -> None:
    for events, _, _ in CASES.values():
        often, seldom = play(*events), play(*events, each=False)
        assert _words(*often) == _words(*seldom)


def _words(printed: list[Item], live: list[Item]) -> str:
    texts = [item.text for item in (*printed, *live) if isinstance(item, Passage | Said)]
    return re.sub(r"wrong|One\.\n\n(?=Uno)", "", "".join(texts))  # what was taken back may have been printed


# What others wrote moves no cursor

EVIL = "a\x1b]0;title\x07b\x1b[2Jc\rd\x08\x9b31me\u202ef"
SGR = re.compile(r"\x1b\[[0-9;]*m")


@given(st.text())
def test_what_is_clean_has_no_control_characters(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", clean(text))
    assert "\n" not in line(text)
    assert len(line(text, 20)) <= 20


@pytest.mark.parametrize("case", CASES)
def test_no_text_of_others_reaches_the_terminal_as_it_is(case: str) -> None:
    events = [msgspec.convert(_evil(msgspec.to_builtins(event)), Event) for event in CASES[case][0]]
    printed, live = play(*events)
    shown = SGR.sub("", ansi([*printed, *live], 80))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)


def _evil(event: dict[str, Any]) -> dict[str, Any]:
    """The event with what is evil in each text that is somebody else's."""
    wild = {"data", "name", "title", "prompt", "message", "detail", "output", "reason", "agent"}
    return {key: f"{value}{EVIL}" if key in wild and isinstance(value, str) else value for key, value in event.items()}


def test_markup_of_the_library_is_text() -> None:
    shown = SGR.sub("", ansi([Said("[bold]x[/bold]"), Line("note", "[red]y"), Passage("[z]")], 80))
    assert "[bold]x[/bold]" in shown
    assert "[red]y" in shown
    assert "[z]" in shown
