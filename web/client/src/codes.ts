/** The table of close codes in PROTOCOL.md. */

const FINISHED: ReadonlySet<number> = new Set([1000, 1002, 1003, 1007, 1009]);

/** Whether coming back can help. A code that is not in the table says nothing, so it can't say no. */
export function comesBack(code: number): boolean {
  return !FINISHED.has(code) && !(code >= 4400 && code < 4500);
}

/** As with HTTP status 408: come back when there is something to say. */
export const IDLE = 4408;
/** Nobody said goodbye: the network, or a peer that is silent for too long. */
export const LOST = 1006;
export const CLOSED = 1000;

/** Whether the server said that it would be back soon. */
export function restarts(code: number): boolean {
  return code === 1012 || code === 4503;
}
