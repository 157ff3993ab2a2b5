"""What an agent gets: the message, the history, and every way to answer.

The one rule: a turn can write only while its run goes on; after that each method raises `Fenced`. Methods without
`async` never wait. All are for the event loop's thread: from another one go through `loop.call_soon_threadsafe`.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar, cast

import anyio
from msgspec import Struct

from .brackets import ID_CHARS
from .errors import BracketError, Fenced, RunError, ToolTimeout
from .events import (
    Call,
    Content,
    Emitted,
    Outcome,
    Outline,
    Request,
    RequestKind,
    Resolved,
    Section,
    SectionEnd,
    SectionStart,
    State,
    Status,
    Thinking,
    ToolInput,
    ToolResult,
    ToolRun,
    Tools,
    ToolStart,
    Usage,
)
from .history import GO_ON, Message, continued
from .run import Part, Run
from .sections import Sections
from .settings import Limits, Timeouts

T = TypeVar("T")


class ToolCall:
    """A tool call in progress, inside `Turn.tool`. Set `output`, and `outcome` where it is not `ok`."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.output = ""
        self.outcome: Outcome = "ok"
        self.stopped = threading.Event()
        """Set when the call is over, also because it was stopped: for work in a thread, which nothing can cancel."""


class Over(Protocol):
    """Says that work is over which went on without its run, see `Turn.outlives`. The first call counts."""

    def __call__(self, *, finished: bool = True) -> None:
        """finished: it came to its own end."""
        ...


class Mark(Struct, frozen=True):
    """How much an agent had written at a moment, see `Turn.mark`."""

    chars: int
    thinking: int
    waiting: frozenset[str]
    sections: frozenset[str]
    ran: int
    heard: int


