"""A world for random schedules: the unmodified server on a disk that survives it, and tabs of one session.

The one rule: whoever draws the schedule (`test_stateful`, the proof `schedules`) only calls the verbs of `World`; what
must be true is said here, once. All of it runs on one virtual loop, so that a crash, a slow disk and ten minutes of
silence cost nothing and happen between any two steps.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

from msgspec.structs import replace

from agent_ws import AgentError, Limits, Settings, ToolTimeout, Turn, build_app
from agent_ws.errors import StoreError
from agent_ws.events import ENDINGS, Content, Event, Interrupted, Request, Start, Thinking, ToolResult, ToolStart, User
from agent_ws.log import Epoch, Log
from agent_ws.server.gateway import Gateway
from agent_ws.session import Session
from agent_ws.settings import WhenBusy
from agent_ws.stores import Batch, Mark, MemoryStore, Page, Record, Saved
from agent_ws.streams import ChunkMode, boundary
from agent_ws.testing.client import Client, Closed, Refused, connect, running
from agent_ws.testing.invariants import Broken, Copy, check_copy, check_log

TICK = 0.006
"""Virtual time in which everything has gone on that needs no timer longer than the one that gathers text."""
LONG = 2000.0
"""Longer than every limit of a run together."""
SETTINGS = Settings(limits=Limits(queued=2))


Tell = Callable[[str], None]
"""Takes what happens, in lines."""


# The agent: it plays its message, so a schedule says all there is to say, and a restart forgets nothing

STEPS = "tbhwWkKosqvVrajxXecC"
"""One letter a step; see `_write` and `_wait`. Any other character does nothing, so any text is a message."""

GOES_ON = "tWtjt"
"""What is played where an answer goes on."""


async def play(turn: Turn) -> None:
    """What each letter of the message asks for."""
    for n, step in enumerate(turn.message if turn.continues is None else GOES_ON):
        _write(turn, n, step)
        await _wait(turn, n, step)


def _write(turn: Turn, n: int, step: str) -> None:
    match step:
        case "t":
            turn.content(f"Word {n}. And ")
            turn.content("anoth")
        case "b":
            for i in range(6):
                turn.content(f"{i}")
        case "h":
            turn.thinking(f"hm {n} ")
        case "K":
            turn.tools(**{f"k{n}": "never", f"l{n}": "never"})
        case "o":
            turn.write(ToolStart(f"o{n}", "open", {"n": n}))
            turn.write(ToolStart(f"p{n}", "both"))
            turn.write(ToolResult(f"o{n}", output="half"))
        case "v":
            turn.content(f"er. Heard {len(turn.steered())}. ")
        case "r":
            turn.take_back(4)
        case "j":
            turn.status("working", "on it")
        case "x":
            raise AgentError("The calendar is not connected.")
        case "X":
            raise ValueError("a secret")
        case "e":
            turn.write(ToolResult("nobody", output="?"))
        case _:
            pass


async def _wait(turn: Turn, n: int, step: str) -> None:
    match step:
        case "w":
            await asyncio.sleep(0.2)
        case "W":
            await asyncio.sleep(20)
        case "k":
            await _tool(turn, n)
        case "s":
            async with turn.section(f"s{n}", "A section") as section:
                section.content("inside ")
                await asyncio.sleep(1)
                section.content("still inside ")
        case "q":
            turn.content(f"You said {await turn.ask('question', 'Well?', timeout=30)}. ")
        case "V":
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    turn.content(f"Waited for {len(await turn.wait_steered())}. ")
        case "a" if turn.name is None:
            await turn.together(**{f"x{n}": _one_of_two, f"y{n}": _one_of_two})
        case "c" | "C":
            await _swallow(turn, 3 if step == "c" else 20)
        case _:
            pass


async def _tool(turn: Turn, n: int) -> None:
    with suppress(ToolTimeout):
        async with turn.tool("search", {"n": n}, timeout=5) as call:
            await asyncio.sleep(1 if n % 3 else 7)
            call.output = f"{n} hits"


async def _one_of_two(turn: Turn) -> AsyncGenerator[str]:
    yield f"{turn.name} speaks. "
    await asyncio.sleep(1)
    yield f"{turn.name} ends. "
    if (turn.name or "").startswith("y"):
        raise AgentError("One of two failed.")


async def _swallow(turn: Turn, seconds: float) -> None:
    """Take no notice of being cancelled, and write all the same."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        try:
            await asyncio.sleep(end - loop.time())
        except asyncio.CancelledError:
            with suppress(Exception):
                turn.content("LATE ")
                turn.write(ToolStart("late", "late"))


