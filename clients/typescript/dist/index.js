/** Client of Raycommend: `Client` for calls, `Beacon` for what is seen and clicked in a page. */
export * from "./beacon.js";
export * from "./client.js";
export * from "./errors.js";
export { RETRY } from "./retrying.js";
