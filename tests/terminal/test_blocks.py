"""Where Markdown is cut while it is written."""

import pytest
from rich.console import Console
from rich.markdown import Markdown

from agent_ws.terminal.blocks import LIVE, MOST, split, tail

CASES = {
    "nothing": ("", ""),
    "a line that goes on": ("Hello", ""),
    "a paragraph that may go on": ("Hello\nthere\n", ""),
    "a paragraph that can't go on": ("Hello\n\nAnd\n", "Hello\n\n"),
    "the next line is not whole": ("Hello\n\nAnd", ""),
    "a list goes on over an empty line": ("- a\n\n- b\n\n  more\n", ""),
    "a list that is over": ("1. a\n2. b\n\nText\n", "1. a\n2. b\n\n"),
    "code goes on over everything": ("```py\na\n\n# b\n\n- c\n", ""),
    "code that is over": ("```py\na\n```\nText\n", "```py\na\n```\n"),
    "a table": ("| a | b |\n| - | - |\n| 1 | 2 |\n", ""),
    "a table that is over": ("| a |\n| - |\n| 1 |\n\nText\n", "| a |\n| - |\n| 1 |\n\n"),
    "a heading and what follows": ("# Title\n\nText\n", "# Title\n\n"),
    "what becomes a heading in its second line": ("Before\n\nTitle\n===\n", "Before\n\n"),
    "several": ("a\n\nb\n\nc\n\nd\n", "a\n\nb\n\nc\n\n"),
}


@pytest.mark.parametrize(("text", "cut"), CASES.values(), ids=CASES)
def test_it_is_cut_where_nothing_can_be_added(text: str, cut: str) -> None:
    assert split(text) == (cut, text[len(cut) :])


def test_a_block_without_end_is_cut_between_two_lines() -> None:
    line = "x" * 79 + "\n"
    long = line * (MOST // 80)
    assert split(long) == ("", long)
    assert split(f"{long}{line}half") == (f"{long}{line}", "half")
    assert split(f"```py\n{long}{line}half") == (f"```py\n{long}{line}", "```py\nhalf"), "code stays code"
    ended = f"```py\n{long}{line}```\n\n"
    assert split(f"{ended}Text\n") == (ended, "Text\n")
    assert split("x" * 2 * MOST) == ("", "x" * 2 * MOST)
    assert split("x" * (2 * MOST + 1)) == ("x" * (2 * MOST + 1), "")


def test_of_a_long_block_its_end_is_shown_meanwhile() -> None:
    lines = "".join(f"line {n}\n" for n in range(1000))
    assert tail("short") == "short"
    assert tail(lines).endswith("line 999\n")
    assert tail(lines).startswith("line ")
    assert LIVE - 20 < len(tail(lines)) <= LIVE
    assert tail(f"```py\n{lines}").startswith("```py\nline ")
    assert tail("x" * 10_000) == "x" * LIVE


def shown(text: str) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(Markdown(text))
    return capture.get()


def test_it_looks_as_in_one_piece_whenever_it_is_cut() -> None:
    text = "# Title\n\nSome *text*\nof two lines\n\n- a\n- b\n\n  c\n\n> quote\n\n```py\nx = 1\n\ny = 2\n```\n\n"
    text += "| a |\n|---|\n| 1 |\n\nEnd"
    for step in (1, 3, 7, 20):
        pieces: list[str] = []
        rest = ""
        for i in range(0, len(text), step):
            rest += text[i : i + step]
            whole, rest = split(rest)
            pieces += [whole] if whole else []
        assert "".join(pieces) + rest == text
        whole = [line for line in shown(text).splitlines() if line.strip()]
        assert [line for piece in [*pieces, rest] for line in shown(piece).splitlines() if line.strip()] == whole
