/**
 * One run on the page: the message, what the agent does with it, the ending, the receipt.
 *
 * The one rule: an event finds its place by its ids alone (agent, section, tool, request), so it needs no order beyond
 * the log's. Text is also kept in the log's order across all agents: that is how `seen` and `reset` count it.
 */

import { h, size, Text } from "./text.js";

const OUTCOMES = { ok: "done", error: "failed", timeout: "timed out", denied: "refused", withdrawn: "withdrawn", interrupted: "stopped" };
const FATES = {
  finished_after_stop: "finished after the stop",
  cancelled: "stopped while running",
  running: "may still be running",
  never_started: "never started",
};
const SECTIONS = { done: "", skipped: "skipped", interrupted: "stopped" };
const AGENTS = { finished: "done", failed: "failed", stopped: "stopped" };
const REASONS = {
  user: "Stopped",
  superseded: "Stopped for your next message",
  orphaned: "Stopped: nobody was watching",
  shutdown: "Stopped: the server shut down",
};
const TASKS = {
  finished: "ran to its end",
  cancelled: "is gone",
  never_started: "never started",
  abandoned: "ignored the stop and was cut off; nothing more comes from it",
  lost: "was lost with the server",
};
const STATES = { working: "Working", retrying: "Trying again", fallback: "Trying another way", degraded: "Going on, reduced" };

/** One column of things in the order in which they came. */
class Flow {
  /** Sections that are open, the innermost last: what names no section but comes inside one is shown there. */
  open = [];
  #tail;

  constructor(el = h("div", { class: "flow" })) {
    this.el = el;
  }

  get inner() {
    return this.open.at(-1)?.flow ?? this;
  }

  add(el) {
    this.el.append(el);
    return el;
  }

  /** The text that is being written at the end; a new one where something else came in between. */
  text(kind) {
    if (this.#tail?.kind !== kind || this.#tail.el !== this.el.lastElementChild) {
      this.#tail = new Text(kind);
      this.add(this.#tail.el);
    }
    return this.#tail;
  }

  /** A line of news, which replaces the one before it. */
  status(words) {
    const last = this.el.lastElementChild;
    const line = last?.matches(".status") ? last : this.add(h("p", { class: "status" }));
    line.textContent = words;
  }
}

export class Run {
  /** "waiting", "going" or "ended". */
  phase = "waiting";
  stopping = false;
  /** The message that it answers, as the view made it. */
  message;
  /** Whether the message was sent from here. */
  mine = false;
  born = Date.now();
  said = h("div", { class: "said" });

  #flow = new Flow();
  #foot = h("footer", { class: "ending" });
  #agents = new Map();
  #sections = new Map();
  #tools = new Map();
  #requests = new Map();
  #steers = new Map();
  /** The text of the answer in the log's order: `{text, agent, size}`. */
  #pieces = [];
  /** The same of the thinking. */
  #thoughts = [];
  #seen = null;
  #startedAt;
  #ending;
  #actions;

  /** `actions`: those of the view, and `dirty(text)` for text that must be drawn. */
  constructor(id, actions) {
    this.id = id;
    this.#actions = actions;
    this.el = h(
      "article",
      { class: "run", "data-run": id },
      this.said,
      h("h2", { class: "spoken" }, "Answer"),
      this.#flow.el,
      this.#foot,
    );
  }

  start(event) {
    this.phase = "going";
    this.#startedAt = event.at;
    this.el.dataset.phase = "going";
  }

  /** The person pressed Stop. Text that is still on its way is not shown: it stopped when they said so. Returns what they saw. */
  stop() {
    this.stopping = true;
    this.el.dataset.phase = "stopping";
    this.#foot.replaceChildren(h("p", { class: "note" }, "Stopping…"));
    const shown = this.#pieces.reduce((sum, piece) => sum + piece.size, 0);
    this.#cut(shown);
    return shown;
  }

  steer(id, el) {
    this.#steers.set(id, el);
    this.#flow.add(el);
  }

