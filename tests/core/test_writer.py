"""The writer of a run: brackets, fence, limits, and what is still written by one that was stopped."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent_ws.errors import BracketError, Fenced, RunError
from agent_ws.events import (
    Call,
    Content,
    Done,
    Error,
    Event,
    Fate,
    Interrupted,
    Outline,
    Request,
    Resolved,
    Section,
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
from agent_ws.fold import merge, runs
from agent_ws.log import Log
from agent_ws.settings import Limits
from agent_ws.writer import PIECE, Writer


class Desk:
    """A writer, its log and its clock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.log = Log("e1")
        self.now = 100.0
        self.writer = Writer(
            self.log, "r1", limits=limits or Limits(), wall=lambda: 1790000000.0, tick=lambda: self.now
        )
        self.write = self.writer.write

    @property
    def events(self) -> list[Event]:
        return self.log.read(0)

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    @property
    def text(self) -> str:
        return "".join(event.data for event in self.events if isinstance(event, Content))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_text_and_events_are_stamped_with_the_run(desk: Desk) -> None:
    desk.write("a")
    desk.write(Thinking("b"))
    desk.write(ToolStart("t1", "search", {"q": 1}))
    assert desk.events == [
        Content("a", seq=1, run="r1"),
        Thinking("b", seq=2, run="r1"),
        ToolStart("t1", "search", {"q": 1}, seq=3, run="r1", at=1790000000.0),
    ]


def test_a_label_is_the_events_own_or_the_writers(desk: Desk) -> None:
    desk.write("a", "bob")
    desk.write(Content("b", agent="eve"), "bob")
    desk.write(Status("working"), "bob")
    assert [event.agent for event in desk.events] == ["bob", "eve", "bob"]


def test_empty_text_is_nothing(desk: Desk) -> None:
    desk.write("")
    desk.write(Thinking(""))
    assert desk.events == []
    assert (desk.writer.events, desk.writer.chunks) == (0, 0)


def test_a_long_text_is_cut_into_events_that_fit_a_frame(desk: Desk) -> None:
    text = "é🙂x" * PIECE
    desk.write(text)
    assert desk.text == text
    assert all(len(event.data) <= PIECE for event in desk.events if isinstance(event, Content))
    assert (desk.writer.chunks, desk.writer.chars) == (1, len(text))
    desk.write("a" * 2 * PIECE)
    assert all(len(event.data) <= PIECE for event in desk.events if isinstance(event, Content)), "nor behind another"


@pytest.mark.parametrize(
    "item", [None, 7, b"bytes", ["a"], User("c1", "forged"), Start(), Done(), Resolved("q", "replied")]
)
def test_an_agent_can_only_write_what_an_agent_may(desk: Desk, item: Any) -> None:
    with pytest.raises(RunError) as refused:
        desk.write(item)
    assert refused.value.code == "bad_event"
    assert desk.events == []


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(ToolStart("t1", "x", {1, 2, object}), id="an object"),
        pytest.param(ToolStart("t1", "x", 10**30), id="an integer beyond 64 bits"),
        pytest.param(ToolStart("t1", "x", {"a": "\ud800"}), id="half a character"),
        pytest.param(Status("working", "\ud800"), id="half a character in a status"),
    ],
)
def test_what_no_wire_can_print_is_refused_at_its_maker(desk: Desk, item: ToolStart | Status) -> None:
    with pytest.raises(RunError) as refused:
        desk.write(item)
    assert refused.value.code == "bad_event"
    assert desk.events == []
    assert desk.writer.end(Done())


def test_half_a_character_in_text_is_replaced(desk: Desk) -> None:
    desk.write("a\ud83d")
    desk.write("b")
    desk.text.encode()
    assert desk.text[0] == "a"
    assert desk.text[-1] == "b"
    assert desk.writer.chars == len(desk.text)


# The fence

LATE: dict[str, Callable[[Writer], None]] = {
    "text": lambda writer: writer.write("late"),
    "reasoning": lambda writer: writer.write(Thinking("late")),
    "a result": lambda writer: writer.write(ToolResult("t1")),
    "a call": lambda writer: writer.write(ToolStart("t2", "late")),
    "a section": lambda writer: writer.write(SectionStart("s2")),
    "an end": lambda writer: writer.write(SectionEnd("s1")),
    "a status": lambda writer: writer.write(Status("working", "late")),
    "taken back": lambda writer: writer.write(Status("reset", chars=1)),
    "an outline": lambda writer: writer.write(Outline((Section("s3", "late"),))),
    "an announcement": lambda writer: writer.write(Tools((Call("t3", "late"),))),
    "a request": lambda writer: writer.put(Request("q2", "question")),
    "an answer": lambda writer: writer.put(Resolved("q1", "replied")),
    "empty text": lambda writer: writer.write(""),
}


