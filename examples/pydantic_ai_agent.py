"""A Pydantic AI agent with a tool.

pip install agent-ws 'pydantic-ai-slim[anthropic]'
ANTHROPIC_API_KEY=... agent-ws serve pydantic_ai_agent:agent
"""

from collections.abc import AsyncIterable

from pydantic_ai import (
    Agent,
    AgentStreamEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    RunContext,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    UserPromptPart,
)

from agent_ws import Turn, Usage

support = Agent("anthropic:claude-sonnet-5-5", deps_type=Turn, defer_model_check=True)


@support.tool
async def order_status(ctx: RunContext[Turn], order: str) -> str:
    """Where an order is."""
    # The turn shows the call, keeps its time limit, and the receipt tells what became of it when the user stops it.
    async with ctx.deps.tool("order_status", {"order": order}) as call:
        call.output = f"Order {order} is on its way."
    return call.output


async def agent(turn: Turn) -> None:
    """Run it on the message, in the turn's own task, so that a Stop cancels the model's stream and the tools."""

    async def show(_: RunContext[Turn], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for event in events:
            match event:
                case (
                    PartStartEvent(part=TextPart(content=text))
                    | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                ):
                    turn.content(text)
                case (
                    PartStartEvent(part=ThinkingPart(content=thought))
                    | PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(thought)))
                ):
                    turn.thinking(thought)
                case _:
                    pass

    async with turn.upstream():
        result = await support.run(turn.message, message_history=past(turn), deps=turn, event_stream_handler=show)
    used = result.usage
    turn.report(Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens))


def past(turn: Turn) -> list[ModelMessage]:
    """What was said before, as the user saw it. A call that was made then is told in words."""
    messages: list[ModelMessage] = []
    for message in turn.history:
        if not message.text:
            continue
        if message.role == "user":
            messages.append(ModelRequest(parts=[UserPromptPart(message.text)]))
        else:
            messages.append(ModelResponse(parts=[TextPart(message.text)]))
    return messages
