"""The scenarios of scenarios.txt in Python, for every client that has a `Door` (door.py). scenarios.mjs has the same in JavaScript.

A scenario has topics of its own (`door.topic`) and clients that go with it; it fails by an exception.
"""

from door import Refused, check, equal

NOT_AUTHORISED = 0x87
EVERY_BYTE = bytes(range(256))


def a_ping_is_answered(door):
    client = door.connect(keep_alive=1)
    client.pinged()
    client.leave()


def a_wrong_password_is_refused(door):
    try:
        door.connect(password="not the token")
    except Refused as refused:
        check(refused.code in ((0x86, 0x87) if door.is_5 else (4, 5)), f"refused with {refused.code:#x}")
    else:
        check(False, "it was let in")


def qos_0_arrives_as_it_was_sent(door):
    arrives_as_it_was_sent(door, 0)


def qos_1_arrives_as_it_was_sent(door):
    arrives_as_it_was_sent(door, 1)


def qos_2_arrives_as_it_was_sent(door):
    arrives_as_it_was_sent(door, 2)


def arrives_as_it_was_sent(door, qos):
    topic = door.topic("Straße 1/日本/a b")
    reader = door.connect()
    equal(reader.subscribe(topic, qos), qos, "granted")
    writer = door.connect()
    for payload in (b"one", b"", EVERY_BYTE, EVERY_BYTE * 400):
        writer.publish(topic, payload, qos)
        message = reader.receive()
        equal(message.topic, topic, "topic")
        equal(message.payload, payload, "payload")
        equal(message.qos, qos, "QoS")
        equal(message.retain, False, "retain")


def plus_stands_for_one_level(door):
    reader = door.connect()
    reader.subscribe(door.topic("+/end"), 1)
    writer = door.connect()
    for level in ("a/end", "a/b/end", "end", "/end", "b/end"):
        writer.publish(door.topic(level), level.encode(), 1)
    payloads(reader, b"a/end", b"/end", b"b/end")


def hash_stands_for_all_the_rest(door):
    reader = door.connect()
    reader.subscribe(door.topic("a/#"), 1)
    writer = door.connect()
    for level in ("a", "b", "a/b", "ab", "a/b/c"):
        writer.publish(door.topic(level), level.encode(), 1)
    payloads(reader, b"a", b"a/b", b"a/b/c")


def after_unsubscribing_nothing_comes(door):
    reader = door.connect()
    reader.subscribe(door.topic("gone"), 1)
    reader.subscribe(door.topic("kept"), 1)
    reader.unsubscribe(door.topic("gone"))
    writer = door.connect()
    writer.publish(door.topic("gone"), b"gone", 1)
    writer.publish(door.topic("kept"), b"kept", 1)
    payloads(reader, b"kept")


def a_clean_session_is_forgotten(door):
    topic = door.topic("clean")
    reader = door.connect()
    check(reader.present is not True, "a new session is present")
    reader.subscribe(topic, 1)
    reader.leave()
    door.connect().publish(topic, b"missed", 1)
    reader = door.connect(client_id=reader.client_id)
    check(reader.present is not True, "a clean session is present")
    reader.subscribe(topic, 1)
    door.connect().publish(topic, b"new", 1)
    payloads(reader, b"new")


def a_session_that_stays_gets_what_it_missed(door):
    topic = door.topic("stays")
    reader = door.connect(stays=True)
    check(reader.present is not True, "a new session is present")
    reader.subscribe(topic, 1)
    reader.leave()
    writer = door.connect()
    writer.publish(topic, b"one", 1)
    writer.publish(topic, b"two", 1)
    reader = door.connect(client_id=reader.client_id, stays=True)
    check(reader.present is not False, "the session is not present")
    payloads(reader, b"one", b"two")
    writer.publish(topic, b"three", 1)
    payloads(reader, b"three")


def kill_9_loses_nothing_of_qos_1(door):
    survives_kill_9(door, 1)


def kill_9_neither_loses_nor_repeats_qos_2(door):
    survives_kill_9(door, 2)


def survives_kill_9(door, qos):
    topic = door.topic("durable")
    expected = [b"%d" % n for n in range(20)]
    reader = door.connect(stays=True)
    reader.subscribe(topic, qos)
    reader.leave()
    writer = door.connect()
    for payload in expected:
        writer.publish(topic, payload, qos)
    door.kill_and_restart()
    reader = door.connect(client_id=reader.client_id, stays=True)
    check(reader.present is not False, "the session is not present")
    payloads(reader, *expected)
    # What is confirmed to the same connection later is on disk later than its acknowledgements.
    reader.publish(door.topic("fence"), b"", 1)
    reader.leave()
    door.connect().publish(door.topic("fence"), b"", 1)
    door.kill_and_restart()
    reader = door.connect(client_id=reader.client_id, stays=True)
    check(reader.present is not False, "the session is not present after the second kill")
    door.connect().publish(topic, b"new", qos)
    payloads(reader, b"new")


