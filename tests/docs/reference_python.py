"""The reference of the Python interface, made from the source.

The one rule: it says what the docstrings say, in the order in which a person needs it.
"""

import ast
from collections.abc import Iterator

from declared import Definition, attributes, docstring, exported, found, methods, of_module

HEAD = """\
# Python

Made from the source by `tests/docs/write_reference.py`; not to be edited. The fields of events are in
[the frames](frames.md), limits in [the settings](settings.md).
"""
MODULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("agent_ws", ()),
    ("agent_ws.client", ()),
    ("agent_ws.streams", ()),
    ("agent_ws.tools", ()),
    ("agent_ws.tools.mcp", ("McpTools",)),
    ("agent_ws.agents.anthropic", ("Anthropic",)),
    ("agent_ws.agents.openai", ("OpenAI",)),
    ("agent_ws.agents.langchain", ("LangChain",)),
    ("agent_ws.agents.local", ("Local",)),
    ("agent_ws.agents.loop", ("Model", "Said", "Reply", "converse", "Options", "ModelAgent")),
    ("agent_ws.agents.scripted", ("Scripted", "Gate", "Wait", "Raise")),
    ("agent_ws.stores", ("Store", "Batch", "Record", "Saved", "Page", "Card", "open_store")),
    ("agent_ws.scenarios.plugin", ("gateway", "scripted_client")),
    ("agent_ws.scenarios.background", ("ScriptedClient",)),
    ("agent_ws.testing.client", ()),
    ("agent_ws.testing.invariants", ()),
    ("agent_ws.testing.proxy", ("Proxy", "Connection", "Plan", "Faults")),
    ("agent_ws.testing.agents", ("AgentSuite", "Subject", "Backend")),
    ("agent_ws.testing.stores", ("StoreSuite",)),
    ("agent_ws.testing.steps", ("SteppedLoop", "Steps")),
)
"""Each module, and what of it; nothing: all that it exports."""
ELSEWHERE = {"Limits", "Settings", "Timeouts"}
"""What has a page of its own."""
MADE_FOR_YOU = {"Turn", "TurnSection", "ToolCall", "Client", "Sent", "ScriptedClient", "Connection"}
"""Nobody else makes these, so how they are made is not told."""
WIDTH = 120


def page() -> str:
    """The page."""
    shown: set[str] = set()
    parts = [HEAD]
    for module, names in MODULES:
        lead, _, _ = of_module(module).partition("\n\n")
        parts.append(f"## {module}\n\n{lead}\n")
        for name in names or exported(module):
            node, text = found(module, name)
            key = f"{name} {ast.dump(node)[:500]}"
            if name not in ELSEWHERE and key not in shown:
                shown.add(key)
                parts.extend(_entry(name, node, text))
    return "\n".join(parts)


def _entry(name: str, node: Definition, text: str) -> Iterator[str]:
    yield f"### {name}\n"
    match node:
        case ast.ClassDef():
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            yield f"```python\nclass {name}{f'({bases})' if bases else ''}: ...\n```\n"
            yield f"{docstring(node)}\n"
            yield from _fields(node)
            for method in methods(node):
                if method.name != "__init__" or (name not in MADE_FOR_YOU and len(_arguments(method.args)) > 1):
                    yield f"#### {name}.{method.name}\n"
                    yield f"```python\n{signature(method)}\n```\n"
                    yield from [f"{docstring(method)}\n"] if docstring(method) else []
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield f"```python\n{signature(node)}\n```\n"
            yield f"{docstring(node)}\n"
        case _:
            yield f"```python\n{ast.unparse(node).replace(chr(39), chr(34))}\n```\n"
            yield f"{text}\n"


def _fields(node: ast.ClassDef) -> Iterator[str]:
    lines: list[str] = []
    for name, kind, default, text in attributes(node):
        shown = f"{name}: {kind}" if kind else name
        given = f" = {default}" if default is not None and len(default) < WIDTH // 2 else ""
        lines.append(f"- `{shown}{given}`" + (f": {' '.join(text.split())}" if text else ""))
    if lines:
        yield "\n".join(lines) + "\n"


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """As a stub, formatted as the rest of the code is."""
    kept = [d for d in node.decorator_list if ast.unparse(d) in {"staticmethod", "classmethod"}]
    lines = [f"@{ast.unparse(d)}" for d in kept]
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {_code(node.returns)}" if node.returns is not None else ""
    arguments = _arguments(node.args)
    line = f"{keyword} {node.name}({', '.join(arguments)}){returns}: ..."
    if len(line) <= WIDTH:
        return "\n".join([*lines, line])
    inside = [f"    {argument}," for argument in arguments]
    return "\n".join([*lines, f"{keyword} {node.name}(", *inside, f"){returns}: ..."])


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each as it is written; `/`, `*` and defaults in their places."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    shown = [_argument(*pair) for pair in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        shown.append(f"*{_argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [_argument(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        shown.append(f"**{_argument(arguments.kwarg, None)}")
    return shown


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    if argument.annotation is None:
        return argument.arg + (f"={_code(default)}" if default is not None else "")
    kind = f"{argument.arg}: {_code(argument.annotation)}"
    return kind + (f" = {_code(default)}" if default is not None else "")


def _code(node: ast.expr) -> str:
    return ast.unparse(node).replace("'", '"')
