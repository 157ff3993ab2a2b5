/** The core, on the fixtures that clients in all languages are held to. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { comesBack } from "agent-ws-client";
import { act, type Case, core } from "./steps.js";

const FIXTURES: { comes_back: Record<string, boolean>; cases: Case[] } = JSON.parse(
  readFileSync(new URL("../../../tests/fixtures/client.json", import.meta.url), "utf8"),
);

for (const fixture of FIXTURES.cases) {
  test(`core: ${fixture.name}`, () => {
    const it = core(fixture);
    for (const step of fixture.steps) {
      assert.deepEqual(act(it, step), step.then, `at ${step.at}: ${step.call}`);
    }
  });
}

test("the close codes that one comes back from are those of the protocol", () => {
  for (const [code, back] of Object.entries(FIXTURES.comes_back)) assert.equal(comesBack(Number(code)), back, code);
});
