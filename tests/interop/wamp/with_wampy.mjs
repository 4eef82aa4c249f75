// wampy in Node.

import websocket from "websocket";
import { Wampy } from "wampy";
import { CborSerializer } from "wampy/CborSerializer.js";
import { JsonSerializer } from "wampy/JsonSerializer.js";
import { MsgpackSerializer } from "wampy/MsgpackSerializer.js";
import { sign as signCryptosign } from "wampy/cryptosign.js";
import { sign as signCra } from "wampy/wampcra.js";

import { Base, Invocation, Refused, run } from "./door.mjs";

const SERIALIZERS = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };
const PLUGINS = { none: () => undefined, ticket: (secret) => () => secret, wampcra: signCra, cryptosign: signCryptosign };

function refusal(error) {
  const uri = error?.errorUri ?? error?.error;
  return uri ? new Refused(uri, error.argsList, error.argsDict) : error;
}

class Client extends Base {
  // It lets no other private option through.
  durableOption = "_durable";

  async open({ realm, user, method, secret }) {
    const { at, users } = this.door.given;
    const plugin = PLUGINS[method](secret);
    this.gone = new Promise((resolve) => (this.onGone = resolve));
    this.wampy = new Wampy(`ws://${at.host}:${at.port}/ws`, {
      ws: websocket.w3cwebsocket,
      realm,
      serializer: new SERIALIZERS[this.serializer](),
      autoReconnect: false,
      uriValidation: "loose",
      authid: user,
      authmethods: plugin ? [method] : [],
      authextra: method === "cryptosign" ? { pubkey: users[user].public } : {},
      authMode: plugin ? "auto" : "manual",
      authPlugins: plugin ? { [method]: plugin } : {},
      onClose: () => this.onGone(),
    });
    const details = await this.answer(this.wampy.connect(), "WELCOME");
    Object.assign(this, { id: this.wampy.getSessionId(), roles: details.roles });
  }

  async subscribe(topic, options = {}) {
    const subscription = this.inbox(`an event of ${topic}`);
    const onEvent = ({ argsList, argsDict, details }) => {
      subscription.put({ args: argsList ?? [], kwargs: argsDict ?? {}, details, topic: details.topic });
    };
    // It unsubscribes, and does not crash by it, only from what was subscribed to without options.
    const wishes = Object.keys(options).length > 0 ? options : undefined;
    const made = await this.answer(this.wampy.subscribe(topic, onEvent, wishes), "SUBSCRIBED");
    return Object.assign(subscription, { id: made.subscriptionId, key: made.subscriptionKey });
  }

  unsubscribe(subscription) {
    return this.answer(this.wampy.unsubscribe(subscription.key), "UNSUBSCRIBED");
  }

  async publish(topic, args = [], kwargs = {}, { acknowledge, ...options } = {}) {
    const published = this.wampy.publish(topic, payload(args, kwargs), options);
    if (!acknowledge) return void published.catch(() => {});
    return (await this.answer(published, "PUBLISHED")).publicationId;
  }

  async register(procedure, answer, options = {}) {
    const registration = this.inbox(`a call of ${procedure}`);
    const onCall = async ({ argsList, argsDict, details, result_handler: tell }) => {
      const progress = (args, kwargs) => tell({ argsList: args, argsDict: kwargs, options: { progress: true } });
      const invocation = new Invocation(argsList, argsDict, details, progress);
      if (!answer) registration.put(invocation);
      try {
        const { args, kwargs } = await (answer ? answer(invocation) : invocation.answered);
        return payload(args, kwargs);
      } catch (error) {
        throw { error: error.uri, argsList: error.args, argsDict: error.kwargs };
      }
    };
    const made = await this.answer(this.wampy.register(procedure, onCall, options), "REGISTERED");
    return Object.assign(registration, { id: made.registrationId, procedure });
  }

  unregister(registration) {
    return this.answer(this.wampy.unregister(registration.procedure), "UNREGISTERED");
  }

  begin(procedure, args = [], kwargs = {}, { receive_progress, ...options } = {}) {
    const progress = this.inbox("a progressive result");
    if (receive_progress) options.progress_callback = (got) => progress.put(plain(got));
    return this.going(progress, this.wampy.call(procedure, payload(args, kwargs), options));
  }

  going(progress, promise) {
    const request = this.wampy.getOpStatus().reqId;
    const result = promise.then(plain);
    result.catch(() => {});
    return { progress, result: () => this.answer(result, "a result"), cancel: (mode) => this.wampy.cancel(request, { mode }) };
  }

  async answer(promise, what) {
    try {
      return await this.within(promise, what);
    } catch (error) {
      throw refusal(error);
    }
  }

  async leave() {
    this.wampy.disconnect();
    await this.within(this.gone, "GOODBYE");
  }

  // Ends the connection without a word.
  async drop() {
    this.wampy._ws?.close();
    await this.within(this.gone, "the end of the connection");
  }
}

const payload = (args, kwargs) => ({ argsList: args, ...(Object.keys(kwargs).length > 0 ? { argsDict: kwargs } : {}) });
const plain = ({ argsList, argsDict }) => ({ args: argsList ?? [], kwargs: argsDict ?? {} });

// What nobody waits for any more; the scenario tells what is wrong.
process.on("unhandledRejection", (error) => console.error(error));
const serializers = Object.keys(SERIALIZERS);
await run(Client, JSON.parse(process.argv[2]), serializers, serializers.slice(1), (result) =>
  console.log(JSON.stringify(result)),
);
process.exit(0);
