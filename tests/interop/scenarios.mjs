// The scenarios of scenarios.txt for MQTT.js, in Node and in the browser. scenarios.py has the same in Python.
//
// A scenario has topics of its own (`door.topic`) and clients that go with it; it fails by an exception.

const SESSION_EXPIRY_S = 600;
const NOT_AUTHORISED = 0x87;
const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const VERSIONS = {
  3.1: { protocolVersion: 3, protocolId: "MQIsdp" },
  "3.1.1": { protocolVersion: 4 },
  "5.0": { protocolVersion: 5 },
};
const PUBLISH = {
  user: "userProperties",
  contentType: "contentType",
  responseTopic: "responseTopic",
  correlation: "correlationData",
  expiry: "messageExpiryInterval",
  alias: "topicAlias",
};

class Failed extends Error {}

class Refused extends Error {
  constructor(code) {
    super(`connecting was refused with ${code}`);
    this.code = code;
  }
}

function check(holds, text) {
  if (!holds) throw new Failed(text);
}

function equal(got, expected, what) {
  const [left, right] = [JSON.stringify(got), JSON.stringify(expected)];
  check(left === right, `${what}: ${short(left)} instead of ${short(right)}`);
}

function short(text) {
  return String(text).slice(0, 200);
}

const text = (payload) => new TextDecoder().decode(payload);
const hex = (bytes) => bytes && [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const random = () => hex(crypto.getRandomValues(new Uint8Array(8)));

// What came and was not asked for yet, or who waits for it.
class Inbox {
  came = [];
  waiting = [];

  constructor(deadlineS) {
    this.deadlineS = deadlineS;
  }

  put(value) {
    const taker = this.waiting.shift();
    if (taker) taker(value);
    else this.came.push(value);
  }

  next(what) {
    if (this.came.length > 0) return Promise.resolve(this.came.shift());
    return new Promise((resolve, reject) => {
      const late = () => reject(new Failed(`${what} did not come within ${this.deadlineS} s`));
      const timer = setTimeout(late, 1000 * this.deadlineS);
      this.waiting.push((value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
  }
}

// One connection.
class Client {
  constructor(door) {
    this.door = door;
    const inbox = () => new Inbox(door.deadlineS);
    [this.inbox, this.answers, this.ends, this.pings] = [inbox(), inbox(), inbox(), inbox()];
    this.held = [];
    this.reasons = new Map();
  }

  // Connects. `stays`: the session outlives the connection. `hold`: nothing is acknowledged before `acknowledge`. `scram`: who proves
  // a password instead of sending it.
  async open({ clientId, password, stays = false, keepAlive = 60, hold = false, receiveMaximum, packetMaximum, aliasMaximum, will, scram }) {
    const { door } = this;
    const wishes = {
      sessionExpiryInterval: stays ? SESSION_EXPIRY_S : 0,
      receiveMaximum,
      maximumPacketSize: packetMaximum,
      topicAliasMaximum: aliasMaximum,
      authenticationMethod: scram?.method,
      authenticationData: scram && door.Buffer.from(utf8(scram.first)),
    };
    for (const name in wishes) if (wishes[name] === undefined) delete wishes[name];
    const address = `${door.host}:${door.port}`;
    this.clientId = clientId;
    this.mqtt = door.mqtt.connect(door.transport === "tcp" ? `mqtt://${address}` : `ws://${address}/mqtt`, {
      ...VERSIONS[door.version],
      clientId,
      clean: !stays,
      keepalive: keepAlive,
      username: "whoever",
      password,
      reconnectPeriod: 0,
      resubscribe: false,
      will,
      properties: door.is5 ? wishes : undefined,
    });
    this.mqtt.on("message", (topic, payload, packet) => this.inbox.put(this.message(topic, payload, packet)));
    this.mqtt.on("packetreceive", (packet) => this.onPacket(packet));
    this.mqtt.on("close", () => this.ends.put(null));
    this.mqtt.on("error", (error) => this.answers.put(new Refused(error.code ?? error)));
    this.mqtt.on("connect", (packet) => this.answers.put(packet));
    if (hold) this.hold();
    if (scram) this.prove(scram);
    const answer = await this.answers.next("CONNACK");
    if (answer instanceof Refused) throw answer;
    this.present = door.version === "3.1" ? undefined : answer.sessionPresent;
    this.assigned = answer.properties?.assignedClientIdentifier;
    this.told = answer.properties?.authenticationData && text(answer.properties.authenticationData);
  }

  prove(scram) {
    this.mqtt.handleAuth = async ({ properties }, done) => {
      const last = await scram.last(text(properties.authenticationData));
      const authenticationData = this.door.Buffer.from(utf8(last));
      done(null, { cmd: "auth", reasonCode: 0x18, properties: { authenticationMethod: scram.method, authenticationData } });
    };
  }

  // The library waits for its own acknowledgement to be sent before it takes the next message: it is told that it was.
  hold() {
    const send = this.mqtt._sendPacket.bind(this.mqtt);
    this.mqtt._sendPacket = (packet, done, ...more) => {
      if (packet.cmd !== "puback") return send(packet, done, ...more);
      this.held.push(() => send(packet));
      done?.();
    };
  }

  onPacket(packet) {
    if (packet.cmd === "pingresp") this.pings.put(packet);
    if (packet.cmd === "disconnect") this.ends.put(packet.reasonCode);
    // Of QoS 2 the PUBREC has the reason.
    if (packet.cmd === "puback" || packet.cmd === "pubrec") this.reasons.set(packet.messageId, packet.reasonCode ?? 0);
  }

  message(topic, payload, { qos, retain, properties = {} }) {
    const identifiers = [properties.subscriptionIdentifier ?? []].flat();
    const message = { topic, payload, qos, retain, identifiers };
    for (const name in PUBLISH) message[name] = properties[PUBLISH[name]];
    return message;
  }

  acknowledge() {
    const held = this.held;
    this.held = [];
    for (const send of held) send();
  }

  receive() {
    return this.inbox.next("a message");
  }

  received() {
    return this.inbox.came.splice(0);
  }

  // Waits until so many have come.
  async hasInHand(nMessages) {
    for (let n = 0; n < nMessages; n++) await this.receive();
  }

  // The code of its SUBACK.
  subscribe(filter, qos, { noLocal, identifier } = {}) {
    const options = { qos, nl: noLocal, properties: identifier ? { subscriptionIdentifier: identifier } : undefined };
    return this.answer("SUBACK", (done) =>
      this.mqtt.subscribe(filter, options, (error, granted, packet) => done(packet?.granted?.[0] ?? error?.code ?? String(error))),
    );
  }

  unsubscribe(filter) {
    return this.answer("UNSUBACK", (done) =>
      this.mqtt.unsubscribe(filter, (error, packet) => done(packet?.granted?.[0] ?? error?.code ?? (error && String(error)))),
    );
  }

  // The reason code; of QoS 0, 0.
  async publish(topic, payload, qos, given = {}) {
    const properties = {};
    for (const name in given) properties[PUBLISH[name]] = given[name];
    const bytes = this.door.bytes(payload);
    const id = this.mqtt.getLastMessageId();
    const error = await this.answer(`the acknowledgement of a publish of QoS ${qos}`, (done) =>
      this.mqtt.publish(topic, bytes, { qos, properties: this.door.is5 ? properties : undefined }, (failed) => done(failed ?? 0)),
    );
    if (error && error.code === undefined) throw error;
    if (qos === 0) return 0;
    const last = this.mqtt.getLastMessageId();
    check(last !== id, "a publish has a packet id of its own");
    return this.reasons.get(last);
  }

  answer(what, ask) {
    const inbox = new Inbox(this.door.deadlineS);
    ask((value) => inbox.put(value));
    return inbox.next(what);
  }

  pinged() {
    return this.pings.next("PINGRESP");
  }

  // The reason of the broker's DISCONNECT; null where there was none.
  ended() {
    return this.ends.next("the end of the connection");
  }

  leave() {
    return this.answer("the end of the connection", (done) => this.mqtt.end(false, {}, () => done(null)));
  }

  // Ends the connection without a DISCONNECT.
  async drop() {
    this.mqtt?.removeAllListeners("error");
    this.mqtt?.on("error", () => {});
    this.mqtt?.stream.destroy();
    this.mqtt?.end(true);
  }
}

class Door {
  correlation = [0, 1, 255, 254];

  constructor(mqtt, Buffer, given) {
    Object.assign(this, given);
    [this.mqtt, this.Buffer] = [mqtt, Buffer];
    this.deadlineS = given.deadline_s;
    this.is5 = given.version === "5.0";
    this.clients = [];
  }

  bytes(payload) {
    return typeof payload === "string" ? payload : this.Buffer.from(payload);
  }

  start(scenario) {
    this.prefix = `${scenario}/${random()}`;
  }

  async end() {
    for (const client of this.clients.splice(0)) await client.drop().catch(() => {});
  }

  topic(rest) {
    return `${this.prefix}/${rest}`;
  }

  async connect({ clientId = random(), password = this.token, ...wishes } = {}) {
    const client = new Client(this);
    this.clients.push(client);
    await client.open({ clientId, password, ...wishes });
    return client;
  }

  killAndRestart() {
    return this.ask("kill-and-restart");
  }

  // Has `run` do something with the broker; its answer.
  async ask(what, fields = {}) {
    const answer = await fetch(`${this.control}/${what}`, { method: "POST", body: JSON.stringify(fields) });
    check(answer.ok, `${what}: ${answer.ok || (await answer.clone().text())}`);
    return answer.json();
  }

  letPass(seconds) {
    return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

async function payloads(client, ...expected) {
  for (const payload of expected) equal(text((await client.receive()).payload), payload, "payload");
}

async function arrivesAsItWasSent(door, qos) {
  const topic = door.topic("Straße 1/日本/a b");
  const reader = await door.connect();
  equal(await reader.subscribe(topic, qos), qos, "granted");
  const writer = await door.connect();
  const long = new Uint8Array(102_400).map((_, index) => index % 256);
  for (const payload of [new TextEncoder().encode("one"), new Uint8Array(), EVERY_BYTE, long]) {
    await writer.publish(topic, payload, qos);
    const message = await reader.receive();
    equal(message.topic, topic, "topic");
    equal(hex(message.payload), hex(payload), "payload");
    equal(message.qos, qos, "QoS");
    equal(message.retain, false, "retain");
  }
}

async function survivesKill9(door, qos) {
  const topic = door.topic("durable");
  const expected = Array.from({ length: 20 }, (_, n) => `${n}`);
  let reader = await door.connect({ stays: true });
  const { clientId } = reader;
  await reader.subscribe(topic, qos);
  await reader.leave();
  const writer = await door.connect();
  for (const payload of expected) await writer.publish(topic, payload, qos);
  await door.killAndRestart();
  reader = await door.connect({ clientId, stays: true });
  check(reader.present !== false, "the session is not present");
  await payloads(reader, ...expected);
  // What is confirmed to the same connection later is on disk later than its acknowledgements.
  await reader.publish(door.topic("fence"), "", 1);
  await reader.leave();
  await (await door.connect()).publish(door.topic("fence"), "", 1);
  await door.killAndRestart();
  reader = await door.connect({ clientId, stays: true });
  check(reader.present !== false, "the session is not present after the second kill");
  await (await door.connect()).publish(topic, "new", qos);
  await payloads(reader, "new");
}

async function sentWith(door, properties) {
  const topic = door.topic("properties");
  const reader = await door.connect();
  await reader.subscribe(topic, 1);
  await (await door.connect()).publish(topic, "with properties", 1, properties);
  return reader.receive();
}

const utf8 = (string) => new TextEncoder().encode(string);
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const ofBase64 = (string) => Uint8Array.from(atob(string), (character) => character.charCodeAt(0));

async function mac(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

// SCRAM-SHA-256 (RFC 5802, 7677) from the client's side.
class Scram {
  method = "SCRAM-SHA-256";

  constructor(user, password) {
    this.password = password;
    this.bare = `n=${user},r=${random()}`;
    this.first = `n,,${this.bare}`;
  }

  // The last message; what the server is to say then is in `expected`.
  async last(told) {
    const [nonce, salt, iterations] = told.split(",").map((attribute) => attribute.slice(2));
    const key = await crypto.subtle.importKey("raw", utf8(this.password), "PBKDF2", false, ["deriveBits"]);
    const cost = { name: "PBKDF2", hash: "SHA-256", salt: ofBase64(salt), iterations: Number(iterations) };
    const salted = new Uint8Array(await crypto.subtle.deriveBits(cost, key, 256));
    const clientKey = await mac(salted, utf8("Client Key"));
    const storedKey = new Uint8Array(await crypto.subtle.digest("SHA-256", clientKey));
    const bare = `c=biws,r=${nonce}`;
    const signed = utf8(`${this.bare},${told},${bare}`);
    const signature = await mac(storedKey, signed);
    this.expected = `v=${base64(await mac(await mac(salted, utf8("Server Key")), signed))}`;
    return `${bare},p=${base64(clientKey.map((byte, n) => byte ^ signature[n]))}`;
  }
}

const SCENARIOS = {
  async a_ping_is_answered(door) {
    const client = await door.connect({ keepAlive: 1 });
    await client.pinged();
    await client.leave();
  },

  async a_wrong_password_is_refused(door) {
    const refused = await door.connect({ password: "not the token" }).catch((error) => error);
    check(refused instanceof Refused, "it was let in");
    check((door.is5 ? [0x86, 0x87] : [4, 5]).includes(refused.code), `refused with ${refused.code}`);
  },

  async a_password_is_proved_by_scram(door) {
    const scram = new Scram("prover", door.password);
    const client = await door.connect({ password: "not looked at", scram });
    equal(client.told, scram.expected, "what the server proves");
    await client.publish("narrow/scram", "let in", 1);
    for (const [user, password] of [["prover", "another"], ["nobody", door.password]]) {
      const refused = await door.connect({ password: "not looked at", scram: new Scram(user, password) }).catch((error) => error);
      check(refused instanceof Refused, "it was let in");
      equal(refused.code, NOT_AUTHORISED, "refused with");
    }
  },

  qos_0_arrives_as_it_was_sent: (door) => arrivesAsItWasSent(door, 0),
  qos_1_arrives_as_it_was_sent: (door) => arrivesAsItWasSent(door, 1),
  qos_2_arrives_as_it_was_sent: (door) => arrivesAsItWasSent(door, 2),

  async plus_stands_for_one_level(door) {
    const reader = await door.connect();
    await reader.subscribe(door.topic("+/end"), 1);
    const writer = await door.connect();
    for (const level of ["a/end", "a/b/end", "end", "/end", "b/end"]) await writer.publish(door.topic(level), level, 1);
    await payloads(reader, "a/end", "/end", "b/end");
  },

  async hash_stands_for_all_the_rest(door) {
    const reader = await door.connect();
    await reader.subscribe(door.topic("a/#"), 1);
    const writer = await door.connect();
    for (const level of ["a", "b", "a/b", "ab", "a/b/c"]) await writer.publish(door.topic(level), level, 1);
    await payloads(reader, "a", "a/b", "a/b/c");
  },

  async after_unsubscribing_nothing_comes(door) {
    const reader = await door.connect();
    await reader.subscribe(door.topic("gone"), 1);
    await reader.subscribe(door.topic("kept"), 1);
    await reader.unsubscribe(door.topic("gone"));
    const writer = await door.connect();
    await writer.publish(door.topic("gone"), "gone", 1);
    await writer.publish(door.topic("kept"), "kept", 1);
    await payloads(reader, "kept");
  },

  async a_clean_session_is_forgotten(door) {
    const topic = door.topic("clean");
    let reader = await door.connect();
    const { clientId } = reader;
    check(reader.present !== true, "a new session is present");
    await reader.subscribe(topic, 1);
    await reader.leave();
    await (await door.connect()).publish(topic, "missed", 1);
    reader = await door.connect({ clientId });
    check(reader.present !== true, "a clean session is present");
    await reader.subscribe(topic, 1);
    await (await door.connect()).publish(topic, "new", 1);
    await payloads(reader, "new");
  },

  async a_session_that_stays_gets_what_it_missed(door) {
    const topic = door.topic("stays");
    let reader = await door.connect({ stays: true });
    const { clientId } = reader;
    check(reader.present !== true, "a new session is present");
    await reader.subscribe(topic, 1);
    await reader.leave();
    const writer = await door.connect();
    await writer.publish(topic, "one", 1);
    await writer.publish(topic, "two", 1);
    reader = await door.connect({ clientId, stays: true });
    check(reader.present !== false, "the session is not present");
    await payloads(reader, "one", "two");
    await writer.publish(topic, "three", 1);
    await payloads(reader, "three");
  },

  kill_9_loses_nothing_of_qos_1: (door) => survivesKill9(door, 1),
  kill_9_neither_loses_nor_repeats_qos_2: (door) => survivesKill9(door, 2),

  async the_same_client_id_takes_over(door) {
    const topic = door.topic("taken");
    const first = await door.connect({ stays: true });
    await first.subscribe(topic, 1);
    const second = await door.connect({ clientId: first.clientId, stays: true });
    check(second.present !== false, "the session is not present");
    const reason = await first.ended();
    check(!door.is5 || reason === 0x8e, `the first was ended with ${reason}`);
    await (await door.connect()).publish(topic, "to the second", 1);
    await payloads(second, "to the second");
  },

  async a_will_is_published_when_its_client_is_lost(door) {
    const topic = door.topic("will");
    const reader = await door.connect();
    await reader.subscribe(topic, 2);
    for (const [how, expected] of [["leave", null], ["drop", "lost"]]) {
      const mortal = await door.connect({ will: { topic, payload: "lost", qos: 1, retain: false } });
      await mortal.subscribe(door.topic("own"), 0);
      await mortal[how]();
      if (!expected) continue;
      const message = await reader.receive();
      equal([text(message.payload), message.qos, message.retain], [expected, 1, false], "the will");
    }
    await (await door.connect()).publish(topic, "last", 1);
    await payloads(reader, "last");
  },

  async the_broker_tells_of_itself(door) {
    const reader = await door.connect();
    await reader.subscribe("$SYS/broker/version", 0);
    const message = await reader.receive();
    check(text(message.payload).startsWith("restante version "), `the version is ${text(message.payload)}`);
    equal(message.retain, true, "retain");
  },

  async a_shared_subscription_is_split(door) {
    const topic = door.topic("work");
    const members = [await door.connect(), await door.connect()];
    for (const member of members) {
      await member.subscribe(`$share/crew/${topic}`, 1);
      await member.subscribe(door.topic("end"), 1);
    }
    const writer = await door.connect();
    const expected = Array.from({ length: 40 }, (_, n) => `${n}`);
    for (const payload of expected) await writer.publish(topic, payload, 1);
    const got = [[], []];
    const last = Date.now() + 1000 * door.deadlineS;
    while (got[0].length + got[1].length < expected.length) {
      check(Date.now() < last, `not all was received: ${JSON.stringify(got)}`);
      await door.letPass(0.005);
      members.forEach((member, index) => got[index].push(...member.received().map(({ payload }) => text(payload))));
    }
    await writer.publish(door.topic("end"), "end", 1);
    for (const member of members) await payloads(member, "end");
    check(got[0].length > 0 && got[1].length > 0, `one got all: ${JSON.stringify(got)}`);
    equal(got.flat().sort(), expected.sort(), "received by both together");
  },

  async what_a_dead_member_had_goes_to_another(door) {
    const topic = door.topic("work");
    const first = await door.connect({ hold: true });
    await first.subscribe(`$share/crew/${topic}`, 1);
    const expected = Array.from({ length: 10 }, (_, n) => `${n}`);
    const writer = await door.connect();
    for (const payload of expected) await writer.publish(topic, payload, 1);
    await first.hasInHand(expected.length);
    const second = await door.connect();
    await second.subscribe(`$share/crew/${topic}`, 1);
    await first.drop();
    const got = [];
    for (const _ of expected) got.push(text((await second.receive()).payload));
    equal(got.sort(), expected, "received by the second");
  },

  async what_is_published_is_consumed_by_restante(door) {
    const topic = door.topic("queue");
    await door.ask("queue", { address: topic });
    const writer = await door.connect();
    for (const qos of [0, 1, 2]) await writer.publish(topic, `QoS ${qos}`, qos);
    equal(await door.ask("consume", { address: topic, count: 3 }), ["QoS 0", "QoS 1", "QoS 2"], "consumed");
  },

  async what_restante_sends_arrives(door) {
    const topic = door.topic("sent");
    const reader = await door.connect();
    await reader.subscribe(topic, 1);
    await door.ask("send", { address: topic, lines: ["one", "zwei ü"] });
    await payloads(reader, "one", "zwei ü");
  },

  // The library has an object for them: the order of one name's values is all that can be seen.
  async user_properties_keep_their_order(door) {
    const user = { b: ["1", "3", "2"], ü: "" };
    equal({ ...(await sentWith(door, { user })).user }, user, "user properties");
  },

  async content_type_response_topic_and_correlation_data_arrive(door) {
    const correlation = door.bytes(door.correlation);
    const message = await sentWith(door, { contentType: "text/plain", responseTopic: "answers/ü", correlation });
    equal(message.contentType, "text/plain", "content type");
    equal(message.responseTopic, "answers/ü", "response topic");
    equal(hex(message.correlation), hex(correlation), "correlation data");
  },

  async message_expiry_counts_down(door) {
    const topic = door.topic("expiry");
    let reader = await door.connect({ stays: true });
    await reader.subscribe(topic, 1);
    await reader.leave();
    const writer = await door.connect();
    await writer.publish(topic, "short", 1, { expiry: 1 });
    await writer.publish(topic, "long", 1, { expiry: 100 });
    // MQTT counts in whole seconds.
    await door.letPass(1.5);
    reader = await door.connect({ clientId: reader.clientId, stays: true });
    const message = await reader.receive();
    equal(text(message.payload), "long", "what has not expired");
    check(message.expiry > 50 && message.expiry < 100, `${message.expiry} s are left of 100`);
  },

  async a_topic_alias_stands_for_its_topic(door) {
    const topic = door.topic("alias");
    const reader = await door.connect({ aliasMaximum: 4 });
    await reader.subscribe(topic, 1);
    const writer = await door.connect();
    await writer.publish(topic, "one", 1, { alias: 1 });
    await writer.publish("", "two", 1, { alias: 1 });
    await writer.publish("", "three", 0, { alias: 1 });
    for (const payload of ["one", "two", "three"]) {
      const message = await reader.receive();
      equal([message.topic, text(message.payload)], [topic, payload], "received");
    }
  },

  async all_matching_subscription_identifiers_come_along(door) {
    const reader = await door.connect();
    await reader.subscribe(door.topic("a/+"), 1, { identifier: 7 });
    await reader.subscribe(door.topic("#"), 1, { identifier: 268_435_455 });
    const writer = await door.connect();
    await writer.publish(door.topic("a/b"), "both", 1);
    const came = [];
    // One copy for all of its subscriptions, or one for each: both are allowed.
    while (came.length < 2) {
      const message = await reader.receive();
      equal(text(message.payload), "both", "payload");
      check(message.identifiers.length > 0, "there is no identifier");
      came.push(...message.identifiers);
    }
    equal(came.sort((left, right) => left - right), [7, 268_435_455], "identifiers");
    await writer.publish(door.topic("elsewhere"), "one", 1);
    equal((await reader.receive()).identifiers, [268_435_455], "identifiers");
  },

  async no_local_does_not_echo(door) {
    const topic = door.topic("local");
    const reader = await door.connect();
    await reader.subscribe(topic, 1, { noLocal: true });
    await reader.publish(topic, "own", 1);
    await (await door.connect()).publish(topic, "another's", 1);
    await payloads(reader, "another's");
  },

  async publishing_to_nobody_is_0x10(door) {
    equal(await (await door.connect()).publish(door.topic("nobody"), "", 1), 0x10, "reason code");
  },

  async what_is_not_allowed_is_0x87(door) {
    const client = await door.connect({ password: door.narrow });
    equal(await client.publish(door.topic("denied"), "", 1), NOT_AUTHORISED, "reason code of a publish of QoS 1");
    equal(await client.subscribe(door.topic("denied"), 1), NOT_AUTHORISED, "reason code of a subscription");
    // The connection goes on.
    const topic = `narrow/${door.topic("allowed")}`;
    equal(await client.subscribe(topic, 1), 1, "granted");
    equal(await client.publish(topic, "allowed", 1), 0, "reason code of an allowed publish");
    await payloads(client, "allowed");
  },

  async qos_2_that_is_not_allowed_is_0x87(door) {
    const client = await door.connect({ password: door.narrow });
    equal(await client.publish(door.topic("denied"), "", 2), NOT_AUTHORISED, "reason code");
  },

  async unsubscribing_from_nothing_is_0x11(door) {
    const client = await door.connect();
    equal(await client.unsubscribe(door.topic("nothing")), 0x11, "reason code");
    await client.subscribe(door.topic("something"), 1);
    equal(await client.unsubscribe(door.topic("something")), 0, "reason code");
  },

  async the_receive_maximum_is_kept(door) {
    const topic = door.topic("window");
    const reader = await door.connect({ hold: true, receiveMaximum: 2 });
    await reader.subscribe(topic, 1);
    await reader.subscribe(door.topic("end"), 0);
    const writer = await door.connect();
    for (let n = 0; n < 6; n++) await writer.publish(topic, `${n}`, 1);
    for (let n = 0; n < 6; n += 2) {
      await payloads(reader, `${n}`, `${n + 1}`);
      // QoS 0 does not count, and shows that nothing else was on its way.
      await writer.publish(door.topic("end"), "end", 0);
      await payloads(reader, "end");
      reader.acknowledge();
    }
  },

  async the_maximum_packet_size_is_kept(door) {
    const topic = door.topic("size");
    const reader = await door.connect({ packetMaximum: 300 });
    await reader.subscribe(topic, 1);
    const writer = await door.connect();
    await writer.publish(topic, "small", 1);
    await writer.publish(topic, new Uint8Array(1000), 1);
    await writer.publish(topic, "small again", 1);
    await payloads(reader, "small", "small again");
  },

  async without_a_client_id_one_is_assigned(door) {
    const ids = [];
    for (let n = 0; n < 2; n++) ids.push((await door.connect({ clientId: "" })).assigned);
    check(ids[0] && ids[1] && ids[0] !== ids[1], `assigned: ${ids}`);
  },
};

// Runs the scenarios that are named in `given`, and tells of each.
export async function run(mqtt, Buffer, given, tell) {
  const door = new Door(mqtt, Buffer, given);
  for (const scenario of given.scenarios) {
    door.start(scenario);
    let failed = null;
    try {
      await SCENARIOS[scenario](door);
    } catch (error) {
      const where = /scenarios\.mjs:(\d+):\d+\)?$/gm;
      const lines = [...String(error.stack).matchAll(where)].map(([, line]) => line);
      failed = `${error.message} (scenarios.mjs:${lines.join(" ")})`;
    }
    await door.end();
    await tell({ scenario, failed });
  }
}
