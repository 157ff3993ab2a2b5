"""The agent that answers when no model is configured: it works offline and does real work all the same.

The one rule: it says what it is. It searches and calculates, it doesn't understand.
"""

from .agent import Demo, demo

__all__ = ["Demo", "demo"]
