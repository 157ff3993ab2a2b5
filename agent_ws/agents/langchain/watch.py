"""What a runnable tells, as events: LangChain's callbacks on one side, the turn on the other.

The one rule: all is written in the event loop's thread, in the order in which it was told there. From another thread it
is handed over; who still tells something from there when the run is over is stopped by a `CancelledError`. Here
nothing is raised then: the cancellation is on its way, and has to find what really waits. But no tool begins to run
that was not told of.
"""

import asyncio
import inspect
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tools import BaseTool, ToolException

from ...errors import Fenced
from ...events import EMITTED, Outcome, ToolResult, ToolRun, ToolStart, Usage
from ...turn import Mark, Turn
from .messages import found, pieces, plain, text

BURST = 256
"""Pieces in one turn of the event loop after which a model that never waits lets the others run. More than come in one
packet of a real one: a Stop should find that in its provider's stream, which then closes its connection itself."""
HIDDEN = "nostream"
"""LangGraph's own tag for what is not for the user: a router's words, a grader's."""

PATIENCE = 30.0
"""Seconds for which a thread waits for the event loop, which may be gone."""

T = TypeVar("T")


class _Open:
    """A model's run that goes on."""

    def __init__(self, before: Mark, *, hidden: bool) -> None:
        self.before = before
        self.hidden = hidden
        self.calls: dict[Any, str] = {}
        """The call that each index of its stream means, by our id."""
        self.streamed = False
        self.counted = False


