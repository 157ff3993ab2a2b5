/** The shell around the core: sockets, timers, listeners, promises, with a world of the test's own. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Client,
  type ConnectOptions,
  connect,
  type HttpRequest,
  type HttpResponse,
  type Notice,
  type Nudges,
  Refused,
  type Socket,
} from "agent-ws-client";

class FakeSocket implements Socket {
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  onerror: Socket["onerror"] = null;
  readonly url: string;
  readonly protocols: string[];
  readonly sent: { type: string; [key: string]: unknown }[] = [];
  gone = false;

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(): void {
    this.gone = true;
  }

  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}

const SESSION = {
  type: "session",
  session: "s1",
  token: "k1",
  epoch: "e1",
  after: 0,
  resumed: false,
  limits: { message_bytes: 1000, queued: 8 },
};

/** A place with a clock that the test moves. */
class World {
  now = 0;
  readonly sockets: FakeSocket[] = [];
  readonly notices: Notice[] = [];
  nudge: (why: "online" | "visible") => void = () => {};
  listens = false;
  /** Null: those of the place that the test runs in. */
  nudges: Nudges | null = (nudge) => {
    this.nudge = nudge;
    this.listens = true;
    return () => {
      this.listens = false;
    };
  };
  client!: Client;
  #timers: { at: number; call: () => void }[] = [];

  connect(options: ConnectOptions = {}, url = "https://host/agent"): Client {
    const { sockets } = this;
    this.client = connect(url, {
      ...options,
      platform: {
        WebSocket: class extends FakeSocket {
          constructor(to: string, protocols: string[]) {
            super(to, protocols);
            sockets.push(this);
          }
        },
        fetch: undefined,
        now: () => this.now,
        random: () => 0.5,
        later: (call, ms) => {
          const timer = { at: this.now + ms, call };
          this.#timers.push(timer);
          return () => {
            this.#timers = this.#timers.filter((other) => other !== timer);
          };
        },
        ...(this.nudges && { nudges: this.nudges }),
        ...options.platform,
      },
    });
    this.client.subscribe((notice) => this.notices.push(notice));
    return this.client;
  }

  get timers(): number {
    return this.#timers.length;
  }

  get socket(): FakeSocket {
    return this.sockets.at(-1) as FakeSocket;
  }

  /** Let time pass, and what was asked for happen. */
  async pass(ms: number): Promise<void> {
    const until = this.now + ms;
    for (;;) {
      await turn();
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.now = Math.max(this.now, next.at);
      next.call();
    }
    this.now = until;
    await turn();
  }

  async open(options: ConnectOptions = {}): Promise<Client> {
    const client = this.connect(options);
    await turn();
    this.socket.onopen?.();
    this.socket.say(SESSION);
    return client;
  }
}

