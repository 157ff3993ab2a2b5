"""The agent that runs a model itself: a GGUF file, by llama.cpp inside this process (xllamacpp), without a network.

The one rule: an answer is over when the engine has let go of it. A Stop is told to the engine, which looks for it at
each token and between the pieces of a long prompt, and the run waits for that; so the receipt is true, and the next
answer finds the engine free.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, Unpack, cast

import anyio
import xllamacpp  # pyright: ignore[reportMissingTypeStubs] - it has none

from ..attempts import Retry
from ..errors import RunError
from ..history import Message, Part, Text, ToolUse
from ..tools import Asked, Tool
from ..tools.threads import Ended, begin
from ..turn import Turn
from .chat import Chat, Conversation
from .deltas import Answer
from .loop import ModelAgent, Options, Reply, Said, Told

CONTEXT = 8192
"""Tokens of conversation and answer together. Some models could have a hundred thousand, which takes gigabytes."""
MAX_TOKENS = 2048
"""Of one answer: a small model may never end by itself."""
BATCH = 128
"""Tokens of a prompt that are read at once, between which a Stop is looked for: a second's work for a model of 1 GB on
two cores."""
WAITING = 16
"""Runs that may wait for the engine, which answers one at a time."""
MAGIC = b"GGUF"
ONCE = Retry(attempts=1, whole=0)
"""What has failed here fails again, and there is no stream that could break."""


class Local(ModelAgent):
    """Answers with the model in the file at `path`, one run at a time; the others wait in their order.

    context: tokens of conversation and answer together. request: what else each request says to the engine, such as
    `temperature` or `max_tokens`. The file is loaded by `load`, when the agent is entered, or for the first run;
    `aclose`, or leaving `async with`, gives the memory back. Raises `ValueError` where the file is none.
    """

    def __init__(
        self,
        path: str | Path,
        system: str | None = None,
        *,
        context: int = CONTEXT,
        request: dict[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._path = Path(path)
        self.name = self._path.stem
        _check(self._path)
        self._system = system
        self._context = context
        self._request = request or {}
        self._engine: _Engine | None = None
        self._free = asyncio.Lock()
        self._waiting = 0
        options.setdefault("retry", ONCE)
        super().__init__(**options)

    def load(self) -> None:
        """Load the file now, which blocks for seconds. Raises `ValueError` where the engine does not take it."""
        if self._engine is None:
            try:
                self._engine = _Engine(self._path, self._context)
            except RuntimeError:
                raise ValueError(
                    f"{self._path.name} could not be loaded: it is damaged, of an unknown kind, or too big."
                ) from None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        async with self._free:
            await self._loaded()
        return self

    async def aclose(self) -> None:
        """Leave what was entered, and unload the model, once the answer that is going is over."""
        await super().aclose()
        async with self._free:
            engine, self._engine = self._engine, None
            if engine is not None:
                await _finished(begin(engine.close, "unload"))

    async def stream(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """See `Model.stream`."""
        return await self._asked(turn, messages, tools)

    async def complete(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """See `Model.complete`. There is no stream here that could break, so nothing is different."""
        return await self._asked(turn, messages, tools)

    async def _asked(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        answer = Answer(turn)
        async with self._turn_at_it(turn), turn.upstream():
            engine = await self._loaded()
            async with aclosing(_chunks(engine, self._body(messages, tools))) as chunks:
                async for chunk in chunks:
                    if "error" in chunk:
                        raise _failed(chunk["error"])
                    _show(chunk.get("prompt_progress"), turn)
                    answer.take(chunk)
        if not answer.stop_reason:
            raise RunError("The model ended in mid-answer.", code="provider_error", retry=False)
        return self._reply(answer)

    @asynccontextmanager
    async def _turn_at_it(self, turn: Turn) -> AsyncGenerator[None]:
        if self._free.locked():
            if self._waiting >= WAITING:
                raise RunError(
                    f"{self._waiting} other answers wait for the model: try again later.", code="provider_error"
                )
            turn.status("working", "The model is busy with another answer.")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()

    async def _loaded(self) -> "_Engine":
        if self._engine is None:
            ended = await _finished(begin(self.load, "load"))
            if ended.error is not None:
                known = isinstance(ended.error, ValueError)
                message = str(ended.error) if known else f"The model failed to load ({type(ended.error).__name__})."
                raise RunError(message, code="provider_error", retry=False)
        return cast("_Engine", self._engine)

    def _body(self, messages: Sequence[Told], tools: Sequence[Tool]) -> Chat:
        conversation = Conversation(self._system)
        for message in messages:
            if isinstance(message, Said) and message.maker is self:
                conversation.add_kept(message.native, tuple(message.ids))
            else:
                conversation.add(message.message if isinstance(message, Said) else message)
        body: Chat = {"messages": conversation.messages, "max_tokens": MAX_TOKENS, **self._request}
        if tools:
            body["tools"] = [{"type": "function", "function": _function(each)} for each in tools]
        # With progress it calls back while it reads a long prompt too, so that a Stop is seen there.
        return body | {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}

    def _reply(self, answer: Answer) -> Reply:
        parts: list[Part] = [Text(answer.text)] if answer.text.strip() else []
        parts += [ToolUse(call.tool, call.name, call.input) for call in answer.calls]
        problem = "it was expected to be a JSON object"
        asked = [
            Asked(each.tool, each.name, each.input, problem if each.input is None else "") for each in answer.calls
        ]
        ids = {call.tool: call.id for call in answer.calls}
        return Reply(
            Said(Message("assistant", tuple(parts)), self, answer.kept(), ids), tuple(asked), answer.stop_reason
        )


class _Engine:
    """The loaded model. Its methods block: they are for threads."""

    def __init__(self, path: Path, context: int) -> None:
        native = cast("Any", xllamacpp)
        given = native.CommonParams()
        given.model.path = str(path)
        given.n_ctx = context
        given.n_parallel = 1
        given.n_batch = given.n_ubatch = BATCH
        threads = max(1, (os.cpu_count() or 1) - 1)  # one is the server's, which has to hear a Stop
        given.cpuparams.n_threads = given.cpuparams_batch.n_threads = threads
        given.verbosity = -1  # else it writes to our standard error, prompts too
        given.endpoint_metrics = True
        given.ui = False
        given.api_keys = [secrets.token_urlsafe()]  # it always listens on a local port: nobody else may use it
        self._server: Any = native.Server(given)

    def answer(self, body: Chat, take: Any) -> None:
        """Answer, calling `take` with each chunk, until it returns True."""
        self._server.handle_chat_completions(body, take)

    def metrics(self) -> dict[str, float]:
        """What the engine counts."""
        lines = (line.split() for line in self._server.handle_metrics().splitlines() if not line.startswith("#"))
        return {fields[0].partition(":")[2]: float(fields[1]) for fields in lines if len(fields) == 2}  # noqa: PLR2004

    def close(self) -> None:
        """End its threads and give its memory back."""
        self._server = None


async def _chunks(engine: _Engine, body: Chat) -> AsyncGenerator[Chat]:
    """What the engine answers. However this is left, the engine is done with it then."""
    loop = asyncio.get_running_loop()
    stopped = threading.Event()
    came: asyncio.Queue[Chat | None] = asyncio.Queue()
    # Bounded by the context: there are not more tokens.

    def take(chunk: Any) -> bool:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(came.put_nowait, cast("Chat", chunk))
            return stopped.is_set()
        return True

    going = begin(lambda: engine.answer(body, take), "answer")
    going.add_done_callback(lambda _: came.put_nowait(None))
    try:
        while (chunk := await came.get()) is not None:
            yield chunk
    finally:
        stopped.set()
        ended = await _finished(going)
    if ended.error is not None:
        raise RunError(f"The engine failed ({type(ended.error).__name__}).", code="provider_error", retry=False)


async def _finished(going: asyncio.Future[Ended]) -> Ended:
    """Wait for a thread to its end, also where this is cancelled: who waits no longer could not say that it is over."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(
        shield=True
    ):  # else a part that is stopped would be cancelled again at each turn of the loop
        while not going.done():
            try:
                await asyncio.wait({going})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    return going.result()


def _show(progress: Chat | None, turn: Turn) -> None:
    """Tell how far a long prompt is read: it can take longer than an agent may be silent."""
    if progress is not None and progress["total"] - progress["cache"] > BATCH:
        turn.status("working", f"Reading: {progress['processed']} of {progress['total']} tokens.")


def _function(tool: Tool) -> Chat:
    return {"name": tool.name, "description": tool.description, "parameters": tool.schema}


def _failed(error: Chat) -> RunError:
    if error.get("type") == "exceed_context_size_error":
        message = "The conversation is too long for the model: begin a new one, or give it more `context`."
    else:
        message = f"The model refused the request (status {error.get('code')})."
    return RunError(message, code="provider_error", retry=False)


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begins = file.read(len(MAGIC))
    except OSError as error:
        raise ValueError(f"expected a GGUF file at {path}, got: {error.strerror}") from None
    if begins != MAGIC:
        raise ValueError(f"expected a GGUF file at {path}, got one that begins with {begins!r}")
