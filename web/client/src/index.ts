/** A client of agent_ws: README.md shows it at work. */

export type { Action, CoreOptions, Ending, Outcome, State, Stop, Wire } from "./actions.js";
export { Answer, type AnswerEvent, streamWithRetry, Unanswered } from "./answer.js";
export {
  Client,
  type ClientView,
  type ConnectOptions,
  connect,
  type Notice,
  type PendingView,
  type SendOptions,
  type Sent,
  type SessionView,
} from "./client.js";
export { comesBack } from "./codes.js";
export { Core } from "./core.js";
export { Fold } from "./fold.js";
export type * from "./frames.js";
export { type AnswerView, joined } from "./joined.js";
export type { Nudges, Platform, Reader, Request as HttpRequest, Response as HttpResponse, Socket } from "./platform.js";
export {
  type ListOptions,
  RequestError,
  type RequestOptions,
  remove,
  rename,
  type SessionOptions,
  sessions,
} from "./sessions.js";
export { type ServerSent, SseParser } from "./sse.js";
export { head, size } from "./text.js";
export { Refused } from "./transport.js";
export type * from "./view.js";
