"""What is expected beside what came, and what stands for something that came before: tables."""

from typing import Any

import pytest

from agent_ws.scenarios.patterns import matches
from agent_ws.scenarios.variables import fill

NAMES = {"me": {"run": "r1", "limits": {"queued": 8}, "calls": [{"name": "a"}]}, "n": 3}


@pytest.mark.parametrize(
    ("pattern", "value", "holds"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (1, 1, True),
        (1, True, False),
        (True, True, True),
        (True, 1, False),
        (None, None, True),
        (None, 0, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"b": 2}, False),
        ({"a": 1}, 7, False),
        ({}, {"a": 1}, True),
        ({}, "a", False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ([1, 2], [1, 2], True),
        ([1], [1, 2], False),
        ([{"a": 1}], [{"a": 1, "b": 2}], True),
        ({"regex": "^Hel+o$"}, "Hello", True),
        ({"regex": "^Hel+o$"}, "Hello!", False),
        ({"regex": "x"}, 7, False),
        ({"contains": "ell"}, "Hello", True),
        ({"contains": "x"}, "Hello", False),
        ({"contains": {"a": 1}}, [{"b": 2}, {"a": 1}], True),
        ({"contains": 3}, [1, 2], False),
        ({"contains": "b"}, {"a": "b"}, True),
        ({"contains": "a"}, {"a": "b"}, False),
        ({"starts": "He"}, "Hello", True),
        ({"starts": "lo"}, "Hello", False),
        ({"least": 2, "most": 5}, 5, True),
        ({"least": 2, "most": 5}, 1, False),
        ({"least": 2, "most": 5}, 6, False),
        ({"most": 5}, True, False),
        ({"most": 5}, "1", False),
        ({"length": 2}, "🙂a", True),
        ({"length": {"least": 3}}, [1, 2], False),
        ({"length": 1}, 1, False),
        ({"exists": False}, None, True),
        ({"a": {"exists": False}}, {}, True),
        ({"a": {"exists": False}}, {"a": None}, True),
        ({"a": {"exists": False}}, {"a": 0}, False),
        ({"a": {"exists": True}}, {}, False),
        ({"any": ["a", {"starts": "b"}]}, "bcd", True),
        ({"any": ["a"]}, "b", False),
        ({"not": "a"}, "b", True),
        ({"not": "a"}, "a", False),
        ({"a": {"not": 1}}, {}, True),
        ({"type": "x", "not": "y"}, {"type": "x", "not": "y"}, True),
    ],
)
def test_what_matches(pattern: Any, value: Any, *, holds: bool) -> None:
    assert matches(pattern, value) is holds


@pytest.mark.parametrize("pattern", [{"regex": "("}, {"regex": 1}, {"any": 1}, {"least": "a"}, {"most": True}])
def test_a_condition_that_is_none_is_told(pattern: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        matches(pattern, "a" if "regex" in pattern else 1)


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("$me.run", "r1"),
        ("$me.limits.queued", 8),
        ("$me.calls.0.name", "a"),
        ("$n", 3),
        ("run ${me.run}, ${n}!", "run r1, 3!"),
        ("cost: 5$", "cost: 5$"),
        ("$$me.run and $$", "$me.run and $"),
        ({"a": ["$n", {"b": "$me.run"}]}, {"a": [3, {"b": "r1"}]}),
        ({"repeat": "ab", "times": 3}, "ababab"),
        ({"repeat": "ab", "times": "$n", "less": 2}, "ab"),
        ({"repeat": "ab", "times": 3, "c": 1}, {"repeat": "ab", "times": 3, "c": 1}),
        (None, None),
        (1.5, 1.5),
    ],
)
def test_what_a_name_stands_for(value: Any, filled: Any) -> None:
    assert fill(value, NAMES) == filled


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("$you.run", r"got \$you; known: me, n"),
        ("$me.runs", "has no runs; there are: calls, limits, run"),
        ("${n.a}", "no fields has no a"),
        ("$me.calls.1", "no fields has no 1"),
    ],
)
def test_a_name_that_stands_for_nothing_is_told(text: str, told: str) -> None:
    with pytest.raises(LookupError, match=told):
        fill(text, NAMES)
