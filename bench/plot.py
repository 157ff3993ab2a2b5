"""Latency against load, as a picture. Needs matplotlib, from the extra `bench`."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .measures import Results


def plot(results: Results, folder: Path) -> Path | None:
    """Draw how late tokens are against the number of streams. None: nothing to draw, or nothing to draw with."""
    points: dict[str, dict[int, float]] = {}
    for raw in results.raw:
        if raw["kind"] == "pace":
            points.setdefault(raw["server"], {})[raw["count"]] = raw["answer"]["late"]["p99"]
    if not points or find_spec("matplotlib") is None:
        return None
    matplotlib: Any = importlib.import_module("matplotlib.figure")  # it may be absent
    figure = matplotlib.Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, line in points.items():
        axes.plot(*zip(*sorted(line.items()), strict=True), marker="o", label=name)
    axes.axhline(100, color="grey", linestyle=":")
    axes.set(xlabel="streams of 50 tokens/s", ylabel="lateness of a token, p99 (ms)", yscale="log")
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "latency.svg"
    figure.savefig(path)
    return path
