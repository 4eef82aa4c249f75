"""The scenarios of scenarios.txt in Python, for every client that has a `Door` (door.py). scenarios.mjs has the same in JavaScript.

A scenario has URIs of its own (`door.uri`) and sessions that go with it; it fails by an exception.
"""

import time

from door import DEADLINE_S, Result, Refused, check, equal, refused

EVERY_BYTE = bytes(range(256))
VALUES = [0, -1, 2**31, 0.5, -1e300, True, False, None, "", "Straße 日本 🦀", "a\u0000b", [], {},
          [[], [1, [2, {"deep": [None]}]]]]
KEYWORDS = {"number": 7, "nested": {"list": [1, 2, {"x": "y"}], "empty": {}}, "ß": "ß", "nothing": None}
BIG = [2**53, -(2**53), 2**53 - 1, 2**63 - 1, -(2**63)]
BROKER = {"publisher_exclusion", "publisher_identification", "subscriber_blackwhite_listing", "pattern_based_subscription",
          "event_retention", "subscription_meta_api"}
DEALER = {"progressive_call_results", "call_canceling", "caller_identification", "pattern_based_registration", "shared_registration",
          "registration_meta_api"}
NOT_SO_LONG_S = DEADLINE_S / 2


def echo(invocation):
    return Result(invocation.args, invocation.kwargs)


def says(word):
    return lambda _: Result([word], {})


def bodies(subscription, *expected):
    """That these are the next events, by their first arguments."""
    equal([subscription.next().args[0] for _ in expected], list(expected), "events")


def matching(inbox, what, holds):
    """The next event that is meant; others are passed by."""
    while True:
        event = inbox.next()
        if holds(event):
            return event


# Sessions


def welcome_names_roles_and_features(door):
    client = door.join()
    check(1 <= client.id <= 2**53, f"the session's id is {client.id}")
    check({"broker", "dealer"} <= set(client.roles), f"the roles are {set(client.roles)}")
    equal(BROKER - set(client.roles["broker"]), set(), "features that the broker lacks")
    equal(DEALER - set(client.roles["dealer"]), set(), "features that the dealer lacks")


def goodbye_is_answered(door):
    door.join().leave()


def sessions_come_one_after_the_other(door):
    ids = set()
    for _ in range(5):
        client = door.join()
        ids.add(client.id)
        client.leave()
    equal(len(ids), 5, "ids of sessions")


def another_session_joins_over_the_same_connection(door):
    client = door.join()
    first = client.id
    client.register(door.uri("mine"), echo)
    client.join_again()
    check(client.id != first, "the second session has the id of the first")
    refused(lambda: client.call(door.uri("mine")), "wamp.error.no_such_procedure")


def who_proves_nothing_is_refused(door):
    refused(lambda: door.join(method="none"), "wamp.error.authentication_required", "wamp.error.no_matching_auth_method",
            "wamp.error.not_authorized", "wamp.error.no_auth_method")


def a_ticket_lets_in(door):
    lets_in(door, "tester", "ticket")


def a_wrong_ticket_is_refused(door):
    keeps_out(door, "tester", "ticket", "not the ticket")


def wampcra_proves_a_password(door):
    lets_in(door, "tester", "wampcra")


def wampcra_with_a_wrong_password_is_refused(door):
    keeps_out(door, "tester", "wampcra", "not the password")


def scram_proves_a_password(door):
    lets_in(door, "tester", "scram")


def scram_with_a_wrong_password_is_refused(door):
    keeps_out(door, "tester", "scram", "not the password")


def cryptosign_proves_a_key(door):
    lets_in(door, "keyholder", "cryptosign")


def cryptosign_with_a_wrong_key_is_refused(door):
    keeps_out(door, "keyholder", "cryptosign", "01" * 32)


def lets_in(door, user, method):
    client = door.join(user, method)
    details = client.call("wamp.session.get", client.id).args[0]
    equal(details["authid"], user, "authid")
    equal(details["authrole"], door.users[user]["role"], "authrole")
    equal(details["authmethod"], method, "authmethod")


def keeps_out(door, user, method, secret):
    refused(lambda: door.join(user, method, secret), "wamp.error.authentication_denied", "wamp.error.authentication_failed",
            "wamp.error.not_authorized")


def an_unknown_realm_is_refused(door):
    refused(lambda: door.join(realm="nowhere"), "wamp.error.no_such_realm")


