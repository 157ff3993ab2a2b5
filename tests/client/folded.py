"""What a log's fold says, in a form that every language can make: `web/client/test/folded.ts` in Python.

The one rule: what `agent_ws.fold` knows is taken from there; of the rest (thinking, tools) this is the definition.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agent_ws.events import Content, Event, SectionStart, Status, Thinking, ToolResult, ToolRun, Tools, ToolStart
from agent_ws.fold import RunView, runs


def folded(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The runs of a log."""
    return [_run(view) for view in runs(events)]


def _run(view: RunView) -> dict[str, Any]:
    texts = [(event, data) for event, data in view.pieces() if isinstance(event, Content)]
    calls = {tool: [state, view.fates.get(tool)] for tool, state in _tools(view).items()}
    return {
        "run": view.run,
        "started": view.started,
        "continues": view.continues,
        "messages": [[message.id, message.data, message.steer] for message in view.messages],
        "ending": None if view.ending is None else msgspec.to_builtins(view.ending)["type"],
        "task": view.task,
        "seen": view.seen,
        "chars": len(view.text()),
        "text": view.text(),
        "texts": _joined(texts),
        "thinking": _joined(_thoughts(view.events)),
        "tools": calls,
    }


def _joined(texts: Sequence[tuple[Content | Thinking, str]]) -> dict[str, str]:
    """By agent, then by section; without what is empty."""
    found: dict[str, str] = {}
    for event, data in texts:
        if data:
            key = f"{event.agent or ''}/{event.section or ''}"
            found[key] = found.get(key, "") + data
    return dict(sorted(found.items()))


def _thoughts(events: Sequence[Event]) -> list[tuple[Thinking, str]]:
    """The thinking that is shown. What a section had that began anew is not, but it counts on, as for the writer."""
    thoughts: list[tuple[Thinking, str]] = []
    gone: set[int] = set()
    for event in events:
        match event:
            case Thinking(data=data):
                thoughts.append((event, data))
            case SectionStart(section=section):
                gone |= {i for i, (thought, _) in enumerate(thoughts) if thought.section == section}
            case Status(state="reset", thinking=left):
                for i in range(len(thoughts) - 1, -1, -1):
                    thought, data = thoughts[i]
                    if thought.agent == event.agent:
                        thoughts[i] = (thought, data[: max(0, len(data) - left)])
                        left -= min(left, len(data))
            case _:
                pass
    return [thought for i, thought in enumerate(thoughts) if i not in gone]


def _tools(view: RunView) -> dict[str, str]:
    """How far each call came that is still shown."""
    states: dict[str, str] = {}
    for event in view.events:
        match event:
            case Tools(calls=calls):
                states |= {call.tool: "planned" for call in calls}
            case ToolStart(tool=tool, waits=waits):
                states[tool] = "waiting" if waits else "running"
            case ToolRun(tool=tool):
                states[tool] = "running"
            case ToolResult(tool=tool, outcome="withdrawn"):
                states.pop(tool, None)
            case ToolResult(tool=tool, outcome=outcome):
                states[tool] = outcome
            case _:
                pass
    if view.ending is not None:
        states = {tool: "never_started" if state == "planned" else state for tool, state in states.items()}
    return states