class Turn:
    """One message to answer.

    message: the text. history: the conversation before it, valid for a model. continues: the text of the answer that
    is to go on, as far as the user saw it; then the history ends with it, and the message says so in words for a model.
    None: it begins an answer. session, run: ids, for logs and for keying the agent's own state. name: this agent's
    label where several speak, else None.
    """

    def __init__(
        self,
        run: Run,
        *,
        session: str,
        history: tuple[Message, ...],
        timeouts: Timeouts,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        name: str | None = None,
        continues: str | None = None,
    ) -> None:
        self.message = run.message.data if continues is None else GO_ON
        self.history = history
        self.continues = continues
        self.session = session
        self.run = run.id
        self.name = name
        self._run = run
        self._timeouts = timeouts
        self._new_id = new_id
        self._wall = wall
        self._heard = 0
        """Messages that were taken by `steered`."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The history and the message, as a model takes them: roles alternate, the last is the user's."""
        if self.continues is not None and self.history and self.history[-1].role == "user":
            return self.history  # nothing of the answer was seen, or a tool's output was the last: there it goes on
        return continued(self.history, self.message)

    @property
    def timeouts(self) -> Timeouts:
        """The server's time limits."""
        return self._timeouts

    @property
    def limits(self) -> Limits:
        """The server's other limits."""
        return self._run.limits

    # Writing

    def write(self, item: str | Emitted) -> None:
        """Write any event that an agent may make; a `str` is text."""
        self._run.writer.write(item, self.name)

    def content(self, data: str, section: str | None = None) -> None:
        """Append to the answer."""
        self._run.writer.text(Content, data, self.name, section)

    def thinking(self, data: str, section: str | None = None) -> None:
        """Append to the reasoning that is shown apart from the answer."""
        self._run.writer.text(Thinking, data, self.name, section)

    def outline(self, **titles: str) -> None:
        """Announce the sections that are going to fill in: id=title."""
        self.write(Outline(tuple(Section(section, title) for section, title in titles.items())))

    def tools(self, **names: str) -> None:
        """Announce tool calls: id=name. One that never starts is reported as such."""
        self.write(Tools(tuple(Call(tool, name) for tool, name in names.items())))

    def status(self, state: State, detail: str = "", *, attempt: int = 0, streamed: bool = True) -> None:
        """Show what is going on."""
        self.write(Status(state, detail, attempt=attempt, streamed=streamed))

    def take_back(self, chars: int, thinking: int = 0) -> None:
        """Take back the last `chars` characters of this agent's text, and `thinking` of its thinking: no failed attempt
        shows beside the next.
        """
        self.write(Status("reset", chars=chars, thinking=thinking))

    def mark(self) -> Mark:
        """Where an attempt begins that may have to be taken back."""
        writer = self._run.writer
        chars, thinking = writer.size(self.name)
        return Mark(
            chars,
            thinking,
            frozenset(writer.brackets.waiting),
            frozenset(writer.brackets.sections),
            writer.ran,
            self._heard,
        )

    def take_back_to(self, mark: Mark) -> None:
        """Take back what this agent has written since `mark`: its calls that still wait are withdrawn, and sections
        that are open are ended, so that another attempt can begin them anew.
        """
        brackets = self._run.writer.brackets
        for section, by in tuple(brackets.sections.items()):
            if by == self.name and section not in mark.sections:
                self.write(SectionEnd(section, "interrupted"))
        for tool, by in tuple(brackets.tools.items()):
            if by == self.name and tool in brackets.waiting - mark.waiting:
                self.end_tool(tool, "withdrawn")
        chars, thinking = self._run.writer.size(self.name)
        if chars > mark.chars or thinking > mark.thinking:
            self.take_back(max(0, chars - mark.chars), max(0, thinking - mark.thinking))

    def ran_tools_since(self, mark: Mark) -> bool:
        """Whether any tool of the run has begun to run since: what follows can't be tried again as if nothing was."""
        return self._run.writer.ran > mark.ran

    def heard_since(self, mark: Mark) -> bool:
        """Whether this agent has taken since what the user said: the next attempt would not be told."""
        return self._heard > mark.heard

    @property
    def written(self) -> int:
        """How many times the run's agents have written."""
        return self._run.writer.events

    @property
    def idle_since(self) -> float | None:
        """When the run's agents last wrote, on the loop's clock. None while a tool runs or the user is asked: then it
        isn't for them to go on.
        """
        run = self._run
        return None if run.writer.tool_since or run.requests else run.writer.touched

    def report(self, usage: Usage | None = None, stop_reason: str = "") -> None:
        """Tell what the provider counted so far; it goes into the ending and the receipt. Usage adds up."""
        if usage is not None:
            self._run.usage = usage if self._run.usage is None else self._run.usage + usage
        if stop_reason:
            self._run.stop_reason = stop_reason

    # Doing

    def begin_tool(self, name: str, tool: str | None = None) -> str:
        """Show a call that the model has begun to write; it runs when `tool` is entered with the id returned here, or
        ends by `end_tool`.
        """
        tool = tool or self._new_id()
        self.write(ToolStart(tool, name, waits=True))
        return tool

    def tool_input(self, tool: str, data: str) -> None:
        """Show the next piece of a waiting call's input, JSON text as the model writes it."""
        if data:
            self.write(ToolInput(tool, data))

    def end_tool(self, tool: str, outcome: Outcome, output: str = "") -> None:
        """End a call that waits and is not going to run: `denied`, `withdrawn`, or an `error` in its input."""
        self.write(ToolResult(tool, outcome, output))

    @asynccontextmanager
    async def tool(
        self, name: str, input: Any = None, *, tool: str | None = None, timeout: float | None = None
    ) -> AsyncGenerator[ToolCall]:
        """Run a tool call inside: `tool_start` now (`tool_run`, where `tool` is a call that waits), `tool_result` at
        the end, whatever the end.

        Raises `ToolTimeout` after `timeout` seconds (default: the setting), having written the result; catch it to go
        on. Any other exception from inside is written as the outcome `error` and raised on. The time that a user takes
        to answer counts too: ask before, or give a tool that asks inside a longer limit.
        """
        call = ToolCall(tool or self._new_id())
        limit = self._timeouts.tool if timeout is None else timeout
        self._run.tool_limits[call.tool] = limit
        if call.tool in self._run.writer.brackets.waiting:
            self.write(ToolRun(call.tool, input))
        else:
            self.write(ToolStart(call.tool, name, input))
        if call.tool not in self._run.writer.brackets.tools:
            # The agent, one of several, was stopped: that went nowhere, and its cancellation is on its way here. What
            # has not begun must not begin.
            raise asyncio.CancelledError
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                yield call
        except TimeoutError:
            expired = scope.expired()
            self.write(ToolResult(call.tool, "timeout" if expired else "error"))
            if expired:
                raise ToolTimeout(f"The tool {name} was expected to finish within {limit:g} s and did not.") from None
            raise
        except asyncio.CancelledError:
            if call.tool in self._run.writer.brackets.tools and not self._run.writer.fenced:
                self.write(ToolResult(call.tool, "interrupted"))  # only this part was stopped
            raise
        except Fenced:
            raise
        except Exception:  # whatever the tool's failure is, its bracket is closed before the agent may cope with it
            self.write(ToolResult(call.tool, "error", call.output))
            raise
        finally:
            call.stopped.set()
        self.write(ToolResult(call.tool, call.outcome, call.output))

    def outlives(self, tool: str) -> Over:
        """Work of this call goes on whatever becomes of the run, in a thread for example: until what is returned here
        is called, the receipt says that it runs.
        """
        writer = self._run.writer
        writer.outliving.append(tool)
        going = True

        def over(*, finished: bool = True) -> None:
            nonlocal going
            if not going:
                return
            going = False
            writer.outliving.remove(tool)
            if finished and tool not in writer.brackets.tools:  # its result was written without it
                writer.finished_late(tool)

        return over

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that may outlive the run; only the server's shutdown cancels it. What it raises is
        logged by type.
        """
        return self._run.tasks.spawn(work, name)

    @asynccontextmanager
    async def section(self, section: str, title: str = "") -> AsyncGenerator["TurnSection"]:
        """Write a section inside. An interrupt that names it leaves the block at its next wait; what follows the
        block goes on.
        """
        self.write(SectionStart(section, title))
        with self._part("section", section) as scope:
            try:
                yield TurnSection(self, section)
            except (Exception, asyncio.CancelledError):  # cancelled: what it lies in was stopped, or ran out of time
                if section in self._run.writer.brackets.sections and not self._run.writer.fenced:
                    self.write(SectionEnd(section, "interrupted"))
                raise
        if not scope.cancelled_caught:
            self.write(SectionEnd(section))

    async def sections(self, *, at_once: int = 1, **parts: tuple[str, "Write"]) -> None:
        """Announce sections, id=(title, what writes it), and write them in that order, `at_once` at a time.

        Each can be skipped by an interrupt that names it, also before it has begun; and until the last one is done,
        each that was begun can be written again (`redo`), also after it has ended. Then what writes it is called once
        more, with a section whose `attempt` is higher. The first that raises ends them all.
        """

        async def write(name: str, attempt: int) -> None:
            section = TurnSection(self, name, attempt)
            try:
                await _run_to_end(parts[name][1], section, section.write, None)
            finally:
                section.over = True

        await Sections(self._run, self.name, {name: title for name, (title, _) in parts.items()}, write).run(at_once)

    async def ask(
        self, kind: RequestKind, prompt: str, *, data: Any = None, tool: str | None = None, timeout: float | None = None
    ) -> Any:
        """Ask the user and wait. Returns the reply's data, or None when nobody answered within `timeout` seconds."""
        request = self._new_id()
        limit = self._timeouts.reply if timeout is None else timeout
        at = self._wall()
        self._run.writer.put(Request(request, kind, prompt, tool, data, at=at, expires=at + limit, agent=self.name))
        future = self._run.requests[request] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limit):
                return await future
        except TimeoutError:
            if future.done() and not future.cancelled():
                return future.result()  # the reply came in the same tick, and everybody was told of it
            if request in self._run.writer.brackets.requests or self._run.writer.fenced:
                self._run.writer.put(Resolved(request, "expired", agent=self.name))
            return None
        except asyncio.CancelledError:
            if request in self._run.writer.brackets.requests and not self._run.writer.fenced:
                self._run.writer.put(Resolved(request, "cancelled", agent=self.name))  # only this part was stopped
            raise
        finally:
            del self._run.requests[request]

    def steered(self) -> list[str]:
        """Take what the user has said since the run began, oldest first: at a step's boundary, before the next
        request to a model.
        """
        run = self._run
        taken, run.steering = run.steering, []
        self._heard += len(taken)
        for message in taken:
            self.write(Status("steered", id=message.id))
        return [message.data for message in taken]

    async def wait_steered(self) -> list[str]:
        """Wait until the user says more, and take it."""
        await self._run.wait_steering()
        return self.steered()

    @asynccontextmanager
    async def upstream(self) -> AsyncGenerator[None]:
        """Hold a connection to a provider inside: the receipt tells whether it was closed."""
        self._run.upstream_used = True
        self._run.upstreams += 1
        try:
            yield
        finally:
            self._run.upstreams -= 1

    async def together(self, **agents: "Agent") -> None:
        """Run several agents at once, each labelled by its keyword; return when all have ended.

        Each can be interrupted alone. One that fails says so (`status` *failed*) and the others go on. A name may be
        used again once its agent has ended.
        """
        async with asyncio.TaskGroup() as group:
            for name, agent in agents.items():
                group.create_task(self._one_of_several(name, agent), name=f"agent {self.run} {name}")

    async def _one_of_several(self, name: str, agent: "Agent") -> None:
        turn = Turn(
            self._run,
            session=self.session,
            history=self.history,
            timeouts=self._timeouts,
            new_id=self._new_id,
            wall=self._wall,
            name=name,
            continues=self.continues,
        )
        writer = self._run.writer
        with self._part("agent", name):
            writer.begin_part(name)
            try:
                await drive(agent, turn)
            except Fenced:
                raise
            except asyncio.CancelledError:
                if not writer.fenced:
                    writer.end_part(name, Status("stopped"))
                raise
            except RunError as error:
                ending = Status("failed", str(error))
            except BaseException as error:  # noqa: BLE001 - it must not end the others, nor a SystemExit the server
                ending = Status("failed", f"The agent failed ({type(error).__name__}).")
            else:
                ending = Status("finished")
            writer.end_part(name, ending)

    @contextmanager
    def _part(self, kind: str, name: str) -> Generator[anyio.CancelScope]:
        """A cancel scope that an interrupt finds by name."""
        if not 0 < len(name) <= ID_CHARS:
            raise BracketError(f"expected a name of 1 to {ID_CHARS} characters for the {kind}, got {len(name)}")
        key = (kind, name)
        if key in self._run.parts:
            raise BracketError(f"expected one {kind} {name!r} at a time, got a second")
        with anyio.CancelScope() as scope:
            self._run.parts[key] = Part(lambda: scope.cancel() or True)
            try:
                yield scope
            finally:
                del self._run.parts[key]


