"""A function as a tool.

The one rule: the function stays what it is. It can be called as before, and a model's call of it is an ordinary call
with keyword arguments.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from ..errors import ToolError
from ..tasks import wait_out
from ..turn import ToolCall, Turn
from .base import OnInterrupt, Tool, Work
from .signature import Signature
from .threads import Threw, begin

P = ParamSpec("P")
R = TypeVar("R")


class FunctionTool(Tool, Generic[P, R]):
    """A tool that calls a function, see `tool`."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        timeout: float | None = None,
        on_interrupt: OnInterrupt = "cancel",
        needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
    ) -> None:
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(f"expected a function that returns one result as tool, got the generator {function!r}")
        self._function = function
        self._signature = Signature(function, (Turn, ToolCall))
        self.threaded = not any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
        if self.threaded and Turn in self._signature.injected.values():
            raise TypeError(
                f"expected {function!r} to be async, because it takes the turn, which is for the event loop's thread; "
                "what runs in a thread can take the ToolCall"
            )
        super().__init__(
            name or getattr(function, "__name__", ""),
            self._signature.description,
            self._signature.schema,
            timeout=timeout,
            on_interrupt=on_interrupt,
            needs_approval=needs_approval,
        )
        update_wrapper(cast("Any", self), function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function itself."""
        return self._function(*args, **kwargs)

    def bind(self, input: dict[str, Any]) -> Work:
        """See `Tool.bind`. What fits is known now; what is injected comes with the call."""
        try:
            arguments = self._signature.arguments(input)
        except ValueError as error:
            raise ToolError(f"[the input does not fit, so it did not run: {error}]") from None

        async def work(turn: Turn, call: ToolCall) -> Any:
            given: dict[type, Any] = {Turn: turn, ToolCall: call}
            injected = {name: given[kind] for name, kind in self._signature.injected.items()}
            called = partial(cast("Callable[..., Any]", self._function), **arguments, **injected)
            if self.threaded:
                return await _in_thread(called, turn, call, self.name)
            return await cast("Awaitable[Any]", called())

        return work


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    timeout: float | None = None,
    on_interrupt: OnInterrupt = "cancel",
    needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    on_interrupt: OnInterrupt = "cancel",
    needs_approval: bool | Callable[[dict[str, Any]], bool] = False,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a tool of a function; as `@tool` or `@tool(...)`, or `tool(thing.method)` for a bound method.

    The docstring describes it to the model, its `Args:` the parameters, whose types are the input's schema; those with
    a default may be left out. A parameter of the type `ToolCall` or `Turn` is filled in, and no model is told of it. A
    function without `async` runs in a thread of its own: nothing can cancel it, so where it takes long it should look
    at `ToolCall.stopped`, and raise if that keeps it from coming to its end.

    timeout, on_interrupt, needs_approval: see `Tool`.
    """

    def make(function: Callable[P, R]) -> FunctionTool[P, R]:
        return FunctionTool(
            function, name=name, timeout=timeout, on_interrupt=on_interrupt, needs_approval=needs_approval
        )

    return make if function is None else make(function)


async def _in_thread(called: Callable[[], Any], turn: Turn, call: ToolCall, name: str) -> Any:
    """Call it in a thread. A cancellation is told to it by `call.stopped`; one that takes no notice is left alone."""
    thread = begin(called, f"tool {name} {call.tool}")
    try:
        await asyncio.wait({thread})
    except asyncio.CancelledError:
        call.stopped.set()
        await wait_out(thread, turn.timeouts.grace / 2)
        if not thread.done():
            over = turn.outlives(call.tool)
            thread.add_done_callback(lambda ended: over(finished=ended.result().error is None))
            raise
        if thread.result().error is not None:
            raise
    ended = thread.result()
    if ended.error is not None:
        raise Threw(ended.error)
    return ended.value