  apply(event) {
    switch (event.type) {
      case "content":
      case "thinking":
        return this.#write(event);
      case "tools":
        for (const call of event.calls) this.#tool(event, call.tool, call.name);
        return undefined;
      case "tool_start":
        return this.#toolStart(event);
      case "tool_input":
        return this.#toolInput(event);
      case "tool_run":
        return this.#toolRun(event);
      case "tool_result":
        return this.#toolEnd(event);
      case "outline": {
        const outline = this.#agent(event.agent).add(h("div", { class: "outline" }));
        for (const { section, title } of event.sections) outline.append(this.#section(section, title).el);
        return undefined;
      }
      case "section_start":
        return this.#sectionStart(event);
      case "section_end":
        return this.#sectionEnd(event);
      case "request":
        return this.#request(event);
      case "resolved":
        return this.#resolved(event);
      case "status":
        return this.#status(event);
      case "settled":
        return this.#receipt(event);
      case "seen":
        return this.#cut(event.chars);
      default:
        return undefined; // a newer server's event
    }
  }

  end(event) {
    const started = this.phase === "going";
    this.phase = "ended";
    this.stopping = false;
    this.#ending = event;
    this.el.dataset.phase = event.type;
    if (event.type === "interrupted") this.#cut(event.seen ?? null);
    for (const button of this.el.querySelectorAll(".part")) button.remove();
    for (const message of this.#steers.values()) message.querySelector(".note").replaceChildren("not read by the agent");
    for (const tool of this.#tools.values()) if (!tool.el.dataset.outcome) tool.tell("never_started", FATES.never_started);
    this.#foot.replaceChildren();
    if (event.type === "interrupted") {
      const reason = REASONS[event.reason ?? "user"] ?? `Stopped (${event.reason})`;
      this.#foot.append(h("p", { class: "note" }, started || event.reason === "shutdown" ? reason : "Withdrawn: never started"));
    } else if (event.type === "error") {
      const lost = "The server stopped while it was answering. What had come until then is kept; ask again for the rest.";
      this.#foot.append(
        h("p", { class: "error" }, event.code === "lost" ? lost : event.message || "The answer failed.", " ", h("code", {}, event.code)),
      );
    }
  }

  /** The whole text of the answer, for reading aloud. */
  words() {
    return [...new Set(this.#pieces.map((piece) => piece.text))].map((text) => text.data).join(" ");
  }

  // Text

  #write({ type, data, agent, section }) {
    const flow = this.#sections.get(section)?.flow ?? this.#agent(agent);
    const text = flow.text(type);
    text.append(data);
    this.#actions.dirty(text);
    const pieces = type === "content" ? this.#pieces : this.#thoughts;
    const last = pieces.at(-1);
    if (last?.text === text && last.section === section) last.size += size(data);
    else pieces.push({ text, agent, section, size: size(data) });
    if (type === "content" && this.#seen !== null) this.#cut(this.#seen);
  }

  #takeBack(pieces, agent, chars) {
    for (const piece of pieces.toReversed()) {
      if (piece.agent !== agent || !chars) continue;
      const taken = Math.min(chars, piece.size);
      piece.text.takeBack(taken);
      piece.size -= taken;
      chars -= taken;
      this.#actions.dirty(piece.text);
    }
  }

  /** Count only the first `seen` code points as seen; `null`: all. */
  #cut(seen) {
    this.#seen = seen;
    let left = seen ?? Infinity;
    for (const { text } of this.#pieces) text.seen = 0;
    for (const { text, size } of this.#pieces) {
      text.seen += Math.min(size, left);
      left -= Math.min(size, left);
      this.#actions.dirty(text);
    }
    if (seen === null) for (const { text } of this.#pieces) text.seen = Infinity;
  }

  // Several agents

  /** The column of one of several agents, or of the only one. */
  #agent(name) {
    if (name == null) return this.#flow;
    let agent = this.#agents.get(name);
    if (!agent) {
      const flow = new Flow();
      const stop = this.#partButton("Stop", name, { agent: name });
      const state = h("span", { class: "note" });
      const el = h("section", { class: "agent", "aria-label": name }, h("header", {}, h("h3", {}, name), state, stop), flow.el);
      agent = { flow, stop, state, el };
      this.#agents.set(name, agent);
      let group = this.#flow.el.lastElementChild;
      if (!group?.matches(".agents")) group = this.#flow.add(h("div", { class: "agents" }));
      group.append(el);
    }
    return agent.flow;
  }

  #partButton(word, name, part) {
    const button = h("button", { type: "button", class: "quiet part", "aria-label": `${word} ${name}` }, word);
    button.addEventListener("click", () => {
      button.disabled = true;
      button.textContent = word === "Stop" ? "Stopping…" : "Skipping…";
      this.#actions.stop(this, part);
    });
    return button;
  }

  #status(event) {
    const { state, detail = "", agent, id, chars = 0, thinking = 0, attempt = 0 } = event;
    if (state === "reset") {
      this.#takeBack(this.#pieces, agent, chars);
      return this.#takeBack(this.#thoughts, agent, thinking);
    }
    const flow = this.#agent(agent).inner;
    if (state === "steered") {
      const message = this.#steers.get(id);
      if (!message) return undefined;
      this.#steers.delete(id);
      message.querySelector(".note").replaceChildren("read by the agent");
      flow.add(message);
    } else if (state in AGENTS && agent != null) {
      const { el, stop, state: label } = this.#agents.get(agent);
      el.dataset.state = state;
      label.textContent = AGENTS[state];
      stop.remove();
      if (detail) flow.status(detail);
    } else {
      const count = attempt > 1 ? ` (attempt ${attempt})` : "";
      const whole = event.streamed === false ? " (the answer comes in one piece)" : "";
      flow.status(`${STATES[state] ?? state}${count}${detail && `: ${detail}`}${whole}`);
    }
    return undefined;
  }

  // Sections

  #section(id, title) {
    let section = this.#sections.get(id);
    if (!section) {
      const flow = new Flow();
      const label = h("span", { class: "note" });
      const head = h("header", {}, h("h3", {}, title || id), label);
      section = { flow, label, head, title: title || id, el: h("section", { class: "section", "data-state": "planned" }, head, flow.el) };
      this.#sections.set(id, section);
    }
    return section;
  }