class TurnSection:
    """An open section to write into.

    section: its id. attempt: 2 and more where the user asked for it again. over: what is written now is late, and
    dropped.
    """

    def __init__(self, turn: Turn, section: str, attempt: int = 1) -> None:
        self.section = section
        self.attempt = attempt
        self.over = False
        self._turn = turn

    def content(self, data: str) -> None:
        """Append to the section's text."""
        if not self.over:
            self._turn.content(data, self.section)

    def thinking(self, data: str) -> None:
        """Append to the section's reasoning."""
        if not self.over:
            self._turn.thinking(data, self.section)

    def write(self, item: str | Emitted, _: str | None = None) -> None:
        """Append a `str`, or write any event that an agent may make."""
        if isinstance(item, str):
            self.content(item)
        elif not self.over:
            self._turn.write(item)


Write = Callable[[TurnSection], AsyncIterator[str | Emitted] | Awaitable[str | None]]
"""What writes a section, in the forms of an agent."""
Agent = Callable[[Turn], AsyncIterator[str | Emitted] | Awaitable[str | None]]
"""An agent: an async generator function that yields text and events, or an async function that writes to the turn (a
returned `str` is the answer, or its end). It is cancelled when its run is interrupted; its `finally` blocks run, its
late writes are refused."""

BREATH = 32
"""Items after which an agent that never waits lets the others run. Small enough that a Stop is acknowledged within a
tick.
"""