# Publish and subscribe


def an_event_arrives_as_it_was_published(door):
    topic = door.uri("news")
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(topic)
    for args, kwargs in (([], {}), (["one", 2], {}), ([], {"three": 3}), (["four"], {"five": [5]})):
        writer.publish(topic, args, kwargs)
        event = subscription.next()
        equal(event.args, args, "args")
        equal(event.kwargs, kwargs, "kwargs")


def an_acknowledged_publish_has_the_publication_of_its_event(door):
    topic = door.uri("news")
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(topic)
    publications = [writer.told(topic, number) for number in range(5)]
    equal([subscription.next().publication for _ in publications], publications, "publications")
    equal(len(set(publications)), 5, "publications that differ")


def events_keep_their_order(door):
    topic = door.uri("news")
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(topic)
    for number in range(1000):
        writer.publish(topic, [number])
    bodies(subscription, *range(1000))


def a_prefix_takes_all_that_begins_with_it(door):
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(door.uri("a.b"), match="prefix")
    for rest in ("a", "a.c", "a.b", "a.bc", "a.b.c.d", "x.a.b", "a.b.end"):
        writer.told(door.uri(rest), rest)
    for rest in ("a.b", "a.bc", "a.b.c.d", "a.b.end"):
        event = subscription.next()
        equal(event.args, [rest], "event")
        equal(event.topic, door.uri(rest), "topic")


def a_wildcard_takes_any_component(door):
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(door.uri("a..c"), match="wildcard")
    for rest in ("a.c", "a.b.c", "a.b.d", "a.b.c.d", "a.x.c"):
        writer.told(door.uri(rest), rest)
    for rest in ("a.b.c", "a.x.c"):
        event = subscription.next()
        equal(event.args, [rest], "event")
        equal(event.topic, door.uri(rest), "topic")


def each_subscription_that_matches_gets_the_event(door):
    reader, writer = door.join(), door.join()
    subscriptions = [reader.subscribe(door.uri("a.b")), reader.subscribe(door.uri("a"), match="prefix"),
                     reader.subscribe(door.uri(".b"), match="wildcard")]
    publication = writer.told(door.uri("a.b"), "once")
    for subscription in subscriptions:
        event = subscription.next()
        equal(event.args, ["once"], "event")
        check(event.publication in (publication, None), "it has another publication")
    for subscription in subscriptions:
        equal(subscription.so_far(), [], "events more")


def after_unsubscribing_nothing_comes(door):
    reader, writer = door.join(), door.join()
    gone, kept = reader.subscribe(door.uri("gone")), reader.subscribe(door.uri("kept"))
    reader.unsubscribe(gone)
    writer.told(door.uri("gone"), "gone")
    writer.told(door.uri("kept"), "kept")
    bodies(kept, "kept")
    equal(gone.so_far(), [], "events after unsubscribing")


def the_publisher_gets_no_event(door):
    client, other = door.join(), door.join()
    subscription = client.subscribe(door.uri("news"))
    client.told(door.uri("news"), "my own")
    client.told(door.uri("news"), "my own", options={"exclude_me": True})
    other.told(door.uri("news"), "another's")
    bodies(subscription, "another's")


def the_publisher_gets_the_event_if_it_wishes(door):
    client = door.join()
    subscription = client.subscribe(door.uri("news"))
    client.told(door.uri("news"), "my own", options={"exclude_me": False})
    bodies(subscription, "my own")


def reaches(door, options_of, first_gets, second_gets):
    """Who of a tester and another user gets what is published with these options."""
    first, second, writer = door.join("tester"), door.join("other"), door.join("tester")
    readers = [first.subscribe(door.uri("news")), second.subscribe(door.uri("news"))]
    writer.told(door.uri("news"), "some", options=options_of(first, second))
    writer.told(door.uri("news"), "all")
    bodies(readers[0], *(["some"] if first_gets else []), "all")
    bodies(readers[1], *(["some"] if second_gets else []), "all")


def eligible_sessions_get_it(door):
    reaches(door, lambda first, _: {"eligible": [first.id]}, True, False)


def excluded_sessions_do_not_get_it(door):
    reaches(door, lambda first, _: {"exclude": [first.id]}, False, True)


def eligible_authids_get_it(door):
    reaches(door, lambda *_: {"eligible_authid": ["other", "nobody"]}, False, True)


