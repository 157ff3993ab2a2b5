/**
 * The list of an owner's sessions: read, searched, renamed, deleted. By requests, without a session of its own.
 *
 * The one rule: what was not done is thrown. A list that could not be read is no empty list.
 */

import type { SessionPage } from "./frames.js";
import { type Platform, platform, type Request } from "./platform.js";
import { base } from "./transport.js";

export interface RequestOptions {
  /** Where the server has a login: what is sent along (`authorization`). */
  readonly headers?: (() => Promise<Readonly<Record<string, string>>>) | undefined;
  /** In place of what the browser or Node has. */
  readonly fetch?: Platform["fetch"];
}

/** A session's token opens it where there is neither a login nor the owner's cookie. */
export interface SessionOptions extends RequestOptions {
  readonly token?: string | undefined;
}

export interface ListOptions extends RequestOptions {
  /** Only those with each of these words. */
  readonly words?: string | undefined;
  /** `next` of the page before. */
  readonly before?: string | undefined;
  readonly limit?: number | undefined;
}

/** A request that was not done. `status` 0: it may not have arrived. `code`: as PROTOCOL.md lists them, or "". */
export class RequestError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "RequestError";
    this.status = status;
    this.code = code;
  }
}

/** A page of the owner's sessions, the newest first. It may have fewer than `limit`, and a `next` all the same. */
export async function sessions(url: string, options: ListOptions = {}): Promise<SessionPage> {
  const { words, before, limit } = options;
  const query = Object.entries({ words, before, limit })
    .filter(([, value]) => value !== undefined && value !== "")
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`);
  return (await ask("GET", url, query.length > 0 ? `?${query.join("&")}` : "", options)) as SessionPage;
}

/** Give a session another title. Returns it as the server has it: in one line. */
export async function rename(
  url: string,
  session: string,
  title: string,
  options: SessionOptions = {},
): Promise<string> {
  const body = { title, ...(options.token !== undefined && { token: options.token }) };
  return ((await ask("PATCH", url, `/${encodeURIComponent(session)}`, options, body)) as { title: string }).title;
}

/** Delete a session for good. One that is not there, or not any more, counts as deleted. */
export async function remove(url: string, session: string, options: SessionOptions = {}): Promise<void> {
  const body = options.token === undefined ? undefined : { token: options.token };
  try {
    await ask("DELETE", url, `/${encodeURIComponent(session)}`, options, body);
  } catch (error) {
    if (!(error instanceof RequestError) || error.code !== "session_not_found") throw error;
  }
}

async function ask(
  method: Request["method"],
  url: string,
  path: string,
  options: RequestOptions,
  body?: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  const { fetch } = options.fetch ? { fetch: options.fetch } : platform();
  if (fetch === undefined) throw new RequestError(0, "", "expected a platform with `fetch`");
  const headers = { accept: "application/json", ...(await options.headers?.()) };
  const response = await fetch(`${base(url)}api/agent/sessions${path}`, {
    method,
    headers: body ? { "content-type": "application/json", ...headers } : headers,
    ...(body && { body: JSON.stringify(body) }),
  }).catch((error: unknown) => {
    throw new RequestError(0, "", error instanceof Error ? error.message : "expected an answer, got none");
  });
  const answer = (await response.json().catch(() => null)) as { error?: { code?: string; message?: string } } | null;
  if (response.status === 200 && answer !== null) return answer;
  const { code = "", message = `HTTP ${response.status}` } = answer?.error ?? {};
  throw new RequestError(response.status, code, message);
}
