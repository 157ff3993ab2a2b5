/** What the blocks of a run need of what is around them. */

import { createContext } from "preact";
import type { Chat } from "../chat.ts";

export interface Around {
  readonly chat: Chat;
  readonly run: string;
  /** The run goes on, and nobody has stopped it. */
  readonly going: boolean;
  /** `Chat.view.asked`. */
  readonly asked: ReadonlySet<string>;
  /** Back to where the person writes. */
  readonly focus: () => void;
}

export const Context = createContext<Around | null>(null);