def excluded_authids_do_not_get_it(door):
    reaches(door, lambda *_: {"exclude_authid": ["other"]}, True, False)


def eligible_authroles_get_it(door):
    reaches(door, lambda *_: {"eligible_authrole": [door.users["tester"]["role"]]}, True, False)


def excluded_authroles_do_not_get_it(door):
    reaches(door, lambda *_: {"exclude_authrole": [door.users["tester"]["role"]]}, False, True)


def the_publisher_is_told_only_if_it_wishes(door):
    reader, writer = door.join(), door.join("other")
    subscription = reader.subscribe(door.uri("news"))
    writer.told(door.uri("news"), "mine", options={"disclose_me": True})
    details = subscription.next().details
    equal(details.get("publisher"), writer.id, "publisher")
    equal(details.get("publisher_authid"), "other", "publisher_authid")
    equal(details.get("publisher_authrole"), door.users["other"]["role"], "publisher_authrole")
    writer.told(door.uri("news"), "anybody's")
    equal(subscription.next().details.get("publisher"), None, "publisher that did not wish to be told")


def a_retained_event_waits_for_its_subscribers(door):
    writer, reader = door.join(), door.join()
    writer.told(door.uri("state"), "old", options={"retain": True})
    writer.told(door.uri("state"), "new", options={"retain": True})
    writer.told(door.uri("state"), "not kept")
    subscription = reader.subscribe(door.uri("state"), get_retained=True)
    event = subscription.next()
    equal(event.args, ["new"], "the retained event")
    equal(event.details.get("retained"), True, "retained")
    late = door.join().subscribe(door.uri("state"))
    writer.told(door.uri("state"), "now")
    bodies(late, "now")
    event = subscription.next()
    equal(event.args, ["now"], "the event after it")
    check(not event.details.get("retained"), "an event that was just published is retained")


def a_pattern_gets_what_is_retained(door):
    writer = door.join()
    for rest in ("state.a", "state.b", "other.a"):
        writer.told(door.uri(rest), rest, options={"retain": True})
    for pattern, match in (("state.", "prefix"), ("state.", "wildcard")):
        subscription = door.join().subscribe(door.uri(pattern), match=match, get_retained=True)
        events = sorted((subscription.next() for _ in range(2)), key=lambda event: event.args)
        equal([event.args for event in events], [["state.a"], ["state.b"]], "retained events")
        equal([event.topic for event in events], [door.uri("state.a"), door.uri("state.b")], "topics")


def history_is_told(door):
    topic = f"{door.given['history']}.{door.prefix.rsplit('.', 1)[1]}"
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(door.given["history"], match="prefix")
    publications = [writer.told(topic, number, of="history") for number in range(5)]
    for _ in publications:
        subscription.next()
    got = reader.call("wamp.subscription.get_events", subscription.id, topic=topic)
    equal([event["publication"] for event in got.args], publications, "publications")
    equal([event["args"] for event in got.args], [[number] for number in range(5)], "args")
    equal(got.args[0]["kwargs"], {"of": "history"}, "kwargs")
    equal(got.args[0]["subscription"], subscription.id, "subscription")
    check("timestamp" in got.args[0], "an event has no timestamp")
    got = reader.call("wamp.subscription.get_events", subscription.id, topic=topic, limit=2, reverse=True)
    equal([event["publication"] for event in got.args], publications[:2:-1], "the last two")
    got = reader.call("wamp.subscription.get_events", subscription.id, topic=topic, after_publication=publications[1], limit=2)
    equal([event["publication"] for event in got.args], publications[2:4], "what is after the second")


# Values


def values_arrive_as_they_were_sent(door):
    pass_between(door.join(), door.join(), door.uri("values"), VALUES, KEYWORDS)


def binary_arrives_as_it_was_sent(door):
    pass_between(door.join(), door.join(), door.uri("bytes"), [b"", EVERY_BYTE, [EVERY_BYTE]], {"kept": {"in": EVERY_BYTE}})


def big_integers_arrive_as_they_were_sent(door):
    pass_between(door.join(), door.join(), door.uri("big"), BIG, {"big": BIG})


