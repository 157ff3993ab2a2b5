"""A server without a socket, in the loop's own time: it answers by its schedule, but for when it stalls."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from agent_ws.load.answer import Board
from agent_ws.load.link import Link, Listener
from agent_ws.load.plan import Plan, Step, steps
from agent_ws.load.target import Target
from agent_ws.load.user import User
from agent_ws.load.work import TOKEN

TARGET = Target("127.0.0.1", 8000)
WIRE_S = 0.001
"""From a server to a client."""


class Pretended:
    """Speaks agent_ws's wire, or a plain one. `stalls`: from when until when nothing is read or sent."""

    def __init__(self, wire: str = "agent_ws", stalls: tuple[tuple[float, float], ...] = ()) -> None:
        self.wire = wire
        self.stalls = stalls
        self.links: list[PretendedLink] = []
        self.heard: list[dict[str, Any]] = []
        self.log: dict[str, list[dict[str, Any]]] = {}
        """By session."""
        self.going: dict[str, list[asyncio.TimerHandle]] = {}
        """What each session's agent is still to do."""
        self.epoch = "e1"
        self.deaf = False
        """Frames are lost on their way to it."""
        self.upstream: bool | None = None
        self.taken: defaultdict[str, set[str]] = defaultdict(set)
        self.refusals: list[str] = []
        """Why the next connections are refused."""
        self.skipped: set[int] = set()
        """Tokens of each answer that are never sent."""

    def when(self, moment: float) -> float:
        for begin, end in self.stalls:
            if begin <= moment < end:
                return end
        return moment

    # What a user has instead of time and sockets

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(when, call)

    def connect(self, listener: Listener) -> Link:
        link = PretendedLink(self, listener)
        self.links.append(link)
        if self.refusals:
            why = self.refusals.pop(0)
            self.at(self.now() + WIRE_S, lambda: listener.lost(why))
        else:
            self.at(self.when(self.now()) + WIRE_S, link.open)
        return link


class PretendedLink(Link):
    """A connection to it."""

    def __init__(self, server: Pretended, user: Listener) -> None:
        super().__init__(TARGET, user, server.now)
        self.server = server
        self.user = user
        self.session = ""
        self.gone = False
        self.wire: deque[bytes] = deque()
        """Frames on their way: timers of one moment know no order."""

    def open(self) -> None:
        if not self.gone:
            if self.server.wire == "plain":
                self.session = f"s{len(self.server.log)}"
                self.server.log[self.session] = []
            self.user.opened()

    def cut(self) -> None:
        self.gone = True

    def break_off(self, why: str = "the connection was lost") -> None:
        self.gone = True
        self.user.lost(why)

    def send(self, data: bytes) -> None:
        server = self.server
        if not server.deaf:
            server.at(server.when(server.now()), lambda: self.take(json.loads(data)))

    def tell(self, **frame: Any) -> None:
        """A frame, to this client."""
        self.wire.append(json.dumps(frame, separators=(",", ":")).encode())
        self.server.at(self.server.when(self.server.now()) + WIRE_S, self.arrive)

    def arrive(self) -> None:
        data = self.wire.popleft()
        if not self.gone:
            self.user.received(data, self.server.now())

    def event(self, **frame: Any) -> None:
        """An event, to all who are there."""
        log = self.server.log[self.session]
        log.append(frame | {"seq": len(log) + 1, "run": "r"})
        for link in self.server.links:
            if link.session == self.session and not link.gone:
                link.tell(**log[-1])

    def take(self, frame: dict[str, Any]) -> None:
        server = self.server
        server.heard.append(frame)
        match frame:
            case {"type": "hello"}:
                after = frame.get("after", 0)
                self.session = frame.get("session") or f"s{len(server.log)}"
                log = server.log.setdefault(self.session, [])
                known = frame.get("epoch") == server.epoch
                start = {"session": self.session, "epoch": server.epoch, "token": "t", "after": after}
                self.tell(type="session", **start, resumed=known)
                if "epoch" in frame and not known:
                    self.tell(type="reset", epoch=server.epoch)
                    after = 0
                for event in log[after:]:
                    self.tell(**event)
            case {"type": "message", "data": work, "id": name}:
                if name not in server.taken[self.session]:
                    server.taken[self.session].add(name)
                    self.event(type="user", id=name, data=work)
                    self.play(work.split())
                self.tell(type="accepted", id=name, run="r")
            case {"message": work}:
                self.play(work.split())
            case {"type": "interrupt"}:
                for timer in server.going.get(self.session, ()):
                    timer.cancel()
                self.event(type="interrupted")
                self.receipt()
            case _:
                pass

    def play(self, work: list[str]) -> None:
        server = self.server
        begin, period, count = server.now(), 1 / float(work[1]), int(work[2])
        written: list[int] = []

        def write() -> None:
            written.append(len(written))
            if written[-1] not in server.skipped:
                self.event(type="content", data=TOKEN)
            if len(written) == count:
                self.event(type="done")
                self.receipt()

        server.going[self.session] = [server.at(server.when(begin + k * period), write) for k in range(count)]

    def receipt(self) -> None:
        if self.server.wire == "agent_ws":
            log = self.server.log[self.session]
            last = max((i for i, event in enumerate(log[:-1]) if event["type"] in ("done", "interrupted")), default=-1)
            chars = sum(len(event["data"]) for event in log[last + 1 :] if event["type"] == "content")
            self.event(type="settled", chars=chars, upstream_closed=self.server.upstream)


class Crowd:
    """The users of a plan, from the loop's time 0 on."""

    def __init__(self, plan: Plan, server: Pretended) -> None:
        self.plan = plan
        self.board = Board(plan, plan.warm, plan.warm + plan.seconds)
        self.users = [User(n, self.board, server.wire, server) for n in range(plan.connections)]

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for user in self.users:
            user.start(0.0)
        await asyncio.sleep(self.board.end)
        while not all(user.done for user in self.users) and loop.time() < self.board.end + self.plan.patience:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.01)
        for user in self.users:
            user.close()

    def due(self) -> Iterator[Step]:
        """What is due while it is measured."""
        for n in range(self.plan.connections):
            for step in steps(self.plan, n):
                if step.due >= self.board.end:
                    break
                if step.due >= self.board.begin:
                    yield step
