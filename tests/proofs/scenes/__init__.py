"""What the proof `cancel` sweeps."""

from . import chats, closings, connections, models, runs, stores, streams, tools
from .scene import Case, Scene

__all__ = ["SCENES", "Case", "Scene"]

SCENES: tuple[Scene, ...] = (
    *runs.SCENES,
    *stores.SCENES,
    *closings.SCENES,
    *connections.SCENES,
    *streams.SCENES,
    *tools.SCENES,
    *chats.SCENES,
    *models.SCENES,
)
"""A case's number has a scene's place in here."""
