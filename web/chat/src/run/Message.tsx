/** What the person said. */

import type { ComponentChildren } from "preact";
import { memo } from "../memo.ts";

interface Props {
  readonly data: string;
  /** Seconds since 1970. */
  readonly at?: number | undefined;
  readonly note?: string | undefined;
  readonly faded?: boolean | undefined;
  readonly children?: ComponentChildren;
}

export const Message = memo(({ data, at, note, faded, children }: Props) => (
  <div class={faded ? "message pending" : "message"} title={at ? new Date(at * 1000).toLocaleString() : undefined}>
    <h2 class="spoken">You</h2>
    <p class="words">{data}</p>
    {note && <p class="note">{note}</p>}
    {children}
  </div>
));
