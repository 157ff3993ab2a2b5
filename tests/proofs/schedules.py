"""Random walks over the unmodified server, each with a seed that also shuffles what is ready together.

Connects, drops, messages, Stops, pauses, slow readers, crashes, restarts, drains and a failing disk, in any order, on a
virtual clock. What must be true after each step is `chaos.World`'s to say.
"""

import random

from chaos import STEPS, Tab, World
from loop import run

from .proof import Course, Proof

ACTIONS = 40


def script(rng: random.Random) -> str:
    return "".join(rng.choices(STEPS, k=rng.randint(1, 6)))


async def act(world: World, rng: random.Random, tab: Tab, *, quick: bool) -> None:
    match rng.choice("CCDFSSSSSSAGGIIIiiPPpRRrrTTTTTTKKXZf"):
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
        case "G" if world.runs():
            await world.go_on(tab, rng.choice(world.runs()[-2:]))
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


async def walk(course: Course, seed: int) -> None:
    rng = random.Random(seed)
    seconds = rng.choice((0, 0.05, 0.05, 2))
    world = await World.make(tabs=3, seconds=seconds, facts=course.facts, tell=course.tell if course.alone else None)
    await world.connect(world.tabs[0])
    for _ in range(ACTIONS):
        course.facts["steps"] += 1
        quick = rng.random() < 0.4
        await act(world, rng, rng.choice(world.tabs), quick=quick)
        if not quick:
            await world.settle()
    await world.finish()


def prove(course: Course) -> None:
    for seed in course.cases():
        run(walk(course, seed), seed)


PROOF = Proof(
    "schedules",
    "In any order of connects, drops, messages, Stops, crashes and restarts no event is lost or doubled, each run has "
    "exactly one ending, and what was accepted is kept.",
    "schedules",
    short=500,
    long=100_000,
    prove=prove,
    parallel=True,
)
