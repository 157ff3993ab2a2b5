"""How many of something there are, in all and by address.

The one rule: what was counted in is counted out once, and an address without any takes no memory.
"""

from typing import Literal


class Census:
    """Counts what is there."""

    def __init__(self, total: int, each: int) -> None:
        self.total = 0
        self._most = total
        self._each = each
        self._by_key: dict[str, int] = {}

    def enter(self, key: str, *, shared: bool = False) -> Literal["total", "address"] | None:
        """Count one in. Or say which limit it is beyond, and don't. `shared`: many are behind this address, so only
        the total limits it.
        """
        if self.total >= self._most:
            return "total"
        there = self._by_key.get(key, 0)
        if there >= self._each and not shared:
            return "address"
        self.total += 1
        self._by_key[key] = there + 1
        return None

    def leave(self, key: str) -> None:
        """Count one out that was counted in."""
        there = self._by_key[key] - 1
        self.total -= 1
        if there:
            self._by_key[key] = there
        else:
            del self._by_key[key]

    def __len__(self) -> int:
        """How many addresses there are."""
        return len(self._by_key)
