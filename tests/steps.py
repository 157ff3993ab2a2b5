"""The stepped loop of `agent_ws.testing.steps`, on a virtual clock."""

import selectors

from loop import Jump, VirtualLoop

from agent_ws.testing.steps import SteppedLoop, Steps

__all__ = ["SteppedLoop", "SteppedVirtualLoop", "Steps"]


class _SteppedJump(Jump):
    def __init__(self, loop: VirtualLoop, seed: int | None, steps: Steps) -> None:
        super().__init__(loop, seed)
        self._steps = steps

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._steps.select(super().select, timeout)


class SteppedVirtualLoop(VirtualLoop):
    """In virtual time, without either."""

    def __init__(self, seed: int | None = None) -> None:
        self.steps = Steps()
        super().__init__(seed)

    def make_selector(self, seed: int | None) -> Jump:
        return _SteppedJump(self, seed, self.steps)
