"""The loop of an agent that calls tools: ask a model, run what it calls for, ask again, until it has answered.

The one rule: between two requests the conversation is whole. Each call has its result, what the user said meanwhile
comes behind the results, and a request that failed has left nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypedDict, Unpack, cast

from msgspec import Struct

from ..attempts import Retry, Rung, climb
from ..errors import RunError
from ..history import Message, Text
from ..tools import Asked, Tool, ToolSource, entered, named, tool, use_all
from ..turn import Turn

MAX_STEPS = 32
"""Requests to a model in one run. The last one may call no tool, so that it answers with what it has."""
REFUSED = "refusal"
PAUSED = "pause_turn"


class Said(Struct, frozen=True):
    """What a model said in this run, also in its provider's own form, which may hold what no other one understands."""

    message: Message
    """For every model: an `assistant` message, whose calls have our ids."""
    maker: object
    """The model that said it: it alone may use what follows."""
    native: Any
    ids: Mapping[str, str] = {}
    """The ids that calls have in `native`, by ours."""


class Reply(Struct, frozen=True):
    """One answer of a model."""

    said: Said
    calls: tuple[Asked, ...]
    """The calls in it, which wait to run."""
    stop_reason: str = ""
    """In the provider's words, but for two: `REFUSED`, nothing in it may be used; `PAUSED`, asked again it goes on."""


Told: TypeAlias = Message | Said


class Model(Protocol):
    """Someone who can be asked for the next message of a conversation."""

    @property
    def name(self) -> str:
        """As the user reads it."""
        ...

    async def stream(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """Ask, and write text, thinking and calls (`begin_tool`, `tool_input`) as they come; report the usage.

        The connection is open only inside `turn.upstream()`. Raises `RunError`, with `retry` and `wait` as the provider
        means them, and nothing else.
        """
        ...

    async def complete(self, turn: Turn, messages: Sequence[Told], tools: Sequence[Tool]) -> Reply:
        """The same without streaming: everything is written at once, at the end."""
        ...


async def converse(
    turn: Turn,
    models: Sequence[Model],
    tools: Mapping[str, Tool],
    *,
    retry: Retry,
    max_steps: int,
) -> None:
    """Answer the turn with the first of `models` that can, and with `tools`.

    What the user says meanwhile is taken before each further request, and once more at the end: then the run goes on.
    A model that had to be left is not asked again in this run.
    """
    messages: list[Told] = list(turn.messages)
    for left in reversed(range(max_steps)):
        reply = await _ask(turn, models, messages, tuple(tools.values()) if left else (), retry)
        models = _from(reply.said.maker, models)
        turn.report(stop_reason=reply.stop_reason)
        if reply.stop_reason == REFUSED or not left:
            for call in reply.calls:
                turn.end_tool(call.tool, "withdrawn")
            return
        messages.append(reply.said)
        if reply.stop_reason == PAUSED and not reply.calls:
            continue
        outputs = await use_all(turn, tools, reply.calls)
        results = (*outputs, *map(Text, turn.steered()))
        if not results:
            return
        messages.append(Message("user", results))


async def _ask(
    turn: Turn, models: Sequence[Model], messages: Sequence[Told], tools: Sequence[Tool], retry: Retry
) -> Reply:
    async def streamed(model: Model) -> Reply:
        reply = await model.stream(turn, messages, tools)
        if reply.stop_reason == REFUSED and model is not models[-1]:
            raise RunError(f"{model.name} declined to answer.", code="provider_error", retry=False)
        return reply

    rungs = [
        Rung(model.name, partial(streamed, model), partial(model.complete, turn, messages, tools)) for model in models
    ]
    return await climb(turn, rungs, retry)


def _from(maker: object, models: Sequence[Model]) -> Sequence[Model]:
    """The models from the one on that answered."""
    place = next((place for place, model in enumerate(models) if model is maker), 0)
    return models[place:]


class Options(TypedDict, total=False):
    """What every `ModelAgent` takes."""

    tools: Iterable[Tool | ToolSource | Callable[..., Any]]
    """What it may call: tools, functions to be made tools, and sources of tools (an MCP server), which are entered when
    the agent is."""
    fallback: Iterable[Model | str]
    """Models to ask when this one fails; a name means another one of the same kind."""
    retry: Retry
    """How often a model is asked, and how long one may take."""
    max_steps: int
    """See `MAX_STEPS`, which is the default."""


class ModelAgent:
    """What makes an agent of a `Model`, which a subclass is. For one event loop."""

    def __init__(self, **options: Unpack[Options]) -> None:
        self._given: tuple[Tool | ToolSource, ...] = ()
        self._models: tuple[Model, ...] = (cast("Model", self),)
        self._retry = options.get("retry", Retry())
        self._max_steps = options.get("max_steps", MAX_STEPS)
        self._open = AsyncExitStack()
        # Now `like` may copy it: a fallback has neither tools nor fallbacks of its own.
        others = [self.like(each) if isinstance(each, str) else each for each in options.get("fallback", ())]
        self._models += (*others,)
        self._given = tuple(map(_made, options.get("tools", ())))
        self._tools = self._known()

    def like(self, name: str) -> Model:
        """Another model of the same kind, with everything else as it is here: a copy will do. A subclass that can make
        one does, and has to be ready for that before it calls `__init__` here.
        """
        raise TypeError(f"expected a model as fallback, got the name {name!r}, which means nothing here")

    def _known(self) -> dict[str, Tool] | None:
        """The tools by name. None: there is a source of tools, so they are known when that is entered."""
        tools = [each for each in self._given if isinstance(each, Tool)]
        return named(tools) if len(tools) == len(self._given) else None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._tools = await entered(stack, self._given)
            for model in self._models[1:]:
                if isinstance(model, AbstractAsyncContextManager):
                    await stack.enter_async_context(cast("AbstractAsyncContextManager[object]", model))
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave what was entered. Running turns that need it fail."""
        self._tools = self._known()
        await self._open.aclose()

    async def __call__(self, turn: Turn) -> None:
        """Answer one turn, see `converse`."""
        if self._tools is None:
            raise RunError("expected this agent to be entered (`async with`), because not all of its tools are known")
        await converse(turn, self._models, self._tools, retry=self._retry, max_steps=self._max_steps)


def _made(given: Tool | ToolSource | Callable[..., Any]) -> Tool | ToolSource:
    if isinstance(given, AbstractAsyncContextManager):
        return cast("ToolSource", given)
    return given if isinstance(given, Tool) else tool(given)
