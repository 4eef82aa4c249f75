// The scenarios of scenarios.txt in JavaScript, in Node and in the browser. scenarios.py has the same in Python.
//
// A scenario has URIs of its own (`door.uri`) and sessions that go with it; it fails by an exception.

import { Refused, check, equal, refused, show } from "./door.mjs";

const EVERY_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const VALUES = [
  0,
  -1,
  2 ** 31,
  0.5,
  -1e300,
  true,
  false,
  null,
  "",
  "Straße 日本 🦀",
  "a\u0000b",
  [],
  {},
  [[], [1, [2, { deep: [null] }]]],
];
const KEYWORDS = { number: 7, nested: { list: [1, 2, { x: "y" }], empty: {} }, ß: "ß", nothing: null };
// Beyond 2^53, a number of JavaScript is another.
const BIG = [2 ** 53, -(2 ** 53), 2 ** 53 - 1, 2 ** 32 + 1];
const BROKER = [
  "publisher_exclusion",
  "publisher_identification",
  "subscriber_blackwhite_listing",
  "pattern_based_subscription",
  "event_retention",
  "subscription_meta_api",
];
const DEALER = [
  "progressive_call_results",
  "call_canceling",
  "caller_identification",
  "pattern_based_registration",
  "shared_registration",
  "registration_meta_api",
];

const echo = ({ args, kwargs }) => ({ args, kwargs });
const says = (word) => () => ({ args: [word], kwargs: {} });

// That these are the next events, by their first arguments.
async function bodies(subscription, ...expected) {
  const got = [];
  for (let n = 0; n < expected.length; n++) got.push((await subscription.next()).args[0]);
  equal(got, expected, "events");
}

async function matching(inbox, holds) {
  for (;;) {
    const event = await inbox.next();
    if (holds(event)) return event;
  }
}

const two = async (door, first, second) => [await door.join(first), await door.join(second)];

async function letsIn(door, user, method) {
  const client = await door.join({ user, method });
  const details = await client.value("wamp.session.get", client.id);
  equal([details.authid, details.authrole, details.authmethod], [user, door.users[user].role, method], "who it is");
}

async function keepsOut(door, user, method, secret) {
  await refused(
    () => door.join({ user, method, secret }),
    "wamp.error.authentication_denied",
    "wamp.error.authentication_failed",
    "wamp.error.not_authorized",
  );
}

async function reaches(door, optionsOf, firstGets, secondGets) {
  const [first, second] = await two(door, { user: "tester" }, { user: "other" });
  const writer = await door.join();
  const readers = [await first.subscribe(door.uri("news")), await second.subscribe(door.uri("news"))];
  await writer.told(door.uri("news"), ["some"], optionsOf(first, second));
  await writer.told(door.uri("news"), ["all"]);
  await bodies(readers[0], ...(firstGets ? ["some"] : []), "all");
  await bodies(readers[1], ...(secondGets ? ["some"] : []), "all");
}

// As an event, and there and back in a call.
async function passBetween(sender, receiver, uri, args, kwargs) {
  const way = `${sender.serializer} to ${receiver.serializer}`;
  const subscription = await receiver.subscribe(uri);
  await sender.publish(uri, args, kwargs);
  const event = await subscription.next();
  equal(event.args, args, `args of an event, ${way}`);
  equal(event.kwargs, kwargs, `kwargs of an event, ${way}`);
  const registration = await receiver.register(uri);
  const call = await sender.begin(uri, args, kwargs);
  const invocation = await registration.next();
  equal(invocation.args, args, `args of a call, ${way}`);
  equal(invocation.kwargs, kwargs, `kwargs of a call, ${way}`);
  invocation.answer(args, kwargs);
  const result = await call.result();
  equal(result.args, args, `args of a result, ${way} and back`);
  equal(result.kwargs, kwargs, `kwargs of a result, ${way} and back`);
}

async function betweenSerializers(door, serializers, args, kwargs) {
  const clients = [];
  for (const serializer of serializers) clients.push(await door.join({ serializer }));
  for (const sender of clients) {
    for (const receiver of clients) {
      if (receiver !== sender)
        await passBetween(sender, receiver, door.uri(`${sender.serializer}.${receiver.serializer}`), args, kwargs);
    }
  }
}

async function shared(door, invoke, nCalls) {
  const caller = await door.join();
  for (let number = 0; number < 3; number++) await (await door.join()).register(door.uri("shared"), says(number), { invoke });
  const got = [];
  for (let n = 0; n < nCalls; n++) got.push(await caller.value(door.uri("shared")));
  return got;
}

