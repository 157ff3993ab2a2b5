/**
 * The resume client: one place in one session's log, whatever the network does.
 *
 * The one rule: the cursor moves only past a frame that was handed on, so nothing is shown twice and nothing is left
 * out. Whatever the person does (say, stop, reply) is kept and sent again after each return until the log or a receipt
 * shows that it happened: all these frames are idempotent, so sending one twice does no harm.
 * Must not know: the document.
 */

const BACKOFF = { first: 500, most: 15_000 };
/** A connection that lived this long was a good one: the back-off begins anew. One that is accepted and dropped is not. */
const STABLE = 5_000;
/** From the first step until the `session` frame. A browser by itself waits for minutes. */
const OPENING = 10_000;
/** A dead link says nothing: ask now and then, and whenever the person comes back to the page. */
const PROBE = { every: 25_000, patience: 5_000 };

/** The table of close codes in PROTOCOL.md: true where coming back can help. */
export function comesBack(code) {
  return ![1000, 1002, 1003, 1007, 1009].includes(code) && !(code >= 4400 && code < 4500);
}

export class Connection {
  session;
  token;
  /** @type {{message_bytes?: number}} */
  limits = {};
  /** What is not known to have happened yet: key to frame, in the order in which it was done. */
  outbox = new Map();

  #url;
  #ticket;
  #on;
  #socket = null;
  #opening = new AbortController();
  #open = false;
  #epoch;
  #after;
  #attempt = 0;
  #openedAt = Infinity;
  #restarting = false;
  #timer;
  #deadline;
  #listening = new AbortController();

  /**
   * `ticket(signal)`: what to show at the next handshake, or undefined; it may throw `{code}`, as if closed with that.
   * `on`: `session(connection)` when the server has told who we are; `reset()` when the copy of the log must be thrown
   * away; `frame(frame)` for everything else; `state(state)`, a state being
   * `{name: "connecting" | "open" | "waiting" | "closed", until?, restarting?, code?}`.
   */
  constructor(url, { session, token, outbox = [], ticket }, on) {
    this.#url = url;
    this.#ticket = ticket;
    this.#on = on;
    this.session = session;
    this.token = token;
    this.outbox = new Map(outbox);
    const { signal } = this.#listening;
    window.addEventListener("online", () => this.#nudge(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#nudge(), { signal });
    const ticking = setInterval(() => this.#open && this.#probe(), PROBE.every);
    signal.addEventListener("abort", () => clearInterval(ticking));
    this.connect();
  }

  /** Connect now, whatever was planned. */
  async connect() {
    this.#drop();
    this.#on.state({ name: "connecting", restarting: this.#restarting });
    this.#expect(OPENING);
    const { signal } = (this.#opening = new AbortController());
    try {
      const ticket = await this.#ticket(signal);
      if (!signal.aborted) this.#dial(ticket);
    } catch (error) {
      if (!signal.aborted) this.#closed(error.code ?? 1006);
    }
  }

  #dial(ticket) {
    // It may not stand in the address: that is written to logs.
    const protocols = ["agent-ws.v1.json", ...(ticket === undefined ? [] : [`agent-ws.ticket.${ticket}`])];
    const socket = (this.#socket = new WebSocket(this.#url, protocols));
    socket.onopen = () =>
      socket.send(
        JSON.stringify({ type: "hello", session: this.session, token: this.token, epoch: this.#epoch, after: this.#after }),
      );
    socket.onmessage = ({ data }) => {
      clearTimeout(this.#deadline);
      this.#take(JSON.parse(data));
    };
    socket.onclose = ({ code }) => this.#closed(code);
  }

  /** Leave for good. The session and its run go on without us. */
  close() {
    this.#listening.abort();
    this.#drop();
  }

  /** Send `frame` now or when we are back, and again after each return, until `forget(key)`. */
  keep(key, frame) {
    this.outbox.set(key, frame);
    this.#send(frame);
  }

  /** It happened, or it never will. */
  forget(key) {
    this.outbox.delete(key);
  }

  get open() {
    return this.#open;
  }

  #send(frame) {
    if (this.#open) this.#socket.send(JSON.stringify(frame));
  }

  #take(frame) {
    if (frame.type === "session") {
      this.session = frame.session;
      this.token = frame.token ?? this.token;
      this.limits = frame.limits ?? {};
      this.#epoch = frame.epoch;
      this.#after = frame.after;
      // Where `reset` follows, this comes before it: the link may break between the two.
      if (!frame.resumed) this.#on.reset();
      this.#open = true;
      this.#openedAt = Date.now();
      this.#restarting = false;
      this.#on.session(this);
      this.#on.state({ name: "open" });
      for (const kept of this.outbox.values()) this.#send(kept);
    } else if (frame.type === "reset") {
      this.#epoch = frame.epoch;
      this.#after = 0;
      this.#on.reset();
    } else if (frame.seq === undefined) {
      this.#on.frame(frame);
    } else if (frame.seq > this.#after) {
      this.#on.frame(frame);
      this.#after = frame.seq;
    }
  }

  #closed(code) {
    this.#drop();
    if (!comesBack(code)) return this.#on.state({ name: "closed", code });
    if (Date.now() - this.#openedAt > STABLE) this.#attempt = 0;
    this.#openedAt = Infinity;
    // Until it is back, a server that said it restarts answers with a bare refusal.
    this.#restarting ||= code === 1012 || code === 4503;
    // Full jitter: all clients of a restarted server must not come back in step.
    const delay = Math.random() * Math.min(BACKOFF.most, BACKOFF.first * 2 ** this.#attempt++);
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#on.state({ name: "waiting", until: Date.now() + delay, restarting: this.#restarting });
  }

  /** Something changed for the better: don't wait for the timer, and don't trust a link that may have died in the meantime. */
  #nudge() {
    if (this.#open) this.#probe();
    else if (this.#timer !== undefined) this.connect();
  }

  #probe() {
    this.#send({ type: "ping" });
    this.#expect(PROBE.patience);
  }

  /** Any frame in time is fine; else the link is as good as closed. */
  #expect(within) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#closed(1006), within);
  }

  /** Let go of the socket without waiting for its closing: on a dead link that takes minutes. */
  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
    this.#timer = undefined;
    this.#opening.abort();
    this.#open = false;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }
}
