// MQTT.js in Node.

import mqtt from "mqtt";

import { run } from "./scenarios.mjs";

const given = JSON.parse(process.argv[2]);
await run(mqtt, Buffer, given, (result) => console.log(JSON.stringify(result)));
process.exit(0);
