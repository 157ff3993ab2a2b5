"""What a client was told, compared: two stories differ only where a person would say so."""

from typing import Any

import pytest

from agent_ws.recordings.story import Answers, Held, difference

Frame = dict[str, Any]


def held(*frames: Frame) -> Held:
    made = Held()
    for seq, frame in enumerate(frames, 1):
        made.take({"seq": seq, "run": "r1", **frame})
    return made


def text(data: str, **more: Any) -> Frame:
    return {"type": "content", "data": data, **more}


USER: Frame = {"type": "user", "id": "c1", "data": "hi", "at": 1.0}
START: Frame = {"type": "start", "at": 1.0}
DONE: Frame = {"type": "done", "at": 2.0, "usage": {"output_tokens": 3}}
STOPPED: Frame = {"type": "interrupted", "at": 2.0, "reason": "user"}
SETTLED: Frame = {"type": "settled", "task": "finished", "at": 2.0, "stop_ms": 3, "chunks": 2, "chars": 4}
CALL: Frame = {"type": "tool_start", "tool": "t1", "name": "find", "at": 1.0}
FOUND: Frame = {"type": "tool_result", "tool": "t1", "outcome": "ok", "output": "3", "at": 1.0}
CUT: Frame = {"type": "tool_result", "tool": "t1", "outcome": "interrupted", "at": 1.0}


def diff(was: Held, is_: Held) -> list[str]:
    return [line for line in difference(was, is_, "it")[2:] if line[0] in "+-"]


def test_cuts_times_and_names_are_no_difference() -> None:
    was = held(USER, START, text("one two "), text("three"), CALL, FOUND, DONE, SETTLED)
    is_ = Held()
    later = [
        USER | {"id": "x", "at": 7.0},
        START | {"at": 7.0},
        text("one "),
        text("two three"),
        CALL | {"tool": "y"},
        FOUND | {"tool": "y"},
        DONE | {"at": 8.0},
        SETTLED | {"stop_ms": 9, "chunks": 7},
    ]
    for seq, frame in enumerate(later, 20):
        is_.take({"seq": seq, "run": "other", **frame})
    assert diff(was, is_) == []


@pytest.mark.parametrize(
    ("frames", "lines"),
    [
        ([USER, START, text("one three"), CALL, FOUND, DONE, SETTLED], ["-  | one two", "+  | one three"]),
        ([USER, START, text("one two"), DONE, SETTLED], [
            '-  tool_start tool="tool 1" name="find"',
            '-  tool_result tool="tool 1" outcome="ok" output="3"',
        ]),
        ([USER, START, text("one two"), CALL, FOUND | {"output": "4"}, DONE, SETTLED], [
            '-  tool_result tool="tool 1" outcome="ok" output="3"',
            '+  tool_result tool="tool 1" outcome="ok" output="4"',
        ]),
        ([USER, START, text("one two"), CALL, FOUND, STOPPED, SETTLED], [
            '-  done usage={"output_tokens":3}',
            '-  settled task="finished" chars=4',
            '+  interrupted reason="user"',
            '+  settled task="finished"',
        ]),
        ([USER, START, text("one two", section="s1"), CALL, FOUND, DONE, SETTLED], [
            "-  content", '+  content section="s1"'
        ]),
        ([USER, START, text("one two"), CALL, FOUND, DONE, SETTLED | {"task": "abandoned"}], [
            '-  settled task="finished" chars=4',
            '+  settled task="abandoned" chars=4',
        ]),
        ([USER, START, text("one two"), CALL, FOUND], [
            '-  done usage={"output_tokens":3}', '-  settled task="finished" chars=4'
        ]),
    ],
)  # fmt: skip
def test_what_a_person_would_see_is_one(frames: list[Frame], lines: list[str]) -> None:
    was = held(USER, START, text("one two"), CALL, FOUND, DONE, SETTLED)
    assert diff(was, held(*frames)) == lines