/** Let promises settle. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a message goes out and its outcome comes back", async () => {
  const world = new World();
  const client = await world.open();
  const { id, outcome } = client.send("Hi", { when_busy: "queue" });
  assert.deepEqual(client.view.pending, [{ id, data: "Hi", when_busy: "queue", continues: undefined, sent: true }]);
  assert.deepEqual(world.socket.sent.at(-1), { type: "message", id, data: "Hi", when_busy: "queue" });
  world.socket.say({ type: "accepted", id, run: "r1", outcome: "started" });
  assert.deepEqual(await outcome, { type: "accepted", id, run: "r1", outcome: "started" });
  assert.deepEqual(client.view.pending, []);
});

test("what asks for the rest of an answer says so until it is answered", async () => {
  const world = new World();
  const client = await world.open();
  const { id } = client.send("", { continues: "r1" });
  assert.equal(client.view.pending[0]?.continues, "r1");
  assert.deepEqual(world.socket.sent.at(-1), { type: "message", id, data: "", continues: "r1" });
  world.socket.say({ type: "rejected", id, code: "cannot_continue", message: "" });
  assert.deepEqual(client.view.pending, []);
});

test("the addresses are the server's, below its path", async () => {
  for (const [url, expected] of [
    ["https://host/agent", "wss://host/agent/ws"],
    ["http://host:8000", "ws://host:8000/ws"],
    ["ws://host/ws", "ws://host/ws"],
    ["https://host/agent/?a=b", "wss://host/agent/ws"],
  ] as const) {
    const world = new World();
    world.connect({}, url);
    await turn();
    assert.equal(world.socket.url, expected);
  }
});

test("a view never changes, and says what is new when it is asked in a notice", async () => {
  const world = new World();
  const client = await world.open();
  const before = client.view;
  assert.equal(client.view, before);
  const seen: string[] = [];
  client.subscribe((notice) => notice.do === "event" && seen.push(client.text("r1")));
  world.socket.say({ type: "user", seq: 1, run: "r1", id: "c1", data: "Hi", at: 0 });
  world.socket.say({ type: "start", seq: 2, run: "r1", at: 0 });
  world.socket.say({ type: "content", seq: 3, run: "r1", data: "a" });
  world.socket.say({ type: "content", seq: 4, run: "r1", data: "b" });
  assert.deepEqual(seen, ["", "", "a", "ab"]);
  assert.deepEqual(before.runs, []);
  assert.equal(client.view.runs.length, 1);
});

test("a lost connection is come back from with the cursor, and what was not answered is said again", async () => {
  const world = new World();
  const client = await world.open();
  world.socket.say({ type: "content", seq: 3, run: "r1", data: "a" });
  client.send("Hi", { id: "c1" });
  const first = world.socket;
  first.onclose?.({ code: 1006, reason: "" });
  assert.equal(client.view.state.name, "waiting");
  await world.pass(250);
  assert.notEqual(world.socket, first);
  assert.equal(client.view.state.name, "connecting");
  world.socket.onopen?.();
  world.socket.say({ ...SESSION, after: 3, resumed: true });
  assert.deepEqual(world.socket.sent, [
    { type: "hello", session: "s1", token: "k1", epoch: "e1", after: 3 },
    { type: "message", id: "c1", data: "Hi" },
  ]);
  assert.equal(client.view.session?.token, "k1");
});

test("the log is read when all is here that it had when we connected", async () => {
  const world = new World();
  const client = world.connect({ session: "s1" });
  await turn();
  world.socket.onopen?.();
  assert.equal(client.view.read, false);
  world.socket.say({ ...SESSION, tail: 4 });
  world.socket.say({ type: "content", seq: 3, run: "r1", data: "a" });
  assert.equal(client.view.read, false);
  world.socket.say({ type: "content", seq: 4, run: "r1", data: "b" });
  assert.equal(client.view.read, true);
  world.socket.onclose?.({ code: 1006, reason: "" });
  await world.pass(250);
  world.socket.onopen?.();
  world.socket.say({ ...SESSION, tail: 2 });
  world.socket.say({ type: "reset", epoch: "e2", reason: "epoch" });
  assert.equal(client.view.read, false, "it comes anew");
  world.socket.say({ type: "user", seq: 2, run: "r1", id: "c1", data: "Hi", at: 0 });
  assert.equal(client.view.read, true);
});

test("an empty log is read at once", async () => {
  assert.equal((await new World().open()).view.read, true);
});

test("what an old socket says late is not heard", async () => {
  const world = new World();
  const client = await world.open();
  const old = world.socket;
  const { onmessage, onclose } = old;
  await world.pass(31_000); // silent: asked, and given up
  assert.ok(old.gone);
  onmessage?.({ data: JSON.stringify({ ...SESSION, session: "late" }) });
  onmessage?.({ data: JSON.stringify({ type: "content", seq: 3, run: "r1", data: "a" }) });
  assert.equal(client.view.session?.session, "s1");
  onclose?.({ code: 4404, reason: "session_not_found" });
  assert.deepEqual(client.view.runs, []);
  assert.notEqual(client.view.state.name, "closed");
});

test("what is no JSON ends the connection, not the client", async () => {
  const world = new World();
  const client = await world.open();
  world.socket.onmessage?.({ data: "<html>" });
  assert.ok(world.socket.gone);
  assert.equal(client.view.state.name, "waiting");
});

test("a ticket stands beside the subprotocol, and each connection has its own", async () => {
  const world = new World();
  let tickets = 0;
  await world.open({ ticket: async () => `t${++tickets}` });
  assert.deepEqual(world.socket.protocols, ["agent-ws.v1.json", "agent-ws.ticket.t1"]);
  world.socket.onclose?.({ code: 1006, reason: "" });
  await world.pass(250);
  assert.deepEqual(world.socket.protocols, ["agent-ws.v1.json", "agent-ws.ticket.t2"]);
});

test("who is not logged in is told so, and comes back after a login", async () => {
  const world = new World();
  let fails: Error | null = new Refused("log in first");
  const client = world.connect({
    ticket: async () => {
      if (fails !== null) throw fails;
      return undefined;
    },
  });
  await turn();
  assert.deepEqual({ ...client.view.state, reason: "" }, { name: "closed", code: 4401, reason: "" });
  fails = new TypeError("no network");
  client.connect();
  await turn();
  assert.equal(client.view.state.name, "waiting");
  fails = null;
  await world.pass(1000);
  assert.equal(world.sockets.length, 1);
});

test("a login that was refused again and again says nothing against WebSockets", async () => {
  const world = new World();
  let known = false;
  const client = world.connect({
    ticket: async () => {
      if (known) return "t1";
      throw new Refused("log in first");
    },
    platform: { fetch: () => Promise.reject(new Error("expected a WebSocket, got a request")) },
  });
  for (const login of [false, false, false, true]) {
    await turn();
    assert.equal(client.view.state.name, "closed");
    known = login;
    client.connect();
  }
  await turn();
  assert.equal(world.sockets.length, 1);
});

test("a handshake that fails without a close is a lost connection", async () => {
  const world = new World();
  const client = world.connect();
  await turn();
  world.socket.onerror?.({});
  assert.equal(client.view.state.name, "waiting");
});

test("the network is back: no waiting", async () => {
  const world = new World();
  const client = await world.open();
  world.socket.onclose?.({ code: 1006, reason: "" });
  world.nudge("online");
  assert.equal(client.view.state.name, "connecting");
});

test("who closes has nothing left behind", async () => {
  const world = new World();
  const client = await world.open();
  const { outcome } = client.send("Hi");
  client.close();
  await assert.rejects(outcome, /closed before/);
  assert.ok(world.socket.gone);
  assert.equal(world.listens, false);
  assert.equal(world.timers, 0);
});

test("a reset throws the copy away", async () => {
  const world = new World();
  const client = await world.open();
  world.socket.say({ type: "content", seq: 3, run: "r1", data: "old" });
  world.socket.say({ type: "reset", epoch: "e2", reason: "epoch" });
  assert.deepEqual(client.view.runs, []);
  world.socket.say({ type: "content", seq: 1, run: "r1", data: "new" });
  assert.equal(client.text("r1"), "new");
});

test("a listener may act, and what it does comes in its turn", async () => {
  const world = new World();
  const client = world.connect();
  client.subscribe((notice) => {
    if (notice.do === "state" && notice.state.name === "open") client.send("second", { id: "c2" });
  });
  const heard: string[] = [];
  client.subscribe((notice) => heard.push(notice.do));
  client.send("first", { id: "c1" });
  await turn();
  world.socket.onopen?.();
  world.socket.say(SESSION);
  assert.deepEqual(
    world.socket.sent.map(({ id }) => id),
    [undefined, "c1", "c2"],
  );
  assert.deepEqual(heard, ["pending", "session", "state", "pending"]);
});

test("a listener that throws does not harm the others", async () => {
  const world = new World();
  const client = world.connect();
  client.subscribe(() => {
    throw new Error("a bug of the page's");
  });
  const heard: string[] = [];
  client.subscribe((notice) => heard.push(notice.do));
  await turn();
  world.socket.onclose?.({ code: 1006, reason: "" });
  assert.deepEqual(heard, ["state"]);
  await assert.rejects(world.pass(0), /a bug of the page's/);
});

test("by fetch a server that is full says how long to stay away", async () => {
  const world = new World();
  const asked: HttpRequest[] = [];
  const client = world.connect({
    wires: ["sse"],
    session: "s1",
    token: "k1",
    headers: async () => ({ authorization: "Bearer x" }),
    platform: {
      fetch: async (_, request) => {
        asked.push(request);
        return {
          status: 503,
          headers: { get: (name) => (name === "retry-after" ? "7" : null) },
          body: null,
          json: async () => ({ error: { code: "overloaded", message: "busy" } }),
        };
      },
    },
  });
  await turn();
  assert.deepEqual(client.view.state, { name: "waiting", until: 7250, restarting: true });
  assert.equal(asked[0]?.headers["authorization"], "Bearer x");
  assert.deepEqual(JSON.parse(asked[0]?.body ?? ""), { session: "s1", token: "k1" });
});

test("by fetch the first message makes the session, and the second is said in it", async () => {
  const world = new World();
  const said: string[] = [];
  const client = world.connect({
    wires: ["sse"],
    platform: {
      fetch: async (_, request) => {
        const { message, session } = JSON.parse(request.body ?? "");
        if (message === undefined) return answer(session === undefined ? 204 : 200, []);
        said.push(`${message} in ${session}`);
        const accepted = { type: "accepted", id: JSON.parse(request.body ?? "").id, run: "r1", outcome: "started" };
        return answer(200, [SESSION, accepted]);
      },
    },
  });
  await client.send("one").outcome;
  assert.equal(client.view.session?.session, "s1");
  await client.send("two").outcome;
  assert.deepEqual(said, ["one in undefined", "two in s1"]);
  client.close();
});

/** A stream of events that stays open behind them. */
function answer(status: number, frames: readonly { type: string }[]): HttpResponse {
  const chunks = frames.map((frame) =>
    new TextEncoder().encode(`event: ${frame.type}\ndata: ${JSON.stringify(frame)}\n\n`),
  );
  const read = async () => {
    const value = chunks.shift();
    return value ? { done: false, value } : await new Promise<never>(() => {});
  };
  return {
    status,
    headers: { get: () => null },
    body: status === 204 ? null : { getReader: () => ({ read }) },
    json: async () => null,
  };
}

