"""What a list of sessions shows and searches: the same for every store.

The one rule: a store keeps what it is told and folds nothing. Titles are cut, answers put together and letters made
alike here, once for all.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ..events import ENDINGS, Event, User
from ..fold import runs

TITLE = 60
"""Characters of a title that nobody gave."""
SEARCHED = 262_144
"""Characters of one message or answer that are searched: who looks for something has to wait for all that is not it."""


class Card(Struct, frozen=True):
    """One session in a list."""

    session: str
    title: str
    created: float
    """Seconds since 1970, as `updated`."""
    updated: float
    """When the user last said something in it."""


class Mark(Struct, frozen=True):
    """A place in an owner's list, behind the session that it names."""

    updated: float
    session: str


class Page(Struct, frozen=True):
    """A part of an owner's list."""

    cards: tuple[Card, ...]
    next: Mark | None
    """Where the next page begins; None: there is none."""


class News(Struct, frozen=True):
    """What a batch has for the list. The defaults say nothing new."""

    title: str = ""
    """Of the first message; it counts where there is no title yet."""
    updated: float = 0.0
    said: tuple[str, ...] = ()
    """What can be searched from now on, as `folded` makes it."""


NOTHING = News()


def news(events: Iterable[Event], answers: Sequence[str] = ()) -> News:
    """What `events` have for the list. `answers`: the texts of the runs that end in them."""
    messages = [event for event in events if isinstance(event, User)]
    said = [*(message.data for message in messages), *answers]
    return News(
        title=titled(messages[0].data) if messages else "",
        updated=max((message.at for message in messages), default=0.0),
        said=tuple(folded(text[:SEARCHED]) for text in said if text),
    )


def answers(events: Iterable[Event]) -> list[str]:
    """The texts of the runs of `events` that have ended."""
    return [view.text() for view in runs(events) if view.ending is not None]


def ends(event: Event) -> bool:
    """Whether it ends a run, whose text can be searched from then on."""
    return isinstance(event, ENDINGS)


def titled(message: str) -> str:
    """The title of a session that begins with `message`: its first line, cut."""
    line = " ".join(message.strip().partition("\n")[0].split())
    return line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…"


def folded(text: str) -> str:
    """`text` so that what reads alike is alike: letters of any case, and however they are put together.

    It has no NUL, at which some engines cut a text off.
    """
    return unicodedata.normalize("NFKC", text).casefold().replace("\0", " ")
