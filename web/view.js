/**
 * The conversation on the page: a fold of the log's events, and the messages that the log has not taken yet.
 *
 * The one rule: what is shown is a function of the events, so a reload, a second tab and a resume show the same.
 * Runs stand in the order in which they began; those that have not begun stand last.
 * Must not know: the network. What the person does goes out through `actions`.
 */

import { Run } from "./run.js";
import { h } from "./text.js";

/** An answer older than this, in ms, was seen in the making; a younger one that is nobody's news came with a reload. */
const NEWS = 1_000;

export class View {
  /** Messages that were sent and are not in the log: id to `{el, data, note}`. */
  pending = new Map();
  runs = new Map();

  #log;
  #waiting;
  #scroller;
  #actions;
  #said = new Map();
  #mine = new Set();
  #frame = 0;
  /** Whether the reader is at the end and wants to stay there. */
  #following = true;
  #top = 0;
  #dirty = new Set();

  /**
   * `actions`: `stop(run, part?)`, `reply(run, request, data)`, `withdraw(id)`, `edit(text)`, `news(text)`, `focus()`,
   * `changed()`.
   */
  constructor({ log, waiting, scroller }, actions) {
    this.#log = log;
    this.#waiting = waiting;
    this.#scroller = scroller;
    this.#actions = actions;
    scroller.addEventListener("scroll", () => this.#scrolled());
    // Who opens a detail wants to read it, not to be taken to the end.
    scroller.addEventListener("toggle", () => (this.#following = this.#atEnd()), true);
    new ResizeObserver(() => this.#settle()).observe(scroller);
  }

  get following() {
    return this.#following;
  }

  /** The run that is going. */
  get active() {
    for (const run of this.runs.values()) if (run.phase === "going") return run;
    return undefined;
  }

  get busy() {
    return this.pending.size > 0 || [...this.runs.values()].some((run) => run.phase !== "ended");
  }

  /** Throw away what the log said. What it has not taken yet stays. */
  reset() {
    this.#log.replaceChildren();
    this.#waiting.replaceChildren(...[...this.pending.values()].map((message) => message.el));
    this.runs.clear();
    this.#said.clear();
    this.#mine = new Set(this.pending.keys()); // old answers are no news
    this.#dirty.clear();
    this.#change();
  }

  clear() {
    this.pending.clear();
    this.reset();
  }

  /** Show a message before the log has it. */
  expect(id, data) {
    const message = bubble(data);
    note(message, "sending…", ["Withdraw", () => this.#actions.withdraw(id)]);
    this.pending.set(id, message);
    this.#mine.add(id);
    this.#waiting.append(message.el);
    this.follow();
  }

  /** It will not be sent after all. */
  drop(id) {
    this.pending.get(id)?.el.remove();
    this.pending.delete(id);
    this.#change();
  }

  /** The server did not take it. */
  reject(id, why) {
    const message = this.pending.get(id);
    if (!message) return;
    this.pending.delete(id);
    message.el.classList.add("failed");
    const edit = () => {
      message.el.remove();
      this.#actions.edit(message.data);
      this.#change();
    };
    note(message, why, ["Edit", edit]);
    this.#change();
  }

  apply(event) {
    let run = this.runs.get(event.run);
    if (!run) {
      run = new Run(event.run, { ...this.#actions, dirty: (text) => this.#dirty.add(text) });
      this.runs.set(run.id, run);
    }
    this.#change();
    switch (event.type) {
      case "user":
        return this.#say(run, event);
      case "start":
        this.#log.append(run.el);
        if (run.message) note(run.message, "");
        return run.start(event);
      case "done":
      case "interrupted":
      case "error":
        if (run.phase === "waiting") {
          this.#log.append(run.el);
          if (run.message) note(run.message, "");
        }
        run.end(event);
        return this.#tell(run, event);
      default:
        return run.apply(event);
    }
  }

  /** Go to the end, and stay there. */
  follow() {
    this.#following = true;
    this.#settle();
    this.#change();
  }

  #say(run, event) {
    const known = this.#said.get(event.id) ?? this.pending.get(event.id);
    const message = known ?? bubble(event.data);
    this.pending.delete(event.id);
    this.#said.set(event.id, message);
    message.el.classList.remove("pending");
    if (event.at) message.el.title = new Date(event.at * 1000).toLocaleString();
    if (event.steer) {
      run.steer(event.id, message.el);
      return note(message, "waits until the agent reads it");
    }
    run.message = message;
    run.said.append(message.el);
    run.mine = this.#mine.has(event.id);
    if (run.phase !== "waiting") return undefined;
    this.#waiting.append(run.el);
    // A message that is answered at once must not flash a label first.
    if (this.active) note(message, "waiting", ["Withdraw", () => this.#actions.stop(run)]);
    else note(message, "");
    return undefined;
  }

  #tell(run, event) {
    const news = run.mine || Date.now() - run.born > NEWS;
    if (!news) return;
    if (event.type === "done") this.#actions.news(`Answer finished. ${run.words()}`);
    else this.#actions.news(event.type === "interrupted" ? "Stopped." : `The answer failed. ${event.message ?? ""}`);
  }

  /** Something changed: draw once, in the next frame. */
  #change() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    for (const text of this.#dirty) text.render();
    this.#dirty.clear();
    this.#actions.changed(); // may change the height
    this.#settle();
  }

  #settle() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < 48;
  }

  /** Only a person scrolls up; a page that grows leaves the place and is not at its end until it is drawn. */
  #scrolled() {
    const { scrollTop } = this.#scroller;
    if (this.#atEnd()) this.#following = true;
    else if (scrollTop < this.#top) this.#following = false;
    this.#top = scrollTop;
    this.#change();
  }
}

function bubble(data) {
  const label = h("p", { class: "note" });
  const el = h("div", { class: "message pending" }, h("h2", { class: "spoken" }, "You"), h("p", { class: "words" }, data), label);
  return { data, label, el };
}

/** Write below a message how it is doing, with one button at most: `[word, action]`. */
function note(message, text, [word, action] = []) {
  message.label.replaceChildren(text);
  if (!word) return;
  const click = ({ target }) => {
    target.disabled = true; // seen to be pressed, long before the log says so
    action();
  };
  message.label.append(" ", h("button", { type: "button", class: "quiet", click }, word));
}
