"""The agent that asks a model of Anthropic's, with the official SDK.

The one rule: the connection to the provider is open only inside `async with`, so whatever ends the run, a Stop above
all, closes it, and no token is made that nobody reads. Nothing of the request or of the provider's own words gets into
a log or an error message.

Credentials and address are the SDK's to find: `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL` and its other settings.
"""

import asyncio
import logging
import os
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import count
from typing import Any, Unpack, assert_never, cast

import anthropic
import httpx2
import msgspec
from anthropic.types import (
    CacheControlEphemeralParam,
    MessageDeltaUsage,
    RawContentBlockDelta,
    RawMessageStreamEvent,
    ThinkingConfigParam,
    ToolParam,
)
from anthropic.types import Message as SdkMessage
from anthropic.types import Usage as Counted

from ..attempts import asked_to_wait
from ..errors import AgentWsError, RunError
from ..events import Usage
from ..history import Message, Part, Text, ToolOutput, ToolUse
from ..journal import note
from ..tools import Asked, Tool
from ..turn import BREATH, Turn
from .loop import Model, ModelAgent, Options, Reply, Said, Told
from .refusals import LATE, refusal

MODEL = "claude-sonnet-5-5"
MAX_TOKENS = 32_000
"""Of thinking and answer together: room for a long answer, and a bound on what one run can cost."""
THINKING: ThinkingConfigParam = {"type": "adaptive", "display": "summarized"}
"""The model decides whether to think. Without `summarized` the newer ones think in silence, which the time limits would
take for a hang."""
TIMEOUT = httpx2.Timeout(10.0, read=None)
"""To connect and to send. How long an answer may be silent is the gateway's to say, by its own `Timeouts`."""

STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that an error would have had, had it not come in the middle of a stream that began with 200."""

CACHED: CacheControlEphemeralParam = {"type": "ephemeral"}
CUT = ("max_tokens", "model_context_window_exceeded")
"""Reasons to stop in mid-word."""
Block = dict[str, Any]
"""A content block, as the API has it."""


class _Client:
    """The SDK's client: somebody else's, or one that is made when it is first needed."""

    def __init__(self, given: anthropic.AsyncAnthropic | None) -> None:
        self._given = given and given.with_options(max_retries=0)
        self._made: anthropic.AsyncAnthropic | None = None

    def get(self) -> anthropic.AsyncAnthropic:
        """The client, for one request after the other. Raises `anthropic.CredentialsError` where there is no key."""
        if self._given is not None:
            return self._given
        if self._made is None:
            client = anthropic.AsyncAnthropic(timeout=TIMEOUT, max_retries=0)
            if client.api_key is None and client.auth_token is None and client.credentials is None:
                raise anthropic.CredentialsError
            self._made = client
        return self._made

    async def aclose(self) -> None:
        """Close it, if it was made here; `get` would make another."""
        if self._made is not None:
            client, self._made = self._made, None
            await client.close()


class Anthropic(ModelAgent):
    """Answers each turn with a streamed request for each step, and calls tools between them. For one event loop.

    thinking: as the API takes it; None leaves it out, for models that know no adaptive thinking. client: yours to
    configure and to close; its retries are not used, because one that sleeps would race an interrupt. Without it a
    client is made for the first run and kept, so that later runs find a warm connection: `aclose`, or leaving
    `async with`, gives it back.
    """

    def __init__(
        self,
        model: str = MODEL,
        system: str | None = None,
        *,
        max_tokens: int = MAX_TOKENS,
        thinking: ThinkingConfigParam | None = THINKING,
        client: anthropic.AsyncAnthropic | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.name = model
        self._system = system
        self._max_tokens = max_tokens
        self._thinking = thinking
        self._client = _Client(client)
        # At DEBUG the SDK logs whole requests, the conversation with them, and its HTTP library a key with a line break
        # in it. So that must be asked for by name (`ANTHROPIC_LOG=debug`, or the loggers' own levels): a program that
        # sets its root logger to DEBUG has not asked.
        for name in ("anthropic", "httpcore2"):
            library = logging.getLogger(name)
            if library.level == logging.NOTSET:
                library.setLevel(logging.INFO)
        super().__init__(**options)

    def like(self, name: str) -> Model:
        """See `ModelAgent.like`. It shares the client."""
        other = copy(self)
        other.name = name
        return other

    async def aclose(self) -> None:
        """Leave what was entered, and close the client, if it was made here. Running turns fail."""
        await super().aclose()
        await self._client.aclose()

    async def stream(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """See `Model.stream`."""
        request = self._request(messages, tools)
        answer = _Answer(turn)
        with self._failures(turn, request):
            # Not the SDK's own reader of messages: for each piece of a call's input it reads the whole input again, and
            # one that is no JSON it takes for a failure of the stream.
            client = self._client.get()
            async with turn.upstream(), await client.messages.create(**request, stream=True) as stream:
                events = 0
                async for event in stream:
                    events += 1
                    if events % BREATH == 0:
                        await asyncio.sleep(0)  # what has come in one packet, hundreds of events, never waits
                    answer.take(event)
            if not answer.finished:
                raise RunError("The provider ended the stream in mid-answer.", code="provider_error")
            return answer.reply(self, self._max_tokens)

    async def complete(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """See `Model.complete`."""
        request = self._request(messages, tools)
        answer = _Answer(turn)
        with self._failures(turn, request):
            client = self._client.get()
            async with turn.upstream():
                # With its own time limit named, the SDK doesn't refuse what might take longer than ten minutes.
                message = await client.messages.create(**request, stream=False, timeout=client.timeout)
            answer.take_whole(message)
            return answer.reply(self, self._max_tokens)

    def _request(self, messages: Sequence[Told], tools: Sequence[Tool]) -> dict[str, Any]:
        made, used = converted(messages, self)
        names = {tool.name for tool in tools}
        declared: list[Block] = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.schema,
                "eager_input_streaming": True,  # else a long input comes at once, at its end
            }
            for tool in tools
        ]
        declared += [{**each} for each in used if each["name"] not in names]
        request: dict[str, Any] = {"model": self.name, "max_tokens": self._max_tokens, "messages": made}
        if self._system is not None:
            request["system"] = [{"type": "text", "text": self._system, "cache_control": CACHED}]
        elif declared:
            declared[-1]["cache_control"] = CACHED
        if declared:
            request["tools"] = declared
        if declared and not tools:
            request["tool_choice"] = {"type": "none"}
        if self._thinking is not None and not (self._thinking["type"] == "enabled" and _thoughtless(made)):
            request["thinking"] = self._thinking
        # What the next request repeats is read from the provider's cache: up to the last message of this one, and of
        # the one before, in case that has more blocks than a look back spans.
        for message in [message for message in made if message["role"] == "user"][-2:]:
            message["content"][-1]["cache_control"] = CACHED
        return request

    @contextmanager
    def _failures(self, turn: Turn, request: Mapping[str, Any]) -> Generator[None]:
        """Make `RunError` of whatever goes wrong inside."""
        try:
            yield
        except AgentWsError:
            raise
        except Exception as error:  # noqa: BLE001 - the SDK lets foreign ones through: httpx2's, a misshapen event's
            failure = self._explained(error, request)
            note(logging.WARNING, "the provider failed", error=failure, run=turn.run)
            # The cause holds the request, and with it the key: it must not reach whoever prints this one's traceback.
            raise failure from None

    def _explained(self, error: Exception, request: Mapping[str, Any]) -> RunError:
        """What to tell the user, in our own words: the provider's may quote the conversation, a proxy's the key."""
        code, retry = "provider_error", True
        match error:
            case anthropic.APIStatusError():
                return self._refused(error, request)
            case anthropic.APITimeoutError() | httpx2.TimeoutException():
                code, message = "provider_timeout", LATE
            case anthropic.APIConnectionError(__cause__=httpx2.LocalProtocolError()):
                message, retry = "The API key can't be sent: check ANTHROPIC_API_KEY for line breaks.", False
            case anthropic.APIConnectionError():
                message = "The provider could not be reached: check the network and ANTHROPIC_BASE_URL."
            case anthropic.CredentialsError():
                message, retry = "No API key was found: set ANTHROPIC_API_KEY.", False
            case httpx2.TransportError():
                message = "The connection to the provider broke in mid-answer."
            case _:
                message = f"The exchange with the provider failed ({type(error).__name__})."
        return RunError(message, code=code, retry=retry)

    def _refused(self, error: anthropic.APIStatusError, request: Mapping[str, Any]) -> RunError:
        status = error.status_code
        if status < 400:  # noqa: PLR2004 - HTTP's own number: the error came inside a stream
            status = STATUSES.get(error.type or "", 500)
        wait = asked_to_wait(error.response.headers)
        said = error.api_message or ""
        return refusal(status, said, model=self.name, prefix="ANTHROPIC", parameters=request, wait=wait)


def default() -> Anthropic:
    """The agent as the environment has it: `AGENT_WS_MODEL` names the model where it should be another one."""
    return Anthropic(os.environ.get("AGENT_WS_MODEL") or MODEL)


def converted(messages: Iterable[Told], maker: object = None) -> tuple[list[dict[str, Any]], list[ToolParam]]:
    """A conversation as the API takes it, and the tools that are named in it, to be declared.

    What `maker` said in this run goes back as it came, with its thinking and its signatures. Calls that others made
    stay calls: as text the model would take them for the way to answer, and their results for the user's words. All
    tools are declared, because proxies of the API refuse tool blocks without `tools`. Ids of the others are made anew:
    ours are unique in a run, the API's in a request; and those that a proxy has given twice. Blank text, which the API
    refuses, is left out.
    """
    told = tuple(messages)
    taken = {id for each in told if isinstance(each, Said) and each.maker is maker for id in each.ids.values()}
    fresh = (id for id in map("call_{}".format, count(1)) if id not in taken)
    used: set[str] = set()
    made: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    ids: dict[str, str] = {}
    """The call that each of our ids meant last."""

    def block(part: Part) -> Block | None:
        match part:
            case Text(text=text):
                return {"type": "text", "text": text} if text.strip() else None
            case ToolUse(id=tool, name=name, input=value):
                name = re.sub("[^a-zA-Z0-9_-]", "_", name)[:64] or "tool"
                names[name] = None
                ids[tool] = next(fresh)
                return {"type": "tool_use", "id": ids[tool], "name": name, "input": _object(value)}
            case ToolOutput(id=tool, output=output, ok=ok):
                told = output if output.strip() else "[no output]"
                return {"type": "tool_result", "tool_use_id": ids[tool], "content": told, "is_error": not ok}
            case _:
                assert_never(part)

    for each in told:
        if isinstance(each, Said) and each.maker is maker:
            role, blocks = "assistant", list(cast("list[Block]", each.native))
            calls = [place for place, one in enumerate(blocks) if one["type"] == "tool_use"]
            for place, (tool, id) in zip(calls, each.ids.items(), strict=True):
                names[blocks[place]["name"]] = None
                ids[tool] = next(fresh) if id in used else id
                used.add(ids[tool])
                blocks[place] = {**blocks[place], "id": ids[tool]}
        else:
            message = each.message if isinstance(each, Said) else each
            role, blocks = message.role, [one for part in message.parts if (one := block(part)) is not None]
        if made and made[-1]["role"] == role:
            made[-1]["content"] += blocks
        elif blocks:
            made.append({"role": role, "content": blocks})
    tools: list[ToolParam] = [
        {"name": name, "description": "Was used before. Not available now.", "input_schema": {"type": "object"}}
        for name in names
    ]
    return made, tools


def _object(value: object) -> dict[str, Any]:
    """A call's input as the API takes it, which knows nothing but objects."""
    match value:
        case dict():
            return cast("dict[str, Any]", value)
        case None:
            return {}
        case _:
            return {"input": value}