async def _generate(turn: Turn) -> AsyncGenerator[str]:
    for n, step in enumerate(turn.message):
        yield f"{step}{n} "
        if step == "w":
            await asyncio.sleep(0.2)


def agent(turn: Turn) -> AsyncGenerator[str] | Awaitable[None]:
    """Both forms of an agent."""
    return _generate(turn) if turn.message.startswith("g") else play(turn)


# The disk


class Disk:
    """What outlives the server. A save takes `seconds` and is there at its end, whole, or not at all."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.failing = False
        self._kept = MemoryStore()

    async def land(self, batches: Sequence[Batch]) -> None:
        await self._kept.save(batches)

    async def load(self, session: str) -> Saved | None:
        return await self._kept.load(session)

    async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        return await self._kept.page(owner, words, before, limit)

    def events(self, session: str) -> Sequence[Event]:
        """Now, without waiting: what a crash at this moment would leave."""
        kept = vars(self._kept)["_kept"].get(session)
        return kept.events if kept is not None else ()

    def epochs(self, session: str) -> Sequence[Epoch]:
        kept = vars(self._kept)["_kept"].get(session)
        return kept.epochs if kept is not None else ()


class Drive:
    """One server's way to the disk, until it is cut."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._cut = False
        self.under_way: Sequence[Batch] = ()

    async def open(self) -> None:
        pass

    async def load(self, session: str) -> Saved | None:
        await asyncio.sleep(self._disk.seconds)
        return await self._disk.load(session)

    async def save(self, batches: Sequence[Batch]) -> None:
        self.under_way = batches
        await asyncio.sleep(self._disk.seconds)
        self.under_way = ()
        if self._cut or self._disk.failing:
            raise StoreError("the disk is gone")
        await self._disk.land(batches)

    async def record(self, session: str) -> Record | None:
        saved = await self.load(session)
        return saved and saved.record

    async def page(self, owner: str, words: Sequence[str], before: Mark | None, limit: int) -> Page:
        await asyncio.sleep(self._disk.seconds)
        return await self._disk.page(owner, words, before, limit)

    async def rename(self, session: str, title: str) -> None:
        raise NotImplementedError("no schedule renames")

    async def remove(self, session: str) -> None:
        raise NotImplementedError("no schedule deletes")

    async def close(self) -> None:
        pass

    async def cut(self, *, landed: bool) -> None:
        """The power is gone. `landed`: the save that was under way made it."""
        self._cut = True
        if landed and not self._disk.failing:
            await self._disk.land(self.under_way)


# The tabs

BUFFERS = ((0, 0), (20, 0), (0, 100), (40, 1000))
"""`buffer_chars` and `buffer_ms` of every fourth connection."""


