"""Where text may be cut, as a table and as a law."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_ws.streams import ChunkMode, boundary

tries = settings(deadline=None, max_examples=60)
"""A busy machine must not fail them, and all of them together take seconds."""

CUTS: list[tuple[ChunkMode, str, str]] = [
    ("token", "", ""),
    ("token", "hal", "hal"),
    ("word", "", ""),
    ("word", "hal", ""),
    ("word", "half ", "half "),
    ("word", "half a", "half "),
    ("word", "half a\n\n", "half a\n\n"),
    ("word", "one two  thr", "one two  "),
    ("word", " ", " "),
    ("word", "tab\there", "tab\t"),
    ("sentence", "No end", ""),
    ("sentence", "An end.", ""),
    ("sentence", "An end. ", "An end. "),
    ("sentence", "An end. Another", "An end. "),
    ("sentence", "Really?! Yes", "Really?! "),
    ("sentence", 'She said "no." Then', 'She said "no." '),
    ("sentence", "Pi is 3.14 or so", ""),
    ("sentence", "See a.b.c for", ""),
    ("sentence", "a line\nanother", "a line\n"),
    ("sentence", "これは文です。次の", "これは文です。"),
    ("sentence", "「はい。」次", "「はい。」"),
    ("sentence", "Wait… what", "Wait… "),
]


@pytest.mark.parametrize(("mode", "text", "through"), CUTS, ids=lambda value: repr(value)[:40])
def test_cut(mode: ChunkMode, text: str, through: str) -> None:
    assert text[: boundary(text, mode)] == through


@tries
@given(st.text(alphabet="ab .!?\n。”é", max_size=40), st.sampled_from(["token", "word", "sentence"]))
def test_a_cut_lies_in_the_text_and_what_is_left_has_none(text: str, mode: ChunkMode) -> None:
    cut = boundary(text, mode)
    assert 0 <= cut <= len(text)
    assert boundary(text[cut:], mode) == 0
