import pytest

from agent_ws.stores import Mark, MemoryStore, Page
from agent_ws.stores.memory import LOOK
from agent_ws.testing.stores import Make, StoreSuite, begin, more, told


class TestMemoryStore(StoreSuite):
    outlives = False

    @pytest.fixture
    def make(self) -> Make:
        return MemoryStore


async def test_the_session_saved_to_longest_ago_makes_room() -> None:
    store = MemoryStore(keep=2)
    await store.save([begin("a", 1), begin("b", 1)])
    await store.save([more("a", 2, 2)])
    await store.save([begin("c", 1)])
    assert [name for name in "abc" if await store.load(name)] == ["a", "c"]


async def test_a_look_goes_through_so_much_and_no_more() -> None:
    store = MemoryStore()
    await store.save([told(f"s{i}", updated=i + 1.0, said="x" * (LOOK // 2)) for i in range(5)])
    page = await store.page("me", ["needle"], None, 10)
    assert page == Page((), Mark(4.0, "s3"))
    assert len((await store.page("me", [], None, 10)).cards) == 5


async def test_a_dropped_session_can_go_on_but_is_not_kept() -> None:
    store = MemoryStore(keep=1)
    await store.save([begin("a", 1)])
    await store.save([begin("b", 1)])
    await store.save([more("a", 2, 2), more("b", 2, 2)])
    assert await store.load("a") is None
    found = await store.load("b")
    assert found is not None
    assert len(found.events) == 2
