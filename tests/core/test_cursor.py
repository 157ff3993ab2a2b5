"""The cursor: whatever a client asks for and wherever it comes back, the text is the log's, whole and once."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_ws.cursor import READ, Cursor, Hold
from agent_ws.events import Content, Done, Event, Start, Status, Thinking
from agent_ws.fold import MERGED
from agent_ws.log import Log, Position
from agent_ws.streams import HELD, ChunkMode, boundary

tries = settings(deadline=None, max_examples=60)
"""A busy machine must not fail them, and all of them together take seconds."""

Piece = tuple[str, str]
"""Which kind of text, or of event, and its text."""

modes = st.sampled_from(get_args(ChunkMode))
pieces = st.lists(
    st.tuples(
        st.sampled_from(["content", "content", "content", "thinking", "status"]), st.text("ab .!\n。é🙂", min_size=1)
    ),
    max_size=12,
)


clock = [0.0]
"""The time, as a cursor is told it."""
holds = st.tuples(modes, st.integers(0, 9), st.sampled_from([0, 100, 1000]))


def held(chunk: ChunkMode = "token", chars: int = 0, ms: int = 0) -> Hold | None:
    clock[0] = 0.0
    return Hold.of(chunk, chars, ms, lambda: clock[0])


def append(log: Log, piece: Piece) -> None:
    kind, data = piece
    if kind == "status":
        log.append(Status("working", data, run="r1"))
    else:
        log.append_text(Content if kind == "content" else Thinking, "r1", data, None, None)


def flat(events: list[Event]) -> list[tuple[type[Event], str]]:
    """Each event and each character of text, in order: what is left when the cuts are forgotten."""
    return [
        (type(event), char)
        for event in events
        for char in (event.data if isinstance(event, Content | Thinking) else [str(event.seq)])
    ]


def written(events: list[Piece], *, read_between: list[bool]) -> Log:
    log = Log("e1")
    log.append(Start(run="r1"))
    for piece, read in zip(events, read_between, strict=False):
        append(log, piece)
        if read:
            log.read(0)
    return log


@tries
@given(pieces, st.lists(st.booleans(), min_size=12, max_size=12), holds)
def test_whatever_the_splitting_the_text_is_the_same(
    events: list[Piece], reads: list[bool], hold: tuple[ChunkMode, int, int]
) -> None:
    log = Log("e1")
    cursor = Cursor(log, hold=held(*hold))
    pulled: list[Event] = []
    for piece, read in zip(events, reads, strict=False):
        append(log, piece)
        clock[0] += 0.03
        if read:
            pulled += cursor.pull()
    log.append(Done(run="r1"))  # the run's end: nothing is held back any more
    pulled += cursor.pull()
    assert flat(pulled) == flat(log.read(0))
    assert all(event.data for event in pulled if isinstance(event, Content | Thinking))
    assert not cursor.behind
    assert cursor.pull() == []


@tries
@given(pieces, st.lists(st.booleans(), min_size=12, max_size=12), holds, holds)
def test_a_client_may_come_back_at_every_position_that_it_was_given(
    events: list[Piece],
    reads: list[bool],
    hold: tuple[ChunkMode, int, int],
    then: tuple[ChunkMode, int, int],
) -> None:
    log = written(events, read_between=reads)
    cursor = Cursor(log, hold=held(*hold))
    places: list[tuple[Position, int]] = [(Position("e1", 0), 0)]
    pulled = cursor.pull()
    for i, event in enumerate(pulled, 1):
        places.append((Position("e1", event.seq, event.part if isinstance(event, Content | Thinking) else 0), i))
    log.append(Done(run="r1"))
    everything = flat(log.read(0))
    for place, received in places:
        back = Cursor(log, place, held(*then))
        assert back.reset is None
        assert flat(pulled[:received]) + flat(back.pull()) == everything


@tries
@given(st.lists(st.text("ab .🙂", min_size=1), min_size=1, max_size=6))
def test_every_position_in_a_log_gives_exactly_the_rest(texts: list[str]) -> None:
    log = Log("e1", [Content(data, seq=seq, run="r1") for seq, data in enumerate(texts, 1)])
    whole = "".join(texts)
    for seq in range(len(texts) + 1):
        for part in range(len(texts[seq]) if seq < len(texts) else 1):
            rest = Cursor(log, Position("e1", seq, part)).pull()
            text = "".join(event.data for event in rest if isinstance(event, Content))
            assert text == whole[len("".join(texts[:seq])) + part :]


def test_words_are_held_until_they_end() -> None:
    log = Log("e1")
    cursor = Cursor(log, hold=held("word"))
    seen: list[tuple[str, int, int]] = []
    for data in ("Hel", "lo wor", "ld", " and", " more"):
        log.append_text(Content, "r1", data, None, None)
        seen += [(event.data, event.seq, event.part) for event in cursor.pull() if isinstance(event, Content)]
    assert seen == [("Hello ", 1, 3), ("world ", 3, 1), ("and ", 4, 1)]
    assert Cursor(log, Position("e1", 3, 1)).pull() == [Content("and more", seq=5, run="r1")]


def test_text_without_an_end_is_not_held_for_ever() -> None:
    log = Log("e1")
    cursor = Cursor(log, hold=held("sentence"))
    log.append_text(Content, "r1", "x" * HELD, None, None)
    assert cursor.pull() == []
    log.append_text(Content, "r1", "x", None, None)
    assert [len(event.data) for event in cursor.pull() if isinstance(event, Content)] == [HELD + 1]


@pytest.mark.parametrize("mode", get_args(ChunkMode))
def test_a_long_log_comes_in_pieces_and_whole(mode: ChunkMode) -> None:
    log = Log("e1", [Content(f"w{seq} ", seq=seq, run="r1") for seq in range(1, 3 * READ)])
    cursor = Cursor(log, hold=held(mode))
    pulled: list[Event] = []
    while more := cursor.pull():
        pulled += more
    assert flat(pulled) == flat(log.read(0))
    assert cursor.seq == log.tail


def test_a_cursor_that_is_not_honoured_begins_at_the_start_and_says_why() -> None:
    log = Log("e2", [Start(seq=seq) for seq in range(1, 10)])
    for position, reason in ((Position("e1", 3), "epoch"), (Position("e2", 10), "ahead")):
        cursor = Cursor(log, position)
        assert (cursor.reset, cursor.seq) == (reason, 0)
        assert len(cursor.pull()) == 9


Step = tuple[float, str]
"""How many seconds later, and the text that comes; the empty one is a status, one with ~ is thinking."""

HOLDS: list[tuple[ChunkMode, int, int, list[Step], list[tuple[float, str]]]] = [
    # The count, which counts anew behind what went; and the ending, which waits for nothing
    ("token", 5, 0, [(0, "ab"), (9, "cd"), (9, "ef"), (9, "gh")], [(18, "abcdef"), (28, "gh")]),
    # The time, from the first character on
    ("token", 0, 500, [(0, "ab"), (0.3, "cd"), (1, "ef")], [(0.5, "abcd"), (1.8, "ef")]),
    # Whichever is first
    ("token", 4, 500, [(0, "ab"), (0.1, "cd"), (0.1, "e"), (1, "")], [(0.1, "abcd"), (0.7, "e")]),
    # Anything else takes it along
    ("token", 9, 500, [(0, "ab"), (0.2, ""), (0, "cd"), (0.2, "")], [(0.2, "ab"), (0.4, "cd")]),
    ("token", 9, 500, [(0, "ab"), (0.3, "~cd"), (0.1, "e")], [(0.3, "ab"), (0.4, "~cd"), (0.9, "e")]),
    ("token", 9, 500, [(0, "ab"), (0.3, "~cd"), (1, "")], [(0.3, "ab"), (0.8, "~cd")]),
    # Words: whole ones, when enough is there
    (
        "word",
        6,
        0,
        [(0, "one t"), (1, "w"), (1, "o thr"), (1, "ee"), (1, "")],
        [(1, "one "), (2, "two "), (4, "three")],
    ),
    # Sentences as they end, but none is waited for too long
    ("sentence", 0, 500, [(0, "A. B"), (0.4, "c"), (2, "d. ")], [(0, "A. "), (0.5, "Bc"), (2.4, "d. ")]),
    # What is left behind a cut is as old as it is
    ("word", 6, 500, [(0, "a b"), (0.2, "c"), (0.2, "de")], [(0.4, "a "), (0.5, "bcde")]),
    ("word", 7, 500, [(0, "one "), (0.2, "tw"), (0.2, "o"), (1, "")], [(0.4, "one "), (0.7, "two")]),
]


@pytest.mark.parametrize(("chunk", "chars", "ms", "steps", "through"), HOLDS)
def test_text_is_held(
    chunk: ChunkMode, chars: int, ms: int, steps: list[Step], through: list[tuple[float, str]]
) -> None:
    log = Log("e1")
    cursor = Cursor(log, hold=held(chunk, chars, ms))
    got: list[tuple[float, str]] = []

    def pull() -> None:
        texts = [event for event in cursor.pull() if isinstance(event, Content | Thinking)]
        got.extend((round(clock[0], 6), "~" * isinstance(event, Thinking) + event.data) for event in texts)

    def until(moment: float) -> None:
        while cursor.due is not None and cursor.due < moment:
            clock[0] = max(clock[0], cursor.due)
            pull()
        clock[0] = moment

    for later, text in steps:
        until(clock[0] + later)
        append(log, ("thinking" if text.startswith("~") else "content" if text else "status", text.strip("~") or "x"))
        pull()
    until(clock[0] + 1)
    log.append(Done(run="r1"))
    pull()
    assert got == through


def test_held_text_is_looked_at_once_however_long_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log("e1")
    cursor = Cursor(log, hold=held("token", 10_000))
    looked: list[int] = []
    read = log.read

    def counted(after: int, limit: int | None = None) -> list[Event]:
        events = read(after, limit)
        looked.append(len(events))
        return events

    monkeypatch.setattr(log, "read", counted)
    for _ in range(2000):
        append(log, ("content", "word "))
        if cursor.pull():
            break
    assert sum(looked) < 2 * 2000 + 10
    assert not cursor.behind


@pytest.mark.parametrize("hold", [("token", 16_384, 0), ("token", 0, 10_000), ("sentence", 9, 0), ("word", 9000, 9)])
def test_a_long_log_is_not_held_back(hold: tuple[ChunkMode, int, int]) -> None:
    log = Log("e1", [Content("w", seq=seq, run="r1") for seq in range(1, 3 * READ)])
    cursor = Cursor(log, hold=held(*hold))
    text = "".join(event.data for event in cursor.pull() if isinstance(event, Content))
    while more := cursor.pull():
        text += "".join(event.data for event in more if isinstance(event, Content))
    assert not cursor.behind
    assert 3 * READ - 1 - len(text) <= max(hold[1], HELD, 0 if hold[0] != "token" else MERGED)
    log.append(Done(run="r1"))
    text += "".join(event.data for event in cursor.pull() if isinstance(event, Content))
    assert text == "w" * (3 * READ - 1)


def test_who_comes_back_far_into_a_log_has_text_held_there() -> None:
    log = Log("e1", [Content("w", seq=seq, run="r1") for seq in range(1, 3 * READ)])
    cursor = Cursor(log, Position("e1", 3 * READ - 6), held("token", 8))
    assert (cursor.behind, cursor.pull(), cursor.behind) == (True, [], False)
    append(log, ("content", "www"))
    assert cursor.pull() == [Content("wwwwwwww", seq=3 * READ, run="r1")]


def test_what_is_held_for_a_time_alone_goes_before_a_frame_gets_too_big() -> None:
    log = Log("e1")
    cursor = Cursor(log, hold=held("token", 0, 10_000))
    for _ in range(40):
        append(log, ("content", "x" * 1000))
        for event in cursor.pull():
            assert isinstance(event, Content)
            assert len(event.data) + 1000 >= MERGED
            return
    pytest.fail("it never went")


def test_nothing_is_held_where_nothing_is_asked_for() -> None:
    assert Hold.of(None, None, None, float) is None
    assert Hold.of("token", 0, 0, float) is None


def test_what_is_pulled_mid_text_ends_where_a_word_does() -> None:
    assert boundary("one two thr", "word") == len("one two ")
