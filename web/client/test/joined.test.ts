/** Answers that went on, as one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Fold, joined, type ServerEvent } from "agent-ws-client";
import { shown } from "./shown.js";

type Loose = { type: string; run: string; [key: string]: unknown };

function fold(...events: Loose[]): Fold {
  const made = new Fold();
  events.forEach((event, i) => {
    made.take({ seq: i + 1, at: 1, ...event } as unknown as ServerEvent);
  });
  return made;
}

const said = (run: string, continues?: string): Loose[] => [
  { type: "user", run, id: `of ${run}`, data: continues ? "" : "hi", ...(continues && { continues }) },
  { type: "start", run },
];
const text = (run: string, data: string): Loose => ({ type: "content", run, data });
const stop = (run: string, seen?: number): Loose => ({ type: "interrupted", run, reason: "user", seen });

test("the text goes on behind what was seen, and nobody said anything between", () => {
  const { runs } = fold(
    ...said("r1"),
    text("r1", "One 🙂 thr unseen"),
    stop("r1", 9),
    ...said("r2", "r1"),
    text("r2", "ee fo"),
    stop("r2", 4),
    ...said("r3", "r2"),
    text("r3", "our."),
    stop("r3", 2),
  );
  const [answer, ...more] = joined(runs);
  assert.deepEqual(more, []);
  assert.deepEqual([answer?.first, answer?.run, answer?.chars], ["r1", "r3", 4]);
  assert.deepEqual(shown(joined(runs)).slice(1), ['  message of r1 "hi"', '  text "One 🙂 three four." seen=15']);
});

test("thinking before it goes on stands before the text, and anything else behind it", () => {
  const { runs } = fold(
    ...said("r1"),
    text("r1", "One "),
    stop("r1"),
    ...said("r2", "r1"),
    { type: "thinking", run: "r2", data: "hm" },
    text("r2", "two "),
    { type: "tool_start", run: "r2", tool: "t1", name: "search" },
    stop("r2"),
    ...said("r3", "r2"),
    text("r3", "three"),
  );
  const kinds = joined(runs)[0]?.blocks.map((block) => (block.kind === "text" ? block.data : block.kind));
  assert.deepEqual(kinds, ["thinking", "One two ", "tool", "three"]);
  const keys = joined(runs)[0]?.blocks.map(({ key }) => key);
  assert.equal(new Set(keys).size, 4, "each has a key of its own");
});

test("of an answer of which nothing was seen only the rest is there", () => {
  const { runs } = fold(...said("r1"), text("r1", "One "), stop("r1", 0), ...said("r2", "r1"), text("r2", "All."));
  assert.deepEqual(shown(joined(runs)).slice(1), ['  message of r1 "hi"', '  text "All."']);
});

test("of an outline the sections are there that had begun, and nobody can ask for them again", () => {
  const { runs } = fold(
    ...said("r1"),
    {
      type: "outline",
      run: "r1",
      sections: [
        { section: "s1", title: "Idea" },
        { section: "s2", title: "Proof" },
        { section: "s3", title: "End" },
      ],
    },
    { type: "section_start", run: "r1", section: "s1", redo: true },
    { type: "content", run: "r1", section: "s1", data: "Half unseen" },
    { type: "section_end", run: "r1", section: "s1", outcome: "interrupted" },
    { type: "section_start", run: "r1", section: "s2", redo: true },
    { type: "content", run: "r1", section: "s2", data: "unseen" },
    { type: "section_end", run: "r1", section: "s2", outcome: "interrupted" },
    stop("r1", 4),
    ...said("r2", "r1"),
    text("r2", "done."),
  );
  assert.deepEqual(shown(joined(runs)).slice(2), [
    "  outline",
    '    section s1 "Idea" interrupted',
    '      text "Half"',
    '  text "done."',
  ]);
});

test("what was taken back before it began has left the answer as it was", () => {
  const asked = said("r2", "r1").slice(0, 1);
  const events = [...said("r1"), text("r1", "One "), stop("r1"), ...asked, stop("r2")];
  assert.deepEqual(
    joined(fold(...events).runs).map(({ run }) => run),
    ["r1"],
  );
  const after = joined(fold(...events, ...said("r3", "r1"), text("r3", "two")).runs);
  assert.deepEqual(shown(after).slice(1), ['  message of r1 "hi"', '  text "One two"']);
});

test("what has not changed is the same object", () => {
  const made = fold(
    ...said("r0"),
    { type: "done", run: "r0" },
    ...said("r1"),
    { type: "section_start", run: "r1", section: "s1" },
    { type: "content", run: "r1", section: "s1", data: "a" },
    { type: "section_end", run: "r1", section: "s1", outcome: "done" },
    text("r1", "One "),
    stop("r1", 3),
    ...said("r2", "r1"),
    text("r2", "two"),
  );
  const before = joined(made.runs);
  assert.deepEqual(
    joined(made.runs).map((answer, i) => answer === before[i]),
    [true, true],
  );
  made.take({ seq: 20, type: "content", run: "r2", data: " three" });
  const after = joined(made.runs);
  assert.equal(after[0], before[0]);
  assert.notEqual(after[1], before[1]);
  assert.equal(after[1]?.blocks[0], before[1]?.blocks[0]);
  assert.equal(after[1]?.messages[0], before[1]?.messages[0]);
});
