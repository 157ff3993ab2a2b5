"""Tools that a model may call: what one is, how one is made of a function, and how the calls of a step are run.

The one rule: whatever a tool does, its call gets exactly one result, and that result tells the truth: to the user, to
the model, and in the history.
"""

from ..errors import ToolError
from .base import OnInterrupt, Tool, ToolSource, Work, entered, named
from .function import FunctionTool, tool
from .use import Asked, use, use_all

__all__ = [
    "Asked",
    "FunctionTool",
    "OnInterrupt",
    "Tool",
    "ToolError",
    "ToolSource",
    "Work",
    "entered",
    "named",
    "tool",
    "use",
    "use_all",
]
