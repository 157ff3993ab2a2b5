"""Random logs, written by the server's own writer: every event, in every lawful order.

The one rule: a seed is a log.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, get_args

from agent_ws.errors import RunError
from agent_ws.events import (
    Call,
    Content,
    Done,
    Ending,
    Error,
    Event,
    Interrupted,
    Outcome,
    Outline,
    Request,
    Resolved,
    Section,
    SectionEnd,
    SectionStart,
    Seen,
    Settled,
    Start,
    State,
    Status,
    TaskFate,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
    Usage,
    User,
)
from agent_ws.log import Log
from agent_ws.settings import Limits
from agent_ws.writer import Writer

NAMES = ("x", "y", "z")
AGENTS = (None, None, None, "bob", "ann")
LETTERS = "ab .\né🙂👩‍🚀"
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
STATES: tuple[State, ...] = ("working", "retrying", "fallback", "degraded")
TASKS: tuple[TaskFate, ...] = get_args(TaskFate)


def random_log(seed: int) -> list[Event]:
    """One to four runs; the last may still be going."""
    return _Story(Random(seed)).tell()


class _Story:
    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._log = Log("e1")
        self._now = 0.0
        self._messages = 0
        self._queue: list[str] = []
        """Runs that wait."""
        self._cut: str | None = None
        """The last run, where it can be continued."""
        self._steers: list[str] = []
        """Messages that the agent has not taken."""

    def tell(self) -> list[Event]:
        dice = self._dice
        for number in range(dice.randint(1, 4)):
            run = self._queue.pop(0) if self._queue else self._said(f"r{self._messages}", self._next())
            self._tell(run, whole=number < 3 or dice.random() < 0.5)
        return self._log.read(0)

    def _tell(self, run: str, *, whole: bool) -> None:
        dice = self._dice
        writer = Writer(self._log, run, limits=Limits(), wall=self._clock, tick=self._clock)
        started = dice.random() < 0.9
        if started:
            self._log.append(Start(run=run, at=self._clock()))
            for _ in range(dice.choice((3, 20, 60))):
                with suppress(RunError):  # out of place: refused, and nothing was written
                    dice.choices(*self._acts(writer, run))[0]()
                if dice.random() < 0.3:
                    self._log.read(0)  # who has read it keeps the tail from growing
        if not whole:
            return
        ending = self._ending(writer)
        self._cut = run if started and isinstance(ending, Interrupted) else None
        writer.end(ending)
        for message in self._steers if dice.random() < 0.5 else ():
            self._log.append(User(message, "moved", run=f"r{message}", at=self._clock()))
            self._queue.append(f"r{message}")
        self._steers.clear()
        self._log.append(
            Settled(
                dice.choice(TASKS),
                run=run,
                at=self._clock(),
                tools=writer.fates(gone=dice.random() < 0.5),
                chars=writer.chars,
                usage=dice.choice((None, Usage(input_tokens=3))),
            )
        )
        for _ in range(dice.choice((0, 0, 1, 2))):
            self._log.append(Seen(dice.randint(0, writer.chars + 1), run=run))

    def _acts(self, writer: Writer, run: str) -> tuple[list[Callable[[], Any]], list[int]]:
        """What may happen next, and how often."""
        dice = self._dice
        name, agent, section = dice.choice(NAMES), dice.choice(AGENTS), dice.choice((None, None, *NAMES))
        words = "".join(dice.choices(LETTERS, k=dice.randint(0, 5)))
        acts: list[tuple[int, Callable[[], Any]]] = [
            (10, lambda: writer.text(Content, words, agent, section)),
            (4, lambda: writer.text(Thinking, words, agent, section)),
            (1, lambda: writer.write(Tools((Call(name, f"tool {name}"),)), agent)),
            (2, lambda: writer.write(ToolStart(name, f"tool {name}", {"q": words}), agent)),
            (3, lambda: writer.write(ToolStart(name, f"tool {name}", waits=True), agent)),
            (3, lambda: writer.write(ToolInput(name, words or "{}"), agent)),
            (2, lambda: writer.write(ToolRun(name, {"q": words}), agent)),
            (4, lambda: writer.write(ToolResult(name, dice.choice(OUTCOMES), words), agent)),
            (1, lambda: writer.write(Outline((Section("x", "First"), Section(name, "Title"))), agent)),
            (4, lambda: writer.write(SectionStart(name, dice.choice(("", "Title")), redo=dice.random() < 0.5), agent)),
            (2, lambda: writer.write(SectionEnd(name), agent)),
            (1, lambda: writer.skip(name)),
            (1, lambda: writer.put(Request(name, "question", "Well?", agent=agent, at=self._clock()))),
            (1, lambda: writer.put(Resolved(name, "replied", {"text": words}, agent=agent))),
            (1, lambda: writer.write(Status(dice.choice(STATES), words, attempt=dice.randint(0, 2)), agent)),
            (3, lambda: writer.write(Status("reset", chars=dice.randint(0, 9), thinking=dice.randint(0, 5)), agent)),
            (1, lambda: writer.end_part(agent or "bob", Status(dice.choice(("finished", "failed", "stopped"))))),
            (1, lambda: writer.begin_part(agent or "bob")),
            (1, self._queued),
            (1, lambda: self._steer(run)),
            (1, lambda: self._taken(writer, agent)),
        ]
        return [act for _, act in acts], [often for often, _ in acts]

    def _next(self) -> str | None:
        """What the next run goes on with."""
        return self._cut if self._dice.random() < 0.5 else None

    def _said(self, run: str, continues: str | None = None) -> str:
        self._messages += 1
        data = f"said {self._messages}" if continues is None else ""
        self._log.append(User(f"c{self._messages}", data, run=run, at=self._clock(), continues=continues))
        return run

    def _queued(self) -> None:
        if len(self._queue) < 2:
            self._queue.insert(self._dice.randint(0, len(self._queue)), self._said(f"q{self._messages}"))

    def _steer(self, run: str) -> None:
        self._messages += 1
        message = f"c{self._messages}"
        self._log.append(User(message, "and this", run=run, steer=True, at=self._clock()))
        self._steers.append(message)

    def _taken(self, writer: Writer, agent: str | None) -> None:
        if self._steers:
            writer.write(Status("steered", id=self._steers.pop(0)), agent)

    def _ending(self, writer: Writer) -> Ending:
        dice = self._dice
        return dice.choice(
            (
                Done(stop_reason="end_turn"),
                Error("agent_error", "It failed."),
                Interrupted(),
                Interrupted(reason="superseded", seen=dice.randint(0, writer.chars + 1)),
            )
        )

    def _clock(self) -> float:
        self._now += 1.0
        return self._now
