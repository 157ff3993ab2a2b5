/** Frames over a WebSocket. */

import { LOST } from "./codes.js";
import type { Platform, Socket } from "./platform.js";
import { base, type Listener, Refused, type Transport } from "./transport.js";

const PROTOCOL = "agent-ws.v1.json";

export function overWebSocket(
  url: string,
  make: NonNullable<Platform["WebSocket"]>,
  ticket: (() => Promise<string | undefined>) | undefined,
  listener: Listener,
): Transport {
  let socket: Socket | null = null;
  let dropped = false;

  const closed = (code: number, reason: string): void => {
    if (dropped) return;
    dropped = true;
    listener.closed({ code, reason });
  };

  const open = async (): Promise<void> => {
    const shown = await ticket?.();
    if (dropped) return;
    // In the address it would be written to logs.
    const protocols = shown === undefined ? [PROTOCOL] : [PROTOCOL, `agent-ws.ticket.${shown}`];
    socket = new make(`${base(url).replace(/^http/, "ws")}ws`, protocols);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      listener.opened();
    };
    // Where there never was a connection, some say so without a `close`. Where there was, only that has the code.
    socket.onerror = () => opened || closed(LOST, "");
    socket.onmessage = ({ data }) => {
      if (dropped) return;
      let frame: Parameters<Listener["frame"]>[0];
      try {
        frame = JSON.parse(String(data));
      } catch {
        socket?.close(); // whatever that is at the other end, another connection may find a server
        return closed(LOST, "expected JSON, got something else");
      }
      listener.frame(frame);
    };
    socket.onclose = ({ code, reason }) => closed(code, reason);
  };

  open().catch((error: unknown) => closed(error instanceof Refused ? error.code : LOST, String(error)));
  return {
    send: (frame) => socket?.send(JSON.stringify(frame)),
    drop: () => {
      dropped = true;
      if (socket === null) return;
      socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
      socket.close(); // its end is not waited for: on a dead link that takes minutes
    },
  };
}
