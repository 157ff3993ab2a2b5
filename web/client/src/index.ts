/** A client of agent_ws: README.md shows it at work. */

export { Fold } from "./fold.js";
export type * from "./frames.js";
export type * from "./view.js";
