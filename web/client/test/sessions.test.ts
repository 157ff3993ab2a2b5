/** The list of sessions: what is asked, and what comes of each answer. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type HttpRequest, type Platform, RequestError, remove, rename, sessions } from "agent-ws-client";

interface Asked extends HttpRequest {
  readonly url: string;
}

/** A server that always answers so, and what it was asked. */
function server(status: number, answer: unknown): { asked: Asked[]; fetch: NonNullable<Platform["fetch"]> } {
  const asked: Asked[] = [];
  return {
    asked,
    fetch: async (url, request) => {
      asked.push({ url, ...request });
      const json = async () => {
        if (answer === undefined) throw new SyntaxError("no JSON");
        return answer;
      };
      return { status, headers: { get: () => null }, body: null, json };
    },
  };
}

const PAGE = { sessions: [{ session: "s1", title: "One", created: 1.5, updated: 2.5 }], next: "2.5~s1" };

test("a page is asked for by its words, its place and its size", async () => {
  const { asked, fetch } = server(200, PAGE);
  const headers = async () => ({ authorization: "Bearer x" });
  assert.deepEqual(await sessions("https://host/agent", { fetch }), PAGE);
  await sessions("wss://host/agent/ws", { words: "a & b=ü", before: "2.5~s1", limit: 10, fetch, headers });
  await sessions("https://host", { words: "", fetch });
  assert.deepEqual(
    asked.map(({ url, method, body }) => [method, url, body]),
    [
      ["GET", "https://host/agent/api/agent/sessions", undefined],
      ["GET", "https://host/agent/api/agent/sessions?words=a%20%26%20b%3D%C3%BC&before=2.5~s1&limit=10", undefined],
      ["GET", "https://host/api/agent/sessions", undefined],
    ],
  );
  assert.equal(asked[0]?.headers["authorization"], undefined);
  assert.equal(asked[1]?.headers["authorization"], "Bearer x");
});

test("a title is given, and comes back as the server has it", async () => {
  const { asked, fetch } = server(200, { session: "s/1", title: "New title" });
  assert.equal(await rename("https://host", "s/1", " New\ntitle ", { fetch, token: "k1" }), "New title");
  assert.equal(asked[0]?.method, "PATCH");
  assert.equal(asked[0]?.url, "https://host/api/agent/sessions/s%2F1");
  assert.equal(asked[0]?.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(asked[0]?.body ?? ""), { title: " New\ntitle ", token: "k1" });
});

test("a session is deleted, by its token where there is one", async () => {
  const { asked, fetch } = server(200, { deleted: "s1" });
  await remove("https://host", "s1", { fetch });
  await remove("https://host", "s1", { fetch, token: "k1" });
  assert.deepEqual(
    asked.map(({ method, body }) => [method, body]),
    [
      ["DELETE", undefined],
      ["DELETE", '{"token":"k1"}'],
    ],
  );
});

test("one that is not there any more counts as deleted, and is not renamed", async () => {
  const { fetch } = server(404, { error: { code: "session_not_found", message: "expected a session of yours" } });
  await remove("https://host", "s1", { fetch });
  await assert.rejects(rename("https://host", "s1", "x", { fetch }), { status: 404, code: "session_not_found" });
});

test("what was not done is thrown, whatever came", async () => {
  const cases: readonly (readonly [number, unknown, Partial<RequestError>])[] = [
    [503, { error: { code: "store_failed", message: "full" } }, { status: 503, code: "store_failed", message: "full" }],
    [401, { error: { code: "unauthorized", message: "log in" } }, { status: 401, code: "unauthorized" }],
    [404, { error: { code: "not_found", message: "an older server" } }, { status: 404, code: "not_found" }],
    [502, undefined, { status: 502, code: "", message: "HTTP 502" }],
    [200, undefined, { status: 200, code: "" }],
  ];
  for (const [status, answer, error] of cases) {
    const { fetch } = server(status, answer);
    await assert.rejects(sessions("https://host", { fetch }), error);
    await assert.rejects(rename("https://host", "s1", "x", { fetch }), error);
    await assert.rejects(remove("https://host", "s1", { fetch }), error);
  }
  const lost = async () => {
    throw new TypeError("fetch failed");
  };
  await assert.rejects(remove("https://host", "s1", { fetch: lost }), { status: 0, message: "fetch failed" });
  await assert.rejects(sessions("https://host", { fetch: lost }), RequestError);
});
