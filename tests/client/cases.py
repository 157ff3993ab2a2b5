"""Logs, each with what a person is shown of it, written by hand: the form of the lines is `web/client/test/shown.ts`.

The one rule: here is what must hold, and not what some code says.
"""

from msgspec.structs import replace

from agent_ws.events import (
    Call,
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
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
    Usage,
    User,
)


def log(*events: Event) -> list[Event]:
    """The events with the numbers of their places, of run r1 where they name none."""
    return [replace(event, seq=seq, run=event.run or "r1") for seq, event in enumerate(events, 1)]


SAID = (User("c1", "hi"), Start(at=1))
TOOL = ToolStart("t1", "search", {"q": 1}, at=2)
WAITS = ToolStart("t1", "search", at=2, waits=True)
OUTLINE = Outline((Section("s1", "Idea"), Section("s2", "Proof")))

CASES: dict[str, tuple[list[Event], list[str]]] = {
    "nothing": (log(), []),
    "a message that waits": (log(User("c1", "hi")), ["r1 waiting chars=0", '  message c1 "hi"']),
    "a run that has begun": (log(*SAID), ["r1 going chars=0", '  message c1 "hi"']),
    "one answer": (
        log(
            *SAID,
            Content("a"),
            Content("b"),
            Done(at=3, stop_reason="end_turn", usage=Usage(input_tokens=3)),
            Settled("finished", chars=2),
        ),
        ["r1 ended done chars=2 task=finished", '  message c1 "hi"', '  text "ab"'],
    ),
    "an answer that came in one piece": (
        log(*SAID, Status("degraded", "streaming failed", streamed=False), Content("whole"), Done(streamed=False)),
        ["r1 ended done chars=5", '  message c1 "hi"', "  status degraded streaming failed whole", '  text "whole"'],
    ),
    "failed": (
        log(*SAID, Content("a"), Error("agent_error", "The calendar is not connected.")),
        ["r1 ended error agent_error chars=1", '  message c1 "hi"', '  text "a"'],
    ),
    "lost with its process": (
        log(*SAID, Content("a"), Error("lost", "The server stopped while it answered."), Settled("lost", chars=1)),
        ["r1 ended error lost chars=1 task=lost", '  message c1 "hi"', '  text "a"'],
    ),
    "withdrawn while it waited": (
        log(User("c1", "hi"), Interrupted(), Settled("never_started")),
        ["r1 ended interrupted user chars=0 task=never_started", '  message c1 "hi"'],
    ),
    "stopped before the first token": (
        log(*SAID, Interrupted(), Settled("cancelled")),
        ["r1 ended interrupted user chars=0 task=cancelled", '  message c1 "hi"'],
    ),
    "stopped between tokens": (
        log(
            *SAID,
            Content("a"),
            Interrupted(reason="superseded"),
            Settled("cancelled", stop_ms=3, upstream_closed=True, chars=1),
        ),
        ["r1 ended interrupted superseded chars=1 task=cancelled", '  message c1 "hi"', '  text "a"'],
    ),
    "stopped, and ignored it": (
        log(*SAID, Content("a"), Interrupted(reason="orphaned"), Settled("abandoned", chars=1)),
        ["r1 ended interrupted orphaned chars=1 task=abandoned", '  message c1 "hi"', '  text "a"'],
    ),
    "seen nothing": (
        log(*SAID, Content("abc"), Interrupted(seen=0)),
        ["r1 ended interrupted user chars=3 seen=0", '  message c1 "hi"', '  text "abc" seen=0'],
    ),
    "gone on with": (
        log(
            *SAID,
            Content("One two thr"),
            Interrupted(seen=7),
            User("c2", "", continues="r1", run="r2"),
            Start(run="r2"),
            Content(" three.", run="r2"),
            Done(run="r2"),
            User("c3", "and", run="r3"),
            Start(run="r3"),
        ),
        [
            "r1 ended interrupted user chars=11 seen=7",
            '  message c1 "hi"',
            '  text "One two thr" seen=7',
            "r2 ended done continues=r1 chars=7",
            '  message c2 ""',
            '  text " three."',
            "r3 going chars=0",
            '  message c3 "and"',
        ],
    ),
    "seen a part": (
        log(*SAID, Content("abc"), Interrupted(seen=2)),
        ["r1 ended interrupted user chars=3 seen=2", '  message c1 "hi"', '  text "abc" seen=2'],
    ),
    "seen more than there is": (
        log(*SAID, Content("abc"), Interrupted(seen=9)),
        ["r1 ended interrupted user chars=3 seen=9", '  message c1 "hi"', '  text "abc" seen=3'],
    ),
    "seen in code points": (
        log(*SAID, Content("a🙂👩‍🚀é"), Interrupted(seen=3)),
        ["r1 ended interrupted user chars=6 seen=3", '  message c1 "hi"', '  text "a🙂👩\u200d🚀é" seen=3'],
    ),
    "seen after the end": (
        log(*SAID, Content("abc"), Done(), Settled("finished", chars=3), Seen(1)),
        ["r1 ended done chars=3 seen=1 task=finished", '  message c1 "hi"', '  text "abc" seen=1'],
    ),
    "seen after the end, twice: the least counts": (
        log(*SAID, Content("abc"), Interrupted(seen=2), Seen(1), Seen(3)),
        ["r1 ended interrupted user chars=3 seen=1", '  message c1 "hi"', '  text "abc" seen=1'],
    ),
    "seen over a tool": (
        log(*SAID, Content("ab"), TOOL, ToolResult("t1", at=3), Content("cd"), Interrupted(seen=3)),
        [
            "r1 ended interrupted user chars=4 seen=3",
            '  message c1 "hi"',
            '  text "ab" seen=2',
            '  tool t1 search ok input={"q":1} took=1',
            '  text "cd" seen=1',
        ],
    ),
    "seen across agents, in the order of the log": (
        log(
            *SAID,
            Content("a1", agent="ann"),
            Content("b1", agent="bob"),
            Content("a2", agent="ann"),
            Interrupted(seen=5),
        ),
        [
            "r1 ended interrupted user chars=6 seen=5",
            '  message c1 "hi"',
            "  agent ann ended",
            '    text "a1a2" by ann seen=3',
            "  agent bob ended",
            '    text "b1" by bob seen=2',
        ],
    ),
    "seen of what was not taken back": (
        log(*SAID, Content("wrong"), Status("reset", chars=5), Content("right"), Interrupted(seen=3)),
        ["r1 ended interrupted user chars=5 seen=3", '  message c1 "hi"', '  text "right" seen=3'],
    ),
    "thinking, then text": (
        log(*SAID, Thinking("hm "), Thinking("so"), Content("a"), Thinking("wait"), Content("b"), Done()),
        [
            "r1 ended done chars=2",
            '  message c1 "hi"',
            '  thinking "hm so"',
            '  text "a"',
            '  thinking "wait"',
            '  text "b"',
        ],
    ),
    "text taken back over a cut": (
        log(*SAID, Content("ab"), Content("cd"), Status("reset", chars=3), Content("x"), Done()),
        ["r1 ended done chars=2", '  message c1 "hi"', '  text "ax"'],
    ),
    "all text taken back": (
        log(*SAID, Content("ab"), Status("reset", chars=2), Done()),
        ["r1 ended done chars=0", '  message c1 "hi"'],
    ),
    "taken back in code points": (
        log(*SAID, Content("a🙂b👩‍🚀"), Status("reset", chars=4), Content("!"), Done()),
        ["r1 ended done chars=3", '  message c1 "hi"', '  text "a🙂!"'],
    ),
    "thinking taken back with its text": (
        log(
            *SAID,
            Thinking("one"),
            Content("a"),
            Thinking("two"),
            Content("b"),
            Status("reset", chars=1, thinking=3),
            Thinking("tri"),
            Content("c"),
            Done(),
        ),
        [
            "r1 ended done chars=2",
            '  message c1 "hi"',
            '  thinking "one"',
            '  text "a"',
            '  thinking "tri"',
            '  text "c"',
        ],
    ),
    "taken back over a tool": (
        log(
            *SAID,
            Content("ab"),
            TOOL,
            ToolResult("t1", output="1", at=3),
            Content("cd"),
            Status("reset", chars=3),
            Content("x"),
            Done(),
        ),
        [
            "r1 ended done chars=2",
            '  message c1 "hi"',
            '  text "a"',
            '  tool t1 search ok input={"q":1} took=1 output="1"',
            '  text "x"',
        ],
    ),
    "taken back in a section, and written again": (
        log(
            *SAID,
            SectionStart("s1", "Idea"),
            Content("wrong", "s1"),
            Status("reset", chars=5),
            Content("right", "s1"),
        ),
        [
            "r1 going chars=5",
            '  message c1 "hi"',
            '  section s1 "Idea" open',
            '    text "right"',
        ],
    ),
    "taken back by one of two": (
        log(
            *SAID,
            Content("a1", agent="ann"),
            Content("b1", agent="bob"),
            Status("reset", chars=1, agent="ann"),
            Content("!", agent="ann"),
            Done(),
        ),
        [
            "r1 ended done chars=4",
            '  message c1 "hi"',
            "  agent ann ended",
            '    text "a!" by ann',
            "  agent bob ended",
            '    text "b1" by bob',
        ],
    ),
    "pieces of a word": (
        log(*SAID, Content("one ", part=2), Content("two"), Done()),
        ["r1 ended done chars=7", '  message c1 "hi"', '  text "one two"'],
    ),
    "a tool": (
        log(
            *SAID,
            Content("let me see"),
            TOOL,
            ToolResult("t1", output="3", at=4),
            Content("three"),
            Done(),
            Settled("finished", tools={"t1": "finished"}),
        ),
        [
            "r1 ended done chars=15 task=finished",
            '  message c1 "hi"',
            '  text "let me see"',
            '  tool t1 search ok input={"q":1} took=2 output="3" fate=finished',
            '  text "three"',
        ],
    ),
    "two tools at once": (
        log(
            *SAID,
            Tools((Call("t1", "search"), Call("t2", "read"))),
            TOOL,
            ToolStart("t2", "read", at=2),
            ToolResult("t2", output="2", at=3),
            ToolResult("t1", "error", "disk full", at=4),
            Done(),
        ),
        [
            "r1 ended done chars=0",
            '  message c1 "hi"',
            '  tool t1 search error input={"q":1} took=2 output="disk full"',
            '  tool t2 read ok took=1 output="2"',
        ],
    ),
    "a tool that runs": (
        log(*SAID, TOOL),
        ["r1 going chars=0", '  message c1 "hi"', '  tool t1 search running input={"q":1}'],
    ),
    "a tool whose input is being written": (
        log(*SAID, WAITS, ToolInput("t1", '{"q": "mo'), ToolInput("t1", "na")),
        ["r1 going chars=0", '  message c1 "hi"', '  tool t1 search waiting written="{\\"q\\": \\"mona" never ran'],
    ),
    "a tool that waited and ran": (
        log(
            *SAID,
            WAITS,
            ToolInput("t1", '{"q": 1}'),
            ToolRun("t1", {"q": 1}, at=5),
            ToolResult("t1", output="1", at=7),
            Done(),
        ),
        [
            "r1 ended done chars=0",
            '  message c1 "hi"',
            '  tool t1 search ok written="{\\"q\\": 1}" input={"q":1} took=2 output="1"',
        ],
    ),
    "a tool that was refused": (
        log(
            *SAID,
            WAITS,
            Request("q1", "approval", "Search?", tool="t1", at=3, expires=300),
            Resolved("q1", "replied", {"approved": False}),
            ToolResult("t1", "denied", at=4),
            Done(),
        ),
        [
            "r1 ended done chars=0",
            '  message c1 "hi"',
            "  tool t1 search denied never ran",
            '  request q1 approval "Search?" replied tool=t1 expires=300 answer={"approved":false}',
        ],
    ),
    "a tool that took too long": (
        log(*SAID, TOOL, ToolResult("t1", "timeout", at=62), Done()),
        ["r1 ended done chars=0", '  message c1 "hi"', '  tool t1 search timeout input={"q":1} took=60'],
    ),
    "a tool of an attempt that failed": (
        log(
            *SAID,
            Content("a"),
            WAITS,
            ToolInput("t1", "{"),
            ToolResult("t1", "withdrawn", at=3),
            Status("reset", chars=1),
            Status("retrying", "cut off", attempt=2),
            Content("b"),
            ToolStart("t2", "search", 7, at=4),
            ToolResult("t2", output="1", at=5),
            Done(),
        ),
        [
            "r1 ended done chars=1",
            '  message c1 "hi"',
            "  status retrying cut off attempt=2",
            '  text "b"',
            '  tool t2 search ok input=7 took=1 output="1"',
        ],
    ),
    "text goes on where a call was withdrawn": (
        log(*SAID, Content("a"), WAITS, ToolResult("t1", "withdrawn", at=3), Content("b"), Done()),
        ["r1 ended done chars=2", '  message c1 "hi"', '  text "ab"'],
    ),
    "announced and never started": (
        log(*SAID, Tools((Call("t1", "search"),)), Interrupted(), Settled("cancelled", tools={"t1": "never_started"})),
        [
            "r1 ended interrupted user chars=0 task=cancelled",
            '  message c1 "hi"',
            "  tool t1 search never_started never ran fate=never_started",
        ],
    ),
    "stopped before its tool ran": (
        log(
            *SAID,
            WAITS,
            ToolResult("t1", "interrupted", at=3),
            Interrupted(),
            Settled("cancelled", tools={"t1": "never_started"}),
        ),
        [
            "r1 ended interrupted user chars=0 task=cancelled",
            '  message c1 "hi"',
            "  tool t1 search interrupted never ran fate=never_started",
        ],
    ),
    "stopped while its tool ran": (
        log(
            *SAID,
            TOOL,
            ToolResult("t1", "interrupted", at=3),
            Interrupted(),
            Settled("cancelled", tools={"t1": "finished_after_stop"}),
        ),
        [
            "r1 ended interrupted user chars=0 task=cancelled",
            '  message c1 "hi"',
            '  tool t1 search interrupted input={"q":1} took=1 fate=finished_after_stop',
        ],
    ),
    "a section": (
        log(*SAID, SectionStart("s1", "Idea"), Content("a", "s1"), SectionEnd("s1"), Content("b"), Done()),
        ["r1 ended done chars=2", '  message c1 "hi"', '  section s1 "Idea" done', '    text "a"', '  text "b"'],
    ),
    "an outline that fills in": (
        log(
            *SAID,
            OUTLINE,
            SectionStart("s1", "Idea"),
            Thinking("hm", "s1"),
            Content("a", "s1"),
            SectionEnd("s1"),
            SectionStart("s2"),
        ),
        [
            "r1 going chars=1",
            '  message c1 "hi"',
            "  outline",
            '    section s1 "Idea" done',
            '      thinking "hm"',
            '      text "a"',
            '    section s2 "Proof" open',
        ],
    ),
    "sections that are written at the same time": (
        log(
            *SAID,
            OUTLINE,
            SectionStart("s1"),
            SectionStart("s2"),
            Content("a", "s1"),
            Content("b", "s2"),
            Content("c", "s1"),
            SectionEnd("s2", "skipped"),
            SectionEnd("s1", "interrupted"),
            Interrupted(seen=2),
        ),
        [
            "r1 ended interrupted user chars=3 seen=2",
            '  message c1 "hi"',
            "  outline",
            '    section s1 "Idea" interrupted',
            '      text "ac" seen=1',
            '    section s2 "Proof" skipped',
            '      text "b" seen=1',
        ],
    ),
    "a tool inside a section": (
        log(
            *SAID,
            SectionStart("s1", "Idea"),
            Content("a", "s1"),
            TOOL,
            ToolResult("t1", output="1", at=3),
            Content("b", "s1"),
            SectionEnd("s1"),
            Done(),
        ),
        [
            "r1 ended done chars=2",
            '  message c1 "hi"',
            '  section s1 "Idea" done',
            '    text "a"',
            '    tool t1 search ok input={"q":1} took=1 output="1"',
            '    text "b"',
        ],
    ),
    "a section that began anew": (
        log(
            *SAID,
            SectionStart("s1", "Idea", redo=True),
            Thinking("hm", "s1"),
            Content("wrong", "s1"),
            SectionEnd("s1", "interrupted"),
            Content("kept"),
            SectionStart("s1", "Idea"),
            Content("right", "s1"),
            SectionEnd("s1"),
            Interrupted(seen=6),
        ),
        [
            "r1 ended interrupted user chars=9 seen=6",
            '  message c1 "hi"',
            '  section s1 "Idea" done',
            '    text "right" seen=2',
            '  text "kept" seen=4',
        ],
    ),
    "a call of a section that began anew did run": (
        log(
            *SAID,
            SectionStart("s1", "Idea"),
            Content("a", "s1"),
            TOOL,
            ToolResult("t1", output="1", at=3),
            SectionEnd("s1"),
            SectionStart("s1"),
            Content("b", "s1"),
            SectionEnd("s1"),
            Done(),
        ),
        [
            "r1 ended done chars=1",
            '  message c1 "hi"',
            '  section s1 "Idea" done',
            '    tool t1 search ok input={"q":1} took=1 output="1"',
            '    text "b"',
        ],
    ),
    "what a section thought that began anew counts on": (
        log(
            *SAID,
            Thinking("one"),
            SectionStart("s1"),
            Thinking("two", "s1"),
            SectionEnd("s1"),
            SectionStart("s1"),
            Thinking("new", "s1"),
            Status("reset", thinking=6),
            SectionEnd("s1"),
            Done(),
        ),
        ["r1 ended done chars=0", '  message c1 "hi"', '  thinking "one"', '  section s1 "" done'],
    ),
    "a question that is open": (
        log(*SAID, Request("q1", "question", "Which one?", at=2, expires=302)),
        ["r1 going chars=0", '  message c1 "hi"', '  request q1 question "Which one?" open expires=302'],
    ),
    "a question that was answered": (
        log(
            *SAID,
            Request("q1", "question", "Which one?", at=2),
            Resolved("q1", "replied", {"text": "the red one"}),
            Content("Red."),
            Done(),
        ),
        [
            "r1 ended done chars=4",
            '  message c1 "hi"',
            '  request q1 question "Which one?" replied answer={"text":"the red one"}',
            '  text "Red."',
        ],
    ),
    "a tool for the client, too late": (
        log(*SAID, Request("q1", "tool", data={"name": "locate"}, at=2), Resolved("q1", "expired"), Done()),
        ["r1 ended done chars=0", '  message c1 "hi"', '  request q1 tool "" expired data={"name":"locate"}'],
    ),
    "stopped in a request": (
        log(*SAID, Content("a"), Request("q1", "approval", "Go on?", at=2), Resolved("q1", "cancelled"), Interrupted()),
        [
            "r1 ended interrupted user chars=1",
            '  message c1 "hi"',
            '  text "a"',
            '  request q1 approval "Go on?" cancelled',
        ],
    ),
    "agents side by side": (
        log(
            *SAID,
            Content("a1", agent="ann"),
            Content("b1", agent="bob"),
            Content("a2", agent="ann"),
            Status("finished", agent="bob"),
            Content("b"),
            Status("failed", "no key", agent="ann"),
            Done(),
        ),
        [
            "r1 ended done chars=7",
            '  message c1 "hi"',
            "  agent ann failed no key",
            '    text "a1a2" by ann',
            "  agent bob finished",
            '    text "b1" by bob',
            '  text "b"',
        ],
    ),
    "an agent that was stopped, and another of its name": (
        log(
            *SAID, Content("a1", agent="ann"), Status("stopped", agent="ann"), Content("a2", agent="ann"), Interrupted()
        ),
        ["r1 ended interrupted user chars=4", '  message c1 "hi"', "  agent ann ended", '    text "a1a2" by ann'],
    ),
    "agents in one section": (
        log(
            *SAID,
            SectionStart("s1", "Idea"),
            Content("a1", "s1", agent="ann"),
            Content("b1", "s1", agent="bob"),
            Content("a2", "s1", agent="ann"),
            Status("reset", chars=1, agent="ann"),
            SectionEnd("s1"),
            Done(),
        ),
        [
            "r1 ended done chars=5",
            '  message c1 "hi"',
            '  section s1 "Idea" done',
            '    text "a1a" by ann',
            '    text "b1" by bob',
        ],
    ),
    "an agent with a tool and a section": (
        log(
            *SAID,
            SectionStart("s1", "Idea", agent="ann"),
            ToolStart("t1", "search", at=2, agent="ann"),
            Content("a", "s1", agent="ann"),
            ToolResult("t1", "interrupted", at=3, agent="ann"),
            SectionEnd("s1", "interrupted", agent="ann"),
            Status("stopped", agent="ann"),
            Done(),
        ),
        [
            "r1 ended done chars=1",
            '  message c1 "hi"',
            "  agent ann stopped",
            '    section s1 "Idea" interrupted by ann',
            "      tool t1 search interrupted took=1",
            '      text "a" by ann',
        ],
    ),
    "news takes the place of news": (
        log(
            *SAID,
            Status("working", "reading"),
            Status("retrying", "overloaded", attempt=2),
            Content("a"),
            Status("fallback", "another model"),
            Content("b"),
            Done(),
        ),
        [
            "r1 ended done chars=2",
            '  message c1 "hi"',
            "  status retrying overloaded attempt=2",
            '  text "a"',
            "  status fallback another model",
            '  text "b"',
        ],
    ),
    "steering that was read": (
        log(
            *SAID,
            Content("a"),
            User("c2", "but", steer=True),
            Content("b"),
            Status("steered", id="c2"),
            Content("c"),
            Done(),
        ),
        [
            "r1 ended done chars=3",
            '  message c1 "hi"',
            '  message c2 "but" steer',
            '  text "ab"',
            '  message c2 "but" steer',
            '  text "c"',
        ],
    ),
    "steering that nobody read before the stop": (
        log(*SAID, Content("a"), User("c2", "but", steer=True), Interrupted()),
        ["r1 ended interrupted user chars=1", '  message c1 "hi"', '  message c2 "but" steer unread', '  text "a"'],
    ),
    "steering that moved to a run of its own": (
        log(
            *SAID,
            User("c2", "but", steer=True),
            Content("a"),
            Done(),
            User("c2", "but", run="r2"),
            Start(run="r2"),
            Content("b", run="r2"),
            Done(run="r2"),
        ),
        [
            "r1 ended done chars=1",
            '  message c1 "hi"',
            '  text "a"',
            "r2 ended done chars=1",
            '  message c2 "but"',
            '  text "b"',
        ],
    ),
    "runs in the order in which they began": (
        log(
            *SAID,
            User("c2", "queued", run="r2"),
            User("c3", "first", run="r3"),
            Interrupted(),
            Start(run="r3"),
            Content("3", run="r3"),
            Done(run="r3"),
            Start(run="r2"),
            Content("2", run="r2"),
            Done(run="r2"),
        ),
        [
            "r1 ended interrupted user chars=0",
            '  message c1 "hi"',
            "r3 ended done chars=1",
            '  message c3 "first"',
            '  text "3"',
            "r2 ended done chars=1",
            '  message c2 "queued"',
            '  text "2"',
        ],
    ),
    "a message that the store did not take, sent again": (
        log(
            User("c1", "hi"), Error("store_failed"), User("c1", "hi", run="r2"), Start(run="r2"), Content("b", run="r2")
        ),
        ["r1 ended error store_failed chars=0", "r2 going chars=1", '  message c1 "hi"', '  text "b"'],
    ),
    "a receipt between the events of the next run": (
        log(
            *SAID,
            Content("a"),
            Interrupted(),
            User("c2", "ho", run="r2"),
            Start(run="r2"),
            Content("b", run="r2"),
            Settled("cancelled", chars=1),
            Content("c", run="r2"),
        ),
        [
            "r1 ended interrupted user chars=1 task=cancelled",
            '  message c1 "hi"',
            '  text "a"',
            "r2 going chars=2",
            '  message c2 "ho"',
            '  text "bc"',
        ],
    ),
}
