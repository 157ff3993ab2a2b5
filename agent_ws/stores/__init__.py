"""The drivers that make logs durable, and the feed that drives them. Each engine is one file."""

from ..errors import StoreError
from .base import Batch, Record, Saved, Store
from .cards import Card, Mark, Page
from .feed import Feed, deleted
from .memory import MemoryStore

__all__ = ["Batch", "Card", "Feed", "Mark", "MemoryStore", "Page", "Record", "Saved", "Store", "deleted", "open_store"]


def open_store(url: str) -> Store:
    """The driver that `url` names: `memory` or `sqlite:PATH`. Not open yet."""
    engine, _, rest = url.partition(":")
    match engine:
        case "memory" if not rest:
            return MemoryStore()
        case "sqlite" if rest:
            from .sqlite import SqliteStore  # noqa: PLC0415 - sqlite3 is loaded only where it is used

            return SqliteStore(rest)
        case _:
            raise StoreError(f"expected a store `memory` or `sqlite:PATH`, got {url!r}")
