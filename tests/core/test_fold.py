"""The folds: what a model is told after every kind of end, and the same log in fewer events."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_ws.errors import RunError
from agent_ws.events import (
    Call,
    Content,
    Done,
    Error,
    Event,
    Fate,
    Interrupted,
    Request,
    Resolved,
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
    User,
)
from agent_ws.fold import MERGED, merge, recover, runs
from agent_ws.history import FATES, OUTCOMES, History, Message, Text, ToolOutput, ToolUse, continued, history
from agent_ws.log import Log
from agent_ws.settings import Limits
from agent_ws.testing.invariants import check_history, check_log
from agent_ws.writer import Writer

tries = settings(deadline=None, max_examples=60)
"""A busy machine must not fail them, and all of them together take seconds."""

Told = tuple[str, *tuple[Any, ...]]


def log(*events: Event) -> list[Event]:
    """The events with the numbers of their places, of run r1 where they name none."""
    return [replace(event, seq=seq, run=event.run or "r1") for seq, event in enumerate(events, 1)]


def told(messages: Sequence[Message]) -> list[Told]:
    """A history in short: role, then text, `call`, or `output`."""
    check_history(messages)
    return [(message.role, *map(short, message.parts)) for message in messages]


def short(part: Text | ToolUse | ToolOutput) -> Any:
    match part:
        case Text(text=text):
            return text
        case ToolUse(id=tool, name=name, input=value):
            return ("call", tool, name, value)
        case ToolOutput(id=tool, output=output, ok=ok):
            return ("output", tool, output, ok)


SAID = (User("c1", "hi"), Start())
TOOL = ToolStart("t1", "search", {"q": 1})
WAITS = ToolStart("t1", "search", waits=True)
CALL = ("call", "t1", "search", {"q": 1})


def cut(tool: str, fate: Fate) -> Told:
    return ("output", tool, FATES[fate], False)


STOPPED = (ToolResult("t1", "interrupted"), Interrupted())

HISTORIES: dict[str, tuple[list[Event], list[Told]]] = {
    "nothing": ([], []),
    "one answer": (
        log(*SAID, Content("a"), Content("b"), Done(), Settled("finished")),
        [("user", "hi"), ("assistant", "ab")],
    ),
    "a run that goes on": (log(*SAID, Content("a")), [("user", "hi"), ("assistant", "a")]),
    "a message that waits": (
        log(*SAID, Content("a"), User("c2", "later", run="r2")),
        [("user", "hi"), ("assistant", "a")],
    ),
    # Interrupted, at each point
    "before the start": (log(User("c1", "hi"), Interrupted(), Settled("never_started")), []),
    "before the first token": (log(*SAID, Interrupted()), [("user", "hi")]),
    "between tokens": (log(*SAID, Content("a"), Interrupted()), [("user", "hi"), ("assistant", "a")]),
    "while it reasons": (log(*SAID, Thinking("hm"), Interrupted()), [("user", "hi")]),
    "in a section": (
        log(*SAID, SectionStart("s1", "Idea"), Content("a", "s1"), SectionEnd("s1", "interrupted"), Interrupted()),
        [("user", "hi"), ("assistant", "## Idea\n\na")],
    ),
    "in a request": (
        log(*SAID, Content("a"), Request("q1", "question"), Resolved("q1", "cancelled"), Interrupted()),
        [("user", "hi"), ("assistant", "a")],
    ),
    "after only white space": (log(*SAID, Content(" \n"), Interrupted()), [("user", "hi")]),
    "failed": (log(*SAID, Content("a"), Error("agent_error")), [("user", "hi"), ("assistant", "a")]),
    # seen
    "seen nothing": (log(*SAID, Content("abc"), Interrupted(seen=0)), [("user", "hi")]),
    "seen a part": (log(*SAID, Content("abc"), Interrupted(seen=2)), [("user", "hi"), ("assistant", "ab")]),
    "seen up to a cut": (
        log(*SAID, Content("ab"), Content("cd"), Interrupted(seen=2)),
        [("user", "hi"), ("assistant", "ab")],
    ),
    "seen over a cut": (
        log(*SAID, Content("ab"), Content("cd"), Interrupted(seen=3)),
        [("user", "hi"), ("assistant", "abc")],
    ),
    "seen it all": (log(*SAID, Content("abc"), Interrupted(seen=3)), [("user", "hi"), ("assistant", "abc")]),
    "seen more than there is": (
        log(*SAID, Content("abc"), Interrupted(seen=9)),
        [("user", "hi"), ("assistant", "abc")],
    ),
    "seen in code points": (
        log(*SAID, Content("a🙂👩‍🚀é"), Interrupted(seen=3)),
        [("user", "hi"), ("assistant", "a🙂👩")],
    ),
    "seen after the end": (
        log(*SAID, Content("abc"), Done(), Settled("finished"), Seen(1)),
        [("user", "hi"), ("assistant", "a")],
    ),
    "seen after the end, twice": (
        log(*SAID, Content("abc"), Interrupted(seen=2), Seen(1), Seen(3)),
        [("user", "hi"), ("assistant", "a")],
    ),
    "seen a part of what was not taken back": (
        log(*SAID, Content("wrong"), Status("reset", chars=5), Content("right"), Interrupted(seen=3)),
        [("user", "hi"), ("assistant", "rig")],
    ),
    # Text taken back
    "taken back": (
        log(*SAID, Content("ab"), Content("cd"), Status("reset", chars=3), Content("x"), Done()),
        [("user", "hi"), ("assistant", "ax")],
    ),
    "all taken back": (log(*SAID, Content("ab"), Status("reset", chars=2), Done()), [("user", "hi")]),
    "taken back by one of two": (
        log(*SAID, Content("a1", agent="a"), Content("b1", agent="b"), Status("reset", chars=1, agent="a"), Done()),
        [("user", "hi"), ("assistant", "## a\n\na\n\n## b\n\nb1")],
    ),
    # Tools
    "a tool": (
        log(*SAID, Content("let me see"), TOOL, ToolResult("t1", output="3"), Content("three"), Done()),
        [
            ("user", "hi"),
            ("assistant", "let me see", CALL),
            ("user", ("output", "t1", "3", True)),
            ("assistant", "three"),
        ],
    ),
    "a tool without output": (
        log(*SAID, TOOL, ToolResult("t1"), Done()),
        [("user", "hi"), ("assistant", CALL), ("user", ("output", "t1", "[no output]", True))],
    ),
    "two tools at once": (
        log(
            *SAID,
            TOOL,
            ToolStart("t2", "read"),
            ToolResult("t2", output="2"),
            ToolResult("t1", output="1"),
            Content("x"),
            Done(),
        ),
        [
            ("user", "hi"),
            ("assistant", CALL, ("call", "t2", "read", None)),
            ("user", ("output", "t1", "1", True), ("output", "t2", "2", True)),
            ("assistant", "x"),
        ],
    ),
    "two tools, one after the other": (
        log(*SAID, TOOL, ToolResult("t1", output="1"), ToolStart("t2", "read"), ToolResult("t2", output="2"), Done()),
        [
            ("user", "hi"),
            ("assistant", CALL),
            ("user", ("output", "t1", "1", True)),
            ("assistant", ("call", "t2", "read", None)),
            ("user", ("output", "t2", "2", True)),
        ],
    ),
    "a tool behind what was seen": (
        log(*SAID, Content("abc"), TOOL, ToolResult("t1", output="1"), Content("def"), Interrupted(seen=2)),
        [("user", "hi"), ("assistant", "ab", CALL), ("user", ("output", "t1", "1", True))],
    ),
    "text while a tool runs": (
        log(*SAID, TOOL, Content("busy"), ToolResult("t1", output="1"), Done()),
        [("user", "hi"), ("assistant", CALL), ("user", ("output", "t1", "1", True)), ("assistant", "busy")],
    ),
    "a tool that waited and ran": (
        log(*SAID, WAITS, ToolInput("t1", "{}"), ToolRun("t1", {"query": "x"}), ToolResult("t1", output="1"), Done()),
        [
            ("user", "hi"),
            ("assistant", ("call", "t1", "search", {"query": "x"})),
            ("user", ("output", "t1", "1", True)),
        ],
    ),
    "a tool that still waits": (
        log(*SAID, WAITS, ToolInput("t1", '{"que')),
        [("user", "hi"), ("assistant", ("call", "t1", "search", None)), ("user", cut("t1", "never_started"))],
    ),
    "refused, with the input that was asked for": (
        log(
            *SAID,
            WAITS,
            ToolInput("t1", '{"query": '),
            ToolInput("t1", '"x"}'),
            ToolResult("t1", "denied", "[no]"),
            Done(),
        ),
        [
            ("user", "hi"),
            ("assistant", ("call", "t1", "search", {"query": "x"})),
            ("user", ("output", "t1", "[no]", False)),
        ],
    ),
    "an input that is no object": (
        log(*SAID, WAITS, ToolInput("t1", '["x"]'), ToolResult("t1", "error", "[no]"), Done()),
        [
            ("user", "hi"),
            ("assistant", ("call", "t1", "search", None)),
            ("user", ("output", "t1", "[no]", False)),
        ],
    ),
    "stopped before it ran": (
        log(*SAID, WAITS, ToolResult("t1", "interrupted"), Interrupted()),
        [("user", "hi"), ("assistant", ("call", "t1", "search", None)), ("user", cut("t1", "never_started"))],
    ),
    "waited, ran and was stopped": (
        log(*SAID, WAITS, ToolRun("t1"), ToolResult("t1", "interrupted"), Interrupted()),
        [("user", "hi"), ("assistant", ("call", "t1", "search", None)), ("user", cut("t1", "cancelled"))],
    ),
    "a tool of an attempt that failed": (
        log(
            *SAID,
            Content("a"),
            WAITS,
            ToolResult("t1", "withdrawn"),
            Status("reset", chars=1),
            ToolStart("t2", "search", 7),
            ToolResult("t2", output="1"),
            Done(),
        ),
        [("user", "hi"), ("assistant", ("call", "t2", "search", 7)), ("user", ("output", "t2", "1", True))],
    ),
    "a section that began anew": (
        log(
            *SAID,
            SectionStart("s1", "Idea"),
            Content("wrong", "s1"),
            SectionEnd("s1", "interrupted"),
            Content("kept"),
            SectionStart("s1", "Idea"),
            Content("right", "s1"),
            SectionEnd("s1"),
            Interrupted(seen=6),
        ),
        [("user", "hi"), ("assistant", "kept\n\n## Idea\n\nri")],
    ),
    "announced and never started": (log(*SAID, Tools((Call("t1", "search"),)), Interrupted()), [("user", "hi")]),
    "a tool that goes on": (log(*SAID, TOOL), [("user", "hi"), ("assistant", CALL), ("user", cut("t1", "cancelled"))]),
    # Steering
    "steering that was taken": (
        log(*SAID, Content("a"), User("c2", "but", steer=True), Status("steered", id="c2"), Content("b"), Done()),
        [("user", "hi"), ("assistant", "a"), ("user", "but"), ("assistant", "b")],
    ),
    "steering that was taken later": (
        log(*SAID, User("c2", "but", steer=True), Content("a"), Status("steered", id="c2"), Content("b"), Done()),
        [("user", "hi"), ("assistant", "a"), ("user", "but"), ("assistant", "b")],
    ),
    "steering that was taken between a tool and the rest": (
        log(
            *SAID, TOOL, ToolResult("t1", output="1"), User("c2", "but", steer=True), Status("steered", id="c2"), Done()
        ),
        [("user", "hi"), ("assistant", CALL), ("user", ("output", "t1", "1", True), "but")],
    ),
    "steering that was not taken before the interrupt": (
        log(*SAID, Content("a"), User("c2", "but", steer=True), Interrupted()),
        [("user", "hi"), ("assistant", "a"), ("user", "but")],
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
        [("user", "hi"), ("assistant", "a"), ("user", "but"), ("assistant", "b")],
    ),
    # Several runs
    "an answer to words that got none": (
        log(*SAID, Interrupted(), User("c2", "ho", run="r2"), Start(run="r2"), Content("a", run="r2"), Done(run="r2")),
        [("user", "hi", "ho"), ("assistant", "a")],
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
        [("user", "hi", "first"), ("assistant", "3"), ("user", "queued"), ("assistant", "2")],
    ),
    "a tool cut short, then the next run": (
        log(*SAID, TOOL, *STOPPED, User("c2", "ho", run="r2"), Start(run="r2"), Content("a", run="r2")),
        [("user", "hi"), ("assistant", CALL), ("user", cut("t1", "cancelled"), "ho"), ("assistant", "a")],
    ),
    "a message that the store did not take, sent again": (
        log(
            *SAID,
            Content("a"),
            Error("store_failed"),
            User("c1", "hi", run="r2"),
            Start(run="r2"),
            Content("b", run="r2"),
            Done(run="r2"),
        ),
        [("user", "hi"), ("assistant", "a"), ("user", "hi"), ("assistant", "b")],
    ),
    "a queued message that the store did not take, sent again": (
        log(
            User("c1", "hi"),
            Error("store_failed"),
            User("c1", "hi", run="r2"),
            Start(run="r2"),
            Content("b", run="r2"),
        ),
        [("user", "hi"), ("assistant", "b")],
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str) -> None:
    events, expected = HISTORIES[name]
    assert told(history(events)) == expected


@pytest.mark.parametrize("fate", get_args(Fate))
def test_a_tool_that_was_cut_short_gets_a_true_result(fate: Fate) -> None:
    events = log(*SAID, TOOL, *STOPPED, Settled("cancelled", tools={"t1": fate}))
    output = told(history(events))[-1]
    if fate == "finished":  # it can't be both: then the ending is believed
        fate = "cancelled"
    assert output == ("user", cut("t1", fate))


@pytest.mark.parametrize("outcome", ["error", "timeout", "denied"])
def test_a_tool_that_failed_is_told_so(outcome: Any) -> None:
    for output, said in (("", OUTCOMES.get(outcome, "[error]")), ("disk full", "disk full")):
        events = log(*SAID, TOOL, ToolResult("t1", outcome, output), Done())
        assert told(history(events))[-1] == ("user", ("output", "t1", said, False))


def test_every_cut_has_words() -> None:
    assert all(words for fate, words in FATES.items() if fate != "finished")


def test_a_view_has_the_text_the_ending_and_the_receipt() -> None:
    [view] = runs(log(*SAID, Content("ab"), Interrupted(seen=1), Settled("abandoned", tools={"t1": "running"})))
    assert (view.text(), view.seen, view.task, view.fates) == ("ab", 1, "abandoned", {"t1": "running"})
    assert view.started
    assert isinstance(view.ending, Interrupted)


def test_the_next_words_join_words_without_an_answer() -> None:
    past = history(log(*SAID, Interrupted()))
    assert told(continued(past, "ho")) == [("user", "hi", "ho")]
    assert told(continued((), "ho")) == [("user", "ho")]
    answered = history(log(*SAID, Content("a"), Done()))
    assert told(continued(answered, "ho")) == [("user", "hi"), ("assistant", "a"), ("user", "ho")]


# Any lawful log

Op = tuple[Any, ...]
name = st.sampled_from(["x", "y", "z"])
agent = st.sampled_from([None, None, "bob"])
words = st.text("ab .\n🙂", max_size=4)
ops = st.one_of(
    st.tuples(st.just("text"), words, agent, st.sampled_from([None, None, "x"])),
    st.tuples(st.just("think"), words),
    st.tuples(st.sampled_from(["start", "result", "cut", "announce", "open", "close", "skip", "ask", "answer"]), name),
    st.tuples(st.just("back"), st.integers(0, 5), agent),
    st.tuples(st.sampled_from(["steer", "taken"]), name),
)
endings = st.sampled_from([Done(), Error("agent_error"), Interrupted(), Interrupted(seen=0), Interrupted(seen=2)])
stories = st.lists(
    st.tuples(st.booleans(), st.lists(ops, max_size=10), endings, st.booleans(), st.sampled_from([None, 0, 1, 99])),
    max_size=4,
)


def written(story: list[tuple[bool, list[Op], Done | Error | Interrupted, bool, int | None]]) -> list[Event]:
    """The log of one run after the other, as writers write it: unlawful operations of the agent are refused."""
    made = Log("e1")
    for number, (starts, operations, ending, read, seen) in enumerate(story):
        run = f"r{number}"
        writer = Writer(made, run, limits=Limits(), wall=lambda: 1.0, tick=lambda: 0.0)
        made.append(User(f"c{run}", "said", run=run))
        if starts:
            made.append(Start(run=run))
            for op in operations:
                do(made, writer, run, op)
                if read:
                    made.read(0)
        writer.end(ending)
        made.append(Settled("cancelled", run=run, tools=writer.fates(gone=True), chars=writer.chars))
        if seen is not None:
            made.append(Seen(seen, run=run))
    return made.read(0)


def do(made: Log, writer: Writer, run: str, op: Op) -> None:
    with suppress(RunError):  # out of place: refused, and nothing was written
        match op:
            case ("text", data, by, section):
                writer.text(Content, data, by, section)
            case ("think", data):
                writer.text(Thinking, data)
            case ("start", tool):
                writer.write(ToolStart(tool, "search"))
            case ("result", tool):
                writer.write(ToolResult(tool, output="3"))
            case ("cut", tool):
                writer.write(ToolResult(tool, "interrupted"))
            case ("announce", tool):
                writer.write(Tools((Call(tool, "search"),)))
            case ("open", section):
                writer.write(SectionStart(section, "Title"))
            case ("close", section):
                writer.write(SectionEnd(section))
            case ("skip", section):
                writer.skip(section)
            case ("ask", request):
                writer.put(Request(request, "question"))
            case ("answer", request):
                writer.put(Resolved(request, "replied", 1))
            case ("back", chars, by):
                writer.write(Status("reset", chars=chars), by)
            case ("steer", key):
                made.append(User(f"{run}{key}", "steered", run=run, steer=True))
            case ("taken", key):
                writer.write(Status("steered", id=f"{run}{key}"))
            case _:
                raise AssertionError(op)


@tries
@given(stories, st.data())
def test_the_history_of_every_prefix_is_valid_also_after_a_crash(story: Any, data: st.DataObject) -> None:
    events = written(story)
    for end in {len(events), *data.draw(st.lists(st.integers(0, len(events)), min_size=4, max_size=4))}:
        prefix = events[:end]
        check_history(history(prefix))
        recovered = log(*prefix, *recover(prefix, at=2.0))
        check_log(recovered, over=True)
        assert recover(recovered, at=3.0) == []
        for was, now in zip(runs(prefix), runs(recovered), strict=True):
            assert now.text() == was.text()
            assert now.ending == (was.ending or now.ending)


@tries
@given(stories)
def test_a_history_that_grows_is_the_history_of_the_log_so_far(story: Any) -> None:
    events, growing = written(story), History()
    for end, event in enumerate(events, 1):
        growing.take([event])
        assert growing.messages() == history(events[:end])


def test_a_history_that_grows_takes_a_message_along_that_moves() -> None:
    steered = User("c2", "but", steer=True)
    events = log(*SAID, steered, Content("a"), Done(), User("c2", "but", run="r2"), Start(run="r2"), Done(run="r2"))
    growing = History()
    for end, event in enumerate(events, 1):
        growing.take([event])
        assert growing.messages() == history(events[:end])
    assert told(growing.messages()) == [("user", "hi"), ("assistant", "a"), ("user", "but")]


@tries
@given(stories)
def test_history_is_the_same_for_a_merged_log(story: Any) -> None:
    events = written(story)
    assert history(merge(events)) == history(events)


@tries
@given(stories)
def test_merging_keeps_all_text_and_all_order(story: Any) -> None:
    events = written(story)
    merged = merge(events)
    assert flat(merged) == flat(events)
    assert merge(merged) == merged
    assert [event.seq for event in merged] == sorted({event.seq for event in merged})
    assert [event.seq for event in merged][-1:] == [event.seq for event in events][-1:]


def flat(events: Sequence[Event]) -> list[Any]:
    """Each event, and each character of text with where it belongs."""
    return [
        item
        for event in events
        for item in (
            [(type(event), event.run, event.agent, event.section, char) for char in event.data]
            if isinstance(event, Content | Thinking)
            else [event]
        )
    ]


def test_adjacent_text_is_joined_and_takes_the_last_number() -> None:
    events = log(Content("a"), Content("b"), Content("c", agent="bob"), Thinking("d"), Thinking("e"), Content("f"))
    assert merge(events) == [
        Content("ab", seq=2, run="r1"),
        Content("c", seq=3, run="r1", agent="bob"),
        Thinking("de", seq=5, run="r1"),
        Content("f", seq=6, run="r1"),
    ]


def test_text_of_two_runs_is_not_joined() -> None:
    events = log(Content("a"), Content("b", run="r2"))
    assert merge(events) == events


def test_joined_text_fits_a_frame() -> None:
    events = log(*(Content("x" * 1000) for _ in range(50)))
    sizes = [len(event.data) for event in merge(events) if isinstance(event, Content)]
    assert sum(sizes) == 50_000
    assert max(sizes) <= MERGED


# After a crash


def test_what_a_dead_process_left_open_is_closed_and_ended_as_lost() -> None:
    events = log(
        *SAID,
        SectionStart("s1"),
        Tools((Call("t2", "read"),)),
        TOOL,
        Content("abc", "s1"),
        Request("q1", "question"),
        User("c2", "queued", run="r2"),
    )
    written_now = recover(events, at=7.0)
    assert [type(event).__name__ for event in written_now] == [
        "Resolved",
        "ToolResult",
        "SectionEnd",
        "Error",
        "Settled",
        "Error",
        "Settled",
    ]
    assert [event.run for event in written_now] == ["r1"] * 5 + ["r2"] * 2
    receipt = written_now[4]
    assert receipt == Settled("lost", run="r1", at=7.0, tools={"t1": "cancelled", "t2": "never_started"}, chars=3)
    assert {event.code for event in written_now if isinstance(event, Error)} == {"lost"}


def test_a_run_that_only_lacks_its_receipt_keeps_its_ending() -> None:
    events = log(*SAID, Content("abc"), Interrupted(seen=1))
    assert [type(event).__name__ for event in recover(events, at=7.0)] == ["Settled"]
