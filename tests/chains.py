"""Models and graphs of LangChain's for tests: they play scripts, without a network.

The one rule: a model knows how many answers it is making; after a Stop it has to be none.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.graph import (  # pyright: ignore[reportMissingTypeStubs] - it is a namespace package: its types are unseen
    START,
    MessagesState,
    StateGraph,
)
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import PrivateAttr

from agent_ws.agents.scripted import Gate


class Model(BaseChatModel):
    """Plays a script for each call: chunks, exceptions, gates. `pause`: it waits before each, as a real one does."""

    scripts: list[Sequence[Any]]
    pause: bool = True
    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list[list[BaseMessage]])
    _open: int = PrivateAttr(default=0)

    @property
    def asked(self) -> list[list[BaseMessage]]:
        """What it was asked, in order."""
        return self._asked

    @property
    def open(self) -> int:
        """Answers that it is making: a connection each."""
        return self._open

    @property
    def _llm_type(self) -> str:
        return "script"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **more: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        del stop, run_manager, more
        script = self.scripts[min(len(self._asked), len(self.scripts) - 1)]
        self._asked.append(messages)
        self._open += 1
        try:
            for step in script:
                if self.pause:
                    await asyncio.sleep(0)
                match step:
                    case Gate():
                        step.reached.set()
                        await step.wait()
                    case Exception():
                        raise step
                    case str():
                        yield ChatGenerationChunk(message=AIMessageChunk(content=step))
                    case _:
                        yield ChatGenerationChunk(message=step)
        finally:
            try:
                await asyncio.sleep(0)  # to close a connection takes a step too
            finally:
                self._open -= 1


class Whole(BaseChatModel):
    """A model that can't stream."""

    answers: list[AIMessage]
    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list[list[BaseMessage]])

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **more: Any,
    ) -> ChatResult:
        del stop, run_manager, more
        self._asked.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.answers[len(self._asked) - 1])])


def calling(*calls: tuple[str, str, str | None, str]) -> list[AIMessageChunk]:
    """A model's message that calls tools: name, id and input of each, the input in two pieces."""
    chunks: list[AIMessageChunk] = []
    for n, (name, id, first, second) in enumerate(calls):
        for piece, args in enumerate((first, second)):
            named = {"name": name, "id": id} if piece == 0 else {"name": None, "id": None}
            piece_of: Any = {"args": args, "index": n, **named}
            chunks.append(AIMessageChunk(content="", tool_call_chunks=[piece_of]))
    return chunks


def counted(input_tokens: int, output_tokens: int, **details: int) -> AIMessageChunk:
    usage: Any = {"input_tokens": input_tokens, "output_tokens": output_tokens, "input_token_details": details}
    return AIMessageChunk(content="", usage_metadata=usage | {"total_tokens": input_tokens + output_tokens})


def graph_of(model: Runnable[Any, Any], *tools: BaseTool, saver: Any = None, **options: Any) -> Any:
    """The usual agent: a model, its tools, and back. `options` are for the `ToolNode`."""

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode(tools, **options))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile(checkpointer=saver)


def line(*nodes: Any, state: type = MessagesState, saver: Any = None) -> Any:
    """A graph of nodes, one after the other, each called by its function's name or `inner`."""
    graph: Any = cast("Any", StateGraph)(state)
    before = START
    for node in nodes:
        name = getattr(node, "__name__", "inner")
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph.compile(checkpointer=saver)


class Played:
    """A fake model of a graph as the suite's backend."""

    def __init__(self) -> None:
        self.model = Model(scripts=[])

    def say(self, *pieces: str, bytewise: bool = False) -> None:
        self._add(*(tuple("".join(pieces)) if bytewise else pieces), AIMessageChunk(content=""))

    def call(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        made = [(name, f"c{n}", json.dumps(dict(value))) for n, (name, value) in enumerate(calls)]
        self._add(*calling(*((name, id, text[:3], text[3:]) for name, id, text in made)))

    def fail(self, *pieces: str) -> None:
        self._add(*pieces, ConnectionError("SECRET"))

    def hang(self, *pieces: str) -> None:
        self._add(*pieces, Gate())

    def forget(self) -> None:
        del self.model.scripts[len(self.model.asked) :]

    @property
    def open(self) -> int:
        return self.model.open

    def heard(self) -> str:
        return " ".join(message.text for message in self.model.asked[-1])

    def _add(self, *steps: Any) -> None:
        self.model.scripts.append(steps)
