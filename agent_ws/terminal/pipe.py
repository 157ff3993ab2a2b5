"""One question, one answer: `echo hi | agent-ws chat`.

The one rule: the output has the answer and nothing else. A file or a pipe gets it when it is whole, because until then
an agent may take text back; a terminal gets each block when it is finished. All else goes to the error output.
"""

import asyncio
import signal
import sys
from contextlib import suppress

from ..client import Client, Closed, Notice, Open, Waiting, Withdrawn
from ..client.actions import Error as Refusal
from ..client.actions import Event as Happened
from ..client.actions import Outcome, Reset, State
from ..client.incoming import Unknown
from ..events import Content, Done, Error, Event, Interrupted, Request, SectionStart, User
from ..fold import Runs, RunView
from ..frames import Rejected
from .clean import clean, line
from .parts import Line, Passage
from .render import ansi
from .transcript import Transcript

PATIENCE_S = 60.0
"""For a server that was there and is gone: nobody sits before a pipe to see that it doesn't come back."""


class Pipe:
    """A question and its answer."""

    def __init__(self, client: Client, columns: int | None) -> None:
        """`columns`: of the terminal that the output is; None: it is none."""
        self._client = client
        self._columns = columns
        self._runs = Runs()
        self._shown = Transcript()
        self._run = ""
        self._stopped = False
        self._lost = False

    async def ask(self, message: str) -> int:
        """Ask and print. Returns the exit status: 0 answered, 1 cut short or refused. Raises `BrokenPipeError`."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        loop.add_signal_handler(signal.SIGINT, self._stop, task)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        status = await self._ask(message, task)
        self._finish()
        return status

    async def _ask(self, message: str, task: asyncio.Task[int]) -> int:
        try:
            return await self._answer(self._client.send(message).id)
        except Closed as error:
            tell(str(error))
        except TimeoutError:
            tell(f"the server has been gone for {PATIENCE_S:g} s; if it comes back, so does --session")
        except asyncio.CancelledError:
            task.uncancel()
            tell("left; what is going goes on at the server, and --session comes back to it")
        return 1

    def _stop(self, task: asyncio.Task[int]) -> None:
        """Ctrl-C: stop the answer; twice: leave."""
        if self._stopped:
            task.cancel()
            return
        self._stopped = True
        tell("stopping; Ctrl-C again leaves")
        with suppress(Closed):
            self._client.interrupt()

    async def _answer(self, message: str) -> int:
        async with asyncio.timeout(None) as limit:
            async for notice in self._client.notices():
                match notice:
                    case State(state=state):
                        self._state(state, limit)
                    case Happened(event=event) if not isinstance(event, Unknown):
                        if isinstance(event, User) and event.id == message:
                            self._run = event.run
                        self._runs.take(event)
                        if event.run == self._run and (status := self._event(event)) is not None:
                            return status
                    case Reset():
                        self._runs = Runs()
                    case _:
                        if self._refused(notice, message):
                            return 1
        return 1

    def _state(self, state: object, limit: asyncio.Timeout) -> None:
        if isinstance(state, Waiting) and not self._lost:
            limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)
            tell("the connection was lost; trying to come back")
        elif isinstance(state, Open) and self._lost:
            limit.reschedule(None)
            tell("the connection is back")
        self._lost = isinstance(state, Waiting) or (self._lost and not isinstance(state, Open))

    def _refused(self, notice: Notice, message: str) -> bool:
        """Whether there will be no answer."""
        match notice:
            case Refusal(error=error):
                tell(f"{error.message} ({error.code})")
            case Outcome(outcome=Rejected(id=said, code=code, message=why)) if said == message:
                tell(f"{why} ({code})")
                return True
            case Outcome(outcome=Withdrawn(id=said)) if said == message:
                tell("stopped before the server had it")
                return True
            case _:
                pass
        return False

    def _event(self, event: Event) -> int | None:
        """Show it. Returns the exit status at the run's end."""
        self._shown.take(event)
        if self._columns is not None:
            shown = [item for item in self._shown.ready() if isinstance(item, Passage) or _is_title(item)]
            write(ansi(shown, self._columns))
        match event:
            case Request(request=request, kind=kind, prompt=prompt):
                tell(f"asked, and answered with no: {line(prompt or kind)}")
                self._client.reply(request, {"approved": False} if kind == "approval" else {"text": ""})
            case Done():
                return 0
            case Interrupted(reason=reason):
                tell(f"stopped ({line(reason)})")
                return 1
            case Error(code=code, message=why):
                tell(f"{why} ({code})")
                return 1
            case _:
                pass
        return None

    def _finish(self) -> None:
        """Print what is not printed yet."""
        view = next((view for view in self._runs.views() if view.run == self._run), None)
        if view is None:
            return
        if self._columns is None:
            write(plain(view))
        else:
            write(ansi([item for item in self._shown.live() if isinstance(item, Passage)], self._columns))


def _is_title(item: object) -> bool:
    return isinstance(item, Line) and item.kind == "title"


def plain(view: RunView) -> str:
    """The answer as text, with a line end. Sections and agents that wrote at the same time come one after another."""
    parts: dict[tuple[str | None, str | None], str] = {}
    titles = {event.section: event.title for event in view.events if isinstance(event, SectionStart)}
    for event, data in view.pieces():
        if isinstance(event, Content):
            key = (event.agent, event.section)
            parts[key] = parts.get(key, "") + data
    written: list[str] = []
    for (_, section), text in parts.items():
        if text.strip():
            title = titles.get(section or "")
            written.append(f"## {title}\n\n{text}" if title else text)
    whole = written[0] if len(written) == 1 else "\n\n".join(text.strip("\n") for text in written)
    return whole if not whole or whole.endswith("\n") else f"{whole}\n"


def write(text: str) -> None:
    """To the output, at once. Raises `OSError`."""
    sys.stdout.write(text)
    sys.stdout.flush()


def tell(text: str) -> None:
    """To the error output, in one line."""
    with suppress(OSError):
        print(f"agent-ws: {clean(line(text, 1000))}", file=sys.stderr, flush=True)  # noqa: T201 - that is its work