def serializers_understand_each_other(door):
    clients = [door.join(serializer=serializer) for serializer in door.serializers]
    for number, sender in enumerate(clients):
        for receiver in clients:
            if receiver is not sender:
                pass_between(sender, receiver, door.uri(f"from{number}.{receiver.serializer}"), VALUES + BIG, KEYWORDS | {"big": BIG})


def binary_passes_between_serializers(door):
    clients = [door.join(serializer=serializer) for serializer in door.binary]
    for number, sender in enumerate(clients):
        for receiver in clients:
            if receiver is not sender:
                topic = door.uri(f"from{number}.{receiver.serializer}")
                pass_between(sender, receiver, topic, [b"", EVERY_BYTE], {"kept": {"in": [EVERY_BYTE]}})


def pass_between(sender, receiver, uri, args, kwargs):
    """As an event, and there and back in a call."""
    way = f"{sender.serializer} to {receiver.serializer}"
    subscription = receiver.subscribe(uri)
    sender.publish(uri, args, kwargs)
    event = subscription.next()
    equal(event.args, args, f"args of an event, {way}")
    equal(event.kwargs, kwargs, f"kwargs of an event, {way}")
    registration = receiver.register(uri)
    call = sender.begin(uri, args, kwargs)
    invocation = registration.next()
    equal(invocation.args, args, f"args of a call, {way}")
    equal(invocation.kwargs, kwargs, f"kwargs of a call, {way}")
    invocation.answer(*args, **kwargs)
    result = call.result()
    equal(result.args, args, f"args of a result, {way} and back")
    equal(result.kwargs, kwargs, f"kwargs of a result, {way} and back")


def half_a_megabyte_arrives(door):
    pass_between(door.join(), door.join(), door.uri("large"), ["ab€d" * 100_000, list(range(10_000))], {})


# Calls


def a_call_is_answered(door):
    callee, caller = door.join(), door.join()
    callee.register(door.uri("echo"), echo)
    for args, kwargs in (([], {}), ([1], {}), ([1, "two"], {}), ([], {"three": 3}), ([4], {"five": [5]})):
        result = caller.call(door.uri("echo"), *args, **kwargs)
        equal((result.args, result.kwargs), (args, kwargs), "result")
    equal(callee.value(door.uri("echo"), "myself"), "myself", "one's own procedure")


def an_error_arrives_as_it_was_raised(door):
    callee, caller = door.join(), door.join()
    callee.register(door.uri("fails"), lambda _: Refused(door.uri("error.mine"), ["so", 2], {"because": ["of", "that"]}))
    refusal = refused(lambda: caller.call(door.uri("fails")), door.uri("error.mine"))
    equal(refusal.args_of_it, ["so", 2], "args")
    equal(refusal.kwargs_of_it, {"because": ["of", "that"]}, "kwargs")


def nobody_answers_is_no_such_procedure(door):
    refused(lambda: door.join().call(door.uri("nobody")), "wamp.error.no_such_procedure")


def a_procedure_is_registered_once(door):
    callee, other, caller = door.join(), door.join(), door.join()
    callee.register(door.uri("mine"), says("first"))
    refused(lambda: other.register(door.uri("mine"), says("second")), "wamp.error.procedure_already_exists")
    equal(caller.value(door.uri("mine")), "first", "answer")


def after_unregistering_nobody_answers(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("mine"), echo)
    caller.call(door.uri("mine"))
    callee.unregister(registration)
    refused(lambda: caller.call(door.uri("mine")), "wamp.error.no_such_procedure")
    callee.register(door.uri("mine"), says("again"))
    equal(caller.value(door.uri("mine")), "again", "answer")


