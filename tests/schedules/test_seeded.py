"""Random walks over the unmodified server, each with a seed of its own that also shuffles what is ready together.

A seed that fails is in the name of the failed test, which runs it again:
`pytest "tests/schedules/test_seeded.py::test_walk[17]"`.
More of them than usual: `SEEDS=5000 pytest tests/schedules/test_seeded.py`.
"""

import asyncio
import os
import random

import pytest
from chaos import STATS, STEPS, Tab, World
from loop import run

SEEDS = int(os.environ.get("SEEDS", "300"))
ACTIONS = 40


def script(rng: random.Random) -> str:
    return "".join(rng.choices(STEPS, k=rng.randint(1, 6)))


async def act(world: World, rng: random.Random, tab: Tab, *, quick: bool) -> None:
    match rng.choice("CCDFSSSSSSAIIIiiPPpRRrrTTTTTTKKXZf"):
        case "C":
            chunk = rng.choice(("token", "word", "sentence"))
            await world.connect(tab, chunk, rng.choice((None, "interrupt", "steer")), binary=rng.random() < 0.3)
        case "D":
            tab.leave()
        case "F":
            world.forget(tab)
        case "S":
            await world.say(tab, script(rng), rng.choice((None, "interrupt", "queue", "steer", "reject")))
        case "A" if world.said:
            await world.say(tab, script(rng), rng.choice((None, "interrupt", "steer")), rng.choice(world.said))
        case "I":
            await world.interrupt(tab, seen=rng.choice((None, 0, 3, 30)), quick=quick)
        case "i" if world.runs():
            await world.interrupt(tab, rng.choice(world.runs()), rng.choice((None, 0, 5)), quick=quick)
        case "P":
            await world.pause(tab, rng.choice((None, None, *world.runs()[-2:])), quick=quick)
        case "p":
            await world.resume(tab)
        case "R" if world.requests():
            await world.reply(tab, rng.choice(world.requests()[-2:]), "yes")
        case "r":
            world.read(tab, on=rng.random() < 0.5)
        case "T":
            await world.pass_time(rng.choice((0.05, 0.3, 1.1, 1.1, 12, 70, 400)))
        case "K":
            n = rng.randint(0, 3)
            await (world.interrupt_section(tab, f"s{n}") if rng.random() < 0.5 else world.interrupt_agent(tab, f"x{n}"))
        case "X" if rng.random() < 0.7:
            await world.crash(landed=rng.random() < 0.5)
        case "Z" if rng.random() < 0.5:
            await (world.restart() if rng.random() < 0.7 else world.drain())
        case "f" if rng.random() < 0.5:
            world.disk.failing = not world.disk.failing
        case _:
            pass


async def walk(seed: int) -> None:
    rng = random.Random(seed)
    world = await World.make(tabs=3, seconds=rng.choice((0, 0.05, 0.05, 2)))
    await world.connect(world.tabs[0])
    for _ in range(ACTIONS):
        STATS["steps"] += 1
        quick = rng.random() < 0.4
        await act(world, rng, rng.choice(world.tabs), quick=quick)
        if not quick:
            await world.settle()
    await world.finish()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_walk(seed: int) -> None:
    run(walk(seed), seed)
    asyncio.set_event_loop(None)
