"""A LangGraph graph: a model with a tool that needs the user's leave.

    pip install 'agent-ws[langchain]' langgraph langchain-anthropic
    ANTHROPIC_API_KEY=... agent-ws serve langgraph_agent:agent

Tokens, tool calls and the question are shown without a line for it, and a Stop ends all of them.
"""

from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

from agent_ws.agents.langchain import LangChain


@tool
async def refund(order: str, euros: float) -> str:
    """Pay money back for an order."""
    # LangGraph begins the tool again with the answer, so what has an effect comes behind the question.
    if interrupt(f"Refund {euros:.2f} euros for order {order}? (yes or no)").strip().lower() != "yes":
        return "The user said no."
    return f"Refunded {euros:.2f} euros for order {order}."


model = ChatAnthropic(model="claude-sonnet-5-5", max_retries=0).bind_tools([refund])


async def ask(state: MessagesState) -> dict[str, Any]:
    """Ask the model. Its words are streamed although they are only awaited here."""
    return {"messages": [await model.ainvoke(state["messages"])]}


graph = StateGraph(MessagesState)
graph.add_node("ask", ask)
graph.add_node("tools", ToolNode([refund]))
graph.add_edge(START, "ask")
graph.add_conditional_edges("ask", tools_condition)
graph.add_edge("tools", "ask")

agent = LangChain(graph.compile(checkpointer=InMemorySaver()))  # a question needs a checkpointer
