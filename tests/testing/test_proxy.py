"""The proxy is TCP, but for what it was asked to do to a connection."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest

from agent_ws.testing.proxy import PIECE, PIECES, Faults, Plan, Proxy

DEADLINE_S = 10.0
SHORT_S = 0.1
"""For what must not happen."""
BLOB = Random(1).randbytes(150_000)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening() -> AsyncGenerator[tuple[int, asyncio.Queue[Streams]]]:
    """A server whose connections are the test's."""
    came: asyncio.Queue[Streams] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        came.put_nowait((reader, writer))

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def cut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.fixture
async def through() -> AsyncGenerator[Callable[..., Awaitable[tuple[Streams, Streams, Proxy]]]]:
    """`client, server, proxy = await through(plan)`."""
    async with AsyncExitStack() as stack:

        async def make(plan: Plan | None = None, seed: int = 0) -> tuple[Streams, Streams, Proxy]:
            port, came = await stack.enter_async_context(listening())
            proxy = await stack.enter_async_context(Proxy("127.0.0.1", port, plan, seed=seed))
            client = await asyncio.open_connection("127.0.0.1", proxy.port)
            stack.callback(cut, client[1])
            async with asyncio.timeout(DEADLINE_S):
                server = await came.get()
            return client, server, proxy

        yield make


