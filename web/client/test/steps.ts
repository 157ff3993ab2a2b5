/** A fixture of the core, step by step: what it is asked, and when. */

import { type Action, Core, type CoreOptions } from "agent-ws-client";

export interface Step {
  readonly at: number;
  readonly call: string;
  readonly with?: unknown;
  readonly then: readonly Action[];
}

export interface Case {
  readonly name: string;
  readonly options?: CoreOptions;
  /** What chance says, in this order, then again from the start. */
  readonly random?: readonly number[];
  readonly steps: readonly Step[];
}

export function core({ options = {}, random = [0.5] }: Case): Core {
  let rolled = 0;
  return new Core(options, () => random[rolled++ % random.length] as number);
}

export function act(core: Core, { call, with: what, at }: Pick<Step, "call" | "with" | "at">): Action[] {
  // biome-ignore lint/suspicious/noExplicitAny: what a fixture says is not typed
  const given = (what ?? {}) as any;
  switch (call) {
    case "connect":
    case "opened":
    case "quiet":
    case "wake":
    case "close":
      return core[call](at);
    case "feed":
    case "closed":
    case "send":
    case "interrupt":
      return core[call](given, at);
    case "nudge":
      return core.nudge(given.why, at);
    case "withdraw":
      return core.withdraw(given.id, at);
    case "reply":
      return core.reply(given.request, given.data, at);
    case "pause":
    case "continue":
      return core[call](given.run, at);
    default:
      throw new Error(`expected a call of the core, got ${call}`);
  }
}