class Tab:
    """One client of the session; its copy outlives its connections."""

    def __init__(self, world: "World", chunk: ChunkMode) -> None:
        self._world = world
        self.copy = Copy()
        self.client: Client | None = None
        self.chunk: ChunkMode = chunk
        self.buffer = BUFFERS[0]
        self.opened = False
        """The `session` frame has come."""
        self.paused = False
        """`pause` may be in force: the copy may lag."""
        self.holding = False
        """`pause` is in force: no event may come."""
        self.closed: int | None = None
        self.unanswered: Counter[str] = Counter()
        """Messages sent on this connection, without an answer yet."""
        self.errors: Counter[str] = Counter()
        """Codes of `error` control frames."""
        self._crashes = 0
        """How often the server had crashed when this copy was last honoured, or begun anew."""
        self._stack = AsyncExitStack()
        self._pump: asyncio.Task[None] | None = None

    @property
    def slow(self) -> bool:
        return self.client is not None and not self.client.reading.is_set()

    async def connect(self, chunk: ChunkMode, when_busy: WhenBusy | None, *, binary: bool) -> None:
        world = self._world
        subprotocols = ["agent-ws.v1.msgpack"] if binary else []
        self._stack = AsyncExitStack()
        try:
            # Both ways by which frames leave, whatever else the schedule draws.
            world.connections += 1
            client = await self._stack.enter_async_context(
                connect(world.app, subprotocols=subprotocols, push=world.connections % 3 > 0)
            )
        except Refused as refused:
            if not world.draining or refused.status != 503:
                raise Broken(f"expected a connection, got HTTP {refused.status}") from refused
            return
        self.client, self.closed, self.opened = client, None, False
        self.unanswered.clear()
        self.chunk = chunk
        self.buffer = BUFFERS[world.connections % len(BUFFERS)]
        hello: dict[str, Any] = {"type": "hello", "chunk": chunk}
        hello |= {name: n for name, n in zip(("buffer_chars", "buffer_ms"), self.buffer, strict=True) if n}
        if when_busy is not None:
            hello["when_busy"] = when_busy
        if world.session:
            hello |= {"session": world.session, "token": world.token} | self.copy.come_back()
        self._pump = asyncio.create_task(self._read(client), name="tab")
        await client.send(hello)

    async def _read(self, client: Client) -> None:
        try:
            while True:
                self._take(await client.receive())
        except Closed as closed:
            self.closed = closed.code
            self.leave()
        except Exception as error:  # noqa: BLE001 - any failure has to reach the schedule, which is in another task
            self._world.broken.append(error)

    def _take(self, frame: dict[str, Any]) -> None:
        world = self._world
        world.facts["frames"] += 1
        world.facts["frames with a part"] += "part" in frame
        if "seq" in frame and self.holding:
            raise Broken(f"expected no event while it is paused, got {frame}")
        self.copy.take(frame)
        match frame["type"]:
            case "session":
                self.opened = True
                world.found(frame)
                if frame["resumed"]:
                    self._crashes = world.crashes
            case "reset":
                world.facts[f"reset {frame['reason']}"] += 1
                if self._crashes == world.crashes:
                    raise Broken(f"expected no reset where nothing had crashed, got {frame}")
                self._crashes = world.crashes
            case "accepted":
                self.unanswered[frame["id"]] -= 1
                world.accepted(frame)
            case "rejected":
                self.unanswered[frame["id"]] -= 1
                world.facts[f"rejected {frame['code']}"] += 1
                world.rejected[frame["id"]].add(frame["code"])
            case "error" if "seq" not in frame:
                self.errors[frame["code"]] += 1
                if frame["code"] not in ("run_not_found", "request_not_open", "shutting_down"):
                    raise Broken(f"expected no error, got {frame}")
            case _:
                pass

    def leave(self) -> None:
        """Be gone. The server notices in its own time."""
        if self.client is None:
            return
        self.client.drop()
        self.client = None
        self.opened = self.paused = self.holding = False
        if self._pump is not None and self._pump is not asyncio.current_task():
            self._pump.cancel()
        self._world.aside(self._stack.aclose())

    def check(self, events: Sequence[Event]) -> None:
        """The copy is the log's."""
        if self.client is not None and self.opened:  # it may be ahead of the store until it comes back and is told
            check_copy(self.copy, events)

    def check_complete(self, events: Sequence[Event]) -> None:
        """It has all of these, unless somebody asked for less."""
        if self.client is None or not self.opened or self.slow or self.paused:
            return
        rest = events[self.copy.cursor.seq :]
        chars, ms = self.buffer
        if self.chunk == "token" and not chars and not ms:
            held = bool(rest)
        else:
            # Only the end of the last text may be held back: an unfinished one, or where more was asked for.
            text = "".join(e.data for e in rest if isinstance(e, Content | Thinking))[self.copy.cursor.part :]
            same = len({(type(e), e.run, e.agent, getattr(e, "section", None)) for e in rest}) <= 1
            texts = all(isinstance(e, Content | Thinking) for e in rest)
            wanted = len(text) < chars or ms or boundary(text, self.chunk) == 0
            held = bool(rest) and not (texts and same and wanted)
        if held:
            raise Broken(
                f"expected a complete copy, got one up to {self.copy.cursor} of {len(events)}; next: {rest[0]}"
            )


