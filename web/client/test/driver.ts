/**
 * A client that a test of another language drives: commands come as lines of JSON on stdin, what happens goes to stdout.
 *
 *     {"call": "connect", "url": "…", "options": {…}}    then any call of the client, with its arguments in `with`
 *
 * The option `random` says what chance says, always: 0 comes back at once. `bearer` is a login.
 *
 * `sessions`, `rename` and `remove` are called with `url`, `with` and `options`, and answered under their names.
 *
 * Out: `{"frame": …}` for each event and reset, as it was handed on; `{"state": …}`, `{"session": …}`, `{"outcome": …}`,
 * `{"error": …}`; and `{"shown": […], "texts": {…}}` as the answer to `{"call": "show"}`.
 */

import { createInterface } from "node:readline";
import {
  type Client,
  type ConnectOptions,
  connect,
  Refused,
  remove,
  rename,
  sessions,
  streamWithRetry,
} from "agent-ws-client";
import { shown } from "./shown.js";

let client: Client | undefined;

function tell(what: unknown): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

/** As README.md has it. */
function login(url: string, bearer: string): Pick<ConnectOptions, "headers" | "ticket"> {
  const authorization = `Bearer ${bearer}`;
  return {
    headers: async () => ({ authorization }),
    ticket: async () => {
      const answer = await fetch(`${url}/api/agent/ticket`, { method: "POST", headers: { authorization } });
      if (answer.status === 401) throw new Refused("log in first");
      return ((await answer.json()) as { ticket: string }).ticket;
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: a command is checked by what it does
async function act({ call, url, options, with: given = [] }: any): Promise<void> {
  if (call === "connect" && client === undefined) {
    const platform = { random: () => options.random ?? Math.random() };
    client = connect(url, { ...options, platform, ...(options.bearer && login(url, options.bearer)) });
    tell({ state: client.view.state });
    client.subscribe((notice) => {
      if (notice.do === "event") tell({ frame: notice.event });
      else if (notice.do === "reset") tell({ frame: { type: "reset", reason: notice.reason } });
      else if (notice.do !== "pending") tell({ [notice.do]: Object.values(notice)[1] });
    });
  } else if (call === "show") {
    const runs = client?.view.runs ?? [];
    tell({ shown: shown(runs), texts: Object.fromEntries(runs.map(({ run }) => [run, client?.text(run)])) });
  } else if (call === "answer") {
    const answer = streamWithRetry(url, ...(given as [string]), options);
    for await (const event of answer) tell({ frame: event });
    tell({ text: answer.text });
  } else if (call === "sessions" || call === "rename" || call === "remove") {
    const about = { ...options, ...(options.bearer && login(url, options.bearer)) };
    // biome-ignore lint/suspicious/noExplicitAny: the same
    tell({ [call]: (await ({ sessions, rename, remove } as any)[call](url, ...given, about)) ?? null });
  } else {
    // biome-ignore lint/suspicious/noExplicitAny: the same
    (client as any)[call](...given);
  }
}

for await (const line of createInterface(process.stdin)) {
  act(JSON.parse(line)).catch((error: unknown) => tell({ failed: String(error) }));
}
process.exit();
