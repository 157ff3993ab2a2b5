/** Text that grows is read as it would be in one piece, and what is finished is left alone. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Block, Blocks } from "../src/markdown/blocks.ts";

const TEXT = `# Title

A paragraph
with [a link][l] and **strong
words**.

Setext
---

- one
  - two

    three
- four

1. a
2. b

| a | b |
| --- | :-: |
| 1 | 2 |

\`\`\`py
x = 1

## no heading
\`\`\`

> quoted
lazy

no heading is
#this one

- nor
*a list

<b>html</b>

    indented

text\r
\r
more

[l]: https://example.org

***
`;

const shown = (blocks: readonly Block[]) => blocks.map(({ at, raw, token }) => [at, raw, token]);

const readWhole = (text: string) => shown(new Blocks().read(text, true));

test("in pieces of any size it reads as in one piece", () => {
  for (let seed = 1; seed <= 300; seed++) {
    let state = seed;
    const random = (n: number) => {
      state = (state * 48271) % 2147483647;
      return state % n;
    };
    const blocks = new Blocks();
    for (let at = 0; at < TEXT.length; at += 1 + random(12)) blocks.read(TEXT.slice(0, at));
    assert.deepEqual(shown(blocks.read(TEXT, true)), readWhole(TEXT), `seed ${seed}`);
  }
});

test("at each step it reads as that text would in one piece, but for links that are explained later", () => {
  const text = TEXT.replace("[a link][l]", "a link").replace("[l]: https://example.org\n", "");
  const blocks = new Blocks();
  for (let at = 0; at <= text.length; at++)
    assert.deepEqual(shown(blocks.read(text.slice(0, at))), readWhole(text.slice(0, at)), `at ${at}`);
});

test("what has not changed is the same object", () => {
  const blocks = new Blocks();
  const before = blocks.read("one\n\ntwo\n\nthree\n\nfo");
  const after = blocks.read("one\n\ntwo\n\nthree\n\nfour");
  assert.equal(after.length, before.length);
  assert.deepEqual(
    after.map((block, i) => block === before[i]),
    [...Array(after.length - 1).fill(true), false],
  );
});

test("text that was taken back is gone", () => {
  const blocks = new Blocks();
  blocks.read("one\n\ntwo\n\nthree");
  assert.deepEqual(shown(blocks.read("one\n\nt")), readWhole("one\n\nt"));
});

test("what is nested without end, or has no end, is shown as it is", () => {
  const endless = "x".repeat(100_000);
  assert.deepEqual(shown(new Blocks().read(endless)), [[0, endless, null]]);
  const deep = ">".repeat(30_000);
  assert.equal(
    new Blocks()
      .read(deep)
      .map(({ raw }) => raw)
      .join(""),
    deep,
  );
});
