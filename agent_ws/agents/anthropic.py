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
from collections.abc import Iterable
from itertools import count
from types import TracebackType
from typing import Any, Self, assert_never, cast

import anthropic
import httpx2
from anthropic.lib.streaming import AsyncMessageStream
from anthropic.types import (
    MessageDeltaUsage,
    TextBlockParam,
    ThinkingConfigParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
)
from anthropic.types import Usage as Counted

from ..errors import AgentWsError, RunError
from ..events import Usage
from ..history import Message, Part, Text, ToolOutput, ToolUse
from ..journal import note
from ..turn import BREATH, Turn

MODEL = "claude-sonnet-5-5"
MAX_TOKENS = 32_000
"""Of thinking and answer together: room for a long answer, and a bound on what one run can cost."""
THINKING: ThinkingConfigParam = {"type": "adaptive", "display": "summarized"}
"""The model decides whether to think. Without `summarized` the newer ones think in silence, which the time limits would
take for a hang."""
TIMEOUT = httpx2.Timeout(10.0, read=None)
"""To connect and to send. How long an answer may be silent is the gateway's to say, by its own `Timeouts`."""
LATE = "The provider did not answer in time: try again later."

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

Block = TextBlockParam | ToolUseBlockParam | ToolResultBlockParam


class Anthropic:
    """Answers each turn with one streamed request. For one event loop.

    thinking: as the API takes it; None leaves it out, for models that know no adaptive thinking. client: yours to
    configure and to close; its retries are not used, because one that sleeps would race an interrupt. Without it a
    client is made for the first run and kept, so that later runs find a warm connection: `aclose`, or leaving
    `async with`, gives it back.
    """

    def __init__(
        self,
        model: str = MODEL,
        system: str | None = None,
        max_tokens: int = MAX_TOKENS,
        thinking: ThinkingConfigParam | None = THINKING,
        client: anthropic.AsyncAnthropic | None = None,
    ) -> None:
        self._model = model
        self._options: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        if system is not None:
            self._options["system"] = system
        if thinking is not None:
            self._options["thinking"] = thinking
        self._client = client and client.with_options(max_retries=0)
        self._owned = client is None
        # At DEBUG the SDK logs whole requests, the conversation with them, and its HTTP library a key with a line break
        # in it. So that must be asked for by name (`ANTHROPIC_LOG=debug`, or the loggers' own levels): a program that
        # sets its root logger to DEBUG has not asked.
        for name in ("anthropic", "httpcore2"):
            library = logging.getLogger(name)
            if library.level == logging.NOTSET:
                library.setLevel(logging.INFO)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client, if it was made here; the next turn would make another. Running turns fail."""
        if self._owned and self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def __call__(self, turn: Turn) -> None:
        """Stream one answer. Raises `RunError`, code `provider_error` or `provider_timeout`; text before it stays."""
        messages, tools = converted(turn.messages)
        request: dict[str, Any] = self._options | {"messages": messages}
        if tools:
            request |= {"tools": tools, "tool_choice": {"type": "none"}}
        try:
            client = self._connected()
            async with turn.upstream(), client.messages.stream(**request) as stream:
                finished = await _read(stream, turn)
        except AgentWsError:
            raise
        except Exception as error:  # noqa: BLE001 - the SDK lets foreign ones through: httpx2's, a misshapen event's
            failure = self._explained(error, request)
            note(logging.WARNING, "the provider failed", error=failure, run=turn.run)
            # The cause holds the request, and with it the key: it must not reach whoever prints this one's traceback.
            raise failure from None
        if not finished:
            raise RunError("The provider ended the stream in mid-answer.", code="provider_error")

    def _connected(self) -> anthropic.AsyncAnthropic:
        if self._client is None:
            client = anthropic.AsyncAnthropic(timeout=TIMEOUT, max_retries=0)
            if client.api_key is None and client.auth_token is None and client.credentials is None:
                raise anthropic.CredentialsError
            self._client = client
        return self._client

    def _explained(self, error: Exception, request: dict[str, Any]) -> RunError:
        """What to tell the user, in our own words: the provider's may quote the conversation, a proxy's the key."""
        code = "provider_error"
        match error:
            case anthropic.APIStatusError():
                return self._refused(error, request)
            case anthropic.APITimeoutError() | httpx2.TimeoutException():
                code, message = "provider_timeout", LATE
            case anthropic.APIConnectionError(__cause__=httpx2.LocalProtocolError()):
                message = "The API key can't be sent: check ANTHROPIC_API_KEY for line breaks."
            case anthropic.APIConnectionError():
                message = "The provider could not be reached: check the network and ANTHROPIC_BASE_URL."
            case anthropic.CredentialsError():
                message = "No API key was found: set ANTHROPIC_API_KEY."
            case httpx2.TransportError():
                message = "The connection to the provider broke in mid-answer."
            case _:
                message = f"The exchange with the provider failed ({type(error).__name__})."
        return RunError(message, code=code)

    def _refused(self, error: anthropic.APIStatusError, request: dict[str, Any]) -> RunError:
        status = error.status_code
        if status < 400:  # noqa: PLR2004 - HTTP's own number: the error came inside a stream
            status = STATUSES.get(error.type or "", 500)
        code = "provider_error"
        match status:
            case 401:
                message = "The API key was refused: check ANTHROPIC_API_KEY."
            case 402:
                message = "The provider's account can't pay for this: check its billing."
            case 403:
                message = f"The API key may not use {self._model}: check its permissions."
            case 404:
                message = f"The provider does not know {self._model}: check AGENT_WS_MODEL and ANTHROPIC_BASE_URL."
            case 408 | 504:
                code, message = "provider_timeout", LATE
            case 413:
                message = "The conversation is too long for the provider: begin a new one."
            case 429:
                after = error.response.headers.get("retry-after", "")
                when = f"in {after} s" if re.fullmatch("[0-9]{1,6}", after) else "later"
                message = f"The provider takes no more requests from this API key for now: try again {when}."
            case 529:
                message = "The model is overloaded: try again later."
            case _ if status >= 500:  # noqa: PLR2004 - the same
                message = f"The provider failed (status {status}): try again later."
            case _:
                message = f"The provider refused the request (status {status})."
                # Which of our own parameters it speaks of is safe to say, and mostly all that is needed.
                if named := [name for name in request if re.search(rf"\b{name}\b", error.api_message or "")]:
                    message += f" It names: {', '.join(named)}."
        return RunError(message, code=code)


def default() -> Anthropic:
    """The agent as the environment has it: `AGENT_WS_MODEL` names the model where it should be another one."""
    return Anthropic(os.environ.get("AGENT_WS_MODEL") or MODEL)


def converted(messages: Iterable[Message]) -> tuple[list[dict[str, Any]], list[ToolParam]]:
    """A history as the API takes it, and the tools that must be declared with it.

    Calls that another agent made stay calls: as text the model would take them for the way to answer, and their results
    for the user's words. Their tools are declared, because proxies of the API refuse tool blocks without `tools`. Ids
    are made anew: ours are unique in a run, the API's in a request. Blank text, which the API refuses, is left out.
    """
    made: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    ids: dict[str, str] = {}
    """The call that each of our ids meant last."""
    numbers = count(1)

    def block(part: Part) -> Block | None:
        match part:
            case Text(text=text):
                return {"type": "text", "text": text} if text.strip() else None
            case ToolUse(id=tool, name=name, input=value):
                name = re.sub("[^a-zA-Z0-9_-]", "_", name)[:64] or "tool"
                names[name] = None
                ids[tool] = f"call_{next(numbers)}"
                return {"type": "tool_use", "id": ids[tool], "name": name, "input": _object(value)}
            case ToolOutput(id=tool, output=output, ok=ok):
                told = output if output.strip() else "[no output]"
                return {"type": "tool_result", "tool_use_id": ids[tool], "content": told, "is_error": not ok}
            case _:
                assert_never(part)

    for message in messages:
        for part in message.parts:
            if (fresh := block(part)) is None:
                continue
            if made and made[-1]["role"] == message.role:
                made[-1]["content"].append(fresh)
            else:
                made.append({"role": message.role, "content": [fresh]})
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


async def _read(stream: AsyncMessageStream[None], turn: Turn) -> bool:
    """Write what the stream brings. False: it ended without the event that ends a message; the answer is cut short."""
    told = Usage()
    finished = False
    events = 0
    async for event in stream:
        events += 1
        if events % BREATH == 0:
            await asyncio.sleep(0)  # what has come in one packet, hundreds of events, is read without ever waiting
        match event.type:
            case "text":
                turn.content(event.text)
            case "thinking":
                turn.thinking(event.thinking)
            case "message_start":
                # Told at once, so that the receipt of an interrupted run has what the question cost.
                told = _count(turn, told, event.message.usage)
            case "message_delta":
                told = _count(turn, told, event.usage)
                turn.report(stop_reason=event.delta.stop_reason or "")
            case "message_stop":
                finished = True
            case _:
                pass
    return finished


def _count(turn: Turn, told: Usage, counted: Counted | MessageDeltaUsage) -> Usage:
    """Report what is new in the provider's running totals; one that it leaves out has not changed. Returns them."""

    def total(now: int | None, before: int) -> int:
        return before if now is None else now

    totals = Usage(
        input_tokens=total(counted.input_tokens, told.input_tokens),
        output_tokens=total(counted.output_tokens, told.output_tokens),
        cache_read_tokens=total(counted.cache_read_input_tokens, told.cache_read_tokens),
        cache_write_tokens=total(counted.cache_creation_input_tokens, told.cache_write_tokens),
    )
    turn.report(
        Usage(
            input_tokens=totals.input_tokens - told.input_tokens,
            output_tokens=totals.output_tokens - told.output_tokens,
            cache_read_tokens=totals.cache_read_tokens - told.cache_read_tokens,
            cache_write_tokens=totals.cache_write_tokens - told.cache_write_tokens,
        )
    )
    return totals
