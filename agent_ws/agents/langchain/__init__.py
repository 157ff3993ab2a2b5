"""A LangChain runnable or a compiled LangGraph graph as an agent: `LangChain(runnable)`.

The one rule: the runnable is iterated in the run's own task and closed before that ends, and what it tells goes by
callbacks straight to the turn, without a queue. So a Stop is raised where the runnable really waits, in its model or
its tool, and what is still told afterwards is refused.

Nothing can stop a thread: a function without `async`, which LangChain runs in one, goes on until it next tells
something, and a tool among them is reported as running.
"""

from .agent import LangChain

__all__ = ["LangChain"]
