/**
 * What the page showed when it was left, for the moment after a reload in which the log is read again.
 *
 * The one rule: it is shown and nothing else; what is in the log takes its place. It is kept in this tab alone, as the
 * login is, and no longer than until the next page has taken it.
 */

import type { RunView } from "agent-ws-client";
import { get, set } from "./stored.ts";

const NAME = "agent-ws.shown";
/** Another one for each change of `RunView`: the page that takes it may be a newer one. */
const FORM = 2;
/** Characters. Storage ends at some five million, and a log that long is read anew before it is drawn. */
const MOST = 2_000_000;

interface Kept {
  readonly form: number;
  readonly session: string;
  readonly runs: readonly RunView[];
}

export function keep(session: string | undefined, runs: readonly RunView[]): void {
  const chars = runs.reduce((sum, { chars }) => sum + chars, 0);
  const kept = session !== undefined && chars <= MOST ? { form: FORM, session, runs } : undefined;
  set("sessionStorage", NAME, kept satisfies Kept | undefined);
}

export function take(session: string | undefined): readonly RunView[] {
  const kept = get<Kept>("sessionStorage", NAME);
  set("sessionStorage", NAME, undefined);
  return kept?.form === FORM && kept.session === session ? kept.runs : [];
}
