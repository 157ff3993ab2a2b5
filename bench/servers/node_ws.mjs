// The `ws` package, with its defaults.
import { WebSocketServer } from "ws";
import { RUN, play } from "./work.mjs";

new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]), path: "/ws", backlog: 2048 }).on("connection", (socket) => {
  let stop = () => {};
  let seq = 0;
  const send = (type, data) => {
    seq += 1;
    socket.send(JSON.stringify({ type, seq, run: RUN, data }));
  };
  socket.on("message", (text) => {
    const frame = JSON.parse(text);
    if (frame.message !== undefined) {
      stop = play(frame.message, send);
    } else {
      stop();
      send("interrupted");
    }
  });
  socket.on("close", () => stop());
});
