"""agent_ws: put any agent behind one WebSocket, and stop means stopped.

import agent_ws

async def agent(turn: agent_ws.Turn):
    for word in turn.message.split():
        yield word + " "

app = agent_ws.build_app(agent)          # any ASGI server; or: agent-ws serve module:agent

async with agent_ws.connect("http://127.0.0.1:8000") as client:      # and a client of it: `agent_ws.client`
    async for event in client.answer("Hello agent"): ...
"""

from typing import TYPE_CHECKING, Any

from .attempts import Retry, resilient
from .errors import AgentError, AgentWsError, Fenced, RunError, StoreError, ToolError, ToolTimeout
from .events import (
    Call,
    Content,
    Outline,
    Section,
    SectionEnd,
    SectionStart,
    Status,
    Thinking,
    ToolResult,
    Tools,
    ToolStart,
    Usage,
)
from .history import Message
from .server import Identity, Login, build_app
from .settings import Limits, Settings, Timeouts
from .tools import Tool, tool
from .turn import Agent, ToolCall, Turn, TurnSection

if TYPE_CHECKING:
    from .client import connect

__all__ = [
    "Agent",
    "AgentError",
    "AgentWsError",
    "Call",
    "Content",
    "Fenced",
    "Identity",
    "Limits",
    "Login",
    "Message",
    "Outline",
    "Retry",
    "RunError",
    "Section",
    "SectionEnd",
    "SectionStart",
    "Settings",
    "Status",
    "StoreError",
    "Thinking",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "ToolStart",
    "ToolTimeout",
    "Tools",
    "Turn",
    "TurnSection",
    "Usage",
    "build_app",
    "connect",
    "resilient",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Import the client when it is asked for: who serves needs none."""
    if name != "connect":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .client import connect  # noqa: PLC0415 - that is the point of it

    return connect
