"""The agent that asks a model by the chat completions API, with the official SDK: OpenAI's models, and those of any
server that speaks this wire, such as Ollama, vLLM or llama.cpp's.

The one rule: the connection to the provider is open only inside `async with`, so whatever ends the run, a Stop above
all, closes it, and no token is made that nobody reads. Nothing of the request or of the provider's own words gets into
a log or an error message.

Credentials and address are the SDK's to find: `OPENAI_API_KEY`, `OPENAI_BASE_URL` and its other settings.
"""

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from types import MappingProxyType
from typing import Any, TypeVar, Unpack

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream

from ..attempts import asked_to_wait
from ..errors import AgentWsError, RunError
from ..history import Message, Part, Text, ToolUse
from ..journal import note
from ..tools import Asked, Tool
from ..turn import BREATH, Turn
from .chat import Chat, Conversation
from .deltas import Answer, Called
from .loop import Model, ModelAgent, Options, Reply, Said, Told
from .refusals import LATE, refusal

T = TypeVar("T")

MODEL = "gpt-6.1-terra"
PATH = "/chat/completions"
TIMEOUT = httpx2.Timeout(10.0, read=None)
"""To connect and to send. How long an answer may be silent is the gateway's to say, by its own `Timeouts`."""
NO_KEY = "none"
"""Sent to a server of one's own where no key is set: it needs none, and the SDK wants one."""
NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})
CUT = "it was cut off, because the answer came to the most tokens that it may have: make it shorter"

STATUSES = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "insufficient_quota": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "context_length_exceeded": 413,
    "exceed_context_size_error": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_request_error": 400,
    "overloaded_error": 529,
}
"""The status that an error would have had, had it not come in the middle of a stream that began with 200."""
CLEARER = (402, 413)
"""Of these what an error had instead says less: 429, as if waiting would help, and 400."""


class _Keyless(Exception):
    """There is no key, and no address that may need none."""


class _Client:
    """The SDK's client: somebody else's, or one that is made when it is first needed."""

    def __init__(self, given: AsyncOpenAI | None, base_url: str | None) -> None:
        self._given = given and given.with_options(max_retries=0)
        self._base_url = base_url
        self._made: AsyncOpenAI | None = None

    def get(self) -> AsyncOpenAI:
        """The client, for one request after the other."""
        if self._given is not None:
            return self._given
        if self._made is None:
            key = os.environ.get("OPENAI_API_KEY")
            if not key and not (self._base_url or os.environ.get("OPENAI_BASE_URL")):
                raise _Keyless
            self._made = AsyncOpenAI(api_key=key or NO_KEY, base_url=self._base_url, timeout=TIMEOUT, max_retries=0)
        return self._made

    async def aclose(self) -> None:
        """Close it, if it was made here; `get` would make another."""
        if self._made is not None:
            client, self._made = self._made, None
            await client.close()