class Watch(BaseCallbackHandler):
    """Of one run. `over`: the run is, and nothing more may be told."""

    run_inline = True  # else callbacks of different kinds would overtake each other
    raise_error = True  # else a write that is refused would stop nobody

    def __init__(self, turn: Turn) -> None:
        self.over = False
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._failed: Exception | None = None
        """What went wrong with something that a thread had handed over."""
        self._models: dict[UUID, _Open] = {}
        self._waiting: dict[str, tuple[str, str | None]] = {}
        """Calls that a model made and that don't run yet, by our id: their names and LangChain's ids."""
        self._tools: dict[UUID, tuple[str, Callable[[], None]]] = {}
        """Calls that run: our id, and what says that a thread is done with one."""
        self._told: set[str] = set()
        """Ids of messages that were written as they were made."""
        self._begun = turn.mark()
        self._said = ""
        """What models have said, and not taken back."""
        self._broken: Mark | None = None
        """Where a model began that failed. If another one follows, what it has said is no part of the answer."""
        self._burst = 0

    # What the agent's own task tells

    def result(self, result: object) -> None:
        """What a chain came to in the end. One that gives more than text is taken at its models' word."""
        self._check()
        if self._said and not isinstance(result, str | BaseMessage):
            return
        said = text(result)
        if said != self._said:
            if self._said:
                self._turn.take_back(len(self._said))
            self._turn.content(said)

    def custom(self, data: object) -> None:
        """What a node gave to the stream writer."""
        if isinstance(data, str):
            self._do(lambda: self._turn.status("working", data))
        elif isinstance(data, EMITTED):
            self._do(lambda: self._turn.write(data))

    def update(self, nodes: Mapping[str, Any]) -> None:
        """What nodes returned: messages that no model has made before our eyes are written."""
        for message in found(list(nodes.values())):
            if message.id is None:
                message.id = uuid4().hex  # as LangGraph would, a moment later: to know it when another node returns it
            if message.id not in self._told:
                self._told.add(message.id)
                self._do(lambda message=message: self._turn.content(str(message.text)))

    def finish(self) -> None:
        """The run came to its end: calls that nobody ran were no calls, an answer in a schema for example."""
        for tool in tuple(self._waiting):
            self._turn.end_tool(tool, "withdrawn")
        self._check()

    async def breathe(self) -> None:
        """Let the others run, now and then."""
        self._burst += 1
        if self._burst == 1:
            self._loop.call_soon(self._rested)
        elif self._burst % BURST == 0:
            await asyncio.sleep(0)

    def _rested(self) -> None:
        self._burst = 0

    # What LangChain calls. Names and arguments are its own; it passes more of them than are listed here.

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[T]) -> AsyncIterator[T]:
        """To have this and the next makes it a handler that models stream for, also where a node only awaits them."""
        del run_id
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[T]) -> Iterator[T]:
        """See `tap_output_aiter`."""
        del run_id
        return output

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """Tell of a graph's node."""
        del serialized, inputs, run_id
        name = more.get("name")
        tags: Iterable[str] = more.get("tags") or ()
        if (
            name
            and name == (metadata or {}).get("langgraph_node")
            and any(tag.startswith("graph:step") for tag in tags)
        ):
            self._do(lambda: self._turn.status("working", name))

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, tags: list[str] | None = None, **more: Any
    ) -> None:
        """A model begins."""
        del serialized, messages, more
        self._do(lambda: self._open(run_id, hidden=HIDDEN in (tags or ())))

    def on_llm_start(
        self, serialized: Any, prompts: Any, *, run_id: UUID, tags: list[str] | None = None, **more: Any
    ) -> None:
        """A model of the older kind begins, which takes and gives plain text."""
        self.on_chat_model_start(serialized, prompts, run_id=run_id, tags=tags, **more)

    async def on_llm_new_token(  # pyright: ignore[reportIncompatibleMethodOverride] - as LangChain's own async handlers do
        self, token: Any, *, chunk: GenerationChunk | ChatGenerationChunk | None = None, run_id: UUID, **more: Any
    ) -> None:
        """A model says something."""
        del more
        said = chunk.message if isinstance(chunk, ChatGenerationChunk) else AIMessage(str(token))
        self._do(lambda: self._say(self._models[run_id], said))
        if threading.get_ident() == self._thread:
            await self.breathe()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **more: Any) -> None:
        """A model is done. What it did not stream is told now."""
        del more
        messages = [
            one.message if isinstance(one, ChatGeneration) else AIMessage(one.text)
            for one in itertools.chain.from_iterable(response.generations)
        ]
        self._do(lambda: self._end(self._models.pop(run_id), messages))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A model failed. What it had begun to call is not called."""
        del error, more
        self._do(lambda: self._fail(self._models.pop(run_id)))

    async def on_tool_start(  # pyright: ignore[reportIncompatibleMethodOverride] - the same
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        inputs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A tool is about to run. It does so only once that was told: after a Stop it waits here to be cancelled."""
        if HIDDEN in (more.get("tags") or ()):
            return
        name = str((serialized or {}).get("name") or more.get("name") or "tool")
        given = plain(inputs if inputs is not None else input_str)
        call: str | None = more.get("tool_call_id")
        if threading.get_ident() != self._thread:
            self._ask(lambda: self._start(run_id, name, given, call, threaded=True))
            return
        self._check()
        try:
            self._start(run_id, name, given, call, threaded=_goes_to_a_thread())
        except Fenced:
            await asyncio.Event().wait()

    def on_tool_end(self, output: Any, *, run_id: UUID, **more: Any) -> None:
        """A tool is done."""
        del more
        outcome = "error" if getattr(output, "status", "") == "error" else "ok"
        said = str(output.text if isinstance(output, BaseMessage) else output)
        self._do(lambda: self._result(run_id, outcome, said), always=run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A tool failed, or asks the user: a graph runs it again, from its beginning, with the answer."""
        del more
        if isinstance(error, ToolException):
            said = str(error)  # written for the model
        elif any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__):
            said = "[stopped to ask the user; it begins again with the answer]"
        else:
            said = f"[{type(error).__name__}]"
        self._do(lambda: self._result(run_id, "error", said), always=run_id)

    # In the event loop's thread

    def _do(self, write: Callable[[], None], *, always: UUID | None = None) -> None:
        """Do it here, or have it done there. `always`: the tool call that a thread is done with, whatever else is."""
        if threading.get_ident() == self._thread:
            self._check()
            with suppress(Fenced):  # see the package: the cancellation is on its way, and has to find what waits
                write()
            return
        with suppress(RuntimeError):  # the loop is closed: the thread outlived the server
            if always is not None and self.over:
                self._loop.call_soon_threadsafe(self._done, always)
            elif not self.over:
                self._loop.call_soon_threadsafe(self._handed, write)
        if self.over:
            raise asyncio.CancelledError  # nothing there takes it for a failure of its own, to be tried again

    def _ask(self, write: Callable[[], None]) -> None:
        """Have it done there, and wait for it. Raises `CancelledError` where it could not be: the run is over, or all
        is.
        """
        written: Future[bool] = Future()
        try:
            self._loop.call_soon_threadsafe(lambda: written.set_result(self._handed(write)))
            if written.result(PATIENCE):
                return
        except (RuntimeError, TimeoutError):
            pass  # the loop is closed, or held up for good
        raise asyncio.CancelledError

    def _handed(self, write: Callable[[], None]) -> bool:
        """Whether it could be done."""
        try:
            write()
        except Fenced:
            self.over = True
        except Exception as error:  # noqa: BLE001 - raised where the agent can fail of it
            self._failed = self._failed or error
        else:
            return True
        return False

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _done(self, run_id: UUID) -> None:
        if run_id in self._tools:
            self._tools.pop(run_id)[1]()

    def _open(self, run_id: UUID, *, hidden: bool) -> None:
        if self._broken is not None:
            self._turn.take_back_to(self._broken)
            self._said = self._said[: self._broken.chars - self._begun.chars]
            self._broken = None
        self._models[run_id] = _Open(self._turn.mark(), hidden=hidden)

    def _say(self, model: _Open, said: BaseMessage) -> None:
        """Write a piece of a model's message."""
        model.streamed = True
        self._count(model, said)
        if model.hidden:
            return
        if said.id is not None:
            self._told.add(said.id)
        for is_thought, data in pieces(said):
            if is_thought:
                self._turn.thinking(data)
            else:
                self._turn.content(data)
                self._said += data
        for piece in getattr(said, "tool_call_chunks", ()):
            place = piece["index"] if piece["index"] is not None else piece["id"]
            if place not in model.calls and piece["name"]:
                self._begin(model, place, piece["name"], piece["id"])
            if place in model.calls:
                self._turn.tool_input(model.calls[place], piece["args"] or "")

    def _end(self, model: _Open, messages: list[BaseMessage]) -> None:
        """A model's whole messages: what of them was not written yet."""
        for said in messages:
            if not model.streamed:
                self._say(model, said)
            elif not model.counted:
                self._count(model, said)
            if model.hidden:
                continue
            if said.id is not None:
                self._told.add(said.id)
            begun = {self._waiting[tool][1] for tool in model.calls.values() if tool in self._waiting}
            for n, call in enumerate(getattr(said, "tool_calls", ())):
                if (call["id"] or n) not in begun and n not in model.calls:
                    self._begin(model, n, call["name"], call["id"])

    def _fail(self, model: _Open) -> None:
        for tool in model.calls.values():
            if self._waiting.pop(tool, None) is not None:
                self._turn.end_tool(tool, "withdrawn")
        if not self._models and not model.hidden:  # else what another one said would go too
            self._broken = model.before

    def _begin(self, model: _Open, place: object, name: str, call: str | None) -> None:
        model.calls[place] = tool = self._turn.begin_tool(name)
        self._waiting[tool] = name, call

    def _count(self, model: _Open, said: BaseMessage) -> None:
        counted: dict[str, Any] | None = getattr(said, "usage_metadata", None)
        if counted:
            model.counted = True
            details: dict[str, int] = counted.get("input_token_details") or {}
            read, written = details.get("cache_read") or 0, details.get("cache_creation") or 0
            usage = Usage(
                input_tokens=counted["input_tokens"] - read - written,
                output_tokens=counted["output_tokens"],
                cache_read_tokens=read,
                cache_write_tokens=written,
            )
            self._turn.report(usage)

    def _start(self, run_id: UUID, name: str, given: Any, call: str | None, *, threaded: bool) -> None:
        tool = self._meant(name, call)
        if tool is None:
            tool = str(run_id)
            self._turn.write(ToolStart(tool, name, given))
        else:
            del self._waiting[tool]
            self._turn.write(ToolRun(tool, given))
        self._tools[run_id] = tool, self._turn.outlives(tool) if threaded else _nothing

    def _meant(self, name: str, call: str | None) -> str | None:
        """The call that waits for this tool to run. Some providers give no ids: then the first of that name."""
        found = [tool for tool, (named, id) in self._waiting.items() if named == name and call in (id, None)]
        return found[0] if found else None

    def _result(self, run_id: UUID, outcome: Outcome, output: str) -> None:
        if run_id in self._tools:
            tool, over = self._tools.pop(run_id)
            over()
            self._turn.write(ToolResult(tool, outcome, output))


def _nothing() -> None:
    """What says that no thread is done."""


def _goes_to_a_thread() -> bool:
    """Whether the tool that tells of its start, further up this stack, has only the method without `async`: LangChain
    runs that in a thread, and tells nobody.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(tool := frame.f_locals.get("self"), BaseTool):
            return type(tool)._arun is BaseTool._arun  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        frame = frame.f_back
    return False
