/** The fold, on the fixtures that Python's is held to, and what else a screen relies on. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Fold, type ServerEvent } from "agent-ws-client";
import { folded } from "./folded.js";
import { shown } from "./shown.js";

interface Case {
  name: string;
  events: ServerEvent[];
  folded: unknown;
  shown: string[];
}

const CASES: Case[] = JSON.parse(readFileSync(new URL("../../../tests/fixtures/fold.json", import.meta.url), "utf8"));

function foldOf(events: readonly ServerEvent[]): Fold {
  const fold = new Fold();
  for (const event of events) fold.take(event);
  return fold;
}

for (const { name, events, folded: expected, shown: lines } of CASES) {
  test(`fold: ${name}`, () => {
    assert.deepEqual(folded(events), expected);
    assert.deepEqual(shown(foldOf(events).runs), lines);
  });

  test(`looking at every step changes nothing: ${name}`, () => {
    const fold = new Fold();
    const views = events.map((event) => {
      fold.take(event);
      return [fold.runs, JSON.stringify(fold.runs)] as const;
    });
    assert.deepEqual(shown(fold.runs), lines);
    for (const [view, then] of views) assert.equal(JSON.stringify(view), then, "a view has changed");
  });
}

test("what has not changed is the same object", () => {
  const at = (events: object[]): ServerEvent[] =>
    events.map((event, i) => ({ seq: i + 1, run: "r1", ...event }) as never);
  const fold = foldOf(
    at([
      { type: "user", id: "c1", data: "hi", at: 0 },
      { type: "start", at: 0 },
      {
        type: "outline",
        sections: [
          { section: "s1", title: "Idea" },
          { section: "s2", title: "Proof" },
        ],
      },
      { type: "section_start", section: "s1" },
      { type: "content", section: "s1", data: "a" },
    ]),
  );
  const [before] = fold.runs;
  assert.equal(fold.runs, fold.runs);
  fold.take({ type: "content", seq: 6, run: "r1", section: "s1", data: "b" });
  fold.take({ type: "user", seq: 7, run: "r2", id: "c2", data: "ho", at: 0 });
  const [after] = fold.runs;
  assert.ok(before && after);
  assert.notEqual(after, before);
  assert.equal(after.messages[0], before.messages[0]);
  const [old, now] = [before.blocks[0], after.blocks[0]];
  assert.ok(old?.kind === "outline" && now?.kind === "outline");
  assert.notEqual(now.sections[0], old.sections[0]);
  assert.equal(now.sections[1], old.sections[1]);
  const waiting = fold.runs[1];
  fold.take({ type: "content", seq: 8, run: "r1", section: "s1", data: "c" });
  assert.equal(fold.runs[1], waiting);
});

test("an event of a newer server is ignored", () => {
  const { events } = CASES.find(({ name }) => name === "one answer") as Case;
  const odd = { type: "hologram", seq: 3, run: "r1", data: "?" } as unknown as ServerEvent;
  assert.deepEqual(shown(foldOf(events.toSpliced(2, 0, odd)).runs), shown(foldOf(events).runs));
});
