// Load test for your own machine and data, as locustfile.py beside this, for k6 (https://k6.io):
//
//     k6 run -e HOST=http://127.0.0.1:8000 -e KEY=... -e USERS=943 benchmarks/measuring/k6.js
//
// Browsing users ask for a list, look at it and react. Send it to a system of your own only.
import http from "k6/http";
import { check, sleep } from "k6";

const HOST = __ENV.HOST || "http://127.0.0.1:8000";
const USERS = Number(__ENV.USERS || 943);
const HEADERS = { "Content-Type": "application/json" };
if (__ENV.KEY) {
  HEADERS.Authorization = `Bearer ${__ENV.KEY}`;
}

export const options = {
  scenarios: {
    visitors: { executor: "ramping-vus", stages: [{ duration: "10s", target: 32 }, { duration: "50s", target: 32 }] },
  },
  thresholds: {
    checks: ["rate>0.999"],
    "http_req_duration{endpoint:recommend}": ["p(99)<500"],
    "http_req_duration{endpoint:events}": ["p(99)<500"],
  },
};

export function ask(userId) {
  const answer = http.post(`${HOST}/api/v1/recommend`, JSON.stringify({ user_id: userId }), {
    headers: HEADERS,
    tags: { endpoint: "recommend" },
  });
  // A list of popular items while the store is away is an answer, and no success here.
  const good = check(answer, { "a whole list": (r) => r.status === 200 && !r.json("degraded") });
  return good ? answer.json() : null;
}

export function react(userId, list) {
  const shown = list.recommendations;
  const event = {
    user_id: userId,
    item_id: shown[Math.floor(Math.random() * shown.length)].item_id,
    event_type: "click",
    recommendation_id: list.recommendation_id,
  };
  const answer = http.post(`${HOST}/api/v1/events`, JSON.stringify(event), {
    headers: HEADERS,
    tags: { endpoint: "events" },
  });
  check(answer, { "an accepted event": (r) => r.status === 200 && r.json("status") === "accepted" });
}

// Ten lists to one reaction.
export default function visit() {
  const userId = 1 + Math.floor(Math.random() * USERS);
  let list = null;
  for (let page = 0; page < 10; page += 1) {
    list = ask(userId) || list;
    sleep(0.5 + 1.5 * Math.random());
  }
  if (list !== null && list.recommendations.length > 0) {
    react(userId, list);
  }
}
