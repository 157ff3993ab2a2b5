"""agent_ws: put any agent behind one WebSocket, and stop means stopped.

import agent_ws

async def agent(turn: agent_ws.Turn):
    for word in turn.message.split():
        yield word + " "

app = agent_ws.build_app(agent)          # any ASGI server; or: agent-ws serve module:agent
"""

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
    "resilient",
    "tool",
]
