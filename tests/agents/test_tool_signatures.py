"""What a model is told of a function, and what becomes of its input."""

import datetime as dt
import enum
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from agent_ws import Tool, ToolCall, ToolError, Turn, tool


class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


class Place(Struct):
    """Where it is."""

    lat: float
    lon: float


@tool
async def weather(place: Place, days: int = 3, unit: Unit = Unit.METRIC, tags: list[str] = []) -> str:  # noqa: B006 - defaults are what is looked at
    """Forecast the weather.

    Takes a while.

    Args:
        place: Where to look,
            as coordinates.
        days: How many days ahead.
    """
    return f"{place.lat} {days} {unit.value} {tags}"


def test_a_tool_is_told_by_its_name_docstring_and_types() -> None:
    assert (weather.name, weather.description) == ("weather", "Forecast the weather.\n\nTakes a while.")
    assert weather.schema == {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/Place", "description": "Where to look,\nas coordinates."},
            "days": {"type": "integer", "default": 3, "description": "How many days ahead."},
            "unit": {"$ref": "#/$defs/Unit"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "title": "Place",
                "description": "Where it is.",
                "type": "object",
                "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                "required": ["lat", "lon"],
            },
            "Unit": {"title": "Unit", "enum": ["imperial", "metric"]},
        },
    }


def told(function: Callable[..., Any]) -> dict[str, Any]:
    return tool(function).schema


def test_each_kind_of_type_has_its_schema() -> None:
    def kinds(  # noqa: PLR0917 - one of each kind
        a: str,
        b: bool,  # noqa: FBT001 - a tool's parameter
        c: float | None,
        d: Literal["x", "y"],
        e: dict[str, int],
        f: Annotated[int, Meta(ge=0, description="From the annotation.")],
        g: dt.date,
        h: Any = None,
        *,
        i: str = "",
    ) -> None:
        """Kinds.

        Args:
            f: Not this.
        """

    assert told(kinds)["properties"] == {
        "a": {"type": "string"},
        "b": {"type": "boolean"},
        "c": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "d": {"enum": ["x", "y"]},
        "e": {"type": "object", "additionalProperties": {"type": "integer"}},
        "f": {"type": "integer", "description": "From the annotation.", "minimum": 0},
        "g": {"type": "string", "format": "date"},
        "h": {"default": None},
        "i": {"type": "string", "default": ""},
    }
    assert told(kinds)["required"] == ["a", "b", "c", "d", "e", "f", "g"]


def test_the_turn_and_the_call_are_no_part_of_the_input() -> None:
    async def work(turn: Turn, text: str, call: Annotated[ToolCall, "this one"]) -> None: ...

    assert list(told(work)["properties"]) == ["text"]


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    def now() -> str:
        return "12:00"

    assert told(now) == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def test_a_tool_is_still_the_function() -> None:
    @tool(name="plus", timeout=3)
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert add(2) == 3
    assert (add.name, add.__name__, add.__doc__, add.timeout) == ("plus", "add", "Add.", 3)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - as of any wrapped function


def test_a_bound_method_is_a_tool() -> None:
    class Shelf:
        def put(self, book: str) -> str:
            return f"{book} on {type(self).__name__}"

    put = tool(Shelf().put)
    assert (put.name, list(put.schema["properties"]), put("A")) == ("put", ["book"], "A on Shelf")


def test_types_that_are_text_are_found() -> None:
    def later(place: "Place") -> None: ...

    assert told(later)["properties"] == {"place": {"$ref": "#/$defs/Place"}}


def test_an_object_that_can_be_called_is_a_tool() -> None:
    class Search:
        async def __call__(self, query: str) -> str:
            return query

    search = tool(name="search")(Search())
    assert not search.threaded
    assert search.schema["required"] == ["query"]


class Input(Struct):
    a: int


def test_a_type_may_have_any_name() -> None:
    def work(Input: Input, self: str) -> None: ...  # noqa: N803 - names that could be taken for ours

    schema = told(work)
    assert list(schema["properties"]) == ["Input", "self"]
    assert [part["title"] for part in schema["$defs"].values()] == ["Input"]
    assert tool(work).bind({"Input": {"a": 1}, "self": "x"})


def test_a_function_s_own_attributes_stay_its_own() -> None:
    def work() -> None: ...

    work.schema = "not this"  # pyright: ignore[reportFunctionMemberAccess] - anybody may
    assert told(work)["type"] == "object"


async def _generator() -> AsyncGenerator[str]:
    yield ""


def _untyped(a): ...  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]  # noqa: ANN001, ANN202 - what is tried


def _strange(a: Callable[[], int]) -> None: ...


def _unknown(a: "Nowhere") -> None: ...  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]  # noqa: F821 - what is tried


def _many(*a: int) -> None: ...


def _any(**a: int) -> None: ...


def _positional(a: int, /) -> None: ...


def _turned(turn: Turn) -> None: ...


UNFIT: list[tuple[Callable[..., Any], str]] = [
    (_generator, "returns one result"),
    (_untyped, "a type for each parameter"),
    (_strange, "parameters that JSON can say"),
    (_unknown, "Nowhere"),
    (_many, "one by one"),
    (_any, "one by one"),
    (_positional, "one by one"),
    (_turned, "to be async"),
]


@pytest.mark.parametrize(("function", "words"), UNFIT)
def test_what_no_model_can_call_is_refused_when_it_is_defined(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        tool(function)


@pytest.mark.parametrize("name", ["", "a b", "ü", "a" * 65, "<lambda>"])
def test_a_name_that_no_provider_takes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        tool(name=name)(lambda: None)


@pytest.mark.parametrize(
    ("input", "words"),
    [
        ({}, "missing required field `place`"),
        ({"place": {"lat": 1}}, "missing required field `lon` - at `$.place`"),
        ({"place": {"lat": 1, "lon": 2}, "days": "3"}, "Expected `int`, got `str` - at `$.days`"),
        ({"place": {"lat": 1, "lon": 2}, "unit": "stone"}, "Invalid enum value 'stone' - at `$.unit`"),
        ({"place": {"lat": 1, "lon": 2}, "when": 1}, "unknown field `when`. It takes: place, days, unit, tags"),
    ],
)
def test_an_input_that_does_not_fit_is_told_with_what_was_expected(input: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolError) as error:
        weather.bind(input)
    assert words in str(error.value)
    assert "did not run" in str(error.value)


def test_tools_are_no_part_of_what_imports_a_provider() -> None:
    check = "import agent_ws.tools, sys; print(*(m for m in ('anthropic', 'mcp', 'httpx2') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_tool_of_another_kind_is_a_subclass() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Tool("a", "", {})  # pyright: ignore[reportAbstractUsage] - what is tried