# The world


class _Bugs(logging.Handler):
    """What the server logs with a traceback is a bug."""

    def __init__(self, broken: list[Exception]) -> None:
        super().__init__()
        self._broken = broken

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._broken.append(Broken(f"expected no bug, got: {record.getMessage()} {record.exc_info[1]!r}"))


def _looked_at(log: Log) -> Sequence[Event]:
    """The events of a log, without freezing the last: to be looked at must not change what a schedule does."""
    inside = vars(log)
    events: list[Event] = inside["_events"]
    grown: list[str] = inside["_grown"]
    if not grown:
        return events
    last = cast("Content | Thinking", events[-1])
    return [*events[:-1], replace(last, data="".join((last.data, *grown)))]


class World:
    """A server, its disk, and some tabs. Inside a running virtual loop."""

    def __init__(
        self,
        *,
        tabs: int,
        seconds: float,
        facts: Counter[str] | None = None,
        tell: Tell | None = print,
    ) -> None:
        self.disk = Disk(seconds)
        self.facts: Counter[str] = Counter() if facts is None else facts
        """What happened, for a reader at the end: a random test that tried nothing passes too."""
        self._tell = tell
        """Takes what each verb does, in a line; pytest shows it for a schedule that fails."""
        self.session = ""
        self.token = ""
        chunks: tuple[ChunkMode, ...] = ("token", "word", "sentence")
        self.tabs = [Tab(self, chunk) for _, chunk in zip(range(tabs), chunks * tabs, strict=False)]
        self.broken: list[Exception] = []
        """What went wrong in a task of its own; raised at the next step."""
        self.rejected: dict[str, set[str]] = defaultdict(set)
        """Of each message that was rejected: the codes."""
        self.said: list[str] = []
        self.draining = False
        self.crashes = 0
        self.connections = 0
        self.quiet = True
        """Nothing is under way but what waits for a timer."""
        self._checked: list[Event] = []
        """The log that was looked at last."""
        self._acknowledged: dict[str, str] = {}
        """Each message that a client was told the store has, and its run."""
        self._unsure: set[str] = set()
        """Messages that may have been refused, because the disk failed before they were acknowledged: whoever was to be
        told may have been gone.
        """
        self._aside: set[asyncio.Task[Any]] = set()
        self._log_handler = _Bugs(self.broken)
        self._logger = logging.getLogger("agent_ws")
        self._logger.addHandler(self._log_handler)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.broken.append(Broken(f"expected no bug, got: {context}"))
        )

    @classmethod
    async def make(
        cls, *, tabs: int, seconds: float, facts: Counter[str] | None = None, tell: Tell | None = print
    ) -> "World":
        world = cls(tabs=tabs, seconds=seconds, facts=facts, tell=tell)
        world.facts["worlds"] += 1
        await world._boot()
        return world

    # What the schedule may do. Each verb tells what it does.

    def _note(self, what: str, tab: Tab | None = None) -> None:
        if self._tell is not None:
            who = f"tab {self.tabs.index(tab)} " if tab is not None else ""
            self._tell(f"{asyncio.get_running_loop().time():12.6f} {who}{what}")

    async def connect(
        self, tab: Tab, chunk: ChunkMode | None = None, when_busy: WhenBusy | None = None, *, binary: bool = False
    ) -> None:
        """Come, or come back with the cursor."""
        chunk = chunk or tab.chunk
        self._note(f"connects {chunk} {when_busy} {tab.copy.cursor}", tab)
        tab.leave()
        self.quiet = False
        if not self.session:
            await self.settle()  # one of them has to make it
        await tab.connect(chunk, when_busy, binary=binary)
        if not self.session:
            await self.settle()

    def forget(self, tab: Tab) -> None:
        """A tab without memory, as in a new window."""
        self._note("forgets", tab)
        tab.leave()
        tab.copy = Copy()

    async def say(self, tab: Tab, data: str, when_busy: WhenBusy | None, message_id: str | None = None) -> None:
        """A message, under a new id or one that was used before."""
        if message_id is None:
            message_id = f"m{len(self.said)}"
            self.said.append(message_id)
        policy = {"when_busy": when_busy} if when_busy else {}
        if await self._send(tab, {"type": "message", "data": data, "id": message_id, **policy}):
            tab.unanswered[message_id] += 1

    async def go_on(self, tab: Tab, run: str) -> None:
        """Ask for the rest of an answer, which may be none that can go on."""
        message_id = f"m{len(self.said)}"
        self.said.append(message_id)
        if await self._send(tab, {"type": "message", "data": "", "id": message_id, "continues": run}):
            tab.unanswered[message_id] += 1

    async def interrupt(
        self, tab: Tab, run: str | None = None, seen: int | None = None, *, quick: bool = False
    ) -> None:
        """Stop what is going, or one run; where nothing crosses, see that it stopped that and nothing else."""
        await self._reach(tab, quick=quick)
        was_quiet, going = self.quiet, self.open_runs()
        tab.holding = tab.paused = False
        frame = {"type": "interrupt"} | ({"run": run} if run else {}) | ({"seen": seen} if seen is not None else {})
        sent = await self._send(tab, frame)
        if quick:
            return
        await self.settle()
        if not (was_quiet and sent):
            return
        self.facts["late interrupts"] += run is not None and run not in going and bool(going)
        left = self.open_runs()
        if run is None and left:
            raise Broken(f"expected nothing to go on after an interrupt, but {left} do")
        if run is not None and run in left:
            raise Broken(f"expected {run} to have its ending after its interrupt")
        stopped = {event.run for event in self.events() if isinstance(event, Interrupted)}
        others = [r for r in going if r != run and r in stopped]
        if run is not None and others and not self.draining:
            raise Broken(f"expected an interrupt of {run} to leave the others, but {others} were interrupted")

    async def interrupt_section(self, tab: Tab, section: str) -> None:
        tab.holding = tab.paused = False
        await self._send(tab, {"type": "interrupt", "section": section})

    async def interrupt_agent(self, tab: Tab, name: str) -> None:
        tab.holding = tab.paused = False
        await self._send(tab, {"type": "interrupt", "agent": name})

    async def pause(self, tab: Tab, run: str | None = None, *, quick: bool = False) -> None:
        await self._reach(tab, quick=quick)
        was_quiet, going, was_paused = self.quiet, self.going(), tab.paused
        tab.paused = True
        sent = await self._send(tab, {"type": "pause"} | ({"run": run} if run else {}))
        if quick:
            return
        await self.settle()
        if sent and was_quiet and tab.client is not None and not tab.slow:
            tab.holding = tab.holding or run is None or run == going
            tab.paused = tab.holding or was_paused

    async def resume(self, tab: Tab) -> None:
        """`continue`."""
        tab.holding = tab.paused = False
        await self._send(tab, {"type": "continue"})

    async def reply(self, tab: Tab, request: str, data: str) -> None:
        await self._send(tab, {"type": "reply", "request": request, "data": data})

    def read(self, tab: Tab, *, on: bool) -> None:
        """Read as it comes, or let the socket fill up."""
        if tab.client is not None:
            self._note("reads" if on else "stops reading", tab)
            (tab.client.reading.set if on else tab.client.reading.clear)()
            tab.holding = tab.holding and on

    async def crash(self, *, landed: bool) -> None:
        """`kill -9`. The disk and the network stop first: whatever still runs of this server reaches nobody."""
        self._note(f"crash, {landed=}")
        self.facts["crashes"] += 1
        self.crashes += 1
        await self._drive.cut(landed=landed)
        for tab in self.tabs:
            tab.leave()
        self.aside(self._server.aclose())
        kept = self.disk.events(self.session)
        lost = len(self.events()) - len(kept)
        self.facts["crashes that lost events"] += lost > 0
        await self._boot()

    async def drain(self) -> None:
        """A shutdown begins, and the schedule goes on meanwhile."""
        if not self.draining:
            self._note("drain")
            self.draining = True
            self.aside(self._gateway.drain())

    async def restart(self) -> None:
        """An orderly end and a new server: everything is there, nobody is reset."""
        self._note("restart")
        self.facts["restarts"] += 1
        self.draining = True
        await self._gateway.drain()
        await asyncio.sleep(TICK)
        for tab in self.tabs:
            if tab.client is not None and not tab.slow:
                raise Broken("expected every client that reads to be told of the shutdown")
            if tab.closed not in (None, 4503):
                raise Broken(f"expected close 4503, got {tab.closed}")
            tab.leave()
        await self._server.aclose()
        events = self.events()
        if self.disk.failing:
            self.crashes += 1
        elif list(self.disk.events(self.session)) != events:
            raise Broken(f"expected all {len(events)} events on the disk after an orderly end")
        self._raise()
        await self._boot()

    async def pass_time(self, seconds: float) -> None:
        self._note(f"{seconds} s pass")
        await asyncio.sleep(seconds)

    # What must be true

    async def settle(self) -> None:
        """Let everything happen that needs no time, then look at all of it."""
        await asyncio.sleep(TICK)
        if self._tell is not None:
            self._note(f"all quiet: {self.describe()}")
        self.quiet = all(tab.opened or tab.client is None for tab in self.tabs)  # else the session is being loaded
        self._raise()
        self.facts["checks"] += 1
        events = self.events()
        if events != self._checked:  # half of all steps write nothing
            check_log(events)
            self._checked = events
        self._check_messages(events)
        for tab in self.tabs:
            tab.check(events)
        try:
            for tab in self.tabs:
                tab.check_complete(events)
        except Broken:
            # An agent may have written a moment ago, and what it wrote may still be gathered: nothing older is.
            crashes = self.crashes
            await asyncio.sleep(TICK)
            for tab in self.tabs:
                if crashes == self.crashes:
                    tab.check(self.events())
                    tab.check_complete(events)

    async def finish(self) -> None:
        """The end of every schedule: let go of everything, and nothing may be left open, lost or unanswered."""
        self.disk.failing = False
        if self.draining:
            await self.restart()
        for tab in self.tabs:
            self.read(tab, on=True)
            await self.resume(tab)
        await self.pass_time(LONG)
        await self.settle()
        check_log(self.events(), over=True)
        for tab in self.tabs:
            if +tab.unanswered:
                raise Broken(f"expected an answer to each message, got none to {+tab.unanswered}")
        await self.restart()
        for tab in self.tabs:
            await self.connect(tab)
        await self.pass_time(LONG)
        await self.settle()
        for tab in self.tabs:
            if tab.client is None or not tab.opened:
                raise Broken("expected every tab to be able to come back")
            tab.leave()
        await self._server.aclose()
        await asyncio.gather(*self._aside)
        self._raise()
        self._logger.removeHandler(self._log_handler)
        left = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        if left:
            raise Broken(f"expected no task to be left, got {left}")

    def _check_messages(self, events: Sequence[Event]) -> None:
        if self.disk.failing:
            self._unsure |= set(self.said) - self._acknowledged.keys()
        runs_of: dict[str, list[str]] = defaultdict(list)
        for event in events:
            if isinstance(event, User):
                runs_of[event.id].append(event.run)
        for message, run in self._acknowledged.items():
            if run not in runs_of[message]:
                raise Broken(f"expected the acknowledged message {message} in run {run}, got {runs_of[message]}")
        first_of = {e.run: e.id for e in reversed(events) if isinstance(e, User) and not e.steer}
        begun = Counter(first_of[e.run] for e in events if isinstance(e, Start))
        for message, count in begun.items():
            if count > 1 and "store_failed" not in self.rejected[message] and message not in self._unsure:
                raise Broken(f"expected one run of message {message}, got {count}: {runs_of[message]}")

    # What the tabs and the schedule ask

    def events(self) -> list[Event]:
        """The server's log, without reading it: what was read is frozen, and looking must not change a schedule."""
        loaded: Session | None = vars(self._gateway.sessions)["_loaded"].get(self.session)
        events = self.disk.events(self.session) if loaded is None else _looked_at(loaded.log)
        return list(events)

    def describe(self) -> str:
        """In one line: how long the log is, and what is going."""
        return f"{len(self.events())} events, {self.going()} is going, open are {self.open_runs()}"

    def runs(self) -> list[str]:
        """All that the log knows."""
        return list(dict.fromkeys(event.run for event in self.events()))

    def open_runs(self) -> list[str]:
        """Those without an ending."""
        ended = {event.run for event in self.events() if isinstance(event, ENDINGS)}
        return [run for run in self.runs() if run not in ended]

    def going(self) -> str | None:
        started = {event.run for event in self.events() if isinstance(event, Start)}
        return next((run for run in self.open_runs() if run in started), None)

    def requests(self) -> list[str]:
        """All that an agent ever asked, open or not."""
        return [event.request for event in self.events() if isinstance(event, Request)]

    def found(self, frame: dict[str, Any]) -> None:
        """A tab was told its session."""
        if not self.session:
            self.session, self.token = frame["session"], frame["token"]
        elif frame["session"] != self.session:
            raise Broken(f"expected session {self.session}, got {frame}")

    def accepted(self, frame: dict[str, Any]) -> None:
        """A tab was told that the store has a message: then it must survive whatever comes."""
        self.facts[f"accepted {frame['outcome']}"] += 1
        message, run = frame["id"], frame["run"]
        if not any(isinstance(e, User) and (e.id, e.run) == (message, run) for e in self.disk.events(self.session)):
            raise Broken(f"expected `accepted` once the store has the message, got {frame} before that")
        self._acknowledged[message] = run

    def aside(self, work: Awaitable[Any]) -> None:
        """Let something happen on its own."""
        task = asyncio.ensure_future(work)
        self._aside.add(task)
        task.add_done_callback(self._done)

    # Inside

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._aside.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.broken.append(error)

    async def _boot(self) -> None:
        self.draining = False
        self._drive = Drive(self.disk)
        self.app = build_app(agent, SETTINGS, store=self._drive)
        self._gateway: Gateway = self.app.state.gateway
        self._server = AsyncExitStack()
        await self._server.enter_async_context(running(self.app))
        if self.session and await self.disk.load(self.session) is None:
            if self._acknowledged:
                raise Broken(f"expected a session with acknowledged messages on the disk: {self._acknowledged}")
            self.session = self.token = ""
            for tab in self.tabs:
                self.forget(tab)
        self._check_messages(self.events())

    async def _send(self, tab: Tab, frame: dict[str, Any]) -> bool:
        """Send, connecting first where it has to. False: there is nobody to send it to."""
        await self._reach(tab)
        if tab.client is None:
            return False
        self._note(f"sends {frame}", tab)
        self.facts[f"sent {frame['type']}"] += 1
        await tab.client.send(frame)
        self.quiet = False
        return True

    async def _reach(self, tab: Tab, *, quick: bool = True) -> None:
        """See that it is connected, and unless it has to be quick that its session is there."""
        if tab.client is None:
            await self.connect(tab)
            if not quick:
                await self.settle()

    def _raise(self) -> None:
        if self.broken:
            raise self.broken[0]
