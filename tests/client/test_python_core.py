"""The Python core, on the fixtures that clients in all languages are held to."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent_ws.client.codes import comes_back
from agent_ws.client.core import Core, Ending, Options
from agent_ws.client.incoming import decode
from agent_ws.frames import ClientFrame, Interrupt, Reply, Say

ROOT = Path(__file__).parents[2]
FIXTURES: dict[str, Any] = msgspec.json.decode((ROOT / "tests" / "fixtures" / "client.json").read_bytes())
CASES: list[dict[str, Any]] = FIXTURES["cases"]


def act(core: Core, call: str, given: Any, now: float) -> Any:
    match call:
        case "connect" | "opened" | "quiet" | "wake" | "close":
            happens: Callable[[float], Any] = getattr(core, call)
            return happens(now)
        case "feed":
            frame = decode(msgspec.json.encode(given))
            return core.feed(frame, now) if frame is not None else []
        case "closed":
            return core.closed(msgspec.convert(given, Ending), now)
        case "send":
            return core.send(msgspec.convert(given, Say), now)
        case "interrupt":
            return core.interrupt(msgspec.convert({"type": "interrupt"} | given, Interrupt), now)
        case "nudge":
            return core.nudge(given["why"], now)
        case "withdraw":
            return core.withdraw(given["id"], now)
        case "reply":
            return core.reply(Reply(given["request"], given["data"]), now)
        case "pause":
            return core.pause(given.get("run"), now)
        case "continue":
            return core.continue_(given.get("run"), now)
        case _:
            raise ValueError(f"expected a call of the core, got {call}")


def plain(action: dict[str, Any]) -> dict[str, Any]:
    """The action with its frame as Python prints it: without what is the default."""
    if action["do"] != "send":
        return action
    frame: Any = msgspec.convert(action["frame"], ClientFrame)
    return action | {"frame": msgspec.to_builtins(frame)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_core(case: dict[str, Any]) -> None:
    options = msgspec.convert(case.get("options", {}), Options)
    core = Core(options, cycle(case.get("random", [0.5])).__next__)
    for step in case["steps"]:
        actions = act(core, step["call"], step.get("with", {}), step["at"])
        assert msgspec.to_builtins(actions) == [plain(action) for action in step["then"]], step


@pytest.mark.parametrize(("code", "back"), FIXTURES["comes_back"].items())
def test_the_close_codes_that_one_comes_back_from(code: str, back: bool) -> None:  # noqa: FBT001 - from a table
    assert comes_back(int(code)) is back
