"""The reference of the TypeScript client, made from its exported declarations.

The one rule: declarations as they are written, with their comments; bodies and private members are left out. It leans
on the formatter: a declaration ends where a line begins with its closing bracket.
"""

import re
from collections.abc import Iterator

from pages import ROOT

SOURCE = ROOT / "web" / "client" / "src"
HEAD = """\
# TypeScript

Made from the source of [`agent-ws-client`](../../web/client/README.md) by `tests/docs/write_reference.py`; not to be
edited. The types of the frames have the names and fields of [the frames](frames.md).
"""
LEFT_OUT = {"frames.js"}


def page() -> str:
    """The page."""
    parts = [HEAD]
    for path, names in _exports():
        text = (SOURCE / path.replace(".js", ".ts")).read_text()
        parts.append(f"## {path.removesuffix('.js')}\n")
        lead = re.match(r"/\*\*(.*?)\*/", text, re.DOTALL)
        parts.append(f"{_told(lead[1]) if lead else ''}\n")
        for name, shown in names or [(name, name) for name in _all(text)]:
            parts.append(f"### {shown}\n\n```typescript\n{_declared(text, name)}\n```\n")
    return "\n".join(parts)


def _exports() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each module that the index exports from, with the names that it takes (and gives); none: all."""
    index = (SOURCE / "index.ts").read_text()
    for braces, path in re.findall(r'^export (?:type )?(\*|\{[^}]*\}) from "\./([\w.]+)";', index, re.MULTILINE):
        if path not in LEFT_OUT:
            names = re.findall(r"(?:type )?(\w+)(?: as (\w+))?\s*[,}]", braces)
            yield path, [(name, given or name) for name, given in names]


def _all(text: str) -> list[str]:
    return re.findall(r"^export (?:class|interface|type|function|const) (\w+)", text, re.MULTILINE)


def _told(comment: str) -> str:
    lines = [re.sub(r"^\s*\* ?", "", line) for line in comment.strip().splitlines()]
    return "\n".join(lines).strip()


def _declared(text: str, name: str) -> str:
    """A declaration with its comment."""
    comment = r"((?:/\*\*(?:(?!\*/).)*\*/\n)?)"
    export = rf"(export (?:async )?(?:abstract )?(class|interface|type|function|const) {name}\b.*)"
    found = re.search(f"^{comment}{export}", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"expected {name} to be declared"
    comment, rest, kind = found.groups()
    match kind:
        case "class":
            body = "\n".join(_members(rest))
            return f"{comment}{rest.splitlines()[0]}\n{body}\n}}"
        case "function":
            return comment + re.split(r" \{\n(?=  )", rest, maxsplit=1)[0] + ";"
        case "interface":
            return comment + (rest.splitlines()[0] if rest.startswith("{}") else rest[: rest.index("\n}") + 2])
        case _:
            end = re.search(r";$(?!\n  )", rest, re.MULTILINE)
            assert end is not None
            return comment + rest[: end.end()]


def _members(text: str) -> Iterator[str]:
    """The public members of a class, without their bodies."""
    body = text[: text.index("\n}\n") + 1].splitlines()[1:]
    comment: list[str] = []
    taking = False
    for line in body:
        if line.startswith(("  /**", "   *")):
            comment.append(line)
            continue
        if re.match(r"  [a-zA-Z\[]", line) and not re.match(r"  (?:(?:readonly|async|get|set|static) )*#", line):
            yield from comment
            head = re.sub(r" \{$", ";", re.sub(r" \{ \}$|( = .*);$", ";", line))
            taking = not head.endswith(";") and head.endswith("(")
            yield head
        elif taking:
            yield re.sub(r" \{$", ";", line)
            taking = not line.startswith("  )")
        comment = []
