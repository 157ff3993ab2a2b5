/** The wiring: what the person does becomes frames, what the server says goes to the view, and both survive a reload. */

import { Connection } from "./connection.js";
import { Login } from "./login.js";
import { View } from "./view.js";
import { h } from "./text.js";

const at = (id) => document.getElementById(id);
const words = at("words");
const NAMES = { session: "agent-ws.session", outbox: "agent-ws.outbox" };

const CLOSED = {
  1000: "The server ended the connection.",
  1009: "A message was too long for the server.",
  4403: "This login may not use this server.",
  4404: "This conversation is no longer on the server, or it belongs to somebody else.",
  4408: "Nothing happened here for a long time.",
  4429: "Too many requests from here: wait a little.",
};
const REJECTED = {
  busy: "Not sent: it is still answering",
  queue_full: "Not sent: too many messages are waiting",
  empty_message: "Not sent: there is no text in it",
  store_failed: "Not sent: the server could not keep it",
};

/** Storage can be forbidden or full: then a reload begins anew, and everything else works. */
const stored = {
  get(storage, name) {
    try {
      return JSON.parse(window[storage].getItem(name)) ?? undefined;
    } catch {
      return undefined;
    }
  },
  set(storage, name, value) {
    try {
      if (value === undefined) window[storage].removeItem(name);
      else window[storage].setItem(name, JSON.stringify(value));
    } catch {
      // nothing to be done
    }
  },
};

const view = new View(
  { log: at("log"), waiting: at("waiting"), scroller: at("scroller") },
  {
    stop,
    reply: (run, request, data) =>
      connection.keep(`reply ${run.id} ${request}`, { type: "reply", request, data }),
    withdraw,
    edit,
    news: (text) => (at("news").textContent = text),
    focus: () => words.focus(),
    changed: show,
  },
);
/** Messages that were withdrawn before their run was known: they are stopped as soon as it is. */
const unwanted = new Set();
/** Messages that have left for the server at least once. */
const sent = new Set();
const login = new Login(at("login"), () => connection.connect());
let state = { name: "connecting" };
let connection;

// The person

function send(text) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const frame = { type: "message", id, data: text };
  if (view.busy) frame.when_busy = new FormData(at("composer")).get("policy") ?? "queue";
  const limit = connection.limits.message_bytes ?? Infinity;
  if (new TextEncoder().encode(JSON.stringify(frame)).length > limit) {
    return tell(`This message is too long: the server takes ${limit} bytes.`);
  }
  at("composer").reset(); // the choice was for this message alone
  tell("");
  view.expect(id, text);
  if (connection.open) sent.add(id);
  connection.keep(id, frame);
  return saveOutbox();
}

/** Stop a run, or only one `part` of it: `{section}` or `{agent}`. */
function stop(run, part = {}) {
  const whole = Object.keys(part).length === 0;
  const frame = { type: "interrupt", run: run.id, ...part };
  if (whole && run.phase === "going") frame.seen = run.stop();
  connection.keep(`stop ${run.id} ${JSON.stringify(part)}`, frame);
  if (whole) words.focus();
  show();
}

/** Esc and the Stop button: the answer, or, where none has begun, the message that asks for it. */
function stopWhatGoes() {
  const run = view.active;
  if (run) return run.stopping || stop(run);
  const last = [...view.pending.keys()].at(-1);
  return last && withdraw(last);
}

function withdraw(id) {
  if (sent.has(id)) return unwanted.add(id);
  connection.forget(id);
  view.drop(id);
  return saveOutbox();
}

function edit(text) {
  words.value = [text, words.value].filter(Boolean).join("\n\n");
  words.focus();
}

// The server

function take(frame) {
  if (frame.seq !== undefined) {
    view.apply(frame);
    const run = view.runs.get(frame.run);
    if (frame.type === "user" && unwanted.delete(frame.id)) stop(run);
    if (frame.type === "resolved") connection.forget(`reply ${frame.run} ${frame.request}`);
    if (run?.phase === "ended") {
      for (const key of connection.outbox.keys()) if (key.split(" ")[1] === frame.run) connection.forget(key);
    }
  } else if (frame.type === "accepted") {
    connection.forget(frame.id);
    saveOutbox();
  } else if (frame.type === "rejected") {
    if (frame.code === "shutting_down") return; // it will be taken by the server that comes next
    connection.forget(frame.id);
    saveOutbox();
    view.reject(frame.id, REJECTED[frame.code] ?? `Not sent: ${frame.message ?? frame.code}`);
  } else if (frame.type === "error" && !["request_not_open", "session_not_found", "shutting_down"].includes(frame.code)) {
    // The first of those is an answer that another tab gave first; the others come with a close code, which says more.
    tell(`The server did not understand: ${frame.message ?? frame.code}`);
  }
}