test("without a socket and without fetch there is nothing to be done", () => {
  assert.throws(
    () => connect("https://host", { platform: { WebSocket: undefined, fetch: undefined } }),
    /expected a WebSocket or fetch/,
  );
});

test("the events of a browser bring it back, until it is closed", async () => {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { hidden: true });
  const own = {
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
    document,
  };
  Object.assign(globalThis, own);
  try {
    const world = new World();
    world.nudges = null;
    const client = await world.open();
    const attempts = (): number => world.sockets.length;
    const lose = (): void => world.socket.onclose?.({ code: 1006, reason: "" });
    lose();
    document.dispatchEvent(new Event("visibilitychange"));
    await turn();
    assert.equal(attempts(), 1, "nobody looks at it");
    document.hidden = false;
    document.dispatchEvent(new Event("visibilitychange"));
    await turn();
    assert.equal(attempts(), 2);
    lose();
    page.dispatchEvent(new Event("online"));
    await turn();
    assert.equal(attempts(), 3);
    client.close();
    client.connect(); // it would listen again, were it still there
    await turn();
    lose();
    page.dispatchEvent(new Event("online"));
    document.dispatchEvent(new Event("visibilitychange"));
    await turn();
    assert.equal(attempts(), 4);
  } finally {
    for (const name of Object.keys(own)) delete (globalThis as Record<string, unknown>)[name];
  }
});
