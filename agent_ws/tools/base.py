"""What a tool is to a model, and to whoever runs its calls.

The one rule: everything that a call needs is known before it runs: its input was read, and whether it must be allowed.
Must not know: models, what is in a tool.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Literal, TypeAlias

from ..turn import ToolCall, Turn

OnInterrupt = Literal["cancel", "finish", "detach"]
"""What becomes of a call that runs when its run is stopped: it is cancelled; it may come to its end, and the run's task
waits for it a while; or nobody waits for it."""
Work: TypeAlias = Callable[[Turn, ToolCall], Awaitable[Any]]
"""A call that may begin. What it returns is told: a `str` as it is, None as nothing (or as the call's own `output`),
anything else as JSON. `ToolError` is told too; of any other exception its type."""

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What every provider takes."""


class Tool(ABC):
    """Something that a model may call.

    description: for the model. schema: JSON Schema of the input, an object. timeout: seconds for one call; None: the
    setting `tool`. needs_approval: whether the user is asked first, or what tells that by the input.
    """

    threaded = False
    """It runs where nothing can cancel it."""

    def __init__(
        self,
        name: str,
        description: str,
        schema: dict[str, Any],
        *,
        timeout: float | None = None,
        on_interrupt: OnInterrupt = "cancel",
        needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
    ) -> None:
        if not NAME.fullmatch(name):
            raise ValueError(f"expected a tool's name of 1 to 64 letters, digits, _ or -, got {name!r}")
        self.name = name
        self.description = description
        self.schema = schema
        self.timeout = timeout
        self.on_interrupt: OnInterrupt = on_interrupt
        self.needs_approval = needs_approval

    @abstractmethod
    def bind(self, input: dict[str, Any]) -> Work:
        """The work that a call with this input is. Raises `ToolError` where the input doesn't fit."""


ToolSource: TypeAlias = AbstractAsyncContextManager[Sequence[Tool]]
"""Where tools come from, an MCP server for example: entered and left by the agent that was given it."""


def named(tools: Iterable[Tool]) -> dict[str, Tool]:
    """Tools by name. Raises `ValueError` where two have the same: a model could mean either."""
    found: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in found:
            raise ValueError(f"expected a name of its own for each tool, got {tool.name!r} twice")
        found[tool.name] = tool
    return found


async def entered(stack: AsyncExitStack, tools: Iterable[Tool | ToolSource]) -> dict[str, Tool]:
    """All tools by name, having entered where they come from. `stack` must be closed by the task that calls this."""
    found: list[Tool] = []
    for item in tools:
        found += [item] if isinstance(item, Tool) else await stack.enter_async_context(item)
    return named(found)
