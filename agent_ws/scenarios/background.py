"""Servers and scripted clients for tests that don't wait: everything runs in an event loop of its own, in a thread.

The one rule: each call returns when its step is done, or raises `ScenarioError` with all that helps. So it works in any
test, whatever plugin runs its coroutines, if any.

    with Background() as background:
        url = background.serve(my_agent)
        alice = background.client(url)
        alice.send("Tell me a story")
        alice.interrupt(after={"chars": 20})
        alice.expect({"type": "interrupted"}, within=1)
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from ..agents import resolve
from ..settings import Settings
from ..turn import Agent
from .client import told
from .files import Line
from .http import opened
from .player import Failure, Player
from .served import serving
from .stage import Stage, Target
from .steps import DEFAULT, step_of
from .waiting import text_of

T = TypeVar("T")
WITHIN = 5.0
"""Seconds for what a step waits for, where it says nothing else."""


class ScenarioError(AssertionError):
    """A step did not hold. Its text has the last frames."""


class Background:
    """The loop in its thread, and what was begun in it, which ends with it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent-ws scenarios", daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run(self._stack.aclose())
            self.run(self._loop.shutdown_default_executor())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, or raises."""
        __tracebackhide__ = True  # pytest shows the line of the test
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def serve(self, agent: Agent | str, settings: Settings | None = None) -> str:
        """Serve an agent, or the one of this name (`module:attribute`). Returns the URL."""
        made = resolve(agent) if isinstance(agent, str) else agent
        return self.run(self._stack.enter_async_context(serving(made, settings)))

    def client(self, url: str, *, token: str = "", **options: Any) -> "ScriptedClient":
        """A client that is connected, with the options of the step `connect`."""
        return self.run(self._client(Target(url=url, token=token), options))

    async def _client(self, target: Target, options: Mapping[str, Any]) -> "ScriptedClient":
        http = await self._stack.enter_async_context(opened(target.http))
        player = Player((), Stage(target, self._loop.time, WITHIN), http)
        self._stack.push_async_callback(player.stage.leave)
        failure = await player.play_one(Line(step_of({"connect": None} | dict(options)), 0))
        if failure is not None:
            raise _error(failure)
        return ScriptedClient(self, player)


class ScriptedClient:
    """One client. Its methods are the steps of a scenario, with their options."""

    def __init__(self, background: Background, player: Player) -> None:
        self._background = background
        self._player = player

    def do(self, step: Mapping[str, Any]) -> None:
        """Play any step, as a scenario's file has it."""
        __tracebackhide__ = True
        failure = self._background.run(self._player.play_one(Line(step_of(dict(step)), 0)))
        if failure is not None:
            raise _error(failure)

    def send(self, said: str | Mapping[str, Any], **options: Any) -> None:
        """Send a message, or any frame."""
        __tracebackhide__ = True
        self.do({"send": said, **options})

    def expect(self, pattern: Any, **options: Any) -> dict[str, Any]:
        """Wait for a frame, or for several in order. Returns the last one."""
        __tracebackhide__ = True
        self.do({"expect": pattern, "as": "expected"} | options)
        return self._player.stage.fill("$" + options.get("as", "expected"))

    def interrupt(self, fields: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Stop what is going; `after={"chars": 20}` waits for that first."""
        self.do({"interrupt": None if fields is None else dict(fields), **options})

    def reply(self, data: Any, **options: Any) -> None:
        """Answer the newest request of the agent's."""
        self.do({"reply": data, **options})

    def drop(self, how: str = "close", **options: Any) -> None:
        """End the connection: `close`, `reset`, `half_open`."""
        self.do({"drop": how, **options})

    def reconnect(self, **options: Any) -> None:
        """Come back with the cursor."""
        self.do({"reconnect": None, **options})

    def check(self, **checks: Any) -> None:
        """What `assert` of a scenario looks at."""
        __tracebackhide__ = True
        self.do({"assert": checks})

    @property
    def frames(self) -> Sequence[dict[str, Any]]:
        """What has come on this connection."""
        return [got.frame for got in self._player.stage.client(DEFAULT).frames]

    @property
    def text(self) -> str:
        """The text of the newest run."""
        return text_of(self._player.stage.client(DEFAULT))

    def __repr__(self) -> str:
        return "\n".join(told(self._player.stage.client(DEFAULT).log))


def _error(failure: Failure) -> ScenarioError:
    frames = "\n".join(failure.frames)
    return ScenarioError(f"{failure.message}\nlast frames:\n{frames}" if frames else failure.message)
