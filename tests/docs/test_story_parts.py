"""How a page's commands and outputs are read."""

import re
from pathlib import Path

import pytest
from frames_shown import frames_of
from pages import Block
from shim import here, port_of
from story import commands, pattern

PORTS = {"8000": 1000, "8001": 1001}


def test_commands_and_what_they_show() -> None:
    assert commands("$ a\nb\n\nc\n$ d \\\n  e\n") == [("a", "b\n\nc\n"), ("d \\\n  e", "")]
    with pytest.raises(AssertionError, match="expected commands"):
        commands("a\n$ b\n")


@pytest.mark.parametrize(
    ("shown", "got", "fits"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a…c\n", "abbc\n", True),
        ("a…c\n", "ab\nbc\n", False),
        ("…\nc\n", "a\nb\nc\n", True),
        ("…\nc\n", "c\n", True),
        ("…\nc\n", "a\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_an_output_is_compared(shown: str, got: str, fits: bool) -> None:  # noqa: FBT001 - a table
    assert (re.fullmatch(pattern(shown), got) is not None) is fits


@pytest.mark.parametrize(
    ("typed", "port", "done"),
    [
        ("serve a:b", "8000", "serve a:b --port 1000"),
        ("serve a:b --port 5", "5", "serve a:b --port 5"),
        ("record f", "8001", "record f http://127.0.0.1:1000 --port 1001"),
        ("replay f --to http://x", None, "replay f --to http://x"),
        ("replay f", "8000", "replay f --port 1000"),
        ("chat", None, "chat http://127.0.0.1:1000"),
        ("play f", None, "play f"),
    ],
)
def test_a_port_that_is_not_said_is_this_machines(typed: str, port: str | None, done: str) -> None:
    assert port_of(["agent-ws", *typed.split()]) == port
    assert here(typed.split(), PORTS) == done.split()


def test_a_file_says_its_name_in_its_first_line() -> None:
    def named(text: str) -> str | None:
        return Block(Path(), 1, "python", text).name

    assert named("# a/b.py\nx") == "a/b.py"
    assert named("# Caddyfile\nx") == "Caddyfile"
    assert named("# A comment.\nx") is None
    assert named("x\n# a.py\n") is None


def test_a_frame_with_a_field_that_is_none_is_no_frame() -> None:
    assert frames_of({"type": "pause"}) == ["Pause"]
    assert frames_of({"type": "pause", "ron": "r1"}) == []