@pytest.mark.parametrize(
    "frames",
    [
        [text("one two three"), STOPPED, SETTLED | {"chars": 13}],
        [text("one"), STOPPED, SETTLED],
        [text("one two"), CALL, CUT, STOPPED, SETTLED | {"tools": {"t1": "cancelled"}}],
        [text("one two"), CALL, FOUND, text("more"), STOPPED, SETTLED],
    ],
)
def test_a_stop_may_have_come_a_moment_earlier_or_later(frames: list[Frame]) -> None:
    was, is_ = held(USER, START, text("one two"), STOPPED, SETTLED), held(USER, START, *frames)
    assert diff(was, is_) == diff(is_, was) == []


def test_what_an_ending_closes_is_no_difference() -> None:
    was = held(USER, START, text("one"), CALL, CUT, STOPPED, SETTLED)
    is_ = held(USER, START, text("one"), CALL, FOUND, text("two"), STOPPED, SETTLED)
    assert diff(was, is_) == diff(is_, was) == []


def test_a_stop_that_is_none_is_a_difference() -> None:
    was = held(USER, START, text("one two"), STOPPED, SETTLED)
    assert diff(was, held(USER, START, text("one three"), STOPPED, SETTLED))
    assert diff(was, held(USER, START, text("one two"), STOPPED | {"reason": "orphaned"}, SETTLED))


def test_who_left_in_the_middle_may_have_seen_more_now() -> None:
    was = held(USER, START, text("one"))
    assert diff(was, held(USER, START, text("one two"), DONE, SETTLED)) == []
    assert diff(was, held(USER, START, text("two"))) == ["-  | one", "+  | two"]


def test_a_run_that_is_missing_is_a_difference() -> None:
    assert diff(held(USER, START, DONE, SETTLED), held())[0] == "-run 1"


def test_what_comes_twice_is_held_once() -> None:
    copy = held(USER, START, text("one "))
    copy.take({"seq": 3, "run": "r1", **text("one ")})
    copy.take({"seq": 4, "part": 2, "run": "r1", **text("tw")})
    copy.take({"seq": 4, "part": 2, "run": "r1", **text("tw")})
    assert copy.cursor == (4, 2)
    assert [frame["data"] for frame in copy.events if frame["type"] == "content"] == ["one ", "tw"]


def test_a_reset_begins_anew() -> None:
    copy = held(USER, START, text("one "))
    copy.take({"type": "reset", "epoch": "e2", "reason": "ahead"})
    assert (copy.epoch, copy.events, copy.cursor) == ("e2", [], (0, 0))


@pytest.mark.parametrize(
    ("frames", "covers"),
    [
        ([USER, START, text("one two")], True),
        ([USER, START, text("one")], False),
        ([USER, START, text("one two"), CALL], True),
        ([USER, text("one two")], False),
        ([USER, START, STOPPED], True),  # more will never come
        ([], False),
    ],
)
def test_how_far_one_has_come(frames: list[Frame], *, covers: bool) -> None:
    assert held(*frames).covers(held(USER, START, text("one two"))) is covers


@pytest.mark.parametrize(
    ("frames", "covers"),
    [
        ([USER, START, DONE, SETTLED], True),  # however much text there was
        ([USER, START, DONE], False),
        ([USER, START, text("one two three")], False),
    ],
)
def test_a_run_that_is_over_is_waited_for_with_its_receipt(frames: list[Frame], *, covers: bool) -> None:
    assert held(*frames).covers(held(USER, START, text("one two"), DONE, SETTLED)) is covers


def test_answers_are_told_by_what_counts() -> None:
    answers = Answers()
    frames: list[Frame] = [
        {"type": "session", "session": "s", "resumed": False, "limits": {}},
        {"type": "accepted", "id": "c7", "run": "r9", "outcome": "queued"},
        {"type": "error", "code": "bad_frame", "message": "expected …"},
        {"type": "error", "seq": 4, "run": "r1", "code": "agent_error"},
        text("no answer", seq=3),
    ]
    for frame in frames:
        answers.take(frame)
    assert answers.lines == [
        "session resumed=false",
        'accepted id="message 1" outcome="queued"',
        'error code="bad_frame"',
    ]