  #sectionStart({ section: id, title, agent }) {
    const section = this.#section(id, title);
    const outer = this.#agent(agent);
    if (!section.el.parentNode) outer.inner.add(section.el);
    else if (section.owner) this.#anew(id, section);
    outer.open.push(section);
    section.owner = outer;
    section.el.dataset.state = "open";
    section.skip = this.#partButton("Skip", section.title, { section: id });
    section.head.append(section.skip);
  }

  /** A section that had ended begins again: what it had is taken back. */
  #anew(id, section) {
    section.flow.el.replaceChildren();
    section.label.textContent = "";
    section.skip?.remove();
    this.#pieces = this.#pieces.filter((piece) => piece.section !== id);
    this.#thoughts = this.#thoughts.filter((piece) => piece.section !== id);
  }

  #sectionEnd({ section: id, outcome = "done" }) {
    const section = this.#sections.get(id);
    if (!section) return;
    section.el.dataset.state = outcome;
    section.label.textContent = SECTIONS[outcome] ?? outcome;
    section.skip?.remove();
    if (section.owner) section.owner.open = section.owner.open.filter((other) => other !== section);
  }

  // Tools

  #tool(event, id, name) {
    let tool = this.#tools.get(id);
    if (!tool) {
      const state = h("span", { class: "note" }, "planned");
      const brief = h("code", { class: "brief" });
      const el = h("details", { class: "tool" }, h("summary", {}, h("span", { class: "name" }, name), brief, state));
      const tell = (outcome, words) => {
        el.dataset.outcome = outcome;
        state.textContent = words;
      };
      tool = { el, brief, tell };
      this.#tools.set(id, tool);
      this.#agent(event.agent).inner.add(el);
    }
    return tool;
  }

  #toolStart(event) {
    const tool = this.#tool(event, event.tool, event.name);
    if (event.waits) tool.tell("waiting", "preparing…");
    else this.#toolRun(event);
  }

  #toolInput({ tool: id, data }) {
    const tool = this.#tools.get(id);
    if (!tool) return;
    tool.written = (tool.written ?? "") + data;
    this.#input(tool, tool.written, tool.written);
  }

  #toolRun({ tool: id, input, at }) {
    const tool = this.#tools.get(id);
    if (!tool) return;
    tool.tell("running", "running…");
    tool.at = at;
    if (input != null) this.#input(tool, typeof input === "string" ? input : JSON.stringify(input), pretty(input));
  }

  #input(tool, brief, whole) {
    tool.brief.textContent = brief;
    if (!tool.input) {
      tool.input = labelled("Input", "");
      tool.el.append(tool.input);
    }
    tool.input.lastElementChild.textContent = whole;
  }

  #toolEnd(event) {
    const tool = this.#tool(event, event.tool, event.tool);
    const { outcome = "ok", output, at } = event;
    if (outcome === "withdrawn") return tool.el.remove();
    const took = at - tool.at >= 0.05 ? ` · ${seconds(at - tool.at)}` : "";
    tool.tell(outcome, (OUTCOMES[outcome] ?? outcome) + took);
    if (output) tool.el.append(labelled("Output", output));
    return undefined;
  }

  // Questions to the person

  #request(event) {
    const { request: id, kind, prompt, data, expires, agent } = event;
    const reply = (answer) => {
      fields.disabled = true;
      this.#actions.focus();
      this.#actions.reply(this, id, answer);
    };
    const fields = h("fieldset", {}, h("legend", {}, prompt || "The agent asks"));
    if (data != null) fields.append(h("pre", {}, pretty(data)));
    if (kind === "approval") {
      const button = (word, approved) => h("button", { type: "button", click: () => reply({ approved }) }, word);
      fields.append(h("div", { class: "buttons" }, button("Approve", true), button("Refuse", false)));
    } else {
      const field = h("input", { type: "text", "aria-label": prompt || "Your answer", autocomplete: "off" });
      fields.append(h("div", { class: "buttons" }, field, h("button", {}, "Answer")));
    }
    const outcome = h("p", { class: "note" });
    if (expires) outcome.textContent = `Open until ${new Date(expires * 1000).toLocaleTimeString([], { timeStyle: "short" })}`;
    const submit = (e) => {
      e.preventDefault();
      const text = fields.querySelector("input")?.value;
      if (text?.trim()) reply({ text });
    };
    const el = h("form", { class: "request", submit }, fields, outcome);
    this.#requests.set(id, { el, fields, outcome });
    this.#agent(agent).inner.add(el);
    if (this.mine || Date.now() - this.born > 1000) this.#actions.news(`The agent asks: ${prompt}`);
  }

  #resolved({ request: id, outcome, data }) {
    const request = this.#requests.get(id);
    if (!request) return;
    const hadFocus = request.el.contains(document.activeElement);
    request.fields.disabled = true;
    request.el.dataset.outcome = outcome;
    let words = { expired: "Nobody answered in time", cancelled: "No longer asked" }[outcome];
    if (outcome === "replied") {
      if (typeof data?.approved === "boolean") words = data.approved ? "Approved" : "Refused";
      else words = `Answered: ${data?.text ?? pretty(data)}`;
      const field = request.fields.querySelector("input");
      if (field && typeof data?.text === "string") field.value = data.text;
    }
    request.outcome.textContent = words ?? outcome;
    if (hadFocus) this.#actions.focus();
  }

  // The receipt

  #receipt(event) {
    for (const [id, fate] of Object.entries(event.tools ?? {})) {
      if (fate !== "finished") this.#tools.get(id)?.tell(fate === "never_started" ? fate : "interrupted", FATES[fate] ?? fate);
    }
    const rows = [["The agent", TASKS[event.task] ?? event.task]];
    if (this.#ending.type === "interrupted") rows.push(["Time to stop", `${event.stop_ms ?? 0} ms`]);
    if (event.upstream_closed !== undefined) rows.push(["Provider", event.upstream_closed ? "connection closed" : "still connected"]);
    rows.push(["Written", `${event.chars ?? 0} characters, in ${event.chunks ?? 0} steps`]);
    if (event.seen != null) rows.push(["Seen", `${event.seen} characters`]);
    const { input_tokens = 0, output_tokens = 0 } = event.usage ?? {};
    if (event.usage) rows.push(["Tokens", `${input_tokens} in, ${output_tokens} out`]);
    const took = this.#ending.at - this.#startedAt;
    const brief = took >= 0.05 ? `Took ${seconds(took)}` : "Details";
    const list = h("dl", {}, ...rows.flatMap(([term, words]) => [h("dt", {}, term), h("dd", {}, words)]));
    this.#foot.append(h("details", { class: "receipt" }, h("summary", {}, brief), list));
  }
}

function labelled(label, words) {
  return h("figure", {}, h("figcaption", {}, label), h("pre", {}, words));
}

function pretty(value) {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

function seconds(n) {
  return n < 0.95 ? `${Math.max(0, Math.round(n * 1000))} ms` : `${n.toFixed(1)} s`;
}
