/** The same as `client_cost.py`, in Node: prints the times of lists and events by the client and by fetch. */

import { Client } from "../../clients/typescript/dist/index.js";

const [url, pairs] = [process.argv[2], Number(process.argv[3])];
const [WARM, USERS] = [20, 943];
const client = new Client(url);

async function post(path, body) {
  const answer = await fetch(url + path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const event = (number) => ({ user_id: (number % USERS) + 1, item_id: (number % 100) + 1, event_type: "view" });
const asked = {
  list: {
    client: (number) => client.recommend({ user_id: (number % USERS) + 1 }),
    raw: (number) => post("/api/v1/recommend", { user_id: (number % USERS) + 1 }),
  },
  event: {
    client: (number) => client.recordEvent(event(number)),
    raw: (number) => post("/api/v1/events", { ...event(number), event_id: crypto.randomUUID() }),
  },
};

const found = {};
for (const [kind, ways] of Object.entries(asked)) {
  const times = (found[kind] = {});
  for (const way of Object.keys(ways)) times[way] = { "time to the answer": [], "processor time": [] };
  for (let number = 0; number < WARM + pairs; number += 1) {
    const order = Math.random() < 0.5 ? ["client", "raw"] : ["raw", "client"];
    for (const [place, way] of order.entries()) {
      const [began, used] = [performance.now(), process.cpuUsage()];
      await ways[way](2 * number + place);
      const { user, system } = process.cpuUsage(used);
      if (number < WARM) continue;
      times[way]["time to the answer"].push((performance.now() - began) / 1e3);
      times[way]["processor time"].push((user + system) / 1e6);
    }
  }
}
console.log(JSON.stringify(found));
