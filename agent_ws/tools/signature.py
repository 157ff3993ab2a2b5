"""What a model is told of a function, and how an input becomes the function's arguments.

The one rule: everything is read off the function once, so what the model is told and what is taken from it can't
differ. What can't be told is refused when the function is defined, not when a model calls it.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import docstring_parser
import msgspec

REF = "#/$defs/{name}"


class Signature:
    """How a model calls a function. Parameters of the `injected` types are somebody else's to fill in, and no model is
    told of them.

    Raises `TypeError` for a function that a model can't be told of.
    """

    def __init__(self, function: Callable[..., Any], injected: tuple[type, ...] = ()) -> None:
        self.injected: dict[str, type] = {}
        """The others: name to type."""
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for name, hint, default in _parameters(function):
            plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            if plain in injected:
                self.injected[name] = plain
            elif default is inspect.Parameter.empty:
                fields.append((name, hint))
            else:
                fields.append((name, hint, _default(default)))
        made = docstring_parser.parse(inspect.getdoc(function) or "")
        self.description = made.description or ""
        described = {param.arg_name: param.description for param in made.params if param.description}
        try:
            self._struct = msgspec.defstruct("Input", fields, kw_only=True, forbid_unknown_fields=True)
            self.schema = _schema(self._struct, described)
        except TypeError as error:
            raise TypeError(f"expected parameters that JSON can say in {_name(function)}, got: {error}") from None

    def arguments(self, input: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments that an input means: those that it has, the others are the function's own defaults.

        Raises `ValueError`, whose text says what was expected and what came, without any value.
        """
        try:
            made = msgspec.convert(input, self._struct)
        except msgspec.ValidationError as error:
            takes = ", ".join(self.schema["properties"]) or "nothing"
            raise ValueError(f"{error}. It takes: {takes}") from None
        return {name: getattr(made, name) for name in input}


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each parameter."""
    try:
        hints = get_type_hints(
            function if inspect.isroutine(function) else type(function).__call__, include_extras=True
        )
    except NameError as error:
        raise TypeError(
            f"expected the types of {_name(function)} to be found in its module, got: {error}; a type that is only "
            "imported for type checks, or is local to another function, is not there when it runs"
        ) from None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"expected parameters of {_name(function)} that can be given by name, one by one, got {parameter}"
            )
        if name not in hints:
            raise TypeError(
                f"expected a type for each parameter of {_name(function)}, so that a model can be told, got {name} "
                "without one; a method is made a tool once it is bound: tool(thing.method)"
            )
        yield name, hints[name], parameter.default


def _default(value: Any) -> Any:
    """A default as the struct takes it: for the schema only, because the function has its own."""
    if isinstance(value, bool | int | float | str | None):
        return value
    return msgspec.field(default_factory=lambda: value)


def _schema(struct: type[msgspec.Struct], described: dict[str, str]) -> dict[str, Any]:
    (ref,), parts = msgspec.json.schema_components([struct], ref_template=REF)
    schema = parts.pop(ref["$ref"].rpartition("/")[2])
    del schema["title"]
    for name, prop in schema["properties"].items():
        if name in described and "description" not in prop:
            prop["description"] = described[name]
    return schema | ({"$defs": parts} if parts else {})


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