def a_call_in_flight_survives_unregistering(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    call = caller.begin(door.uri("slow"))
    invocation = registration.next()
    callee.unregister(registration)
    invocation.answer("after all")
    equal(call.result().args, ["after all"], "result")


def a_prefix_answers_all_that_begins_with_it(door):
    callee, caller = door.join(), door.join()
    callee.register(door.uri("a.b"), lambda invocation: Result([invocation.details["procedure"]], {}), match="prefix")
    for rest in ("a.b", "a.b.c", "a.bc.d"):
        equal(caller.value(door.uri(rest)), door.uri(rest), "procedure")
    refused(lambda: caller.call(door.uri("a.c")), "wamp.error.no_such_procedure")


def the_best_registration_answers(door):
    callee, caller = door.join(), door.join()
    for rest, match in (("a1.b2.c3.d4.e55", "exact"), ("a1.b2..d4..f6.g7", "wildcard"), ("a1.b2..d4.e5", "wildcard"),
                        ("a1.b2.c44..e5", "wildcard"), ("a1.b2..d4.e5..g7", "wildcard"),
                        ("a1.b2.c3", "prefix"), ("a1.b2.c3.d4", "prefix")):
        callee.register(door.uri(rest), says(rest), match=match)
    for called, answers in (
        ("a1.b2.c3.d4.e55", "a1.b2.c3.d4.e55"),
        ("a1.b2.c3.d98.e74", "a1.b2.c3"),
        ("a1.b2.c3.d4.e325", "a1.b2.c3.d4"),
        ("a1.b2.c55.d4.e5", "a1.b2..d4.e5"),
        ("a1.b2.c44.d4.e5", "a1.b2.c44..e5"),
        ("a1.b2.c88.d4.e5.f6.g7", "a1.b2..d4.e5..g7"),
    ):
        equal(caller.value(door.uri(called)), answers, f"what answers {called}")
    refused(lambda: caller.call(door.uri("a2.b2.c2.d2.e2")), "wamp.error.no_such_procedure")


def shared(door, policy, n_calls):
    """Who of three answers calls."""
    caller = door.join()
    for number in range(3):
        door.join().register(door.uri("shared"), says(number), invoke=policy)
    return [caller.value(door.uri("shared")) for _ in range(n_calls)]


def round_robin_takes_turns(door):
    got = shared(door, "roundrobin", 9)
    equal(got, [(got[0] + number) % 3 for number in range(9)], "who answers")


def first_takes_the_first(door):
    equal(shared(door, "first", 5), [0] * 5, "who answers")


def last_takes_the_last(door):
    equal(shared(door, "last", 5), [2] * 5, "who answers")


def random_takes_any(door):
    # That one of three is never chosen in 60 calls happens once in ten thousand million.
    equal(set(shared(door, "random", 60)), {0, 1, 2}, "who answers")


def policies_must_be_the_same(door):
    door.join().register(door.uri("shared"), echo, invoke="roundrobin")
    refused(lambda: door.join().register(door.uri("shared"), echo, invoke="first"),
            "wamp.error.procedure_exists_with_different_invocation_policy", "wamp.error.procedure_already_exists")


def progressive_results_arrive(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("steps"))
    call = caller.begin(door.uri("steps"), receive_progress=True)
    invocation = registration.next()
    for number in range(5):
        invocation.progress(number, step=number)
    for number in range(5):
        progress = call.progress.next()
        equal((progress.args, progress.kwargs), ([number], {"step": number}), "progress")
    invocation.answer("done")
    equal(call.result().args, ["done"], "result")
    equal(call.progress.queue.qsize(), 0, "progress more")


def a_timeout_is_in_milliseconds(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    started = time.monotonic()
    call = caller.begin(door.uri("slow"), timeout=300)
    registration.next()
    refused(call.result, "wamp.error.timeout")
    took = time.monotonic() - started
    check(0.25 < took < NOT_SO_LONG_S, f"it took {took:.2f} s")


def cancel_skip_leaves_the_callee_alone(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    call = caller.begin(door.uri("slow"))
    invocation = registration.next()
    call.cancel("skip")
    refused(call.result, "wamp.error.canceled")
    # What comes after another call has come before it, too.
    again = caller.begin(door.uri("slow"))
    second = registration.next()
    check(not invocation.interrupted.is_set(), "the callee was interrupted")
    invocation.answer("too late")
    second.answer("in time")
    equal(again.result().args, ["in time"], "result")


def cancel_kill_waits_for_the_callee(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    call = caller.begin(door.uri("slow"))
    invocation = registration.next()
    call.cancel("kill")
    invocation.is_interrupted()
    # autobahn's callee answers an INTERRUPT with an error of its own.
    refused(call.result)


def cancel_killnowait_does_not_wait(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    call = caller.begin(door.uri("slow"))
    invocation = registration.next()
    call.cancel("killnowait")
    refused(call.result, "wamp.error.canceled")
    invocation.is_interrupted()


def a_callee_that_goes_away_cancels_its_calls(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    call = caller.begin(door.uri("slow"))
    registration.next()
    callee.drop()
    refused(call.result, "wamp.error.canceled")
    refused(lambda: caller.call(door.uri("slow")), "wamp.error.no_such_procedure")


def a_caller_that_goes_away_interrupts_its_calls(door):
    callee, caller = door.join(), door.join()
    registration = callee.register(door.uri("slow"))
    caller.begin(door.uri("slow"))
    invocation = registration.next()
    caller.drop()
    invocation.is_interrupted()


def the_caller_is_told_only_if_it_wishes(door):
    callee, caller = door.join(), door.join("other")
    registration = callee.register(door.uri("who"))
    call = caller.begin(door.uri("who"), disclose_me=True)
    invocation = registration.next()
    equal(invocation.details.get("caller"), caller.id, "caller")
    equal(invocation.details.get("caller_authid"), "other", "caller_authid")
    equal(invocation.details.get("caller_authrole"), door.users["other"]["role"], "caller_authrole")
    invocation.answer()
    call.result()
    call = caller.begin(door.uri("who"))
    invocation = registration.next()
    equal(invocation.details.get("caller"), None, "caller that did not wish to be told")
    invocation.answer()
    call.result()


def a_thousand_calls_are_answered(door):
    callee, caller = door.join(), door.join()
    callee.register(door.uri("echo"), echo)
    calls = [caller.begin(door.uri("echo"), [number]) for number in range(1000)]
    equal([call.result().args for call in calls], [[number] for number in range(1000)], "results")


# What is refused


def a_uri_with_an_empty_component_is_refused(door):
    client = door.join()
    refused(lambda: client.subscribe(door.uri("a..b")), "wamp.error.invalid_uri")
    refused(lambda: client.register(door.uri("a..b"), echo), "wamp.error.invalid_uri")
    client.told(door.uri("a.b"), "the session goes on")


def nobody_registers_below_wamp(door):
    client = door.join()
    refused(lambda: client.register(f"wamp.{door.prefix}", echo), "wamp.error.invalid_uri", "wamp.error.not_authorized")
    refused(lambda: client.told(f"wamp.{door.prefix}"), "wamp.error.invalid_uri", "wamp.error.not_authorized")


def what_is_not_allowed_is_not_authorized(door):
    narrow = door.join("narrow")
    allowed = f"it.narrow.{door.prefix.rsplit('.', 1)[1]}"
    subscription = door.join().subscribe(allowed)
    narrow.told(allowed, "allowed")
    bodies(subscription, "allowed")
    for forbidden in (lambda: narrow.told(door.uri("news")), lambda: narrow.subscribe(door.uri("news")),
                      lambda: narrow.register(door.uri("news"), echo), lambda: narrow.call(door.uri("news")),
                      lambda: narrow.subscribe("it", match="prefix")):
        refused(forbidden, "wamp.error.not_authorized")


def what_a_transport_cannot_carry_is_payload_size_exceeded(door):
    callee, caller = door.join(), door.join(message_max=4096)
    callee.register(door.uri("grow"), lambda invocation: Result(["x" * invocation.args[0]], {}))
    refused(lambda: caller.call(door.uri("grow"), 10_000), "wamp.error.payload_size_exceeded")
    subscription = caller.subscribe(door.uri("news"))
    callee.told(door.uri("news"), "x" * 10_000)
    callee.told(door.uri("news"), "small")
    bodies(subscription, "small")
    equal(len(caller.value(door.uri("grow"), 1000)), 1000, "what it can carry")


# Meta API


def the_meta_api_tells_of_sessions(door):
    client, other = door.join(), door.join("other")
    listed = client.value("wamp.session.list")
    check({client.id, other.id} <= set(listed), f"{client.id} and {other.id} are not in {listed}")
    listed = client.value("wamp.session.list", [door.users["other"]["role"]])
    check(other.id in listed and client.id not in listed, "sessions by role")
    check(client.value("wamp.session.count") >= 2, "there are fewer than two sessions")
    details = client.value("wamp.session.get", other.id)
    equal({name: details[name] for name in ("session", "authid", "authrole", "authmethod")},
          {"session": other.id, "authid": "other", "authrole": door.users["other"]["role"], "authmethod": "ticket"}, "details")
    other.leave()
    refused(lambda: client.call("wamp.session.get", other.id), "wamp.error.no_such_session")


def sessions_are_announced(door):
    client = door.join()
    joins, leaves = client.subscribe("wamp.session.on_join"), client.subscribe("wamp.session.on_leave")
    other = door.join("other")
    details = matching(joins, "on_join", lambda event: event.args[0]["session"] == other.id).args[0]
    equal((details["authid"], details["authrole"]), ("other", door.users["other"]["role"]), "who joined")
    other.leave()
    left = matching(leaves, "on_leave", lambda event: event.args[0] == other.id)
    equal(left.args, [other.id, "other", door.users["other"]["role"]], "who left")


def a_session_is_killed(door):
    client, other = door.join(), door.join("other")
    client.call("wamp.session.kill", other.id, reason=door.uri("because"), message="that is why")
    equal(other.ends.next(), door.uri("because"), "reason")
    refused(lambda: client.call("wamp.session.kill", client.id), "wamp.error.no_such_session")
    other = door.join("other")
    client.call("wamp.session.kill", other.id)
    equal(other.ends.next(), "wamp.close.killed", "reason")


def sessions_are_killed_by_authid(door):
    client, others = door.join(), [door.join("other") for _ in range(2)]
    killed = client.value("wamp.session.kill_by_authid", "other")
    equal(sorted(killed), sorted(other.id for other in others), "killed")
    for other in others:
        equal(other.ends.next(), "wamp.close.killed", "reason")


def the_meta_api_tells_of_registrations(door):
    callee, client = door.join(), door.join()
    exact = callee.register(door.uri("a.b"), echo)
    prefix = callee.register(door.uri("a"), echo, match="prefix")
    listed = client.value("wamp.registration.list")
    check(exact.id in listed["exact"] and prefix.id in listed["prefix"], f"{exact.id}, {prefix.id} are not in {listed}")
    equal(client.value("wamp.registration.lookup", door.uri("a.b")), exact.id, "lookup")
    equal(client.value("wamp.registration.lookup", door.uri("a"), {"match": "prefix"}), prefix.id, "lookup of a prefix")
    equal(client.value("wamp.registration.lookup", door.uri("x")), None, "lookup of what is not there")
    equal(client.value("wamp.registration.match", door.uri("a.c")), prefix.id, "match")
    got = client.value("wamp.registration.get", exact.id)
    equal({name: got[name] for name in ("id", "uri", "match", "invoke")},
          {"id": exact.id, "uri": door.uri("a.b"), "match": "exact", "invoke": "single"}, "registration")
    check("created" in got, "a registration was never created")
    equal(client.value("wamp.registration.list_callees", exact.id), [callee.id], "callees")
    equal(client.value("wamp.registration.count_callees", exact.id), 1, "number of callees")
    refused(lambda: client.call("wamp.registration.get", 2**52), "wamp.error.no_such_registration")


def registrations_are_announced(door):
    announced(door, "registration", ("on_create", "on_register", "on_unregister", "on_delete"),
              lambda client: client.register(door.uri("a"), echo), lambda client, registration: client.unregister(registration))


def the_meta_api_tells_of_subscriptions(door):
    reader, client = door.join(), door.join()
    exact = reader.subscribe(door.uri("a.b"))
    wildcard = reader.subscribe(door.uri(".b"), match="wildcard")
    listed = client.value("wamp.subscription.list")
    check(exact.id in listed["exact"] and wildcard.id in listed["wildcard"], f"{exact.id}, {wildcard.id} are not in {listed}")
    equal(client.value("wamp.subscription.lookup", door.uri("a.b")), exact.id, "lookup")
    equal(client.value("wamp.subscription.lookup", door.uri(".b"), {"match": "wildcard"}), wildcard.id, "lookup of a wildcard")
    equal(client.value("wamp.subscription.lookup", door.uri("x")), None, "lookup of what is not there")
    equal(sorted(client.value("wamp.subscription.match", door.uri("a.b"))), sorted([exact.id, wildcard.id]), "match")
    got = client.value("wamp.subscription.get", wildcard.id)
    equal({name: got[name] for name in ("id", "uri", "match")}, {"id": wildcard.id, "uri": door.uri(".b"), "match": "wildcard"},
          "subscription")
    equal(client.value("wamp.subscription.list_subscribers", exact.id), [reader.id], "subscribers")
    equal(client.value("wamp.subscription.count_subscribers", exact.id), 1, "number of subscribers")
    refused(lambda: client.call("wamp.subscription.get", 2**52), "wamp.error.no_such_subscription")


def subscriptions_are_announced(door):
    announced(door, "subscription", ("on_create", "on_subscribe", "on_unsubscribe", "on_delete"),
              lambda client: client.subscribe(door.uri("a")), lambda client, subscription: client.unsubscribe(subscription))


def announced(door, kind, names, begin, end):
    watcher, client = door.join(), door.join()
    inboxes = {name: watcher.subscribe(f"wamp.{kind}.{name}") for name in names}

    def comes(name, id):
        event = matching(inboxes[name], name, lambda event: event.args[0] == client.id)
        if name == "on_create":
            made = event.args[1]
            equal((made["id"], made["uri"], made["match"]), (id, door.uri("a"), "exact"), "what was created")
        else:
            equal(event.args[1], id, name)

    begun = begin(client)
    comes(names[0], begun.id)
    comes(names[1], begun.id)
    end(client, begun)
    comes(names[2], begun.id)
    comes(names[3], begun.id)


def a_testament_is_published_when_its_session_is_lost(door):
    reader, mortal = door.join(), door.join()
    subscription = reader.subscribe(door.uri("will"))
    mortal.call("wamp.session.add_testament", door.uri("will"), ["first"], {"to": "all"})
    mortal.call("wamp.session.add_testament", door.uri("will"), ["second"], {})
    equal(subscription.so_far(), [], "events before the end")
    mortal.drop()
    event = subscription.next()
    equal((event.args, event.kwargs), (["first"], {"to": "all"}), "testament")
    bodies(subscription, "second")


def a_flushed_testament_is_not_published(door):
    reader, mortal = door.join(), door.join()
    subscription = reader.subscribe(door.uri("will"))
    mortal.call("wamp.session.add_testament", door.uri("will"), ["flushed"], {})
    mortal.call("wamp.session.flush_testaments")
    mortal.call("wamp.session.add_testament", door.uri("will"), ["kept"], {})
    mortal.drop()
    bodies(subscription, "kept")


# Under load


def a_slow_subscriber_holds_up_nobody(door):
    """Who never reads gets 50 MB; another, subscribed to the same, all of it."""
    topic = door.uri("flood")
    door.ask("stall", topic=topic)
    reader, writer = door.join(), door.join()
    subscription = reader.subscribe(topic)
    body = "x" * 100_000
    # In turns: who reads in time misses nothing.
    for first in range(0, 500, 10):
        for number in range(first, first + 10):
            writer.publish(topic, [number, body])
        bodies(subscription, *range(first, first + 10))
    door.ask("unstall")


# Durable


def durable(door, client, name):
    return client.subscribe(door.uri("orders"), x_durable=f"{door.prefix.rsplit('.', 1)[1]}-{name}")


def a_durable_subscription_gets_what_it_missed(door):
    writer, reader = door.join(), door.join()
    bodies_of = durable(door, reader, "queue")
    writer.told(door.uri("orders"), "one")
    bodies(bodies_of, "one")
    reader.leave()
    for word in ("two", "three"):
        writer.told(door.uri("orders"), word)
    reader = door.join()
    subscription = durable(door, reader, "queue")
    bodies(subscription, "two", "three")
    writer.told(door.uri("orders"), "four")
    bodies(subscription, "four")


def what_is_acknowledged_does_not_come_again(door):
    writer, reader = door.join(), door.join()
    subscription = durable(door, reader, "queue")
    for word in ("one", "two", "three"):
        writer.told(door.uri("orders"), word)
    bodies(subscription, "one", "two", "three")
    reader.leave()
    writer.told(door.uri("orders"), "four")
    bodies(durable(door, door.join(), "queue"), "four")


def what_is_not_acknowledged_comes_again(door):
    writer, reader = door.join(), door.join()
    subscription = durable(door, reader, "queue")
    subscription.hold = True
    for word in ("one", "two"):
        writer.told(door.uri("orders"), word)
    bodies(subscription, "one", "two")
    reader.drop()
    bodies(durable(door, door.join(), "queue"), "one", "two")


def kill_9_loses_nothing_durable(door):
    writer, reader = door.join(), door.join()
    durable(door, reader, "queue")
    reader.leave()
    for number in range(100):
        writer.told(door.uri("orders"), number)
    door.ask("kill-and-restart")
    bodies(durable(door, door.join(), "queue"), *range(100))