def drive(agent: Agent, turn: Turn) -> Coroutine[Any, Any, None]:
    """Run `agent` on `turn` to its end.

    A generator is closed before that is over, in the task that iterated it.
    """
    # Past `turn.write`: on the path of every token each call counts.
    return _run_to_end(agent, turn, turn._run.writer.write, turn.name)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _run_to_end(
    agent: "Callable[[T], AsyncIterator[str | Emitted] | Awaitable[str | None]]",
    given: T,
    write: Callable[[str | Emitted, str | None], None],
    name: str | None,
) -> None:
    # All in one coroutine: each that lies between a task and its agent is woken and left with every token.
    items = agent(given)
    if not isinstance(items, AsyncIterator):
        if not isinstance(items, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance] - agents are user code
            got = type(items).__name__
            raise RunError(f"expected an async function or an async generator as agent, got one that returns {got}")
        text = await items
        if isinstance(text, str):
            write(text, name)
        return
    generator = cast("AsyncGenerator[str | Emitted]", items) if isinstance(items, AsyncGenerator) else None
    breath = BREATH
    thrown: asyncio.CancelledError | None = None
    try:
        while True:
            if thrown is not None and generator is not None:
                # It came while the generator stood in a `yield`. It is raised there: a scope around that `yield`, a
                # section or a tool, may be what was cancelled, and goes on behind it.
                try:
                    write(await generator.athrow(thrown), name)
                except StopAsyncIteration:
                    return
            async for item in items:  # cheaper than a call of `__anext__` for each item
                write(item, name)
                breath -= 1
                if not breath:
                    breath = BREATH
                    try:
                        await asyncio.sleep(0)
                    except asyncio.CancelledError as cancelled:
                        if generator is None:
                            raise
                        thrown = cancelled
                        break
            else:
                return
    finally:
        if generator is not None:
            await generator.aclose()
