"""The cursor: whatever a client asks for and wherever it comes back, the text is the log's, whole and once."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_ws.cursor import READ, Cursor
from agent_ws.events import Content, Done, Event, Start, Status, Thinking
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
@given(pieces, st.lists(st.booleans(), min_size=12, max_size=12), modes)
def test_whatever_the_splitting_the_text_is_the_same(events: list[Piece], reads: list[bool], mode: ChunkMode) -> None:
    log = Log("e1")
    cursor = Cursor(log, chunk=mode)
    pulled: list[Event] = []
    for piece, read in zip(events, reads, strict=False):
        append(log, piece)
        if read:
            pulled += cursor.pull()
    log.append(Done(run="r1"))  # the run's end: nothing is held back any more
    pulled += cursor.pull()
    assert flat(pulled) == flat(log.read(0))
    assert all(event.data for event in pulled if isinstance(event, Content | Thinking))
    assert not cursor.behind
    assert cursor.pull() == []


@tries
@given(pieces, st.lists(st.booleans(), min_size=12, max_size=12), modes, modes)
def test_a_client_may_come_back_at_every_position_that_it_was_given(
    events: list[Piece], reads: list[bool], mode: ChunkMode, then: ChunkMode
) -> None:
    log = written(events, read_between=reads)
    cursor = Cursor(log, chunk=mode)
    places: list[tuple[Position, int]] = [(Position("e1", 0), 0)]
    pulled = cursor.pull()
    for i, event in enumerate(pulled, 1):
        places.append((Position("e1", event.seq, event.part if isinstance(event, Content | Thinking) else 0), i))
    log.append(Done(run="r1"))
    everything = flat(log.read(0))
    for place, received in places:
        back = Cursor(log, place, then)
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
    cursor = Cursor(log, chunk="word")
    seen: list[tuple[str, int, int]] = []
    for data in ("Hel", "lo wor", "ld", " and", " more"):
        log.append_text(Content, "r1", data, None, None)
        seen += [(event.data, event.seq, event.part) for event in cursor.pull() if isinstance(event, Content)]
    assert seen == [("Hello ", 1, 3), ("world ", 3, 1), ("and ", 4, 1)]
    assert Cursor(log, Position("e1", 3, 1)).pull() == [Content("and more", seq=5, run="r1")]


def test_text_without_an_end_is_not_held_for_ever() -> None:
    log = Log("e1")
    cursor = Cursor(log, chunk="sentence")
    log.append_text(Content, "r1", "x" * HELD, None, None)
    assert cursor.pull() == []
    log.append_text(Content, "r1", "x", None, None)
    assert [len(event.data) for event in cursor.pull() if isinstance(event, Content)] == [HELD + 1]


@pytest.mark.parametrize("mode", get_args(ChunkMode))
def test_a_long_log_comes_in_pieces_and_whole(mode: ChunkMode) -> None:
    log = Log("e1", [Content(f"w{seq} ", seq=seq, run="r1") for seq in range(1, 3 * READ)])
    cursor = Cursor(log, chunk=mode)
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


def test_what_is_pulled_mid_text_ends_where_a_word_does() -> None:
    assert boundary("one two thr", "word") == len("one two ")