function open() {
  const { session, token } = stored.get("localStorage", NAMES.session) ?? {};
  const unsent = stored.get("sessionStorage", NAMES.outbox);
  const outbox = unsent && unsent.session === session ? unsent.messages : [];
  let known = session !== undefined;
  const url = new URL("ws", document.baseURI);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const ticket = (signal) => login.ticket(signal);
  connection = new Connection(url, { session, token, outbox, ticket }, {
    session: (it) => {
      // Only once: when it comes back, another tab may have begun a newer conversation.
      if (!known) stored.set("localStorage", NAMES.session, { session: it.session, token: it.token });
      if (!known) saveOutbox();
      known = true;
      for (const key of it.outbox.keys()) sent.add(key);
    },
    reset: () => view.reset(),
    frame: take,
    state: (now) => {
      const before = state.name;
      state = now;
      if (now.name === "waiting" && before === "open") at("news").textContent = "The connection is lost. Trying again.";
      if (now.name === "open") tell("");
      if (now.name === "closed") explain(now.code);
      if (!at("login").hidden && (now.name === "open" || (now.name === "closed" && now.code !== 4401))) letIn();
      showState();
    },
  });
  for (const [id, frame] of outbox) {
    view.expect(id, frame.data);
    sent.add(id);
  }
}

function saveOutbox() {
  const messages = [...connection.outbox].filter(([, frame]) => frame.type === "message");
  stored.set("sessionStorage", NAMES.outbox, messages.length ? { session: connection.session, messages } : undefined);
}

function startAnew() {
  const unsent = [...view.pending.values()].map((message) => message.data).join("\n\n");
  connection.close();
  stored.set("localStorage", NAMES.session);
  stored.set("sessionStorage", NAMES.outbox);
  unwanted.clear();
  view.clear();
  tell("");
  if (unsent) edit(unsent);
  open();
  words.focus();
}

// What is shown around the conversation

function tell(text, ...buttons) {
  at("notice").hidden = !text;
  at("notice").replaceChildren(...(text ? [h("p", {}, text), ...buttons] : []));
}

function explain(code) {
  if (code === 4401) {
    tell("");
    at("composer").hidden = true;
    return login.ask();
  }
  const again = h("button", { type: "button", click: () => connection.connect() }, "Try again");
  const anew = h("button", { type: "button", click: startAnew }, "New conversation");
  tell(CLOSED[code] ?? `The server closed the connection (${code}).`, code === 4404 ? anew : again);
}

function letIn() {
  login.done();
  at("composer").hidden = false;
  words.focus();
}

function showState() {
  const { name, until, restarting, code } = state;
  const text = {
    open: () => "Connected",
    connecting: () => (restarting ? "The server is restarting…" : "Connecting…"),
    closed: () => (code === 4401 ? "Not logged in" : "Not connected"),
    waiting: () => {
      const left = Math.max(1, Math.ceil((until - Date.now()) / 1000));
      if (restarting) return `The server is restarting; trying again in ${left} s`;
      return navigator.onLine ? `Reconnecting in ${left} s` : "Offline";
    },
  }[name]();
  if (at("state-text").textContent !== text) at("state-text").textContent = text;
  at("state").dataset.state = name;
  at("retry").hidden = name !== "waiting";
}

function show() {
  const { busy, active } = view;
  const stopButton = at("stop");
  if (!busy && document.activeElement === stopButton) words.focus();
  stopButton.hidden = !busy;
  stopButton.disabled = active?.stopping ?? false;
  at("policy").hidden = !busy;
  at("empty").hidden = view.runs.size > 0 || view.pending.size > 0;
  at("latest").hidden = view.following;
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (words.value.trim()) send(words.value.trim());
  words.focus();
});
words.addEventListener("keydown", (event) => {
  // Enter also ends the composing of a Japanese or Chinese word: that one sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("composer").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !event.repeat) stopWhatGoes();
});
at("stop").addEventListener("click", stopWhatGoes);
at("new").addEventListener("click", startAnew);
at("retry").addEventListener("click", () => connection.connect());
at("latest").addEventListener("click", () => {
  view.follow();
  words.focus();
});
setInterval(showState, 1_000); // the countdown
for (const name of ["online", "offline"]) window.addEventListener(name, showState);

open();
