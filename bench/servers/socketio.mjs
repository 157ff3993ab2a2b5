// Socket.IO, with its defaults; its client is told to use WebSocket only.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { RUN, play } from "./work.mjs";

const http = createServer();
new Server(http).on("connection", (socket) => {
  let stop = () => {};
  let seq = 0;
  const send = (type, data) => {
    seq += 1;
    socket.emit(type, { seq, run: RUN, data });
  };
  socket.on("message", (work) => {
    stop = play(work, send);
  });
  socket.on("interrupt", () => {
    stop();
    send("interrupted");
  });
  socket.on("disconnect", () => stop());
});
http.listen(Number(process.argv[2]), "127.0.0.1", 2048);