def the_same_client_id_takes_over(door):
    topic = door.topic("taken")
    first = door.connect(stays=True)
    first.subscribe(topic, 1)
    second = door.connect(client_id=first.client_id, stays=True)
    check(second.present is not False, "the session is not present")
    reason = first.ended()
    check(not door.is_5 or reason in (None, 0x8E), f"the first was ended with {reason}")
    door.connect().publish(topic, b"to the second", 1)
    payloads(second, b"to the second")


def a_will_is_published_when_its_client_is_lost(door):
    topic = door.topic("will")
    reader = door.connect()
    reader.subscribe(topic, 2)
    for how in ("leave", "drop"):
        mortal = door.connect(will=(topic, b"lost", 1))
        mortal.subscribe(door.topic("own"), 0)
        # A client that could not say goodbye, or asked for its will with it, says so.
        if getattr(mortal, how)() is False or how == "drop":
            message = reader.receive()
            equal((message.payload, message.qos, message.retain), (b"lost", 1, False), "the will")
    door.connect().publish(topic, b"last", 1)
    payloads(reader, b"last")


def the_broker_tells_of_itself(door):
    reader = door.connect()
    reader.subscribe("$SYS/broker/version", 0)
    message = reader.receive()
    check(message.payload.startswith(b"restante version "), f"the version is {message.payload}")
    equal(message.retain, True, "retain")


def a_shared_subscription_is_split(door):
    topic = door.topic("work")
    members = [door.connect() for _ in range(2)]
    for member in members:
        member.subscribe(f"$share/crew/{topic}", 1)
        member.subscribe(door.topic("end"), 1)
    writer = door.connect()
    expected = [b"%d" % n for n in range(40)]
    for payload in expected:
        writer.publish(topic, payload, 1)
    got = [[], []]
    door.until("all was received", lambda: sum(map(len, got)) == len(expected) or drain(members, got))
    writer.publish(door.topic("end"), b"end", 1)
    for member in members:
        payloads(member, b"end")
    check(all(got), f"one got all: {got}")
    equal(sorted(got[0] + got[1]), sorted(expected), "received by both together")


def drain(members, got):
    for member, so_far in zip(members, got):
        so_far.extend(message.payload for message in member.received())
    return False


def what_a_dead_member_had_goes_to_another(door):
    topic = door.topic("work")
    first = door.connect(hold=True)
    first.subscribe(f"$share/crew/{topic}", 1)
    expected = {b"%d" % n for n in range(10)}
    writer = door.connect()
    for payload in expected:
        writer.publish(topic, payload, 1)
    first.has_in_hand(len(expected))
    second = door.connect()
    second.subscribe(f"$share/crew/{topic}", 1)
    first.drop()
    equal({second.receive().payload for _ in expected}, expected, "received by the second")


def what_is_published_is_consumed_by_restante(door):
    topic = door.topic("queue")
    door.ask("queue", address=topic)
    writer = door.connect()
    for qos in (0, 1, 2):
        writer.publish(topic, f"QoS {qos}".encode(), qos)
    equal(door.ask("consume", address=topic, count=3), ["QoS 0", "QoS 1", "QoS 2"], "consumed")


def what_restante_sends_arrives(door):
    topic = door.topic("sent")
    reader = door.connect()
    reader.subscribe(topic, 1)
    door.ask("send", address=topic, lines=["one", "zwei ü"])
    payloads(reader, b"one", "zwei ü".encode())


def user_properties_keep_their_order(door):
    pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("ü", "")]
    equal(sent_with(door, user=pairs).user, pairs, "user properties")


def content_type_response_topic_and_correlation_data_arrive(door):
    message = sent_with(door, content_type="text/plain", response_topic="answers/ü", correlation=door.correlation)
    equal(message.content_type, "text/plain", "content type")
    equal(message.response_topic, "answers/ü", "response topic")
    equal(message.correlation, door.correlation, "correlation data")


def sent_with(door, **properties):
    topic = door.topic("properties")
    reader = door.connect()
    reader.subscribe(topic, 1)
    door.connect().publish(topic, b"with properties", 1, **properties)
    return reader.receive()


