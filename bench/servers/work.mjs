// What agent_ws/load/work.py says, for servers in Node: the same works, the same absolute schedule.
export const TOKEN = "word~ ";
export const RUN = "0123456789abcdefghijkl";

// Plays `work` with send(type, data); returns what stops it.
export function play(work, send) {
  const [kind, first, second] = work.split(" ");
  let timer;
  let stopped = false;
  send("start");
  if (kind === "once") {
    send("content", TOKEN);
    send("done");
  } else if (kind === "pace") {
    const begin = performance.now();
    const period = 1000 / Number(first);
    const count = Number(second);
    let k = 0;
    const step = () => {
      do {
        if (stopped) return;
        send("content", TOKEN);
        k += 1;
      } while (k < count && begin + k * period <= performance.now());
      if (k < count) timer = setTimeout(step, begin + k * period - performance.now());
      else send("done");
    };
    step();
  }
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