def _thoughtless(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the model's last step called tools without having thought, as far as we can tell the API: then manual
    thinking has to wait for the next answer.
    """
    said: list[list[Block]] = [message["content"] for message in messages if message["role"] == "assistant"]
    last = said[-1] if said else []
    return any(block["type"] == "tool_use" for block in last) and "thinking" not in last[0]["type"]


class _Answer:
    """A message of the model's in the making, written to the turn as it comes."""

    def __init__(self, turn: Turn) -> None:
        self.finished = False
        """The event that ends a message was there; without it the answer is cut short."""
        self._turn = turn
        self._blocks: dict[int, Block] = {}
        self._inputs: dict[int, list[str]] = {}
        """Of each call the JSON that came so far."""
        self._tools: dict[int, str] = {}
        """Our ids of calls."""
        self._told = Usage()
        self._stop_reason = ""

    def take(self, event: RawMessageStreamEvent) -> None:
        """Take the next event."""
        match event.type:
            case "message_start":
                self._count(event.message.usage)  # at once: an interrupted run's receipt has what the question cost
            case "content_block_start":
                self._begin(event.index, event.content_block.to_dict())
            case "content_block_delta":
                self._grow(event.index, event.delta)
            case "message_delta":
                self._count(event.usage)
                self._stop_reason = event.delta.stop_reason or ""
            case "message_stop":
                self.finished = True
            case _:
                pass

    def take_whole(self, message: SdkMessage) -> None:
        """Take a message that was not streamed."""
        self._count(message.usage)
        for index, block in enumerate(message.content):
            self._begin(index, block.to_dict())
        self._stop_reason = message.stop_reason or ""

    def reply(self, maker: Model, max_tokens: int) -> Reply:
        """What it came to."""
        parts: list[Part] = []
        native: list[Block] = []
        calls: list[Asked] = []
        ids: dict[str, str] = {}
        for index, block in self._blocks.items():
            match block["type"]:
                case "text":
                    if not block["text"].strip():
                        continue  # the API doesn't take back what it may write
                    parts.append(Text(block["text"]))
                case "thinking":
                    if not block.get("signature"):
                        continue  # cut off, so it can't go back
                case "tool_use":
                    tool = self._tools[index]
                    cut = self._stop_reason in CUT and index == max(self._blocks)
                    input, problem = self._input(index, cut=max_tokens if cut else 0)
                    block["input"] = input or {}
                    parts.append(ToolUse(tool, block["name"], input))
                    calls.append(Asked(tool, block["name"], input, problem))
                    ids[tool] = block["id"]
                case "server_tool_use":
                    block["input"] = self._input(index)[0] or {}
                case _:
                    pass
            native.append(block)
        return Reply(Said(Message("assistant", tuple(parts)), maker, native, ids), tuple(calls), self._stop_reason)

    def _begin(self, index: int, block: Block) -> None:
        self._blocks[index] = block
        match block["type"]:
            case "text":
                self._turn.content(block["text"])
            case "thinking":
                self._turn.thinking(block["thinking"])
            case "tool_use":
                self._tools[index] = self._turn.begin_tool(block["name"])
            case _:
                pass

    def _grow(self, index: int, delta: RawContentBlockDelta) -> None:
        block = self._blocks[index]
        match delta.type:
            case "text_delta":
                block["text"] += delta.text
                self._turn.content(delta.text)
            case "thinking_delta":
                block["thinking"] += delta.thinking
                self._turn.thinking(delta.thinking)
            case "signature_delta":
                block["signature"] = delta.signature
            case "input_json_delta":
                self._inputs.setdefault(index, []).append(delta.partial_json)
                if index in self._tools:
                    self._turn.tool_input(self._tools[index], delta.partial_json)
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta.citation.to_dict()]
            case _:
                pass

    def _input(self, index: int, cut: int = 0) -> tuple[dict[str, Any] | None, str]:
        """A call's input, or None and why there is none. cut: the most tokens there could be, where it ends in them."""
        text = "".join(self._inputs.get(index, ()))
        if not text and not cut:
            return self._blocks[index]["input"], ""
        try:
            value: object = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            value = None
        if isinstance(value, dict):
            return cast("dict[str, Any]", value), ""
        if cut:
            return None, f"it was cut off, because an answer can have {cut} tokens at most: make it shorter"
        return None, "it was expected to be a JSON object"

    def _count(self, counted: Counted | MessageDeltaUsage) -> None:
        """Report what is new in the provider's running totals; one that it leaves out has not changed."""

        def total(now: int | None, before: int) -> int:
            return before if now is None else now

        told = self._told
        self._told = now = Usage(
            input_tokens=total(counted.input_tokens, told.input_tokens),
            output_tokens=total(counted.output_tokens, told.output_tokens),
            cache_read_tokens=total(counted.cache_read_input_tokens, told.cache_read_tokens),
            cache_write_tokens=total(counted.cache_creation_input_tokens, told.cache_write_tokens),
        )
        self._turn.report(now - told)
