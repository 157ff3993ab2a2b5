"""The suite can fail: a server that breaks a promise is told, by a case under that promise."""

from collections.abc import Callable
from typing import Any

import pytest

from agent_ws.agents.obedient import obedient
from agent_ws.conformance.cases import cases
from agent_ws.conformance.suite import check
from agent_ws.cursor import Hold
from agent_ws.log import Log, Position
from agent_ws.run import Run
from agent_ws.scenarios.served import serving
from agent_ws.scenarios.stage import Target
from agent_ws.server import websocket
from agent_ws.session import Session
from agent_ws.settings import Limits, Settings
from agent_ws.writer import Writer

Patch = Callable[[pytest.MonkeyPatch], None]
USUAL = Limits()


def ignored(*_: object) -> None:
    """What does nothing."""


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """What an agent writes behind its ending goes into the log."""
    end = Writer.end

    def ends(self: Writer, ending: Any) -> bool:
        ended = end(self, ending)
        self.fenced = False
        return ended

    patch.setattr(Writer, "end", ends)


def any_run(patch: pytest.MonkeyPatch) -> None:
    """A Stop that names a run stops whatever goes."""
    interrupt = Session.interrupt

    def interrupts(self: Session, run: str | None = None, **more: Any) -> list[str]:
        del run
        return interrupt(self, None, **more)

    patch.setattr(Session, "interrupt", interrupts)


def leaving_stops(patch: pytest.MonkeyPatch) -> None:
    """Who leaves stops the run."""
    enter = Session.enter

    def enters(self: Session, *arguments: Any) -> Callable[[], None]:
        leave = enter(self, *arguments)

        def leaves() -> None:
            leave()
            self.interrupt(reason="gone")

        return leaves

    patch.setattr(Session, "enter", enters)


def never_reset(patch: pytest.MonkeyPatch) -> None:
    """A cursor that can't be honoured is honoured."""
    patch.setattr(Log, "check", ignored)


def one_too_many(patch: pytest.MonkeyPatch) -> None:
    """Who comes back gets the last event again."""

    def before(epoch: str, seq: int, part: int = 0) -> Position:
        return Position(epoch, max(0, seq - 1), part)

    patch.setattr(websocket, "Position", before)


def seen_is_nothing(patch: pytest.MonkeyPatch) -> None:
    """What was seen is not heard."""
    interrupt = Run.interrupt

    def interrupts(self: Run, reason: str, seen: int | None = None) -> bool:
        del seen
        return interrupt(self, reason)

    patch.setattr(Run, "interrupt", interrupts)


def run_twice(patch: pytest.MonkeyPatch) -> None:
    """A message that comes again is another one."""
    take = Session.take

    def takes(self: Session, *arguments: Any, **more: Any) -> Any:
        forget: Any = self
        forget._messages.clear()  # noqa: SLF001 - what is broken is inside
        return take(self, *arguments, **more)

    patch.setattr(Session, "take", takes)


def no_pieces(patch: pytest.MonkeyPatch) -> None:
    """What a client asks for as pieces is not done."""
    patch.setattr(Hold, "of", ignored)


def nothing(_: pytest.MonkeyPatch) -> None:
    """Where the settings break it."""


MUTANTS: list[tuple[int, Patch, Limits, str]] = [
    (1, no_fence, USUAL, "After interrupted"),
    (2, any_run, USUAL, "A late Stop that names its run"),
    (3, leaving_stops, USUAL, "A connection that is reset is not a Stop"),
    (4, never_reset, USUAL, "A cursor beyond the log"),
    (4, one_too_many, USUAL, "Who lacks nothing gets nothing"),
    (5, seen_is_nothing, USUAL, "What was not seen is not told"),
    (6, run_twice, USUAL, "A message that is sent twice is run once"),
    (7, no_pieces, USUAL, "Whole words are sent"),
    (8, nothing, Limits(bad_frames=1000), "The tenth bad frame closes"),
]
CONTROLS = ("A message where nothing goes is started", "A ping without data is answered without data")
"""Cases that pass all the same: the server is broken where it is said to be, and works otherwise."""


@pytest.mark.parametrize(("promise", "breaks", "limits", "told"), MUTANTS, ids=[m[1].__name__ for m in MUTANTS])
async def test_a_server_that_breaks_a_promise_is_told(
    promise: int, breaks: Patch, limits: Limits, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    chosen = [case for case in cases() if case.title.startswith((told, *CONTROLS))]
    async with serving(obedient, Settings(limits=limits)) as url:
        outcomes = await check(chosen, Target(url=url, patience=0.5))
    (failed,) = [outcome.script for outcome in outcomes if outcome.result == "failed"]
    assert failed.title.startswith(told)
    assert failed.head.promise == promise
    assert len(outcomes) == 1 + len(CONTROLS)


async def test_a_server_that_has_too_many_new_sessions_is_given_time() -> None:
    script = next(case for case in cases() if "obedient" not in case.head.needs and not case.head.needs)
    async with serving(obedient, Settings(limits=Limits(session_burst=2, session_rate=20.0))) as url:
        outcomes = await check([script] * 8, Target(url=url, has=frozenset(("open", "obedient"))), rest=0.1)
    assert [outcome.result for outcome in outcomes] == ["passed"] * 8
