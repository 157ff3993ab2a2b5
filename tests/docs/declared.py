"""What Python modules declare, read from their source: signatures as they are written, docstrings of attributes too.

The one rule: nothing is imported, so the pages are the same on every version of Python and with every set of extras.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

from pages import ROOT

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign


@cache
def _tree(module: str) -> tuple[Path, ast.Module]:
    base = ROOT.joinpath(*module.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return path, ast.parse(path.read_text(encoding="utf-8"))


def docstring(node: ast.AST) -> str:
    """What the thing says of itself."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return inspect.cleandoc(ast.get_docstring(node) or "")
    return ""


def of_module(module: str) -> str:
    """The module's docstring."""
    return docstring(_tree(module)[1])


def exported(module: str) -> list[str]:
    """`__all__`, or without one every public class and function that is defined there."""
    _, tree = _tree(module)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def found(module: str, name: str) -> tuple[Definition, str]:
    """Where a name of a module is defined, and the text below it, if it is a value's. Follows imports."""
    path, tree = _tree(module)
    body = [*tree.body, *(child for node in tree.body if isinstance(node, ast.If) for child in node.body)]
    defined = [(node, text) for node, text in _with_texts(body) if name in _names(node)]
    if defined:
        return defined[-1]  # behind overloads
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.level and any((a.asname or a.name) == name for a in node.names):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = package[: len(package) - node.level + 1]
            imported = next(a.name for a in node.names if (a.asname or a.name) == name)
            return found(".".join([*base, *(node.module or "").split(".")]).rstrip("."), imported)
    raise LookupError(f"expected {name} in {module}")


def attributes(node: ast.ClassDef) -> Iterator[tuple[str, str, str | None, str]]:
    """Name, type, default and text of what a class's instances have: fields, those set in `__init__` with a text."""
    for child, text in _with_texts(node.body):
        if isinstance(child, ast.AnnAssign) and not ast.unparse(child.target).startswith("_"):
            default = ast.unparse(child.value) if child.value is not None else None
            yield ast.unparse(child.target), ast.unparse(child.annotation), default, text
        elif isinstance(child, ast.FunctionDef) and any(ast.unparse(d) == "property" for d in child.decorator_list):
            if not child.name.startswith("_"):
                yield child.name, ast.unparse(child.returns) if child.returns else "", None, docstring(child)
        elif isinstance(child, ast.FunctionDef) and child.name == "__init__":
            for inner, told in _with_texts(child.body):
                if isinstance(inner, ast.Assign | ast.AnnAssign) and told:
                    target = inner.targets[0] if isinstance(inner, ast.Assign) else inner.target
                    kind = ast.unparse(inner.annotation) if isinstance(inner, ast.AnnAssign) else ""
                    name = ast.unparse(target).removeprefix("self.")
                    if not name.startswith("_"):
                        yield name, kind, None, told


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public ones, in the order of the source; `__init__` first."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            public = not child.name.startswith("_") or child.name in {"__init__", "__call__"}
            if public and not any(ast.unparse(d) in {"property", "overload"} for d in child.decorator_list):
                yield child


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [ast.unparse(target) for target in targets]
        case ast.AnnAssign(target=target):
            return [ast.unparse(target)]
        case _:
            return []


def _with_texts(body: list[ast.stmt]) -> Iterator[tuple[Definition, str]]:
    """Each definition, with the string that stands below it."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, Definition):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield node, inspect.cleandoc(text)
                case _:
                    yield node, ""