async function announced(door, kind, names, begin, end) {
  const [watcher, client] = await two(door);
  const inboxes = {};
  for (const name of names) inboxes[name] = await watcher.subscribe(`wamp.${kind}.${name}`);
  const comes = async (name, id) => {
    const event = await matching(inboxes[name], ({ args }) => Number(args[0]) === Number(client.id));
    const what = event.args[1];
    if (name === "on_create") equal([what.id, what.uri, what.match], [id, door.uri("a"), "exact"], "what was created");
    else equal(what, id, name);
  };
  const made = await begin(client);
  await comes(names[0], made.id);
  await comes(names[1], made.id);
  await end(client, made);
  await comes(names[2], made.id);
  await comes(names[3], made.id);
}

// A call that its callee has, and has not answered yet.
async function inFlight(door, options = {}) {
  const [callee, caller] = await two(door);
  const registration = await callee.register(door.uri("slow"));
  const call = await caller.begin(door.uri("slow"), [], {}, options);
  return { callee, caller, registration, call, invocation: await registration.next() };
}

const durable = (door, client, name) =>
  client.subscribe(door.uri("orders"), { [client.durableOption ?? "x_durable"]: `${door.id}-${name}` });

// That these come, and have done their work. Clients without EVENT_RECEIVED call a procedure.
async function received(client, subscription, ...expected) {
  const events = [];
  for (let n = 0; n < expected.length; n++) events.push(await subscription.next());
  equal(
    events.map(({ args }) => args[0]),
    expected,
    "events",
  );
  await client.call(
    "restante.event.received",
    events.map(({ publication }) => publication),
  );
}

