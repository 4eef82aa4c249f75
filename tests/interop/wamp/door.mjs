// What the scenarios see of a client library: a `Door` that makes sessions, each a `Base` with the library's own ways.
//
// A library's own module (with_*.mjs) has a subclass of `Base` and calls `run`.

import { scenarios } from "./scenarios.mjs";

const OPTIONS = { acknowledge: true };

export class Failed extends Error {}

// An ABORT or an ERROR with this URI.
export class Refused extends Error {
  constructor(uri, args = [], kwargs = {}) {
    super(`refused with ${uri}: ${short(show(args))}`);
    Object.assign(this, { uri, args, kwargs });
  }
}

export function check(holds, text) {
  if (!holds) throw new Failed(text);
}

export function equal(got, expected, what) {
  const [left, right] = [show(got), show(expected)];
  check(left === right, `${what}: ${short(left)} instead of ${short(right)}`);
}

// As text, with the keys of objects in order, and with bytes as such.
export function show(value) {
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return `bytes(${[...value].map((byte) => byte.toString(16).padStart(2, "0")).join("")})`;
  if (Array.isArray(value)) return `[${value.map(show).join()}]`;
  if (typeof value === "bigint") return `${value}`;
  if (typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 1e21) return BigInt(value).toString();
  if (value !== null && typeof value === "object") {
    return `{${Object.keys(value)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${show(value[key])}`)
      .join()}}`;
  }
  return JSON.stringify(value) ?? "undefined";
}

function short(text) {
  return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}

export async function refused(what, ...uris) {
  let got;
  try {
    got = await what();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    check(uris.length === 0 || uris.includes(error.uri), `refused with ${error.uri} instead of ${uris.join(" or ")}`);
    return error;
  }
  throw new Failed(`it was not refused, but ${got?.args ? short(show(got.args)) : got}`);
}

// What came and was not asked for yet, or who waits for it.
export class Inbox {
  came = [];
  waiting = [];

  constructor(what, deadlineS) {
    Object.assign(this, { what, deadlineS });
  }

  put(value) {
    const taker = this.waiting.shift();
    if (taker) taker(value);
    else this.came.push(value);
  }

  next() {
    if (this.came.length > 0) return Promise.resolve(this.came.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), this.what, this.deadlineS);
  }

  soFar() {
    return this.came.splice(0);
  }
}

export function within(promise, what, deadlineS) {
  // Made here, so that it tells who waited.
  const late = new Failed(`${what} did not come within ${deadlineS} s`);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late), 1000 * deadlineS);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

// A call that the scenario answers; `reply` takes what the promise of the library's callee results in.
export class Invocation {
  constructor(args, kwargs, details, progress) {
    Object.assign(this, { args: args ?? [], kwargs: kwargs ?? {}, details, progress });
    this.answered = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }

  answer(args = [], kwargs = {}) {
    this.resolve({ args, kwargs });
  }
}

// One session. Libraries give it open, subscribe, unsubscribe, publish, register, unregister, begin, leave, drop.
export class Base {
  constructor(door, serializer) {
    Object.assign(this, { door, serializer });
    this.ends = this.inbox("the end of the session");
  }

  inbox(what) {
    return new Inbox(what, this.door.deadlineS);
  }

  within(promise, what) {
    return within(promise, what, this.door.deadlineS);
  }

  async call(procedure, args = [], kwargs = {}, options = {}) {
    return (await this.begin(procedure, args, kwargs, options)).result();
  }

  // The first value that a call results in.
  async value(procedure, ...args) {
    return (await this.call(procedure, args)).args[0];
  }

  // Publishes, and has it acknowledged; the publication.
  told(topic, args = [], options = {}, kwargs = {}) {
    return this.publish(topic, args, kwargs, { ...OPTIONS, ...options });
  }
}

class Door {
  constructor(Client, given, serializers, binary) {
    Object.assign(this, { Client, given, serializers, binary, clients: [], prefix: "", deadlineS: given.deadline_s });
    Object.assign(this, { transport: given.transport, serializer: given.serializer, realm: given.realm, users: given.users });
  }

  start(scenario) {
    this.id = `x${[...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    this.prefix = `it.${scenario}.${this.id}`;
  }

  async end() {
    for (const client of this.clients.splice(0)) {
      try {
        await client.drop();
      } catch {
        // It may be gone already, in whatever way.
      }
    }
  }

  uri(rest) {
    return rest ? `${this.prefix}.${rest}` : this.prefix;
  }

  // A session of `user`, who proves it by `method`: none, ticket, wampcra, scram or cryptosign.
  async join({ user = "tester", method = "ticket", secret, serializer, realm, messageMax } = {}) {
    const known = this.users[user];
    const client = new this.Client(this, serializer ?? this.serializer);
    this.clients.push(client);
    await client.open({
      realm: realm ?? this.realm,
      user: method === "none" ? undefined : user,
      method,
      secret: secret ?? (method === "cryptosign" ? known.key : known.password),
      messageMax,
    });
    return client;
  }

  async ask(what, fields = {}) {
    const answer = await fetch(`${this.given.control}/${what}`, { method: "POST", body: JSON.stringify(fields) });
    check(answer.ok, await answer.text());
  }
}

// Runs the scenarios of `given` one by one; `tell` is told of each.
export async function run(Client, given, serializers, binary, tell) {
  const door = new Door(Client, given, serializers, binary);
  for (const scenario of given.scenarios) {
    let failed = null;
    door.start(scenario);
    try {
      check(scenarios[scenario], "there is no such scenario in JavaScript");
      await scenarios[scenario](door);
    } catch (error) {
      // The scenario's own line is the last before that of `run`.
      const at = (error.stack ?? "")
        .split("\n")
        .filter((line) => /scenarios\.mjs:/.test(line) && !/ run /.test(line))
        .pop()
        ?.match(/:(\d+):/)[1];
      failed =
        error instanceof Failed || error instanceof Refused
          ? `${error.message} (scenarios.mjs:${at})`
          : (error.stack ?? show(error));
    }
    await door.end();
    await tell({ scenario, failed });
  }
}
