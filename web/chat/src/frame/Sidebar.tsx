/** The list of the conversations. */

import type { ListView } from "../conversations.ts";
import { memo } from "../memo.ts";

interface Props {
  readonly list: ListView;
  readonly session: string | undefined;
  readonly search: (words: string) => void;
  readonly more: () => void;
  /** One was chosen. */
  readonly onChoice: () => void;
}

export const Sidebar = memo(
  ({ list: { words, shown, more, reading }, session, search, more: showMore, onChoice }: Props) => (
    <nav id="sidebar" aria-label="Conversations">
      <input
        type="search"
        aria-label="Search conversations"
        placeholder="Search"
        maxLength={200}
        value={words}
        onInput={({ currentTarget }) => search(currentTarget.value)}
      />
      <ul>
        {shown.map((one) => (
          <li key={one.session}>
            <a href={`#${one.session}`} aria-current={one.session === session ? "page" : undefined} onClick={onChoice}>
              <span class="title">{one.title || "Untitled"}</span>
              {one.going ? (
                <span class="going">answering</span>
              ) : (
                <time dateTime={new Date(one.at).toISOString()}>{when(one.at)}</time>
              )}
            </a>
          </li>
        ))}
        {more && (
          <li>
            <button type="button" class="quiet" onClick={showMore}>
              Show more
            </button>
          </li>
        )}
      </ul>
      {shown.length === 0 && !more && (
        <p class="note" role="status">
          {words.trim() ? (reading ? "Searching…" : "Nothing found.") : "What you talk about is listed here."}
        </p>
      )}
    </nav>
  ),
);

function when(at: number): string {
  const then = new Date(at);
  const today = then.toDateString() === new Date().toDateString();
  return today
    ? then.toLocaleTimeString([], { timeStyle: "short" })
    : then.toLocaleDateString([], { day: "numeric", month: "short" });
}
