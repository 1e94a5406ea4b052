/** The client in Node against the real applications, which `tests/clients/test_typescript.py` starts. */

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import * as raycommend from "../../../clients/typescript/dist/index.js";

const { Client } = raycommend;
const URL_ = process.env.API_URL;
const QUICK = { firstWaitMs: 20, longestWaitMs: 100, totalMs: 20_000 };
const client = new Client(URL_, { retry: QUICK });
const BUSY = { status: 503 };
const LOST = { lose: true };

/** What goes wrong with the next requests. */
async function faults(...coming) {
  await fetch(`${URL_}/-/faults`, { method: "POST", body: JSON.stringify(coming) });
}

async function seen() {
  return (await fetch(`${URL_}/-/faults`)).json();
}

async function thrown(promise) {
  return promise.then(() => assert.fail("nothing was thrown"), (error) => error);
}

test("a list, an event, and the list after it", async () => {
  const first = await client.recommend({ user_id: "node", top_k: 3, explain: true });
  assert.equal(first.recommendations.length, 3);
  const best = first.recommendations[0];
  const said = await client.recordEvent({
    user_id: "node", item_id: best.item_id, event_type: "like", recommendation_id: first.recommendation_id,
  });
  assert.deepEqual([said.status, said.duplicate], ["accepted", false]);
  const second = await client.recommend({ user_id: "node", top_k: 3 });
  assert.ok(!second.recommendations.some((shown) => shown.item_id === best.item_id));
  assert.deepEqual((await client.user("node")).events, { like: 1 });
  assert.ok((await client.similar("item 1", { limit: 2 })).items.length > 0); // the best may be too new to have any
});

test("items and users", async () => {
  assert.deepEqual((await client.putItem("node/1", { title: "Of Node", categories: ["Node"] })).categories, ["Node"]);
  assert.equal((await client.item("node/1")).title, "Of Node");
  assert.equal((await client.findItems("of", { category: "Node" })).total, 1);
  assert.equal((await client.categories()).Node, 1);
  const batch = await client.putItems([{ item_id: "node/2", title: "Two" }, { item_id: " x", title: "Spaced" }]);
  assert.deepEqual([batch.accepted, batch.refused], [1, 1]);
  assert.equal((await client.deleteItem("node/2")).status, "deleted");
  await client.recordEvent({ user_id: "nora", item_id: "node/1", event_type: "like" });
  assert.deepEqual((await client.trending({ category: "Node" })).items.map((item) => item.item_id), ["node/1"]);
  assert.equal((await client.findUsers("nor")).total, 1);
  assert.equal((await client.exportUser("nora")).user_id, "nora");
  assert.equal((await client.eraseUser("nora")).status, "erased");
  assert.ok((await client.catalogue()).items.total >= 1);
  assert.ok((await client.health()).components);
  assert.ok((await client.request("GET", "/api/v1/models")).models.length > 0);
});

for (const [name, coming] of [["lost", [LOST]], ["more", [LOST, LOST, BUSY]], ["late", [{ status: 504 }, LOST]], ["500", [{ status: 500 }, LOST]]]) {
  test(`an event whose answer was lost counts once: ${name}`, async () => {
    const user_id = `node-${name}`;
    await faults(...coming);
    const said = await client.recordEvent({ user_id, item_id: 1, event_type: "click" });
    const requests = await seen();
    assert.equal(requests.length, coming.length + 1);
    assert.deepEqual([...new Set(requests.map((request) => request.body.event_id))], [said.event_id]);
    assert.equal(new Set(requests.map((request) => request.headers["x-request-id"])).size, 1);
    assert.equal(said.duplicate, true);
    assert.deepEqual((await client.user(user_id)).events, { click: 1 });
  });
}

test("each event of a batch is answered, and counts once", async () => {
  await faults(LOST);
  const answer = await client.recordEvents(["click", "clack"].map((event_type) => ({ user_id: "nils", item_id: 1, event_type })));
  assert.deepEqual([answer.accepted, answer.refused, answer.results[1].error.field], [1, 1, "event_type"]);
  assert.deepEqual((await client.user("nils")).events, { click: 1 });
});

for (const status of [429, 503]) {
  test(`the wait that the server asks for is kept: ${status}`, async () => {
    await faults({ status, retry_after: "1" });
    await client.recommend({ user_id: "waits" });
    const [first, second] = await seen();
    assert.ok(second.at_s - first.at_s >= 0.99);
  });
}

test("a wait that is longer than there is time for is the caller's", async () => {
  await faults({ status: 429, retry_after: "40", code: "rate_limited" });
  const error = await thrown(client.recommend({ user_id: "waits" }));
  assert.ok(error instanceof raycommend.RateLimited);
  assert.deepEqual([error.name, error.code, error.retryAfterMs, error.attempts], ["RateLimited", "rate_limited", 40_000, 1]);
});

