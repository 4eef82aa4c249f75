// autobahn for JavaScript, in Node (with_autobahn_js.mjs) and in the browser (page.html).

import { Base, Invocation, Refused } from "./door.mjs";

const unhex = (text) => Uint8Array.from(text.match(/../g), (byte) => parseInt(byte, 16));

function refusal(error) {
  return error?.error ? new Refused(error.error, error.args, error.kwargs) : new Refused(String(error?.message ?? error));
}

// The class of sessions for this `autobahn`.
export function clientOf(autobahn, serializers) {
  return class Client extends Base {
    async open({ realm, user, method, secret, messageMax }) {
      const { at } = this.door.given;
      const transports = {
        websocket: { type: "websocket", url: `ws://${at.host}:${at.port}/ws`, serializers: [serializers[this.serializer]()] },
        rawsocket: { type: "rawsocket", host: at.host, port: at.port },
        unix: { type: "rawsocket", path: at.path },
        longpoll: { type: "longpoll", url: `http://${at.host}:${at.port}${at.longpoll}` },
      };
      const transport = transports[this.door.transport];
      if (messageMax) transport.rawsocket_max_len_exp = Math.log2(messageMax);
      this.connection = new autobahn.Connection({
        transports: [transport],
        realm,
        authmethods: method === "none" ? undefined : [method],
        authid: user,
        authextra: method === "cryptosign" ? { pubkey: this.pair(secret).public } : undefined,
        onchallenge: (_session, asked, extra) => this.prove(asked, extra, secret),
        max_retries: 0,
        on_user_error: () => {},
        on_internal_error: () => {},
      });
      this.gone = new Promise((resolve) => (this.onGone = resolve));
      this.connection.onclose = (_reason, details) => {
        this.ends.put(details.reason);
        this.onGone(details);
        return true;
      };
      const joined = new Promise((resolve, reject) => {
        this.connection.onopen = (session, details) => resolve([session, details]);
        this.gone.then((details) => reject(new Refused(details.reason ?? "the connection was closed", [details.message])));
      });
      this.connection.open();
      const [session, details] = await this.within(joined, "WELCOME");
      Object.assign(this, { session, id: session.id, roles: details.roles });
    }

    pair(secret) {
      const { nacl, util } = autobahn;
      const pair = nacl.sign.keyPair.fromSeed(unhex(secret));
      return { ...pair, public: util.btoh(pair.publicKey) };
    }

    prove(method, extra, secret) {
      if (method === "ticket") return secret;
      if (method === "wampcra") {
        const key = extra.salt ? autobahn.auth_cra.derive_key(secret, extra.salt, extra.iterations, extra.keylen) : secret;
        return autobahn.auth_cra.sign(key, extra.challenge);
      }
      return autobahn.auth_cryptosign.sign_challenge(this.pair(secret), extra);
    }

    async subscribe(topic, options = {}) {
      const subscription = this.inbox(`an event of ${topic}`);
      const onEvent = (args, kwargs, details) => {
        subscription.put({ args, kwargs, details, publication: details.publication, topic: details.topic });
      };
      subscription.library = await this.answer(this.session.subscribe(topic, onEvent, options), "SUBSCRIBED");
      subscription.id = subscription.library.id;
      return subscription;
    }

    unsubscribe(subscription) {
      return this.answer(subscription.library.unsubscribe(), "UNSUBSCRIBED");
    }

    async publish(topic, args = [], kwargs = {}, options = {}) {
      const published = this.session.publish(topic, args, kwargs, options);
      return options.acknowledge ? (await this.answer(published, "PUBLISHED")).id : undefined;
    }

    async register(procedure, answer, options = {}) {
      const registration = this.inbox(`a call of ${procedure}`);
      const onCall = async (args, kwargs, details) => {
        const invocation = new Invocation(args, kwargs, details, (args, kwargs) => details.progress(args, kwargs));
        try {
          if (!answer) registration.put(invocation);
          const { args, kwargs } = await (answer ? answer(invocation) : invocation.answered);
          return new autobahn.Result(args, kwargs);
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          throw new autobahn.Error(error.uri, error.args, error.kwargs);
        }
      };
      registration.library = await this.answer(this.session.register(procedure, onCall, options), "REGISTERED");
      registration.id = registration.library.id;
      return registration;
    }

    unregister(registration) {
      return this.answer(registration.library.unregister(), "UNREGISTERED");
    }

    begin(procedure, args = [], kwargs = {}, options = {}) {
      const progress = this.inbox("a progressive result");
      const going = this.session.call(procedure, args, kwargs, options);
      const plain = (got) => {
        // Of one argument, autobahn makes the value itself.
        if (got instanceof autobahn.Result) return { args: got.args, kwargs: got.kwargs };
        return { args: got === null || got === undefined ? [] : [got], kwargs: {} };
      };
      const result = going.then(
        plain,
        (error) => Promise.reject(refusal(error)),
        (got) => progress.put(plain(got)),
      );
      // Who asks for it is told; before that, nobody is to be.
      result.then(undefined, () => {});
      return {
        progress,
        result: () => this.within(result, "a result"),
        cancel: (mode) => going.cancel({ mode }),
      };
    }

    async answer(promise, what) {
      try {
        return await this.within(promise, what);
      } catch (error) {
        throw error?.error ? refusal(error) : error;
      }
    }

    async leave() {
      this.connection.close();
      await this.within(this.gone, "GOODBYE");
    }

    // Ends the connection without a word.
    async drop() {
      if (!this.connection._transport) return;
      this.connection._transport.close(3000);
      await this.within(this.gone, "the end of the connection");
    }
  };
}
