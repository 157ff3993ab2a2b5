"""The agent: what it calls the runnable with, and how it goes through it.

The one rule: see the package.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from ...attempts import asked_to_wait
from ...errors import AgentWsError, RunError
from ...turn import Turn
from .messages import converted, plain
from .watch import Watch

Given: TypeAlias = Callable[[Turn], Any]


class LangChain:
    """Answers each turn with one run of `runnable`.

    The text of every model inside is the answer, as it is made; a model that is not to be heard has LangGraph's tag
    `nostream`. Where a chain comes to another text or message in the end, that takes the place of what was shown; of a
    graph the messages that a node makes without a model are shown too. Thinking, tool calls, usage and a graph's nodes
    are shown of all. What a node gives to LangGraph's stream writer is written if it is an event of ours, and shown as
    status if it is text.

    A graph's `interrupt(value)` asks the user. Text is a question, whose answer it returns; what LangChain's own
    middleware asks to have approved is asked for as an approval, and answered in its form; any other value is sent
    along as the question's data, and the reply's data is returned.

    input: makes what the runnable is called with; the default is the conversation, as messages, under the key
    `messages` where the runnable's schema has one. config: makes the configuration of a run. Without a `thread_id` in
    it each run of a graph has a thread of its own, which is deleted at its end: the history has what was said.
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        input: Given | None = None,
        config: Callable[[Turn], RunnableConfig] | None = None,
    ) -> None:
        self._runnable = cast("_Runnable", runnable)
        self._is_graph = hasattr(runnable, "aget_state")  # LangGraph is not imported to ask it
        self._input = input or _conversation(runnable)
        self._config = config

    async def __call__(self, turn: Turn) -> None:
        """An agent, see `turn.Agent`. Raises `RunError` where a model's provider fails."""
        watch = Watch(turn)
        config = merge_configs(self._config(turn) if self._config else None, {"callbacks": [watch]})
        try:
            async with turn.upstream():
                await (self._walk if self._is_graph else self._play)(turn, watch, config)
            watch.finish()
        except AgentWsError:
            raise
        except Exception as error:
            if (known := _explained(error)) is None:
                raise
            raise known from None  # the cause holds the request, and with it the key
        finally:
            watch.over = True

    async def _play(self, turn: Turn, watch: Watch, config: RunnableConfig) -> None:
        # Not `astream`: it steps a chain by a task for each piece, and where a cancellation finds it between two, it
        # leaves a task behind, and the model's stream open.
        watch.result(await self._runnable.ainvoke(self._input(turn), config))

    async def _walk(self, turn: Turn, watch: Watch, config: RunnableConfig) -> None:
        from langgraph.types import Command  # noqa: PLC0415 - whoever has a graph has it; others need not

        own = f"{turn.run} {turn.name or ''}"
        thread = config.setdefault("configurable", {}).setdefault("thread_id", own)
        given = self._input(turn)
        try:
            while given is not None:
                asked: Sequence[Any] = ()
                steps = self._runnable.astream(given, config, stream_mode=["updates", "custom"], subgraphs=True)
                async with aclosing(steps):
                    async for path, mode, data in steps:
                        if mode == "custom":
                            watch.custom(data)
                        elif "__interrupt__" not in data:
                            watch.update(data)
                        elif not path:  # a graph inside this one tells of its own too
                            asked = data["__interrupt__"]
                given = Command(resume={one.id: await _ask(turn, one.value) for one in asked}) if asked else None
        finally:
            saver: Any = getattr(self._runnable, "checkpointer", None)
            if thread == own and hasattr(saver, "adelete_thread"):
                await saver.adelete_thread(thread)


class _Runnable(Protocol):
    """What is used here of a runnable or graph."""

    async def ainvoke(self, given: Any, config: RunnableConfig) -> Any: ...

    def astream(self, given: Any, config: RunnableConfig, **graph: Any) -> AsyncGenerator[Any]:
        """An async generator really, which LangChain types as less."""
        ...


def _conversation(runnable: Runnable[Any, Any]) -> Given:
    """What to call it with where nobody has said that."""
    if "messages" in runnable.get_input_jsonschema().get("properties", {}):
        return lambda turn: {"messages": converted(turn.messages)}
    return lambda turn: converted(turn.messages)


async def _ask(turn: Turn, value: Any) -> Any:
    """Ask the user what a graph's `interrupt` wants to know. Raises `RunError` where nobody answers."""
    match value:
        case {"action_requests": [*actions]}:
            prompt = "\n\n".join(str(action.get("description") or action.get("name")) for action in actions)
            match await turn.ask("approval", prompt, data=plain(value)):
                case {"approved": True}:
                    return {"decisions": [{"type": "approve"}] * len(actions)}
                case _:
                    return {"decisions": [{"type": "reject"}] * len(actions)}
        case str():
            reply = await turn.ask("question", value)
        case _:
            reply = await turn.ask("question", "", data=plain(value))
    match reply:
        case None:
            raise RunError("The agent asked something, and nobody answered in time.")
        case {"text": str(said)} if isinstance(value, str):
            return said
        case _:
            return reply


def _explained(error: Exception) -> RunError | None:
    """What to tell the user of a provider's failure; None: it is no such. LangChain hands on the exceptions of each
    provider's own library, which share little more than these names.
    """
    status: Any = getattr(error, "status_code", None)
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    if isinstance(status, int):
        headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
        return RunError(
            f"The provider refused the request, or failed (status {status}).",
            code="provider_error",
            retry=status in {408, 409, 429} or status >= 500,  # noqa: PLR2004 - HTTP's own number
            wait=asked_to_wait(headers),
        )
    if "Timeout" in kinds:
        return RunError("The provider did not answer in time: try again later.", code="provider_timeout")
    if "APIConnectionError" in kinds or "TransportError" in kinds or "ConnectionError" in kinds:
        return RunError("The provider could not be reached, or the connection to it broke.", code="provider_error")
    return None