Through = Callable[..., Awaitable[tuple[Streams, Streams, Proxy]]]


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def rest(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await reader.read()


async def nothing_comes(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await reader.read(1)


HARMLESS = {
    "nothing": Faults(),
    "late": Faults(latency=0.02),
    "late, some more": Faults(latency=0.01, jitter=0.02),
    "crumbs": Faults(slices=50),
    "slow": Faults(bandwidth=1_000_000),
    "all": Faults(latency=0.01, jitter=0.01, slices=500, bandwidth=2_000_000),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_every_byte_comes_in_order_and_the_end_behind_them(through: Through, name: str) -> None:
    client, server, proxy = await through(Plan(up=HARMLESS[name], down=HARMLESS[name]))
    for (_, writer), (reader, _) in ((client, server), (server, client)):
        sending = asyncio.create_task(send(writer, BLOB))
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.readexactly(len(BLOB)) == BLOB
        await sending
        writer.write_eof()
        assert await rest(reader) == b""
    (connection,) = proxy.connections
    async with asyncio.timeout(DEADLINE_S):
        await connection.over.wait()
    assert (connection.up.passed, connection.down.passed) == (len(BLOB), len(BLOB))


async def test_who_has_said_all_may_still_listen(through: Through) -> None:
    client, server, _ = await through()
    client[1].write_eof()
    assert await rest(server[0]) == b""
    server[1].write(b"goodbye")
    server[1].close()
    assert await rest(client[0]) == b"goodbye"


async def test_late_is_late_each_way_by_itself(through: Through) -> None:
    client, server, _ = await through(Plan(up=Faults(latency=0.1)))
    clock = asyncio.get_running_loop().time
    began = clock()
    server[1].write(b"x")
    await client[0].readexactly(1)
    client[1].write(b"x")
    sent = clock()
    await server[0].readexactly(1)
    assert clock() - sent >= 0.1
    assert sent - began < clock() - sent


async def test_slow_is_slow(through: Through) -> None:
    client, server, _ = await through(Plan(down=Faults(bandwidth=200_000)))
    clock = asyncio.get_running_loop().time
    began = clock()
    server[1].write(bytes(40_000))
    await client[0].readexactly(40_000)
    assert clock() - began >= 0.15


async def test_crumbs_come_one_by_one(through: Through) -> None:
    client, server, _ = await through(Plan(down=Faults(slices=10)))
    server[1].write(bytes(1_000))
    reads = 0
    left = 1_000
    while left:
        left -= len(await client[0].read(100))
        reads += 1
    assert reads > 50


async def sizes(seed: int, data: bytes, slices: int) -> list[int]:
    """How `data` is cut for the first connection, whatever the pieces in which it was sent."""
    async with listening() as (port, came), Proxy("127.0.0.1", port, seed=seed) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await came.get()
        flow = proxy.connections[0].down
        flow.faults = Faults(slices=slices)
        found: list[int] = []
        while data:
            size = flow._size(min(len(data), Random(len(data)).randint(50, 99)))  # pyright: ignore[reportPrivateUsage] # noqa: SLF001 - where it is decided
            found.append(size)
            data = data[size:]
        writer.close()
        return found


async def test_one_seed_makes_the_same_cuts() -> None:
    first, again, other = [await sizes(seed, bytes(1000), 20) for seed in (3, 3, 4)]
    assert first == again != other
    assert max(first) <= 20


async def test_each_connection_has_dice_of_its_own() -> None:
    rolled: list[tuple[int, float]] = []

    def plan(i: int, dice: Random) -> Plan:
        rolled.append((i, dice.random()))
        return Plan()

    for _ in range(2):
        async with listening() as (port, came), Proxy("127.0.0.1", port, plan, seed=1) as proxy:
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                await came.get()
                assert proxy.find(writer.get_extra_info("sockname")) is proxy.connections[-1]
                writer.close()
            with pytest.raises(LookupError, match="expected a connection"):
                proxy.find(("127.0.0.1", 1))
    assert rolled[:3] == rolled[3:]
    assert [i for i, _ in rolled[:3]] == [0, 1, 2]
    assert len({roll for _, roll in rolled}) == 3


# Ends


@pytest.mark.parametrize("after", [0, 1, 1000, PIECE + 1])
async def test_a_reset_comes_after_just_as_many_bytes_and_to_both(through: Through, after: int) -> None:
    client, server, proxy = await through(Plan(down=Faults(end="reset", after=after)))
    server[1].write(bytes(100_000))
    with pytest.raises(ConnectionResetError):
        await rest(client[0])
    with pytest.raises(ConnectionResetError):
        await rest(server[0])
    assert proxy.connections[0].down.passed == after


@pytest.mark.parametrize("after", [0, 1, 1000])
async def test_an_end_comes_after_just_as_many_bytes_and_to_one_only(through: Through, after: int) -> None:
    client, server, _ = await through(Plan(down=Faults(end="fin", after=after)))
    await send(server[1], bytes(100_000))
    assert len(await rest(client[0])) == after
    await send(client[1], b"still here")
    assert await server[0].readexactly(10) == b"still here"
    await send(server[1], b"into the hole")
    client[1].close()
    assert await rest(server[0]) == b""


@pytest.mark.parametrize("after", [0, 1, 1000])
async def test_into_a_hole_everything_goes_and_nobody_is_told(through: Through, after: int) -> None:
    client, server, proxy = await through(Plan(down=Faults(end="hole", after=after)))
    await send(server[1], bytes(3_000_000))  # it is swallowed, not held
    assert len(await client[0].readexactly(after)) == after
    server[1].close()
    await nothing_comes(client[0])
    assert not proxy.connections[0].over.is_set()
    client[1].close()
    async with asyncio.timeout(DEADLINE_S):
        await proxy.connections[0].over.wait()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("writes", [0, 3])
async def test_a_reset_goes_into_a_hole_too(through: Through, writes: int) -> None:
    client, server, proxy = await through()
    proxy.connections[0].down.hole()
    reset(server[1])
    for _ in range(writes):
        await send(client[1], b"x")
        await nothing_comes(client[0])
    await nothing_comes(client[0])
    assert not proxy.connections[0].over.is_set()


async def test_a_reset_of_one_side_reaches_the_other(through: Through) -> None:
    client, server, _ = await through()
    reset(server[1])
    with pytest.raises(ConnectionResetError):
        await rest(client[0])


async def test_an_address_that_comes_again_is_the_newest() -> None:
    async with listening() as (port, came), Proxy("127.0.0.1", port) as proxy:
        address = ("127.0.0.1", 0)
        for number in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=address)
            await came.get()
            address = writer.get_extra_info("sockname")
            assert proxy.find(address) is proxy.connections[number]
            reset(writer)  # a port that was reset is free at once
            await proxy.connections[number].over.wait()


async def test_a_reset_is_passed_on_as_one(through: Through) -> None:
    (reader, writer), server, proxy = await through()
    writer.write(b"x")
    await server[0].readexactly(1)
    proxy.connections[0].reset()
    for end in (reader, server[0]):
        with pytest.raises(ConnectionResetError):
            await rest(end)
    proxy.connections[0].reset()  # harmless
    async with asyncio.timeout(DEADLINE_S):
        await proxy.connections[0].over.wait()
    proxy.connections[0].reset()


async def test_all_can_be_done_at_run_time(through: Through) -> None:
    client, server, proxy = await through()
    await send(server[1], b"one")
    assert await client[0].readexactly(3) == b"one"
    proxy.connections[0].down.faults = Faults(end="fin", after=5)
    await send(server[1], b"three")
    assert await rest(client[0]) == b"th"

    client, server, proxy = await through()
    proxy.connections[0].down.fin()
    assert await rest(client[0]) == b""
    await send(client[1], b"up")
    assert await server[0].readexactly(2) == b"up"

    client, server, proxy = await through()
    proxy.connections[0].hole()
    await send(client[1], b"up")
    await send(server[1], b"down")
    await nothing_comes(client[0])
    await nothing_comes(server[0])

    client, server, proxy = await through()
    proxy.connections[0].close()
    assert await rest(client[0]) == await rest(server[0]) == b""


async def test_what_is_done_before_the_server_has_answered_is_done_all_the_same() -> None:
    async with listening() as (port, _), Proxy("127.0.0.1", port) as proxy:
        for act in ("fin", "reset"):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            while not proxy.connections or proxy.connections[-1].address != writer.get_extra_info("sockname"):  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0)
            if act == "fin":
                proxy.connections[-1].down.fin()
                assert await rest(reader) == b""
            else:
                proxy.connections[-1].reset()
                with pytest.raises(ConnectionResetError):
                    await rest(reader)
            writer.close()


# What it holds


async def flood(writer: asyncio.StreamWriter) -> int:
    """Write until it is felt that nobody reads. How much was written."""
    writer.transport.set_write_buffer_limits(0)
    written = 0
    try:
        while written < 100_000_000:
            async with asyncio.timeout(SHORT_S * 3):
                writer.write(bytes(PIECE * PIECES))
                written += PIECE * PIECES
                await writer.drain()
    except TimeoutError:
        pass
    return written


async def test_who_does_not_read_is_felt_by_who_writes(through: Through) -> None:
    _, server, proxy = await through()
    assert await flood(server[1]) < 64_000_000, "more than the kernel's four buffers hold"
    assert proxy.connections[0].over.is_set() is False


async def test_what_is_late_is_bounded(through: Through) -> None:
    client, server, proxy = await through(Plan(down=Faults(latency=3600)))
    assert await flood(server[1]) < 64_000_000
    assert proxy.connections[0].down.passed == 0
    await nothing_comes(client[0])


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_it_leaves_no_task_and_no_descriptor() -> None:
    async def round_trips() -> None:
        async with listening() as (port, came):
            async with Proxy("127.0.0.1", port, Plan(up=Faults(latency=3600), down=Faults(slices=3))) as proxy:
                for number in range(10):
                    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                    writer.write(b"x" * 1000)
                    _, theirs = await came.get()
                    theirs.write(b"x" * 1000)
                    await reader.readexactly(10)
                    if number % 2:
                        proxy.connections[-1].hole()
                    for end in (writer, theirs):
                        (end.transport.abort if number % 3 else end.close)()
            assert all(connection.over.is_set() for connection in proxy.connections)
        for _ in range(5):
            await asyncio.sleep(0)  # the sockets are closed by the loop's next steps

    await round_trips()
    tasks, opened = asyncio.all_tasks(), descriptors()
    await round_trips()
    assert asyncio.all_tasks() == tasks
    assert descriptors() == opened


async def test_what_both_sides_have_ended_holds_no_descriptor() -> None:
    async with listening() as (port, came), Proxy("127.0.0.1", port) as proxy:
        before = descriptors()
        for number in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            _, theirs = await came.get()
            writer.close()
            theirs.close()
            await proxy.connections[number].over.wait()
            await rest(reader)
        async with asyncio.timeout(DEADLINE_S):
            while descriptors() > before:  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0)


async def test_where_no_server_is_its_client_is_reset() -> None:
    async with listening() as (port, _):
        pass
    async with Proxy("127.0.0.1", port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await rest(reader)
        writer.close()


@pytest.mark.parametrize("name", ["latency", "jitter", "slices", "bandwidth", "after"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"expected {name}"):
        msgspec.convert({name: -1}, Faults)
