// autobahn for JavaScript in Node.

import http from "node:http";

import autobahn from "autobahn";
import XMLHttpRequest from "xhr2";

import { clientOf } from "./autobahn_client.mjs";
import { run } from "./door.mjs";

// Of its long-poll, which is written for browsers, with as many connections as these have.
XMLHttpRequest.nodejsSet({ httpAgent: new http.Agent({ keepAlive: true, maxSockets: 6 }) });
globalThis.XMLHttpRequest = XMLHttpRequest;
// It tells of every connection that ends.
console.warn = () => {};
console.log = () => {};
// What nobody waits for any more; the scenario tells what is wrong.
process.on("unhandledRejection", (error) => console.error(error));
process.on("uncaughtException", (error) => console.error(error));
const given = JSON.parse(process.argv[2]);
const { JSONSerializer, MsgpackSerializer, CBORSerializer } = autobahn.serializer;
const serializers = {
  json: () => new JSONSerializer(),
  msgpack: () => new MsgpackSerializer(),
  cbor: () => new CBORSerializer(),
};
const several = given.transport === "websocket" ? Object.keys(serializers) : ["json"];
await run(clientOf(autobahn, serializers), given, several, several.slice(1), (result) =>
  process.stdout.write(`${JSON.stringify(result)}\n`),
);
process.exit(0);
