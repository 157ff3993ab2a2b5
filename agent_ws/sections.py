"""The sections of a progressive answer: announced together, written in order or several at once.

The one rule: what a user says about a section is done in the step in which they say it: from there on nothing of the
old attempt is shown, however long it takes to go. Must not know: turns, what writes a section.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import anyio

from .errors import BracketError
from .events import Outline, Section, SectionEnd, SectionStart
from .run import Part, Run


class Sections:
    """Writes sections, each as often as the user asks for it.

    agent: who speaks. titles: id to title, in the order of the outline. write: writes one, the n-th time.
    """

    def __init__(
        self, run: Run, agent: str | None, titles: Mapping[str, str], write: Callable[[str, int], Awaitable[None]]
    ) -> None:
        self._run = run
        self._writer = run.writer
        self._agent = agent
        self._titles = titles
        self._write = write
        self._queue = list(titles)
        """To be written, for the first time or again."""
        self._open: dict[str, anyio.CancelScope] = {}
        """Being written, or stopped and not gone yet."""
        self._times = dict.fromkeys(titles, 0)
        """How often each was begun."""
        self._news = asyncio.Event()

    async def run(self, at_once: int) -> None:
        """Write all of them, `at_once` at a time; return when none is wanted any more. The first that fails ends the
        others, and what it raised is raised.
        """
        parts = {
            ("section", name): Part(lambda n=name: self._skip(n), lambda n=name: self._redo(n)) for name in self._titles
        }
        for key in parts:
            if key in self._run.parts:
                raise BracketError(f"expected one section {key[1]!r} at a time, got a second")
        self._writer.write(Outline(tuple(Section(*entry) for entry in self._titles.items())), self._agent)
        self._run.parts.update(parts)
        try:
            if at_once <= 1:
                await self._work()
            else:
                await self._work_together(min(at_once, len(self._titles)))
        finally:
            for key in parts:
                del self._run.parts[key]

    async def _work_together(self, workers: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(workers):
                    group.create_task(self._work(), name=f"sections {number} {self._run.id}")
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # as where only one is written: a run's error has a code

    async def _work(self) -> None:
        """Write what is wanted, until nothing is nor can be any more."""
        while True:
            name = next((name for name in self._queue if name not in self._open), None)
            if name is not None:
                self._queue.remove(name)
                await self._write_one(name)
                self._news.set()
            elif self._open:
                self._news.clear()
                await self._news.wait()
            else:
                return

    async def _write_one(self, name: str) -> None:
        self._times[name] += 1
        self._writer.write(self._start(name), self._agent)
        with anyio.CancelScope() as scope:
            self._open[name] = scope
            try:
                await self._write(name, self._times[name])
            except (Exception, asyncio.CancelledError):  # cancelled: what it lies in was stopped, or ran out of time
                if name in self._writer.brackets.sections and not self._writer.fenced:
                    self._writer.write(SectionEnd(name, "interrupted"), self._agent)
                raise
            finally:
                del self._open[name]
        self._writer.write(SectionEnd(name), self._agent)  # no news where the user ended it

    def _start(self, name: str) -> SectionStart:
        return SectionStart(name, self._titles[name], redo=True)

    # What the user says

    def _skip(self, name: str) -> bool:
        """One that is open was closed before."""
        if not self._writer.hears(self._agent):
            return False
        if name in self._queue:
            self._queue.remove(name)
            self._writer.skip_unopened(self._start(name), self._agent)
            return True
        return self._stop(name)

    def _redo(self, name: str) -> bool:
        if name in self._queue or not self._writer.hears(self._agent):
            return False
        self._queue.insert(0, name)
        self._news.set()
        self._writer.skip(name, "interrupted")
        self._stop(name)
        return True

    def _stop(self, name: str) -> bool:
        if name not in self._open:
            return False
        self._open[name].cancel()
        return True
