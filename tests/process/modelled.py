"""Agents that ask a model, for the tests that serve them in front of a provider that others wrote."""

from agent_ws.agents.anthropic import Anthropic
from agent_ws.agents.openai import OpenAI
from agent_ws.tools import tool


@tool
async def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} means a lot"


anthropic = Anthropic(tools=[look_up])
openai = OpenAI(tools=[look_up])