def message_expiry_counts_down(door):
    topic = door.topic("expiry")
    reader = door.connect(stays=True)
    reader.subscribe(topic, 1)
    reader.leave()
    writer = door.connect()
    writer.publish(topic, b"short", 1, expiry=1)
    writer.publish(topic, b"long", 1, expiry=100)
    # MQTT counts in whole seconds.
    door.let_pass(1.5)
    reader = door.connect(client_id=reader.client_id, stays=True)
    message = reader.receive()
    equal(message.payload, b"long", "what has not expired")
    check(message.expiry is not None and 50 < message.expiry < 100, f"{message.expiry} s are left of 100")


def a_topic_alias_stands_for_its_topic(door):
    topic = door.topic("alias")
    reader = door.connect(alias_maximum=4)
    reader.subscribe(topic, 1)
    writer = door.connect()
    writer.publish(topic, b"one", 1, alias=1)
    writer.publish("", b"two", 1, alias=1)
    writer.publish("", b"three", 0, alias=1)
    for payload in (b"one", b"two", b"three"):
        message = reader.receive()
        equal((message.topic, message.payload), (topic, payload), "received")


def all_matching_subscription_identifiers_come_along(door):
    reader = door.connect()
    reader.subscribe(door.topic("a/+"), 1, identifier=7)
    reader.subscribe(door.topic("#"), 1, identifier=268_435_455)
    door.connect().publish(door.topic("a/b"), b"both", 1)
    came = set()
    # One copy for all of its subscriptions, or one for each: both are allowed.
    while came != {7, 268_435_455}:
        message = reader.receive()
        equal(message.payload, b"both", "payload")
        check(message.identifiers and came.isdisjoint(message.identifiers), f"{message.identifiers} after {came}")
        came.update(message.identifiers)
    door.connect().publish(door.topic("elsewhere"), b"one", 1)
    equal(reader.receive().identifiers, [268_435_455], "identifiers")


def no_local_does_not_echo(door):
    topic = door.topic("local")
    reader = door.connect()
    reader.subscribe(topic, 1, no_local=True)
    reader.publish(topic, b"own", 1)
    door.connect().publish(topic, b"another's", 1)
    payloads(reader, b"another's")


def publishing_to_nobody_is_0x10(door):
    equal(door.connect().publish(door.topic("nobody"), b"", 1), 0x10, "reason code")


def what_is_not_allowed_is_0x87(door):
    client = door.connect(password=door.narrow)
    equal(client.publish(door.topic("denied"), b"", 1), NOT_AUTHORISED, "reason code of a publish of QoS 1")
    equal(client.subscribe(door.topic("denied"), 1), NOT_AUTHORISED, "reason code of a subscription")
    # The connection goes on.
    equal(client.subscribe("narrow/" + door.topic("allowed"), 1), 1, "granted")
    equal(client.publish("narrow/" + door.topic("allowed"), b"allowed", 1), 0, "reason code of an allowed publish")
    payloads(client, b"allowed")


def qos_2_that_is_not_allowed_is_0x87(door):
    equal(door.connect(password=door.narrow).publish(door.topic("denied"), b"", 2), NOT_AUTHORISED, "reason code")


def unsubscribing_from_nothing_is_0x11(door):
    client = door.connect()
    equal(client.unsubscribe(door.topic("nothing")), 0x11, "reason code")
    client.subscribe(door.topic("something"), 1)
    equal(client.unsubscribe(door.topic("something")), 0, "reason code")


def the_receive_maximum_is_kept(door):
    topic = door.topic("window")
    reader = door.connect(hold=True, receive_maximum=2)
    reader.subscribe(topic, 1)
    reader.subscribe(door.topic("end"), 0)
    writer = door.connect()
    for n in range(6):
        writer.publish(topic, b"%d" % n, 1)
    for n in range(0, 6, 2):
        equal([reader.receive().payload, reader.receive().payload], [b"%d" % n, b"%d" % (n + 1)], "in hand")
        # QoS 0 does not count, and shows that nothing else was on its way.
        writer.publish(door.topic("end"), b"end", 0)
        payloads(reader, b"end")
        reader.acknowledge()


def the_maximum_packet_size_is_kept(door):
    topic = door.topic("size")
    reader = door.connect(packet_maximum=300)
    reader.subscribe(topic, 1)
    writer = door.connect()
    writer.publish(topic, b"small", 1)
    writer.publish(topic, bytes(1000), 1)
    writer.publish(topic, b"small again", 1)
    payloads(reader, b"small", b"small again")


def without_a_client_id_one_is_assigned(door):
    ids = [door.connect(client_id="").assigned for _ in range(2)]
    check(all(ids) and ids[0] != ids[1], f"assigned: {ids}")


def payloads(client, *expected):
    """These come next, in this order."""
    for payload in expected:
        equal(client.receive().payload, payload, "payload")
