/** Server-sent events, however their text is cut. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { SseParser } from "agent-ws-client";

const TEXT =
  '\ufeffevent: session\nid: s.e.1.\ndata: {"a": 1}\n\n: \n\ndata: {"content": "é🙂"}\r\n\r\ndata:one\rdata: two\r\rid: 7\n\nevent: crlf\r\ndata: {"b":\r\ndata: 2}\r\n\r\nevent: end\ndata: [DONE]\n\nevent: cut\ndata: off\n';
const EVENTS = [
  { event: "session", data: '{"a": 1}' },
  { event: "", data: '{"content": "é🙂"}' },
  { event: "", data: "one\ntwo" },
  { event: "crlf", data: '{"b":\n2}' },
  { event: "end", data: "[DONE]" },
];

test("in one piece", () => {
  assert.deepEqual(new SseParser().feed(TEXT), EVENTS);
});

test("cut at each place", () => {
  for (let cut = 0; cut <= TEXT.length; cut++) {
    const parser = new SseParser();
    assert.deepEqual([...parser.feed(TEXT.slice(0, cut)), ...parser.feed(TEXT.slice(cut))], EVENTS, `cut at ${cut}`);
  }
});

test("character by character", () => {
  const parser = new SseParser();
  assert.deepEqual(
    [...TEXT].flatMap((letter) => parser.feed(letter)),
    EVENTS,
  );
});
