"""Configuration of other programs, as pages show it.

The one rule: where the program is here, it is asked; what it can't tell (that a WebSocket passes, that a stream isn't
held back) is looked for.
"""

from collections.abc import Callable, Mapping

CONFIGURATIONS: Mapping[str, Callable[[str, str], None]] = {}
"""By file name: called with the text and the block's place. Raises `AssertionError`."""
