/** The conversations of this browser. */

import { useState } from "preact/hooks";
import { type Conversation, found } from "../conversations.ts";
import { memo } from "../memo.ts";

interface Props {
  readonly all: readonly Conversation[];
  readonly session: string | undefined;
  /** One was chosen. */
  readonly onChoice: () => void;
}

export const Sidebar = memo(({ all, session, onChoice }: Props) => {
  const [words, setWords] = useState("");
  const shown = found(all, words);
  return (
    <nav id="sidebar" aria-label="Conversations">
      <input
        type="search"
        aria-label="Search conversations"
        placeholder="Search"
        value={words}
        onInput={({ currentTarget }) => setWords(currentTarget.value)}
      />
      <ul>
        {shown.map((one) => (
          <li key={one.session}>
            <a href={`#${one.session}`} aria-current={one.session === session ? "page" : undefined} onClick={onChoice}>
              <span class="title">{one.title || "Untitled"}</span>
              <time dateTime={new Date(one.at).toISOString()}>{when(one.at)}</time>
            </a>
          </li>
        ))}
      </ul>
      {shown.length === 0 && <p class="note">{words ? "Nothing found." : "What you talk about is listed here."}</p>}
    </nav>
  );
});

function when(at: number): string {
  const then = new Date(at);
  const today = then.toDateString() === new Date().toDateString();
  return today
    ? then.toLocaleTimeString([], { timeStyle: "short" })
    : then.toLocaleDateString([], { day: "numeric", month: "short" });
}
