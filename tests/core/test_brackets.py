"""The bracketing law, as tables."""

from collections.abc import Sequence

import pytest

from agent_ws.brackets import Brackets
from agent_ws.errors import BracketError
from agent_ws.events import (
    Call,
    Content,
    Done,
    Event,
    Fate,
    Request,
    Resolved,
    SectionEnd,
    SectionStart,
    Start,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
    User,
)

SECTION = SectionStart("s1", "Idea")
TOOL = ToolStart("t1", "search")
WAITS = ToolStart("t1", "search", waits=True)
ASK = Request("q1", "question")


def after(events: Sequence[Event]) -> Brackets:
    brackets = Brackets()
    for event in events:
        brackets.take(event)
    return brackets


LAWFUL: dict[str, Sequence[Event]] = {
    "nothing": (),
    "text outside sections": (Content("a"), Thinking("b")),
    "text in a section": (SECTION, Content("a", "s1"), Thinking("b", "s1"), SectionEnd("s1")),
    "two sections at once": (SECTION, SectionStart("s2"), Content("a", "s1"), SectionEnd("s1"), Content("b", "s2")),
    "a tool": (TOOL, Content("while it runs"), ToolResult("t1")),
    "a section that begins anew": (SECTION, Content("a", "s1"), SectionEnd("s1"), SECTION, Content("b", "s1")),
    "a tool that waits": (WAITS, ToolInput("t1", "{}"), ToolRun("t1"), ToolResult("t1")),
    "a tool that never runs": (WAITS, ToolInput("t1", "{"), ToolResult("t1", "denied")),
    "an announced tool": (Tools((Call("t1", "search"),)), TOOL, ToolResult("t1")),
    "a request": (ASK, Resolved("q1", "replied")),
    "one id for each kind": (SectionStart("x"), ToolStart("x", "n"), Request("x", "tool")),
    "what has no brackets": (User("c1", "hi"), Start(), Status("working"), Done()),
}

UNLAWFUL: dict[str, tuple[Sequence[Event], Event]] = {
    "text in a section that never opened": ((), Content("a", "s1")),
    "reasoning in a section that never opened": ((), Thinking("a", "s1")),
    "text in a section that ended": ((SECTION, SectionEnd("s1")), Content("a", "s1")),
    "a section's end without its start": ((), SectionEnd("s1")),
    "a section's second end": ((SECTION, SectionEnd("s1")), SectionEnd("s1")),
    "a section opened twice": ((SECTION,), SECTION),
    "input of a call that does not wait": ((TOOL,), ToolInput("t1", "{}")),
    "the run of a call that does not wait": ((TOOL,), ToolRun("t1")),
    "the run of no call": ((), ToolRun("t1")),
    "input of a call that runs": ((WAITS, ToolRun("t1")), ToolInput("t1", "{}")),
    "a second run": ((WAITS, ToolRun("t1")), ToolRun("t1")),
    "input of a call that never ran": ((WAITS, ToolResult("t1", "withdrawn")), ToolInput("t1", "{}")),
    "the output of a call that never ran": ((WAITS,), ToolResult("t1")),
    "a result without its call": ((), ToolResult("t1")),
    "a second result": ((TOOL, ToolResult("t1")), ToolResult("t1")),
    "a call started twice": ((TOOL,), TOOL),
    "a call started again": ((TOOL, ToolResult("t1")), TOOL),
    "a call announced twice": ((Tools((Call("t1", "a"),)),), Tools((Call("t1", "a"),))),
    "a call announced after its start": ((TOOL,), Tools((Call("t1", "a"),))),
    "the result of a call that was only announced": ((Tools((Call("t1", "a"),)),), ToolResult("t1")),
    "a request made twice": ((ASK,), ASK),
    "an answer to no request": ((), Resolved("q1", "replied")),
    "an id that no client could name": ((), SectionStart("s" * 65)),
    "an empty id": ((), ToolStart("", "search")),
    "a second answer": ((ASK, Resolved("q1", "replied")), Resolved("q1", "expired")),
}


@pytest.mark.parametrize("name", LAWFUL)
def test_lawful(name: str) -> None:
    after(LAWFUL[name])


@pytest.mark.parametrize("name", UNLAWFUL)
def test_unlawful_changes_nothing(name: str) -> None:
    before, event = UNLAWFUL[name]
    brackets = after(before)
    state = [(*brackets.close(),), brackets.fates()]
    with pytest.raises(BracketError) as refused:
        brackets.take(event)
    assert refused.value.code == "bad_event"
    assert [(*brackets.close(),), brackets.fates()] == state


def test_close_closes_requests_then_tools_then_sections_each_for_its_agent() -> None:
    brackets = after([SectionStart("s1", agent="a"), ToolStart("t1", "n", agent="b"), Request("q1", "tool", agent="a")])
    closing = list(brackets.close())
    assert closing == [
        Resolved("q1", "cancelled", agent="a"),
        ToolResult("t1", "interrupted", agent="b"),
        SectionEnd("s1", "interrupted", agent="a"),
    ]
    assert list(brackets.close("a", everyone=False)) == [closing[0], closing[2]]
    assert list(brackets.close("nobody", everyone=False)) == []


@pytest.mark.parametrize("name", LAWFUL)
def test_close_completes_every_prefix(name: str) -> None:
    for end in range(len(LAWFUL[name]) + 1):
        brackets = after(LAWFUL[name][:end])
        for event in tuple(brackets.close()):
            brackets.take(event)
        assert list(brackets.close()) == []


FATES: dict[str, tuple[Sequence[Event], dict[str, Fate]]] = {
    "none": ((), {}),
    "announced": ((Tools((Call("t1", "a"), Call("t2", "b"))),), {"t1": "never_started", "t2": "never_started"}),
    "open": ((Tools((Call("t1", "search"),)), TOOL), {"t1": "running"}),
    "waiting": ((WAITS, ToolInput("t1", "{")), {"t1": "never_started"}),
    "waited": ((WAITS, ToolRun("t1")), {"t1": "running"}),
    "refused": ((WAITS, ToolResult("t1", "denied")), {"t1": "never_started"}),
    "withdrawn": ((WAITS, ToolResult("t1", "withdrawn")), {"t1": "never_started"}),
    "failed before it ran": ((WAITS, ToolResult("t1", "error")), {"t1": "never_started"}),
    "stopped before it ran": ((WAITS, ToolResult("t1", "interrupted")), {"t1": "never_started"}),
    "waited and stopped": ((WAITS, ToolRun("t1"), ToolResult("t1", "interrupted")), {"t1": "cancelled"}),
    "closed": ((TOOL, ToolResult("t1")), {"t1": "finished"}),
    "failed": ((TOOL, ToolResult("t1", "error")), {"t1": "finished"}),
    "stopped": ((TOOL, ToolResult("t1", "interrupted")), {"t1": "cancelled"}),
    "timed out": ((TOOL, ToolResult("t1", "timeout")), {"t1": "cancelled"}),
    "one of each": (
        (Tools((Call("t3", "c"),)), TOOL, ToolResult("t1"), ToolStart("t2", "b")),
        {"t1": "finished", "t2": "running", "t3": "never_started"},
    ),
}


@pytest.mark.parametrize("name", FATES)
def test_fates(name: str) -> None:
    events, fates = FATES[name]
    assert after(events).fates() == fates
