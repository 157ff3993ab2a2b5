/**
 * The fold of a log into what a person is shown: `fold.Runs` in TypeScript. The fixtures of `tests/fixtures` hold both
 * to the same.
 *
 * The one rule: a pure function of the events, in their order. What a `reset` frame is followed by goes into a new one.
 */

import type { ServerEvent, User } from "./frames.js";
import { MessagePart } from "./parts.js";
import { RunPart } from "./run.js";
import type { RunView } from "./view.js";

export class Fold {
  readonly #runs = new Map<string, RunPart>();
  /** Messages to a run that is going, which its agent has not read. */
  readonly #steers = new Map<string, MessagePart>();
  /** The run that each message belongs to now. */
  readonly #home = new Map<string, RunPart>();
  #views: readonly RunView[] = [];

  /** In the order in which they began; those that never did come in the order of their messages. */
  get runs(): readonly RunView[] {
    const views = Array.from(this.#runs.values(), (run) => run.view);
    const same = views.length === this.#views.length && views.every((view, i) => view === this.#views[i]);
    if (!same) this.#views = views;
    return this.#views;
  }

  run(id: string): RunView | undefined {
    return this.#runs.get(id)?.view;
  }

  /** The whole text of a run's answer, without what was taken back, in the order in which its agents wrote it. */
  text(run: string): string {
    return this.#runs.get(run)?.text() ?? "";
  }

  /** Take the log's next event. */
  take(event: ServerEvent): void {
    let run = this.#runs.get(event.run);
    if (run === undefined) {
      run = new RunPart(event.run);
      this.#runs.set(event.run, run);
    }
    if (event.type === "user") return this.#say(event, run);
    if (event.type === "start") {
      this.#runs.delete(event.run); // now it is the last that began
      this.#runs.set(event.run, run);
    } else if (event.type === "status" && event.state === "steered") {
      const message = this.#steers.get(event.id ?? "");
      if (message !== undefined) run.taken(message, event.agent ?? null);
      this.#steers.delete(event.id ?? "");
    }
    run.take(event);
  }

  #say(event: User, run: RunPart): void {
    const before = this.#home.get(event.id);
    if (before !== undefined && (this.#steers.has(event.id) || !before.started)) {
      before.messages = before.messages.filter((message) => message.event.id !== event.id); // it moves
      before.touch();
      this.#steers.delete(event.id);
    }
    this.#home.set(event.id, run);
    if (event.continues) run.goOn(event.continues, this.#runs.get(event.continues));
    const message = new MessagePart(run.key(), event);
    if (event.steer) this.#steers.set(event.id, message);
    message.parent = run;
    run.messages.push(message);
    run.touch();
  }
}