class OpenAI(ModelAgent):
    """Answers each turn with a streamed request for each step, and calls tools between them. For one event loop.

    request: what else each request says, such as `max_completion_tokens` or `reasoning_effort`. base_url: the server's,
    which mostly ends in `/v1`; default: `OPENAI_BASE_URL`, else OpenAI's. client: yours to configure and to close; its
    retries are not used, because one that sleeps would race an interrupt. Without it a client is made for the first run
    and kept, so that later runs find a warm connection: `aclose`, or leaving `async with`, gives it back.
    """

    def __init__(
        self,
        model: str = MODEL,
        system: str | None = None,
        *,
        request: Mapping[str, Any] = NOTHING_MORE,
        base_url: str | None = None,
        client: AsyncOpenAI | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.name = model
        self._system = system
        self._more = request
        self._client = _Client(client, base_url)
        self._peculiar: set[str] = set()
        """Parameters that the server was found to take in its own way only, see `_learned`."""
        # At DEBUG the SDK logs whole requests, the conversation with them, and its HTTP library a key with a line break
        # in it. So that must be asked for by name (`OPENAI_LOG=debug`, or the loggers' own levels): a program that sets
        # its root logger to DEBUG has not asked.
        for name in ("openai", "httpcore2"):
            library = logging.getLogger(name)
            if library.level == logging.NOTSET:
                library.setLevel(logging.INFO)
        super().__init__(**options)

    def like(self, name: str) -> Model:
        """See `ModelAgent.like`. It shares the client."""
        other = copy(self)
        other.name = name
        other._peculiar = set()  # noqa: SLF001 - its own class's
        return other

    async def aclose(self) -> None:
        """Leave what was entered, and close the client, if it was made here. Running turns fail."""
        await super().aclose()
        await self._client.aclose()

    async def stream(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """See `Model.stream`."""
        answer = Answer(turn)
        chunks = 0
        with self._failures(turn, answer):
            client = self._client.get()

            async def ask(body: Chat) -> AsyncStream[object]:
                return await client.post(PATH, cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object])

            async with turn.upstream(), await self._asked(ask, messages, tools, stream=True) as stream:
                async for chunk in stream:
                    chunks += 1
                    if chunks % BREATH == 0:
                        await asyncio.sleep(0)  # what has come in one packet, hundreds of chunks, never waits
                    answer.take(chunk)
        if not chunks:
            raise RunError(
                "The provider answered with nothing: check OPENAI_BASE_URL, which mostly ends in /v1.",
                code="provider_error",
            )
        return self._reply(answer)

    async def complete(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """See `Model.complete`."""
        answer = Answer(turn)
        with self._failures(turn, answer):
            client = self._client.get()

            async def ask(body: Chat) -> object:
                return await client.post(PATH, cast_to=object, body=body)

            async with turn.upstream():
                completion = await self._asked(ask, messages, tools, stream=False)
            answer.take(completion)
        return self._reply(answer)

    async def _asked(
        self, ask: Callable[[Chat], Awaitable[T]], messages: Sequence[Told], tools: Sequence[Tool], *, stream: bool
    ) -> T:
        """Ask, and again where the server refuses only what it is peculiar in."""
        while True:
            body = self._body(messages, tools, stream=stream)
            try:
                return await ask(body)
            except openai.APIStatusError as error:
                if not self._learned(error, body):
                    raise

    def _body(self, messages: Sequence[Told], tools: Sequence[Tool], *, stream: bool) -> Chat:
        conversation = Conversation(self._system, blank_reasoning="reasoning_content" in self._peculiar)
        for message in messages:
            if not isinstance(message, Said):
                conversation.add(message)
            elif message.maker is self:
                conversation.add_kept(message.native, tuple(message.ids))
            else:
                conversation.add(message.message)
        body: Chat = {"model": self.name, "messages": conversation.messages, **self._more}
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
                }
                for tool in tools
            ]
            if "reasoning_effort" in self._peculiar:
                body["reasoning_effort"] = "none"
        if stream:
            body["stream"] = True
            if "stream_options" not in self._peculiar:
                body.setdefault("stream_options", {"include_usage": True})
        return body

    def _learned(self, error: openai.APIStatusError, body: Chat) -> bool:
        """Whether the next body is another one, because the server said what is wrong with this.

        Some know no `stream_options`. OpenAI's newer models take tools by this API only with `reasoning_effort` none.
        DeepSeek's want `reasoning_content` with each call of a history, if only a blank one.
        """
        mends = {
            "stream_options": "stream_options" in body,
            "reasoning_effort": "tools" in body and "reasoning_effort" not in self._more,
            "reasoning_content": any("tool_calls" in message for message in body["messages"]),
        }
        if error.status_code in (400, 422):
            for name, mends_it in mends.items():
                if mends_it and name in error.message and name not in self._peculiar:
                    self._peculiar.add(name)
                    return True
        return False

    def _reply(self, answer: Answer) -> Reply:
        if not answer.stop_reason:
            raise RunError("The provider ended the stream in mid-answer.", code="provider_error")
        parts: list[Part] = [Text(answer.text)] if answer.text.strip() else []
        asked: list[Asked] = []
        for call in answer.calls:
            asked.append(_asked(call, answer))
            parts.append(ToolUse(call.tool, call.name, asked[-1].input))
        ids = {call.tool: call.id for call in answer.calls}
        said = Said(Message("assistant", tuple(parts)), self, answer.kept(), ids)
        return Reply(said, tuple(asked), answer.stop_reason)

    @contextmanager
    def _failures(self, turn: Turn, answer: Answer) -> Generator[None]:
        """Make `RunError` of whatever goes wrong inside, unless the answer is there."""
        try:
            yield
        except AgentWsError:
            raise
        except Exception as error:  # noqa: BLE001 - the SDK lets foreign ones through: httpx2's, a misshapen chunk's
            if answer.stop_reason:  # only the count, or the last bytes of the stream, are missing
                return
            failure = self._explained(error)
            note(logging.WARNING, "the provider failed", error=failure, run=turn.run)
            # The cause holds the request, and with it the key: it must not reach whoever prints this one's traceback.
            raise failure from None

    def _explained(self, error: Exception) -> RunError:
        """What to tell the user, in our own words: the provider's may quote the conversation, a proxy's the key."""
        code, retry = "provider_error", True
        match error:
            case openai.APITimeoutError() | httpx2.TimeoutException():
                code, message = "provider_timeout", LATE
            case openai.APIConnectionError(__cause__=httpx2.LocalProtocolError()):
                message, retry = "The API key can't be sent: check OPENAI_API_KEY for line breaks.", False
            case httpx2.InvalidURL() | openai.APIConnectionError(__cause__=httpx2.UnsupportedProtocol()):
                message, retry = "OPENAI_BASE_URL is no address: write http://localhost:11434/v1, for example.", False
            case openai.APIConnectionError(__cause__=httpx2.ConnectError() | httpx2.ProxyError()):
                message = "The provider could not be reached: check the network and OPENAI_BASE_URL."
            case openai.APIConnectionError():
                message = "The connection to the provider broke."
            case openai.APIError():
                return self._refused(error)
            case _Keyless():
                message = "No API key was found: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs none."
                retry = False
            case _:
                message = f"The exchange with the provider failed ({type(error).__name__})."
        return RunError(message, code=code, retry=retry)

    def _refused(self, error: openai.APIError) -> RunError:
        status, wait = None, None
        if isinstance(error, openai.APIStatusError):
            status, wait = error.status_code, asked_to_wait(error.response.headers)
        name, kind = error.code or "", error.type or ""
        named = STATUSES.get(name) or STATUSES.get(kind)
        if named in CLEARER or status is None:
            status = named or (int(name) if re.fullmatch("[45][0-9][0-9]", name) else 500)
        parameters = ("messages", "tools", *self._more)
        return refusal(status, error.message, model=self.name, prefix="OPENAI", parameters=parameters, wait=wait)


def _asked(call: Called, answer: Answer) -> Asked:
    problem = ""
    if call.input is None:
        cut = answer.stop_reason == "max_tokens" and call is answer.calls[-1]
        problem = CUT if cut else "it was expected to be a JSON object"
    return Asked(call.tool, call.name, call.input, problem)


def default() -> OpenAI:
    """The agent as the environment has it: `AGENT_WS_MODEL` names the model where it should be another one."""
    model = os.environ.get("AGENT_WS_MODEL")
    if not model and os.environ.get("OPENAI_BASE_URL"):
        raise ValueError("expected AGENT_WS_MODEL to name a model of the server at OPENAI_BASE_URL, got nothing")
    return OpenAI(model or MODEL)