export const scenarios = {
  async welcome_names_roles_and_features(door) {
    const client = await door.join();
    check(client.id >= 1 && client.id <= 2 ** 53, `the session's id is ${client.id}`);
    equal(
      BROKER.filter((name) => !client.roles.broker?.features[name]),
      [],
      "features that the broker lacks",
    );
    equal(
      DEALER.filter((name) => !client.roles.dealer?.features[name]),
      [],
      "features that the dealer lacks",
    );
  },

  async goodbye_is_answered(door) {
    await (await door.join()).leave();
  },

  async sessions_come_one_after_the_other(door) {
    const ids = new Set();
    for (let n = 0; n < 5; n++) {
      const client = await door.join();
      ids.add(String(client.id));
      await client.leave();
    }
    equal(ids.size, 5, "ids of sessions");
  },

  async another_session_joins_over_the_same_connection(door) {
    const client = await door.join();
    const first = client.id;
    await client.register(door.uri("mine"), echo);
    await client.joinAgain();
    check(client.id !== first, "the second session has the id of the first");
    await refused(() => client.call(door.uri("mine")), "wamp.error.no_such_procedure");
  },

  async who_proves_nothing_is_refused(door) {
    await refused(
      () => door.join({ method: "none" }),
      "wamp.error.authentication_required",
      "wamp.error.no_matching_auth_method",
      "wamp.error.not_authorized",
      "wamp.error.no_auth_method",
    );
  },

  a_ticket_lets_in: (door) => letsIn(door, "tester", "ticket"),
  a_wrong_ticket_is_refused: (door) => keepsOut(door, "tester", "ticket", "not the ticket"),
  wampcra_proves_a_password: (door) => letsIn(door, "tester", "wampcra"),
  wampcra_with_a_wrong_password_is_refused: (door) => keepsOut(door, "tester", "wampcra", "not the password"),
  cryptosign_proves_a_key: (door) => letsIn(door, "keyholder", "cryptosign"),
  cryptosign_with_a_wrong_key_is_refused: (door) => keepsOut(door, "keyholder", "cryptosign", "01".repeat(32)),

  async an_unknown_realm_is_refused(door) {
    await refused(() => door.join({ realm: "nowhere" }), "wamp.error.no_such_realm");
  },

  async an_event_arrives_as_it_was_published(door) {
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(door.uri("news"));
    for (const [args, kwargs] of [
      [[], {}],
      [["one", 2], {}],
      [[], { three: 3 }],
      [["four"], { five: [5] }],
    ]) {
      await writer.publish(door.uri("news"), args, kwargs);
      const event = await subscription.next();
      equal([event.args, event.kwargs], [args, kwargs], "event");
    }
  },

  async an_acknowledged_publish_has_the_publication_of_its_event(door) {
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(door.uri("news"));
    const [sent, got] = [[], []];
    for (let number = 0; number < 5; number++) sent.push(await writer.told(door.uri("news"), [number]));
    for (let number = 0; number < 5; number++) got.push((await subscription.next()).publication);
    equal(got, sent, "publications");
    equal(new Set(got.map(String)).size, 5, "publications that differ");
  },

  async events_keep_their_order(door) {
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(door.uri("news"));
    const all = Array.from({ length: 1000 }, (_, number) => number);
    for (const number of all) writer.publish(door.uri("news"), [number]);
    await bodies(subscription, ...all);
  },

  async a_prefix_takes_all_that_begins_with_it(door) {
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(door.uri("a.b"), { match: "prefix" });
    for (const rest of ["a", "a.c", "a.b", "a.bc", "a.b.c.d", "x.a.b", "a.b.end"]) await writer.told(door.uri(rest), [rest]);
    for (const rest of ["a.b", "a.bc", "a.b.c.d", "a.b.end"]) {
      const event = await subscription.next();
      equal([event.args, event.topic], [[rest], door.uri(rest)], "event and topic");
    }
  },

  async a_wildcard_takes_any_component(door) {
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(door.uri("a..c"), { match: "wildcard" });
    for (const rest of ["a.c", "a.b.c", "a.b.d", "a.b.c.d", "a.x.c"]) await writer.told(door.uri(rest), [rest]);
    for (const rest of ["a.b.c", "a.x.c"]) {
      const event = await subscription.next();
      equal([event.args, event.topic], [[rest], door.uri(rest)], "event and topic");
    }
  },

  async each_subscription_that_matches_gets_the_event(door) {
    const [reader, writer] = await two(door);
    const subscriptions = [
      await reader.subscribe(door.uri("a.b")),
      await reader.subscribe(door.uri("a"), { match: "prefix" }),
      await reader.subscribe(door.uri(".b"), { match: "wildcard" }),
    ];
    const publication = await writer.told(door.uri("a.b"), ["once"]);
    for (const subscription of subscriptions) {
      const event = await subscription.next();
      equal(event.args, ["once"], "event");
      if (event.publication !== undefined) equal(event.publication, publication, "publication");
    }
    for (const subscription of subscriptions) equal(subscription.soFar().length, 0, "events more");
  },

  async after_unsubscribing_nothing_comes(door) {
    const [reader, writer] = await two(door);
    const [gone, kept] = [await reader.subscribe(door.uri("gone")), await reader.subscribe(door.uri("kept"))];
    await reader.unsubscribe(gone);
    await writer.told(door.uri("gone"), ["gone"]);
    await writer.told(door.uri("kept"), ["kept"]);
    await bodies(kept, "kept");
    equal(gone.soFar().length, 0, "events after unsubscribing");
  },

  async the_publisher_gets_no_event(door) {
    const [client, other] = await two(door);
    const subscription = await client.subscribe(door.uri("news"));
    await client.told(door.uri("news"), ["my own"]);
    await client.told(door.uri("news"), ["my own"], { exclude_me: true });
    await other.told(door.uri("news"), ["another's"]);
    await bodies(subscription, "another's");
  },

  async the_publisher_gets_the_event_if_it_wishes(door) {
    const client = await door.join();
    const subscription = await client.subscribe(door.uri("news"));
    await client.told(door.uri("news"), ["my own"], { exclude_me: false });
    await bodies(subscription, "my own");
  },

  eligible_sessions_get_it: (door) => reaches(door, (first) => ({ eligible: [first.id] }), true, false),
  excluded_sessions_do_not_get_it: (door) => reaches(door, (first) => ({ exclude: [first.id] }), false, true),
  eligible_authids_get_it: (door) => reaches(door, () => ({ eligible_authid: ["other", "nobody"] }), false, true),
  excluded_authids_do_not_get_it: (door) => reaches(door, () => ({ exclude_authid: ["other"] }), true, false),
  eligible_authroles_get_it: (door) => reaches(door, () => ({ eligible_authrole: [door.users.tester.role] }), true, false),
  excluded_authroles_do_not_get_it: (door) => reaches(door, () => ({ exclude_authrole: [door.users.tester.role] }), false, true),

  async the_publisher_is_told_only_if_it_wishes(door) {
    const [reader, writer] = await two(door, {}, { user: "other" });
    const subscription = await reader.subscribe(door.uri("news"));
    await writer.told(door.uri("news"), ["mine"], { disclose_me: true });
    const { details } = await subscription.next();
    equal(
      [details.publisher, details.publisher_authid, details.publisher_authrole],
      [writer.id, "other", door.users.other.role],
      "publisher",
    );
    await writer.told(door.uri("news"), ["anybody's"]);
    equal((await subscription.next()).details.publisher ?? null, null, "publisher that did not wish to be told");
  },

  async a_retained_event_waits_for_its_subscribers(door) {
    const [writer, reader] = await two(door);
    await writer.told(door.uri("state"), ["old"], { retain: true });
    await writer.told(door.uri("state"), ["new"], { retain: true });
    await writer.told(door.uri("state"), ["not kept"]);
    const subscription = await reader.subscribe(door.uri("state"), { get_retained: true });
    let event = await subscription.next();
    equal([event.args, event.details.retained], [["new"], true], "the retained event");
    const late = await (await door.join()).subscribe(door.uri("state"));
    await writer.told(door.uri("state"), ["now"]);
    await bodies(late, "now");
    event = await subscription.next();
    equal([event.args, event.details.retained ?? false], [["now"], false], "the event after it");
  },

  async a_pattern_gets_what_is_retained(door) {
    const writer = await door.join();
    for (const rest of ["state.a", "state.b", "other.a"]) await writer.told(door.uri(rest), [rest], { retain: true });
    for (const match of ["prefix", "wildcard"]) {
      const subscription = await (await door.join()).subscribe(door.uri("state."), { match, get_retained: true });
      const events = [await subscription.next(), await subscription.next()].map(({ topic }) => topic);
      equal(events.sort(), [door.uri("state.a"), door.uri("state.b")], "topics of retained events");
    }
  },

  async history_is_told(door) {
    const topic = `${door.given.history}.${door.id}`;
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(door.given.history, { match: "prefix" });
    const sent = [];
    for (let number = 0; number < 5; number++) sent.push(await writer.told(topic, [number], {}, { of: "history" }));
    for (let number = 0; number < 5; number++) await subscription.next();
    const ask = async (kwargs) =>
      (await reader.call("wamp.subscription.get_events", [subscription.id], { topic, ...kwargs })).args;
    const got = await ask({});
    equal(
      got.map(({ publication }) => publication),
      sent,
      "publications",
    );
    equal(
      got.map(({ args }) => args),
      [[0], [1], [2], [3], [4]],
      "args",
    );
    equal([got[0].kwargs, got[0].subscription], [{ of: "history" }, subscription.id], "kwargs and subscription");
    check(got[0].timestamp, "an event has no timestamp");
    equal(
      (await ask({ limit: 2, reverse: true })).map(({ publication }) => publication),
      [sent[4], sent[3]],
      "the last two",
    );
    equal(
      (await ask({ limit: 2, after_publication: sent[1] })).map(({ publication }) => publication),
      sent.slice(2, 4),
      "what is after the second",
    );
  },

  async values_arrive_as_they_were_sent(door) {
    await passBetween(...(await two(door)), door.uri("values"), VALUES, KEYWORDS);
  },

  async binary_arrives_as_it_was_sent(door) {
    await passBetween(...(await two(door)), door.uri("bytes"), [EVERY_BYTE, [EVERY_BYTE]], { kept: { in: EVERY_BYTE } });
  },

  async big_integers_arrive_as_they_were_sent(door) {
    await passBetween(...(await two(door)), door.uri("big"), BIG, { big: BIG });
  },

  serializers_understand_each_other: (door) =>
    betweenSerializers(door, door.serializers, [...VALUES, ...BIG], { ...KEYWORDS, big: BIG }),
  binary_passes_between_serializers: (door) =>
    betweenSerializers(door, door.binary, [EVERY_BYTE], { kept: { in: [EVERY_BYTE] } }),

  async half_a_megabyte_arrives(door) {
    const numbers = Array.from({ length: 10000 }, (_, number) => number);
    await passBetween(...(await two(door)), door.uri("large"), ["ab€d".repeat(100000), numbers], {});
  },

  async a_call_is_answered(door) {
    const [callee, caller] = await two(door);
    await callee.register(door.uri("echo"), echo);
    for (const [args, kwargs] of [
      [[], {}],
      [[1], {}],
      [[1, "two"], {}],
      [[], { three: 3 }],
      [[4], { five: [5] }],
    ]) {
      const result = await caller.call(door.uri("echo"), args, kwargs);
      equal([result.args, result.kwargs], [args, kwargs], "result");
    }
    equal(await callee.value(door.uri("echo"), "myself"), "myself", "one's own procedure");
  },

  async an_error_arrives_as_it_was_raised(door) {
    const [callee, caller] = await two(door);
    await callee.register(door.uri("fails"), () => {
      throw new Refused(door.uri("error.mine"), ["so", 2], { because: ["of", "that"] });
    });
    const refusal = await refused(() => caller.call(door.uri("fails")), door.uri("error.mine"));
    equal([refusal.args, refusal.kwargs], [["so", 2], { because: ["of", "that"] }], "args and kwargs");
  },

  async nobody_answers_is_no_such_procedure(door) {
    const caller = await door.join();
    await refused(() => caller.call(door.uri("nobody")), "wamp.error.no_such_procedure");
  },

  async a_procedure_is_registered_once(door) {
    const [callee, other] = await two(door);
    await callee.register(door.uri("mine"), says("first"));
    await refused(() => other.register(door.uri("mine"), says("second")), "wamp.error.procedure_already_exists");
    equal(await other.value(door.uri("mine")), "first", "answer");
  },

  async after_unregistering_nobody_answers(door) {
    const [callee, caller] = await two(door);
    const registration = await callee.register(door.uri("mine"), echo);
    await caller.call(door.uri("mine"));
    await callee.unregister(registration);
    await refused(() => caller.call(door.uri("mine")), "wamp.error.no_such_procedure");
    await callee.register(door.uri("mine"), says("again"));
    equal(await caller.value(door.uri("mine")), "again", "answer");
  },

  async a_call_in_flight_survives_unregistering(door) {
    const { callee, registration, call, invocation } = await inFlight(door);
    await callee.unregister(registration);
    invocation.answer(["after all"]);
    equal((await call.result()).args, ["after all"], "result");
  },

  async a_prefix_answers_all_that_begins_with_it(door) {
    const [callee, caller] = await two(door);
    await callee.register(door.uri("a.b"), ({ details }) => ({ args: [details.procedure], kwargs: {} }), { match: "prefix" });
    for (const rest of ["a.b", "a.b.c", "a.bc.d"]) equal(await caller.value(door.uri(rest)), door.uri(rest), "procedure");
    await refused(() => caller.call(door.uri("a.c")), "wamp.error.no_such_procedure");
  },

  async the_best_registration_answers(door) {
    const [callee, caller] = await two(door);
    for (const [rest, match] of [
      ["a1.b2.c3.d4.e55", "exact"],
      ["a1.b2..d4..f6.g7", "wildcard"],
      ["a1.b2..d4.e5", "wildcard"],
      ["a1.b2.c44..e5", "wildcard"],
      ["a1.b2..d4.e5..g7", "wildcard"],
      ["a1.b2.c3", "prefix"],
      ["a1.b2.c3.d4", "prefix"],
    ]) {
      await callee.register(door.uri(rest), says(rest), { match });
    }
    for (const [called, answers] of [
      ["a1.b2.c3.d4.e55", "a1.b2.c3.d4.e55"],
      ["a1.b2.c3.d98.e74", "a1.b2.c3"],
      ["a1.b2.c3.d4.e325", "a1.b2.c3.d4"],
      ["a1.b2.c55.d4.e5", "a1.b2..d4.e5"],
      ["a1.b2.c44.d4.e5", "a1.b2.c44..e5"],
      ["a1.b2.c88.d4.e5.f6.g7", "a1.b2..d4.e5..g7"],
    ]) {
      equal(await caller.value(door.uri(called)), answers, `what answers ${called}`);
    }
    await refused(() => caller.call(door.uri("a2.b2.c2.d2.e2")), "wamp.error.no_such_procedure");
  },

  async round_robin_takes_turns(door) {
    const got = await shared(door, "roundrobin", 9);
    equal(
      got,
      got.map((_, number) => (got[0] + number) % 3),
      "who answers",
    );
  },

  async first_takes_the_first(door) {
    equal(await shared(door, "first", 5), [0, 0, 0, 0, 0], "who answers");
  },

  async last_takes_the_last(door) {
    equal(await shared(door, "last", 5), [2, 2, 2, 2, 2], "who answers");
  },

  async random_takes_any(door) {
    // That one of three is never chosen in 60 calls happens once in ten thousand million.
    equal([...new Set(await shared(door, "random", 60))].sort(), [0, 1, 2], "who answers");
  },

  async policies_must_be_the_same(door) {
    const [first, second] = await two(door);
    await first.register(door.uri("shared"), echo, { invoke: "roundrobin" });
    await refused(
      () => second.register(door.uri("shared"), echo, { invoke: "first" }),
      "wamp.error.procedure_exists_with_different_invocation_policy",
      "wamp.error.procedure_already_exists",
    );
  },

  async progressive_results_arrive(door) {
    const { call, invocation } = await inFlight(door, { receive_progress: true });
    for (let number = 0; number < 5; number++) invocation.progress([number], { step: number });
    for (let number = 0; number < 5; number++) {
      const progress = await call.progress.next();
      equal([progress.args, progress.kwargs], [[number], { step: number }], "progress");
    }
    invocation.answer(["done"]);
    equal((await call.result()).args, ["done"], "result");
    equal(call.progress.soFar().length, 0, "progress more");
  },

  async a_timeout_is_in_milliseconds(door) {
    const started = performance.now();
    const { call } = await inFlight(door, { timeout: 300 });
    await refused(() => call.result(), "wamp.error.timeout");
    const took = performance.now() - started;
    check(took > 250 && took < 500 * door.deadlineS, `it took ${took} ms`);
  },

  async cancel_skip_leaves_the_callee_alone(door) {
    const { call, caller, invocation, registration } = await inFlight(door);
    await call.cancel("skip");
    await refused(() => call.result(), "wamp.error.canceled");
    const again = await caller.begin(door.uri("slow"));
    const second = await registration.next();
    invocation.answer(["too late"]);
    second.answer(["in time"]);
    equal((await again.result()).args, ["in time"], "result");
  },

  async cancel_killnowait_does_not_wait(door) {
    const { call } = await inFlight(door);
    await call.cancel("killnowait");
    await refused(() => call.result(), "wamp.error.canceled");
  },

  async cancel_kill_waits_for_the_callee(door) {
    // Its callee announces no call_canceling, so that every mode is "skip".
    const { call } = await inFlight(door);
    await call.cancel("kill");
    await refused(() => call.result(), "wamp.error.canceled");
  },

  async a_callee_that_goes_away_cancels_its_calls(door) {
    const { call, callee, caller } = await inFlight(door);
    await callee.drop();
    await refused(() => call.result(), "wamp.error.canceled");
    await refused(() => caller.call(door.uri("slow")), "wamp.error.no_such_procedure");
  },

  async the_caller_is_told_only_if_it_wishes(door) {
    const [callee, caller] = await two(door, {}, { user: "other" });
    const registration = await callee.register(door.uri("who"));
    let call = await caller.begin(door.uri("who"), [], {}, { disclose_me: true });
    let invocation = await registration.next();
    const { details } = invocation;
    equal(
      [details.caller, details.caller_authid, details.caller_authrole],
      [caller.id, "other", door.users.other.role],
      "caller",
    );
    invocation.answer();
    await call.result();
    call = await caller.begin(door.uri("who"));
    invocation = await registration.next();
    equal(invocation.details.caller ?? null, null, "caller that did not wish to be told");
    invocation.answer();
    await call.result();
  },

  async a_thousand_calls_are_answered(door) {
    const [callee, caller] = await two(door);
    await callee.register(door.uri("echo"), echo);
    const all = Array.from({ length: 1000 }, (_, number) => number);
    const calls = await Promise.all(all.map((number) => caller.begin(door.uri("echo"), [number])));
    const results = await Promise.all(calls.map((call) => call.result()));
    equal(
      results.map(({ args }) => args[0]),
      all,
      "results",
    );
  },

  async a_uri_with_an_empty_component_is_refused(door) {
    const client = await door.join();
    await refused(() => client.subscribe(door.uri("a..b")), "wamp.error.invalid_uri");
    await refused(() => client.register(door.uri("a..b"), echo), "wamp.error.invalid_uri");
    await client.told(door.uri("a.b"), ["the session goes on"]);
  },

  async nobody_registers_below_wamp(door) {
    const client = await door.join();
    await refused(() => client.register(`wamp.${door.prefix}`, echo), "wamp.error.invalid_uri", "wamp.error.not_authorized");
    await refused(() => client.told(`wamp.${door.prefix}`), "wamp.error.invalid_uri", "wamp.error.not_authorized");
  },

  async what_is_not_allowed_is_not_authorized(door) {
    const narrow = await door.join({ user: "narrow" });
    const allowed = `it.narrow.${door.id}`;
    const subscription = await (await door.join()).subscribe(allowed);
    await narrow.told(allowed, ["allowed"]);
    await bodies(subscription, "allowed");
    for (const forbidden of [
      () => narrow.told(door.uri("news")),
      () => narrow.subscribe(door.uri("news")),
      () => narrow.register(door.uri("news"), echo),
      () => narrow.call(door.uri("news")),
      () => narrow.subscribe("it", { match: "prefix" }),
    ]) {
      await refused(forbidden, "wamp.error.not_authorized");
    }
  },

  async what_a_transport_cannot_carry_is_payload_size_exceeded(door) {
    const [callee, caller] = await two(door, {}, { messageMax: 4096 });
    await callee.register(door.uri("grow"), ({ args }) => ({ args: ["x".repeat(args[0])], kwargs: {} }));
    await refused(() => caller.call(door.uri("grow"), [10000]), "wamp.error.payload_size_exceeded");
    const subscription = await caller.subscribe(door.uri("news"));
    await callee.told(door.uri("news"), ["x".repeat(10000)]);
    await callee.told(door.uri("news"), ["small"]);
    await bodies(subscription, "small");
    equal((await caller.value(door.uri("grow"), 1000)).length, 1000, "what it can carry");
  },

  async the_meta_api_tells_of_sessions(door) {
    const [client, other] = await two(door, {}, { user: "other" });
    let listed = (await client.value("wamp.session.list")).map(Number);
    check(listed.includes(Number(client.id)) && listed.includes(Number(other.id)), "both sessions are listed");
    listed = (await client.value("wamp.session.list", [door.users.other.role])).map(Number);
    check(listed.includes(Number(other.id)) && !listed.includes(Number(client.id)), "sessions by role");
    check((await client.value("wamp.session.count")) >= 2, "there are fewer than two sessions");
    const { session, authid, authrole, authmethod } = await client.value("wamp.session.get", other.id);
    equal([session, authid, authrole, authmethod], [other.id, "other", door.users.other.role, "ticket"], "details");
    await other.leave();
    await refused(() => client.call("wamp.session.get", [other.id]), "wamp.error.no_such_session");
  },

  async sessions_are_announced(door) {
    const client = await door.join();
    const joins = await client.subscribe("wamp.session.on_join");
    const leaves = await client.subscribe("wamp.session.on_leave");
    const other = await door.join({ user: "other" });
    const { id } = other;
    const [details] = (await matching(joins, ({ args }) => Number(args[0].session) === Number(id))).args;
    equal([details.authid, details.authrole], ["other", door.users.other.role], "who joined");
    await other.leave();
    const left = await matching(leaves, ({ args }) => Number(args[0]) === Number(id));
    equal(left.args, [id, "other", door.users.other.role], "who left");
  },

  async a_session_is_killed(door) {
    const client = await door.join();
    let other = await door.join({ user: "other" });
    await client.call("wamp.session.kill", [other.id], { reason: door.uri("because"), message: "that is why" });
    equal(await other.ends.next(), door.uri("because"), "reason");
    await refused(() => client.call("wamp.session.kill", [client.id]), "wamp.error.no_such_session");
    other = await door.join({ user: "other" });
    await client.call("wamp.session.kill", [other.id]);
    equal(await other.ends.next(), "wamp.close.killed", "reason");
  },

  async sessions_are_killed_by_authid(door) {
    const client = await door.join();
    const others = await two(door, { user: "other" }, { user: "other" });
    const ids = others.map(({ id }) => Number(id));
    const killed = await client.value("wamp.session.kill_by_authid", "other");
    equal(killed.map(Number).sort(), ids.sort(), "killed");
    for (const other of others) equal(await other.ends.next(), "wamp.close.killed", "reason");
  },

  async the_meta_api_tells_of_registrations(door) {
    const [callee, client] = await two(door);
    const exact = await callee.register(door.uri("a.b"), echo);
    const prefix = await callee.register(door.uri("a"), echo, { match: "prefix" });
    const listed = await client.value("wamp.registration.list");
    check(
      listed.exact.map(Number).includes(Number(exact.id)) && listed.prefix.map(Number).includes(Number(prefix.id)),
      `${exact.id}, ${prefix.id} are not in ${show(listed)}`,
    );
    equal(await client.value("wamp.registration.lookup", door.uri("a.b")), exact.id, "lookup");
    equal(await client.value("wamp.registration.lookup", door.uri("a"), { match: "prefix" }), prefix.id, "lookup of a prefix");
    equal((await client.value("wamp.registration.lookup", door.uri("x"))) ?? null, null, "lookup of what is not there");
    equal(await client.value("wamp.registration.match", door.uri("a.c")), prefix.id, "match");
    const { id, uri, match, invoke } = await client.value("wamp.registration.get", exact.id);
    equal([id, uri, match, invoke], [exact.id, door.uri("a.b"), "exact", "single"], "registration");
    equal(await client.value("wamp.registration.list_callees", exact.id), [callee.id], "callees");
    equal(await client.value("wamp.registration.count_callees", exact.id), 1, "number of callees");
    await refused(() => client.call("wamp.registration.get", [2 ** 52]), "wamp.error.no_such_registration");
  },

  registrations_are_announced: (door) =>
    announced(
      door,
      "registration",
      ["on_create", "on_register", "on_unregister", "on_delete"],
      (client) => client.register(door.uri("a"), echo),
      (client, made) => client.unregister(made),
    ),

  async the_meta_api_tells_of_subscriptions(door) {
    const [reader, client] = await two(door);
    const exact = await reader.subscribe(door.uri("a.b"));
    const wildcard = await reader.subscribe(door.uri(".b"), { match: "wildcard" });
    const listed = await client.value("wamp.subscription.list");
    check(
      listed.exact.map(Number).includes(Number(exact.id)) && listed.wildcard.map(Number).includes(Number(wildcard.id)),
      `${exact.id}, ${wildcard.id} are not in ${show(listed)}`,
    );
    equal(await client.value("wamp.subscription.lookup", door.uri("a.b")), exact.id, "lookup");
    equal(
      await client.value("wamp.subscription.lookup", door.uri(".b"), { match: "wildcard" }),
      wildcard.id,
      "lookup of a wildcard",
    );
    equal(
      (await client.value("wamp.subscription.match", door.uri("a.b"))).map(Number).sort(),
      [Number(exact.id), Number(wildcard.id)].sort(),
      "match",
    );
    const { id, uri, match } = await client.value("wamp.subscription.get", wildcard.id);
    equal([id, uri, match], [wildcard.id, door.uri(".b"), "wildcard"], "subscription");
    equal(await client.value("wamp.subscription.list_subscribers", exact.id), [reader.id], "subscribers");
    equal(await client.value("wamp.subscription.count_subscribers", exact.id), 1, "number of subscribers");
    await refused(() => client.call("wamp.subscription.get", [2 ** 52]), "wamp.error.no_such_subscription");
  },

  subscriptions_are_announced: (door) =>
    announced(
      door,
      "subscription",
      ["on_create", "on_subscribe", "on_unsubscribe", "on_delete"],
      (client) => client.subscribe(door.uri("a")),
      (client, made) => client.unsubscribe(made),
    ),

  async a_testament_is_published_when_its_session_is_lost(door) {
    const [reader, mortal] = await two(door);
    const subscription = await reader.subscribe(door.uri("will"));
    await mortal.call("wamp.session.add_testament", [door.uri("will"), ["first"], { to: "all" }]);
    await mortal.call("wamp.session.add_testament", [door.uri("will"), ["second"], {}]);
    equal(subscription.soFar().length, 0, "events before the end");
    await mortal.drop();
    const event = await subscription.next();
    equal([event.args, event.kwargs], [["first"], { to: "all" }], "testament");
    await bodies(subscription, "second");
  },

  async a_flushed_testament_is_not_published(door) {
    const [reader, mortal] = await two(door);
    const subscription = await reader.subscribe(door.uri("will"));
    await mortal.call("wamp.session.add_testament", [door.uri("will"), ["flushed"], {}]);
    await mortal.call("wamp.session.flush_testaments");
    await mortal.call("wamp.session.add_testament", [door.uri("will"), ["kept"], {}]);
    await mortal.drop();
    await bodies(subscription, "kept");
  },

  // Who never reads gets 50 MB; another, subscribed to the same, all of it.
  async a_slow_subscriber_holds_up_nobody(door) {
    const topic = door.uri("flood");
    await door.ask("stall", { topic });
    const [reader, writer] = await two(door);
    const subscription = await reader.subscribe(topic);
    const body = "x".repeat(100000);
    // In turns: who reads in time misses nothing.
    for (let first = 0; first < 500; first += 10) {
      const turn = Array.from({ length: 10 }, (_, number) => first + number);
      for (const number of turn) writer.publish(topic, [number, body]);
      await bodies(subscription, ...turn);
    }
    await door.ask("unstall");
  },

  async a_durable_subscription_gets_what_it_missed(door) {
    const writer = await door.join();
    let reader = await door.join();
    let subscription = await durable(door, reader, "queue");
    await writer.told(door.uri("orders"), ["one"]);
    await received(reader, subscription, "one");
    await reader.leave();
    for (const word of ["two", "three"]) await writer.told(door.uri("orders"), [word]);
    reader = await door.join();
    subscription = await durable(door, reader, "queue");
    await received(reader, subscription, "two", "three");
    await writer.told(door.uri("orders"), ["four"]);
    await received(reader, subscription, "four");
  },

  async what_is_acknowledged_does_not_come_again(door) {
    const [writer, reader] = await two(door);
    const subscription = await durable(door, reader, "queue");
    for (const word of ["four", "five"]) await writer.told(door.uri("orders"), [word]);
    await received(reader, subscription, "four", "five");
    await reader.leave();
    await writer.told(door.uri("orders"), ["six"]);
    await bodies(await durable(door, await door.join(), "queue"), "six");
  },

  async what_is_not_acknowledged_comes_again(door) {
    const [writer, reader] = await two(door);
    const subscription = await durable(door, reader, "queue");
    for (const word of ["one", "two"]) await writer.told(door.uri("orders"), [word]);
    await bodies(subscription, "one", "two");
    await reader.drop();
    await bodies(await durable(door, await door.join(), "queue"), "one", "two");
  },

  async kill_9_loses_nothing_durable(door) {
    const [writer, reader] = await two(door);
    await durable(door, reader, "queue");
    await reader.leave();
    for (let number = 0; number < 100; number++) await writer.told(door.uri("orders"), [number]);
    await door.ask("kill-and-restart");
    await bodies(await durable(door, await door.join(), "queue"), ...Array.from({ length: 100 }, (_, number) => number));
  },
};
