"""How far a proof is. The one rule: a bar where somebody looks on, else a plain line now and then."""

import sys
import time
from typing import Self, TextIO

WIDTH = 30
OFTEN_S = 0.1
SELDOM_S = 30.0


class Progress:
    """Of one proof. Use it as a context; `moved` is what a course calls."""

    def __init__(self, name: str, total: int, stream: TextIO = sys.stderr) -> None:
        self._name = name
        self._total = total
        self._stream = stream
        self._bar = stream.isatty()
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def moved(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told < (OFTEN_S if self._bar else SELDOM_S):
            return
        self._told = now
        left = (now - self._began) / done * (self._total - done)
        text = f"{self._name:<14} {done:,} of {self._total:,}, {left:,.0f} s to go"
        if self._bar:
            full = WIDTH * done // self._total
            self._stream.write(f"\r\x1b[K[{'#' * full}{'.' * (WIDTH - full)}] {text}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
