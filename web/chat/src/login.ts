/**
 * The login: keeps the token that the person gave, for this tab, and gets tickets for it.
 *
 * The one rule: the token leaves the page in a header only, and is forgotten when the server has refused it.
 */

import { Refused } from "agent-ws-client";
import { get, set } from "./stored.ts";

const NAME = "agent-ws.login";
/** A header can hold nothing else, so nothing else can be a token. */
const TOKEN = /^[\x21-\x7e]+$/;

export class Login {
  #token: string | undefined = get("sessionStorage", NAME);

  get present(): boolean {
    return this.#token !== undefined;
  }

  /** Keep a token to try. False: it can't be one. */
  enter(token: string): boolean {
    if (!TOKEN.test(token)) return false;
    this.#keep(token);
    return true;
  }

  forget(): void {
    this.#keep(undefined);
  }

  /** For the next WebSocket; undefined where there is no token to get one with. */
  readonly ticket = async (): Promise<string | undefined> => {
    if (this.#token === undefined) return undefined;
    const url = new URL("api/agent/ticket", document.baseURI);
    const response = await fetch(url, { method: "POST", headers: await this.headers(), cache: "no-store" });
    if (response.ok) return ((await response.json()) as { ticket: string }).ticket;
    if (response.status === 404) return undefined; // no login here, or none any more
    if (response.status === 401 || response.status === 403) throw new Refused("no ticket", 4000 + response.status);
    throw new Error(`expected a ticket, got HTTP ${response.status}`);
  };

  readonly headers = async (): Promise<Readonly<Record<string, string>>> =>
    this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };

  #keep(token: string | undefined): void {
    this.#token = token; // in memory too: storage can be forbidden
    set("sessionStorage", NAME, token);
  }
}
