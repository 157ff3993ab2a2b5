"""Lines in a plane, as SVG inside a page.

The one rule: a picture is text: no script, no font, no colour of its own. Colours are the page's variables, so that it
follows dark and light.
"""

from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from math import floor, log10
from typing import TypeAlias

from msgspec import Struct

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 12, 40
COLOURS = 8
POINTS = 600
"""Points that a line may have: a screen has no more columns."""
TICKS = 5

Line: TypeAlias = tuple[str, Sequence[tuple[float, float | None]]]
"""A name, and points; None is a gap."""
Tick: TypeAlias = tuple[float, str]


class Axis(Struct):
    """One direction. `place` says where a value is, from 0 to 1."""

    title: str
    ticks: list[Tick]
    place: Callable[[float], float]


def linear(title: str, values: Sequence[float], unit: Callable[[float], str] = "{:g}".format) -> Axis:
    """From 0 to the largest value."""
    most = max(values, default=0) or 1.0
    step = 10 ** floor(log10(most / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if most / (step * factor) <= TICKS)
    top = step * -(-most // step)
    ticks = [(k * step, unit(round(k * step, 9))) for k in range(round(top / step) + 1)]
    return Axis(title, ticks, lambda value: value / top)


def logarithmic(title: str, values: Sequence[float], least: float = 0.01) -> Axis:
    """Whole powers of ten around all values; what is below `least` is drawn there."""
    positive = [max(value, least) for value in values] or [1.0]
    low, high = floor(log10(min(positive))), floor(log10(max(positive))) + 1
    ticks = [(10.0**k, f"{10.0**k:,.10g}") for k in range(low, high + 1)]
    return Axis(title, ticks, lambda value: (log10(max(value, 10.0**low)) - low) / (high - low))


def shares(title: str, nines: int = 4) -> Axis:
    """Percentiles, each nine as wide as the one before."""
    ticks = [(0.0, "0"), (0.5, "50")]
    ticks += [(1 - 10.0**-k, f"{100 - 10.0 ** (2 - k):.10g}") for k in range(1, nines + 1)]
    return Axis(title, ticks, lambda share: min(1.0, -log10(max(1 - share, 10.0**-nines)) / nines))


def plot(lines: Sequence[Line], x: Axis, y: Axis) -> str:
    """The picture, with its legend."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts: list[str] = []
    for value, label in x.ticks:
        at = LEFT + x.place(value) * wide
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{TOP + high}"/>')
        parts.append(f'<text x="{at:.1f}" y="{TOP + high + 16}" text-anchor="middle">{escape(label)}</text>')
    for value, label in y.ticks:
        at = TOP + (1 - y.place(value)) * high
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    parts.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.title)}</text>')
    middle = TOP + high / 2
    turned = f'transform="rotate(-90 12 {middle})"'
    parts.append(f'<text x="12" y="{middle}" text-anchor="middle" {turned}>{escape(y.title)}</text>')
    for i, (_, points) in enumerate(lines):
        for run in _runs(_thinned(points)):
            at = " ".join(f"{LEFT + x.place(a) * wide:.1f},{TOP + (1 - y.place(b)) * high:.1f}" for a, b in run)
            parts.append(f'<polyline class="c{i % COLOURS}" points="{at}"/>')
    keys = "".join(f'<span><i class="c{i % COLOURS}"></i>{escape(name)}</span>' for i, (name, _) in enumerate(lines))
    label = escape(f"{y.title} by {x.title}: {', '.join(name for name, _ in lines)}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<p class="keys">{keys}</p>'
    )


def _thinned(points: Sequence[tuple[float, float | None]]) -> Sequence[tuple[float, float | None]]:
    """The highest point of each column, where there are more points than columns: what stands out is what counts."""
    if len(points) <= POINTS:
        return points
    edges = [round(k * len(points) / POINTS) for k in range(POINTS + 1)]
    return [max(points[a:b], key=lambda point: point[1] or 0.0) for a, b in pairwise(edges) if a < b]


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Points without the gaps. One that stands alone is a short line."""
    runs: list[list[tuple[float, float]]] = [[]]
    for a, b in points:
        if b is None:
            runs.append([])
        else:
            runs[-1].append((a, b))
    return [run if len(run) > 1 else run * 2 for run in runs if run]
