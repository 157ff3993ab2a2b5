/**
 * What outlives a reload.
 *
 * The one rule: storage can be forbidden or full. Then a reload begins anew, and everything else works.
 */

export type Where = "localStorage" | "sessionStorage";

export function get<T>(where: Where, name: string): T | undefined {
  try {
    return (JSON.parse(window[where].getItem(name) ?? "null") as T | null) ?? undefined;
  } catch {
    return undefined;
  }
}

export function set(where: Where, name: string, value: unknown): void {
  try {
    if (value === undefined) window[where].removeItem(name);
    else window[where].setItem(name, JSON.stringify(value));
  } catch {
    // nothing to be done
  }
}
