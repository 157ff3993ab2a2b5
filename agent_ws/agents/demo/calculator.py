"""Arithmetic, as people type it.

The one rule: no input takes long. Every number, also in between, has at most `BITS` bits, and an expression `LENGTH`
characters, so a calculation takes a millisecond and needs no thread. Must not know: turns, streaming.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# simpleeval comes without types.

import ast
import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from simpleeval import FunctionNotDefined, InvalidExpression, NameNotDefined, OperatorNotDefined, SimpleEval

Number: TypeAlias = int | float

LENGTH = 200
BITS = 4096
DIGITS = 60
"""Digits up to which a whole number is written out."""

_ASKED = re.compile(
    r"\s*(=|(?:please\s+)?(?:calculate|compute|evaluate)\b|how much is\b|what(?:['\u2019]?s| is| are)\b)?(.*)",
    re.IGNORECASE | re.DOTALL,
)
_UNSURE = ("what", "how much")
"""These may ask for anything; the others ask for a calculation."""
_NAME = re.compile(r"[^\W\d]\w*")
_EXPONENT = re.compile(r"(?<=[\d.])e[+-]?\d+", re.IGNORECASE)
_SIGNS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "²": "**2", "³": "**3", "π": "pi", "√": "sqrt", "^": "**"}  # noqa: RUF001
)


class NotCalculable(Exception):
    """Its text says to the user what is wrong with the expression."""


def expression(message: str) -> str | None:
    """The expression that a message asks to calculate, None where it is about something else."""
    asked = _ASKED.fullmatch(message)
    lead, rest = (asked[1] or "", asked[2]) if asked else ("", message)
    rest = _tidy(rest)
    if rest and lead and not lead.lower().startswith(_UNSURE):
        return rest
    names = _NAME.findall(_EXPONENT.sub("", rest))
    arithmetic = (
        re.fullmatch(r"[\w\s.,+*/%()-]+", rest)
        and all(name in _FUNCTIONS or name in _NAMES for name in names)
        and re.search(r"\d|pi", rest)
        and re.search(r"[\w)]\s*[+*/%(-]", rest)
    )
    return rest if arithmetic else None


def calculate(text: str) -> str:
    """The value of an `expression`, as text. Raises `NotCalculable`."""
    if len(text) > LENGTH:
        raise NotCalculable(f"I expected at most {LENGTH} characters to calculate, and got {len(text)}.")
    try:
        return _shown(_Arithmetic().eval(text, ast.parse(text, mode="eval").body))
    except ZeroDivisionError:
        raise NotCalculable("That divides by zero, which has no value.") from None
    except (OverflowError, RecursionError):
        raise NotCalculable("That goes beyond the numbers I work with.") from None
    except FunctionNotDefined as error:
        raise NotCalculable(f"I don't know the function `{error.func_name}`. I know {_list(_FUNCTIONS)}.") from None
    except NameNotDefined as error:
        raise NotCalculable(f"I don't know the name `{error.name}`. I know {_list(_NAMES)}.") from None
    except SyntaxError:
        raise NotCalculable(f"I can't read `{text}` as arithmetic. Is a bracket or an operator missing?") from None
    except OperatorNotDefined:
        raise NotCalculable("I only know the operators + - * / // % and ^ (to the power of).") from None
    except InvalidExpression:
        raise NotCalculable("I calculate with numbers only.") from None
    except (TypeError, ValueError):
        raise NotCalculable("That has no value: a function got a number that it is not made for.") from None


def _tidy(text: str) -> str:
    """What people type, as Python's grammar has it."""
    text = text.translate(_SIGNS).strip().rstrip("?=. \t\n").strip()
    text = re.sub(r"(?<=[\d)])\s*x\s*(?=[\d(])", " * ", text)
    if not _NAME.search(text):  # with a function, the comma may part its arguments
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\b(\d+)!", r"factorial(\1)", text)
    text = re.sub(r"(\d[\d.]*)\s*%\s*of\b", r"(\1/100) *", text)
    # "10 %" with no number behind it is a percentage, "10 % 4" a remainder.
    return re.sub(r"(\d[\d.]*)\s*%(?=\s*(?:$|[-+*/),]))", r"(\1/100)", text)


def _checked(value: object) -> Number:
    """`value`, if it is a number that we work with."""
    if isinstance(value, complex):
        raise NotCalculable("That has no value among the real numbers.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotCalculable("I calculate with numbers only.")
    if value.bit_length() > BITS if isinstance(value, int) else not math.isfinite(value):
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Number:
    # Known before it is done: the number itself could fill the memory.
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 2 * BITS:
        raise OverflowError
    return base**exponent


def _round(number: Any, digits: Any = 0) -> Number:
    if abs(digits) > BITS:
        raise OverflowError
    return round(number, digits) if digits else round(number)


def _factorial(number: Any) -> Number:
    if number > BITS // 8:
        raise OverflowError
    return math.factorial(operator.index(number))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("sqrt", "exp", "log2", "log10", "sin", "cos", "tan", "floor", "ceil")},
    "ln": math.log,
    "log": math.log10,
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
    "factorial": _factorial,
}
_NAMES: dict[str, Number] = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


class _Arithmetic(SimpleEval):
    """`simpleeval` without all that is not arithmetic, checking each step."""

    def __init__(self) -> None:
        super().__init__(operators=_OPERATORS, functions=_FUNCTIONS, names=_NAMES)
        kept = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.Call)
        self.nodes = {kind: self.nodes[kind] for kind in kept}

    def _eval(self, node: ast.AST) -> Number:
        return _checked(super()._eval(node))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    digits = str(value)
    if len(digits) <= DIGITS:
        return digits
    return f"about {Decimal(digits):.6e} ({len(digits.lstrip('-'))} digits)"


def _list(names: dict[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)