@pytest.mark.parametrize("ending", [Done(), Interrupted(), Error("agent_error")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("way", LATE)
def test_after_the_ending_nothing_is_written(desk: Desk, way: str, ending: Done | Interrupted | Error) -> None:
    desk.write("early")
    desk.write(ToolStart("t1", "search"))
    desk.write(SectionStart("s1"))
    desk.writer.put(Request("q1", "question"))
    assert desk.writer.end(ending)
    before = desk.events
    with pytest.raises(Fenced):
        LATE[way](desk.writer)
    assert desk.events == before
    assert desk.writer.chars == len("early")


def test_the_ending_closes_everything_first_and_is_the_last(desk: Desk) -> None:
    desk.write(SectionStart("s1"))
    desk.write(ToolStart("t1", "search"))
    desk.writer.put(Request("q1", "question"))
    desk.writer.end(Interrupted())
    assert desk.kinds[3:] == ["Resolved", "ToolResult", "SectionEnd", "Interrupted"]


def test_the_first_ending_wins(desk: Desk) -> None:
    assert desk.writer.end(Interrupted(reason="first"))
    assert not desk.writer.end(Done())
    assert not desk.writer.end(Interrupted(reason="second"))
    assert desk.kinds == ["Interrupted"]


def test_a_write_that_breaks_the_law_changes_nothing_and_the_ending_still_can(desk: Desk) -> None:
    desk.write(SectionStart("s1"))
    for item in (Content("x", "s2"), SectionStart("s1"), ToolResult("t1")):
        with pytest.raises(BracketError):
            desk.write(item)
    assert desk.kinds == ["SectionStart"]
    assert desk.writer.end(Error("bad_event"))


# Limits


def test_a_run_may_write_so_much_text(desk: Desk) -> None:
    desk = Desk(Limits(run_chars=10))
    desk.write("x" * 10)
    with pytest.raises(RunError) as refused:
        desk.write("y")
    assert refused.value.code == "run_too_long"
    assert desk.text == "x" * 10


def test_a_single_text_beyond_the_limit_is_counted_as_it_is_shown() -> None:
    desk = Desk(Limits(run_chars=2 * PIECE))
    with pytest.raises(RunError):
        desk.write("x" * 3 * PIECE)
    assert desk.writer.chars == len(desk.text) == 2 * PIECE


def test_a_run_may_write_so_many_events() -> None:
    desk = Desk(Limits(run_events=3))
    for detail in "abc":
        desk.write(Status("working", detail))
    with pytest.raises(RunError) as refused:
        desk.write(Status("working"))
    assert refused.value.code == "run_too_long"
    assert desk.writer.end(Error("run_too_long"))


def test_who_writes_is_alive(desk: Desk) -> None:
    desk.now = 107.0
    desk.write("a")
    assert (desk.writer.touched, desk.writer.events) == (107.0, 1)


def test_open_tools_are_timed_until_they_end_however_they_end(desk: Desk) -> None:
    for tool, agent in (("t1", None), ("t2", None), ("t3", "bob")):
        desk.write(ToolStart(tool, "x"), agent)
    assert desk.writer.tool_since == {"t1": 100.0, "t2": 100.0, "t3": 100.0}
    desk.write(ToolResult("t1"))
    desk.writer.end_part("bob", Status("stopped"))
    assert set(desk.writer.tool_since) == {"t2"}


# Taking back


def test_taking_back_is_bounded_by_what_is_there(desk: Desk) -> None:
    desk.write("hello")
    desk.write(Status("reset", chars=99))
    desk.write(Status("reset", chars=1))
    assert desk.writer.chars == 0
    assert [event.chars for event in desk.events if isinstance(event, Status)] == [5]


def test_what_is_written_behind_what_was_taken_back_counts(desk: Desk) -> None:
    for size in (2, 3):
        desk.write("abc"[:size])
        assert desk.writer.chars == size
        desk.write(Status("reset", chars=size))
        assert desk.writer.chars == 0


def test_each_agent_takes_back_its_own(desk: Desk) -> None:
    desk.write("mine", "a")
    desk.write("yours", "b")
    desk.write(Status("reset", chars=99), "a")
    [view] = runs(desk.events)
    assert view.text() == "yours"
    assert desk.writer.chars == 5


def test_thinking_is_taken_back_too_within_what_is_there(desk: Desk) -> None:
    desk.write(Thinking("hmm"))
    desk.write("text")
    desk.write(Status("reset", thinking=99))
    desk.write(Status("reset", thinking=1))
    assert desk.writer.size(None) == (4, 0)
    assert [(event.chars, event.thinking) for event in desk.events if isinstance(event, Status)] == [(0, 3)]


def test_a_section_that_begins_anew_has_none_of_the_text_that_it_had(desk: Desk) -> None:
    desk.write("before ")
    desk.write(SectionStart("s1"))
    desk.write(Content("wrong, ", "s1"))
    desk.write("beside ")
    desk.write(Content("too", "s1"))
    desk.write(SectionEnd("s1"))
    desk.write(SectionStart("s1"))
    desk.write(Content("right", "s1"))
    [view] = runs(desk.events)
    assert view.text() == "before beside right"
    assert desk.writer.chars == len(view.text())
    desk.write(Status("reset", chars=7))
    assert runs(desk.events)[0].text() == "before besid"
    assert desk.writer.chars == 12


def test_a_section_that_was_skipped_can_begin_anew(desk: Desk) -> None:
    desk.write(SectionStart("s1"))
    desk.writer.skip("s1")
    desk.write(SectionStart("s1"))
    desk.write(Content("again", "s1"))
    assert desk.text == "again"


def test_a_stopped_agent_can_begin_no_section_anew(desk: Desk) -> None:
    desk.write(SectionStart("s1"), "bob")
    desk.write(Content("kept", "s1"), "bob")
    desk.writer.end_part("bob", Status("stopped"))
    desk.write(SectionStart("s1"), "bob")
    assert desk.writer.chars == len(runs(desk.events)[0].text()) == 4


# Parts that are stopped alone


def test_a_skipped_section_is_closed_and_what_comes_for_it_is_dropped(desk: Desk) -> None:
    desk.write(SectionStart("s1"))
    desk.write(Content("a", "s1"))
    assert desk.writer.skip("s1")
    desk.write(Content("b", "s1"))
    desk.write(SectionEnd("s1"))
    desk.write("c")
    assert not desk.writer.skip("s1")
    assert not desk.writer.skip("never")
    assert desk.text == "ac"
    assert [event.outcome for event in desk.events if isinstance(event, SectionEnd)] == ["skipped"]


def test_a_stopped_agent_is_silent_and_the_others_are_not(desk: Desk) -> None:
    desk.write(ToolStart("t1", "x"), "bob")
    desk.write("a", "eve")
    desk.writer.end_part("bob", Status("stopped"))
    desk.write("late", "bob")
    desk.write(ToolStart("t2", "late"), "bob")
    desk.write("b", "eve")
    assert desk.kinds == ["ToolStart", "Content", "ToolResult", "Status", "Content"]
    assert desk.text == "ab"


def test_an_agent_that_ended_has_one_ending_and_may_begin_again(desk: Desk) -> None:
    desk.writer.end_part("bob", Status("stopped"))
    desk.writer.end_part("bob", Status("failed"))
    desk.write("late", "bob")
    desk.writer.begin_part("bob")
    desk.write("again", "bob")
    desk.writer.end_part("bob", Status("finished"))
    assert desk.text == "again"
    assert [event.state for event in desk.events if isinstance(event, Status)] == ["stopped", "finished"]


def test_a_stopped_agent_can_take_nothing_back(desk: Desk) -> None:
    desk.write("kept", "bob")
    desk.writer.end_part("bob", Status("stopped"))
    desk.write(Status("reset", chars=4), "bob")
    assert desk.writer.chars == len(runs(desk.events)[0].text()) == 4


# What became of the tools


def fates(desk: Desk, *, gone: bool = True) -> dict[str, Fate]:
    desk.writer.end(Interrupted())
    return desk.writer.fates(gone=gone)


def test_fates_are_those_at_the_ending(desk: Desk) -> None:
    desk.write(Tools((Call("t1", "a"), Call("t2", "b"), Call("t3", "c"))))
    desk.write(ToolStart("t1", "a"))
    desk.write(ToolResult("t1", "error"))
    desk.write(ToolStart("t2", "b"))
    assert fates(desk) == {"t1": "finished", "t2": "cancelled", "t3": "never_started"}


def test_a_tool_whose_task_stays_is_running(desk: Desk) -> None:
    desk.write(ToolStart("t1", "a"))
    assert fates(desk, gone=False) == {"t1": "running"}


def test_a_tool_that_waits_never_started_and_has_no_time_limit(desk: Desk) -> None:
    desk.write(ToolStart("t1", "a", waits=True))
    desk.write(ToolInput("t1", "{"))
    assert not desk.writer.tool_since
    desk.write(ToolStart("t2", "a", waits=True))
    desk.write(ToolRun("t2", {}))
    assert list(desk.writer.tool_since) == ["t2"]
    assert fates(desk) == {"t1": "never_started", "t2": "cancelled"}


def test_a_tool_that_outlives_its_run_is_running_until_it_is_over(desk: Desk) -> None:
    desk.write(ToolStart("t1", "a"))
    desk.writer.outliving.append("t1")
    assert fates(desk) == {"t1": "running"}
    desk.writer.outliving.remove("t1")
    desk.writer.finished_late("t1")
    assert desk.writer.fates(gone=True) == {"t1": "finished_after_stop"}


def test_a_tool_that_was_cut_off_behind_the_fence_did_not_finish(desk: Desk) -> None:
    desk.write(ToolStart("t1", "a"))
    desk.writer.end(Interrupted())
    with pytest.raises(Fenced):
        desk.write(ToolResult("t1", "timeout"))
    assert fates(desk) == {"t1": "cancelled"}


def test_a_tool_that_ends_behind_the_fence_finished_after_the_stop(desk: Desk) -> None:
    desk.write(ToolStart("t1", "a"))
    desk.writer.end(Interrupted())
    with pytest.raises(Fenced):
        desk.write(ToolResult("t1", output="a result that nobody sees"))
    assert fates(desk) == {"t1": "finished_after_stop"}
    assert fates(desk, gone=False) == {"t1": "finished_after_stop"}


def test_a_burst_is_one_entry(desk: Desk) -> None:
    for _ in range(1000):
        desk.write("ab")
    assert len(desk.log.read(0)) == 1
    assert merge(desk.events) == desk.events
    assert desk.writer.chunks == 1000


AGENTS = st.sampled_from([None, "a"])
SECTIONS = st.sampled_from([None, "s"])
PIECES = st.sampled_from(["", "ab", "abc", "é", "\ud800", "x" * 1000])
DEEDS: list[Callable[[Writer], object]] = [
    lambda writer: writer.end_part("a", Status("stopped")),
    lambda writer: writer.begin_part("a"),
    lambda writer: writer.skip("s"),
    lambda writer: writer.end(Done()),
]
WRITES = st.lists(
    st.sampled_from([("ab", None), ("ab", None), ("ab", "a"), ("", None)])
    | st.tuples(PIECES, AGENTS)
    | st.tuples(st.builds(Content, PIECES, SECTIONS), AGENTS)
    | st.tuples(st.builds(Thinking, PIECES, SECTIONS), AGENTS)
    | st.tuples(st.sampled_from([Status("working"), Status("reset", chars=3, thinking=1)]), AGENTS)
    | st.tuples(st.sampled_from(DEEDS), AGENTS),
    max_size=40,
)


@settings(max_examples=600)
@given(writes=WRITES, limits=st.sampled_from([Limits(), Limits(run_events=4), Limits(run_chars=9)]))
def test_whichever_way_text_is_written_and_whether_somebody_reads_meanwhile_all_is_the_same(
    writes: list[tuple[Any, str | None]], limits: Limits
) -> None:
    def written(*, read: bool, short: bool) -> list[object]:
        desk = Desk(limits)
        desk.write(SectionStart("s", "S"))
        found: list[object] = []
        for item, agent in writes:
            desk.now += 1
            try:
                if callable(item):
                    item(desk.writer)
                else:
                    desk.write(Content(item) if isinstance(item, str) and not short else item, agent)
            except RunError as error:
                found.append(error.code)
                break
            except Fenced:
                found.append("fenced")
            if read:
                desk.log.read(0)
            writer = desk.writer
            found.append((writer.events, writer.chunks, writer.chars, writer.size(agent), writer.touched))
        return [*found, *(replace(event, seq=0) for event in merge(desk.events))]

    ways = [written(read=read, short=short) for read in (False, True) for short in (False, True)]
    assert ways == [ways[0]] * 4
