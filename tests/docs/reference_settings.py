"""The reference of the settings, made from their types."""

import ast
from collections.abc import Iterator

from declared import attributes, docstring, found

HEAD = """\
# Settings

Made from `agent_ws/settings.py` by `tests/docs/write_reference.py`; not to be edited. `agent_ws.build_app(agent,
agent_ws.Settings(...))` takes all of them, `agent-ws serve` [the most wanted](cli.md#agent-ws-serve). Times are in
seconds. What a client is told where a limit is met is in [PROTOCOL.md](../../PROTOCOL.md#limits).
"""


def page() -> str:
    """The page."""
    parts = [HEAD]
    for name in ("Settings", "Timeouts", "Limits"):
        node, _ = found("agent_ws.settings", name)
        assert isinstance(node, ast.ClassDef)
        parts.append(f"## {name}\n\n{docstring(node)}\n\n" + "\n".join(_rows(node)) + "\n")
    return "\n".join(parts)


def _rows(node: ast.ClassDef) -> Iterator[str]:
    yield "| name | default | |"
    yield "| --- | --- | --- |"
    for name, _, default, text in attributes(node):
        told = " ".join(text.split()).replace("|", "\\|")
        yield f"| `{name}` | `{_number(default or '')}` | {told} |"


def _number(default: str) -> str:
    """`16 * 1024 * 1024` as the number that it is; 86400.0 as 86,400."""
    if not default[:1].isdigit():
        return default
    value = 1.0
    for factor in default.split("*"):
        value *= float(factor)
    return f"{value:,g}" if value < 1e6 else f"{int(value):,}"