test("attempts end, and the error counts them", async () => {
  await faults(...Array(9).fill(BUSY));
  const error = await thrown(client.recommend({ user_id: "busy" }));
  assert.ok(error instanceof raycommend.Unavailable);
  assert.deepEqual([error.attempts, (await seen()).length], [4, 4]);
  await faults();
});

test("what must not be done twice is sent once", async () => {
  await faults(LOST);
  const error = await thrown(client.request("POST", "/api/v1/models/rollback", {}));
  assert.ok(error instanceof raycommend.Unreachable);
  assert.equal((await seen()).length, 1);
});

test("what the server refuses has its code, its field and the id of the request", async () => {
  await faults();
  const error = await thrown(client.recordEvent({ user_id: 1, item_id: 1, event_type: "rating", rating: 9 }));
  assert.ok(error instanceof raycommend.InvalidRequest);
  const [request] = await seen();
  assert.deepEqual([error.status, error.code, error.field], [422, "invalid_field", "rating"]);
  assert.equal(error.requestId, request.headers["x-request-id"]);
  assert.ok((await thrown(client.item("none"))) instanceof raycommend.NotFound);
  await client.recordEvent({ user_id: "nina", item_id: 1, event_type: "click", event_id: "one" });
  const conflict = await thrown(client.recordEvent({ user_id: "nina", item_id: 2, event_type: "click", event_id: "one" }));
  assert.ok(conflict instanceof raycommend.Conflict);
});

test("a server that is not there or says nothing is unreachable", async () => {
  const silent = createServer(() => undefined);
  await new Promise((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address();
  const impatient = new Client(`http://127.0.0.1:${port}`, { timeoutMs: 50, retry: { ...QUICK, attempts: 2 } });
  const late = await thrown(impatient.health());
  assert.ok(late instanceof raycommend.Unreachable);
  assert.deepEqual([late.attempts, /Timeout/.test(late.message)], [2, true]);
  silent.close();
  assert.ok((await thrown(impatient.health())) instanceof raycommend.Unreachable);
});

test("a page of a proxy, and a success that is no JSON", async () => {
  const page = { fetch: async () => new Response("<html>No server is available</html>", { status: 503 }), retry: { attempts: 1 } };
  const error = await thrown(new Client("http://shop", page).health());
  assert.ok(error instanceof raycommend.UnexpectedAnswer); // health takes 503 for an answer
  const other = await thrown(new Client("http://shop", page).categories());
  assert.deepEqual([other.code, other.status], ["http_error", 503]);
});

test("keys and tokens", async () => {
  const { GUARDED_URL: guarded, SHOP_KEY: apiKey, TOKEN: token, OLD_TOKEN: old } = process.env;
  assert.ok((await thrown(new Client(guarded).recommend({ user_id: 1 }))) instanceof raycommend.NotAuthenticated);
  const shop = new Client(guarded, { apiKey });
  assert.equal((await shop.recommend({ user_id: 1 })).recommendations.length, 10);
  assert.ok((await thrown(shop.eraseUser(1))) instanceof raycommend.NotAllowed);
  const tokens = [old, token];
  const ada = new Client(guarded, { token: async () => tokens.shift() ?? old, retry: QUICK });
  assert.equal((await ada.recommend({ user_id: "ada" })).recommendations.length, 10);
  const error = await thrown(ada.recommend({ user_id: "ada" }));
  assert.deepEqual([error.name, error.attempts], ["NotAuthenticated", 2]);
});

test("a wrong argument is named, and no secret is repeated", async () => {
  const wrong = [
    [() => new Client("127.0.0.1:8000"), "url"],
    [() => new Client("ftp://shop"), "url"],
    [() => new Client("http://shop?x=1"), "url"],
    [() => new Client("http://shop", { apiKey: "rk secret" }), "apiKey"],
    [() => new Client("http://shop", { apiKey: "a", token: "b" }), "token"],
    [() => new Client("http://shop", { timeoutMs: 0 }), "timeoutMs"],
    [() => new Client("http://shop", { retry: { attempts: 0 } }), "attempts"],
    [() => client.item(""), "id"],
    [() => client.item(".."), "id"],
    [() => client.item(1.5), "id"],
    [() => client.request("GET", "api"), "path"],
  ];
  for (const [call, field] of wrong) {
    const error = await thrown((async () => call())());
    assert.ok(error instanceof raycommend.InvalidRequest, String(error));
    assert.equal(error.field, field);
    assert.ok(!error.message.includes("secret"));
  }
});
