"""What the proof `cancel` sweeps."""

from . import closings, connections, runs, stores, streams
from .scene import Case, Scene

__all__ = ["SCENES", "Case", "Scene"]

SCENES: tuple[Scene, ...] = (
    *runs.SCENES,
    *stores.SCENES,
    *closings.SCENES,
    *connections.SCENES,
    *streams.SCENES,
)
"""A case's number has a scene's place in here."""
