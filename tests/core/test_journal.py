"""What may be in a line of the log, and how many there may be."""

import ast
import logging
from pathlib import Path
from typing import Any

import pytest

from agent_ws import errors
from agent_ws.errors import AgentError, FrameError, StoreError
from agent_ws.journal import Flood, bug, note, stack

PACKAGE = Path(errors.__file__).parent
SECRET = "canary-70"


def raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301 - here
    except Exception as caught:  # noqa: BLE001 - for its traceback
        return caught


def test_a_line_has_words_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    note(logging.WARNING, "something happened", run="r1", seconds=0.5, count=3)
    (record,) = caplog.records
    assert record.getMessage() == "something happened (run=r1, seconds=0.5, count=3)"
    assert (record.__dict__["what"], record.__dict__["fields"]["run"]) == ("something happened", "r1")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FrameError("expected x, got y"), "it failed: expected x, got y"),
        (StoreError("the disk is full"), "it failed: the disk is full"),
        (AgentError(SECRET), "it failed: agent_error"),
        (ValueError(SECRET), "it failed: ValueError at "),
        (raised(KeyError(SECRET)), f"it failed: KeyError at {__file__}:"),
    ],
)
def test_only_errors_of_ours_tell_their_text(caplog: pytest.LogCaptureFixture, error: Exception, line: str) -> None:
    note(logging.WARNING, "it failed", error=error)
    assert caplog.messages[0].startswith(line)
    assert SECRET not in caplog.text


def test_a_bug_tells_its_stack_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    error = raised(ValueError(SECRET))
    bug("a task failed", error, task="feed")
    assert "(task=feed)" in caplog.messages[0]
    assert caplog.messages[1] == f"its stack: {stack(error)}"
    assert __file__ in caplog.messages[1]
    assert SECRET not in caplog.text


def test_a_field_that_is_not_listed_gets_into_no_line() -> None:
    fields: Any = {"text": SECRET}
    with pytest.raises(TypeError, match="expected fields that a line of the journal has, got text"):
        note(logging.WARNING, "something happened", **fields)


def calls(tree: ast.AST) -> set[str]:
    """The functions of `logging` that are called, by the names of what they are called on."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)):
                found.add(f"{name}.{attribute}")
            case _:
                pass
    return found


SETS_UP = {"server/logs.py", "agents/anthropic.py", "agents/openai.py", "tools/mcp.py"}
"""They set up loggers, and write nothing."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_else_writes_into_the_log(path: Path) -> None:
    if path.name == "journal.py":
        return
    called = calls(ast.parse(path.read_text()))
    if str(path.relative_to(PACKAGE)) not in SETS_UP:
        assert "logging.getLogger" not in called, "write with journal.note: it holds what a line may have"
    for level in ("debug", "info", "warning", "error", "exception", "critical", "log"):
        assert not {f"logging.{level}", f"logger.{level}", f"log.{level}"} & called


# Floods


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def line(name: str = "agent_ws", text: str = "bad frame", **more: Any) -> logging.LogRecord:
    record = logging.LogRecord(name, logging.WARNING, "x.py", 1, text, (), None)
    record.__dict__.update(more)
    return record


def test_a_flood_is_cut_and_counted() -> None:
    clock = Clock()
    flood = Flood(clock)
    passed = sum(flood.filter(line(text=f"bad frame {i}", what="bad frame")) for i in range(10_000))
    assert passed == Flood.RATE.burst
    assert flood.filter(line(text="other", what="other")), "other kinds are told all the same"
    clock.now += 1 / Flood.RATE.per_second
    late = line(text="bad frame", what="bad frame")
    assert flood.filter(late)
    assert late.getMessage() == f"bad frame [and {10_000 - passed} more like it before]"
    clock.now += 1 / Flood.RATE.per_second
    later = line(text="bad frame", what="bad frame")
    assert flood.filter(later)
    assert later.getMessage() == "bad frame", "what was told is not told again"


def test_what_others_say_of_our_clients_is_a_flood_too_and_what_an_agent_says_is_not() -> None:
    flood = Flood(Clock())
    assert sum(flood.filter(line("uvicorn.error", "Invalid HTTP request received.")) for _ in range(1_000)) == 20
    assert sum(flood.filter(line("my.agent", "x")) for _ in range(1_000)) == 1_000


def test_kinds_without_end_are_one_kind() -> None:
    flood = Flood(Clock())
    passed = sum(flood.filter(line("websockets", f"a line with a number: {i}")) for i in range(5_000))
    assert passed == Flood.KINDS + 20
