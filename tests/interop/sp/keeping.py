"""What is kept, and what goes on when somebody dies."""

import base64
import re

from brokers import has_own_broker
from rig import until

# Much less than the minute after which a REQ asks again by itself.
AT_ONCE_S = 10


def numbered(since, until_, size=0):
    return [f"{n}.".encode().ljust(size, b".") for n in range(since, until_)]


def number(body):
    return int(re.match(rb"\d+", body)[0])


def peeked(t, name="a"):
    """The numbers of the messages that the admin API shows."""
    path = f"realms/default/queues/{t.address(name).replace('/', '%2F')}/messages"
    return [number(item["body"].encode() if item["body"] else base64.b64decode(item["body_base64"])) for item in t.broker.all_of(path)]


@has_own_broker
def a_push_survives_kill_9(t, sender, receiver):
    push = t.connected(sender, "push")
    for body in numbered(0, 2000):
        push.begin(body)
    until("the broker has some", lambda: t.queue() >= 100)
    before = set(peeked(t))
    t.broker.kill()
    t.broker.start()
    # It comes back by itself, and goes on.
    until("all are sent", lambda: push.n_sent == 2000)
    push.send(*numbered(2000, 2100))
    pull = t.start(receiver, "pull")
    pull.eventually_gets(b"2099.")
    got = [number(body) for body in pull.got]
    assert got == sorted(set(got)), "some came twice, or out of order"
    lost = sorted(set(range(2100)) - set(got))
    assert not before & set(lost), f"it was there before the kill, and is lost: {sorted(before & set(lost))}"
    assert not lost or lost == list(range(lost[0], lost[-1] + 1)), f"what is lost is not what was under way at the kill: {lost}"
    t.holds(0)
    return f"{len(lost)} were under way"


@has_own_broker
def what_is_in_the_queue_survives_kill_9(t, sender, receiver):
    push = t.connected(sender, "push")
    push.send(*numbered(0, 300))
    t.holds(300)
    t.broker.kill()
    t.broker.start()
    t.holds(300)
    t.start(receiver, "pull").gets(*numbered(0, 300))
    t.holds(0)


def competing_pulls_share_a_queue(t, one, other):
    first, second = t.receiving(one, "pull"), t.receiving(other, "pull")
    t.start("pynng", "push").send(*numbered(0, 300))
    until("all are pulled", lambda: len(first.got) + len(second.got) >= 300)
    got = sorted(number(body) for end in (first, second) for body in end.got)
    assert got == list(range(300)), f"{len(got)} came"
    assert first.got and second.got, "one of them got nothing"
    t.holds(0)


def what_a_dead_pull_had_not_goes_to_another(t, dying, other):
    n, size = 400, 20_000
    first, second = t.receiving(dying, "pull", hold=True), t.receiving(other, "pull")
    t.start("pynng", "push").send(*numbered(0, n, size))
    # What the first has, nobody takes from it: its system takes some, and no more.
    until("the second has all but what the first was sent", lambda: is_settled_but_for(t, 1))
    unsettled = sum(it["unsettled"] for it in t.consumers())
    first.kill()
    t.holds(0)
    t.start("pynng", "push").send(b"400.")
    second.eventually_gets(b"400.")
    numbers = [number(body) for body in second.got]
    assert len(set(numbers)) == len(numbers), "some came twice"
    # What its system had were the first ones of those that it was sent.
    sent = sorted(set(range(n)) - set(numbers[:-1 - unsettled]))
    lost = sorted(set(range(n)) - set(numbers))
    assert lost == sent[:len(sent) - unsettled], f"{lost} are lost, of {sent}, of which {unsettled} were not settled"
    return f"its system had {len(lost)}, {unsettled} went to the other"


def is_settled_but_for(t, n):
    """Whether nothing waits, and only one consumer still has something."""
    unsettled = [it["unsettled"] for it in t.consumers()]
    return sum(it > 0 for it in unsettled) == n and t.queue() == sum(unsettled)


def a_killed_worker_is_replaced(t, asker, worker):
    first = t.start(worker, "rep", hold=True)
    asking = t.start(asker, "req")
    asking.begin(b"a question")
    first.gets(b"a question")
    second = t.receiving(worker, "rep")
    first.kill()
    asking.gets(b"re:a question", seconds=AT_ONCE_S)
    # Also where the next comes only afterwards.
    second.kill()
    third = t.receiving(worker, "rep", hold=True)
    asking.begin(b"another")
    third.gets(b"another")
    third.kill()
    t.start(worker, "rep")
    asking.gets(b"re:a question", b"re:another", seconds=AT_ONCE_S)


def a_durable_sub_gets_what_it_missed(t, publisher, subscriber):
    first = t.receiving(subscriber, "sub", options="?durable=mine")
    live = t.receiving(subscriber, "sub")
    publish = t.connected(publisher, "pub")
    arrives(publish, b"first", lambda: b"first" in first.got and b"first" in live.got)
    live.kill()
    first.kill()
    until("they are gone", lambda: t.n_consumers() == 0)
    publishes(t, publish, numbered(0, 20))
    t.start(subscriber, "sub", options="?durable=mine").gets(*numbered(0, 20))
    until("they are settled", lambda: durable_holds(t) == 0)


@has_own_broker
def what_a_durable_sub_missed_survives_kill_9(t, publisher, subscriber):
    first = t.receiving(subscriber, "sub", options="?durable=mine")
    publish = t.connected(publisher, "pub")
    arrives(publish, b"first", lambda: b"first" in first.got)
    first.kill()
    until("it is gone", lambda: t.n_consumers() == 0)
    publishes(t, publish, numbered(0, 20))
    t.broker.kill()
    t.broker.start()
    t.start(subscriber, "sub", options="?durable=mine").gets(*numbered(0, 20))


def arrives(end, body, has_arrived):
    """Sends it until it has arrived: a PUB that is not connected yet drops it."""
    n = 0

    def said():
        nonlocal n
        if n % 20 == 0:
            end.send(body)
        n += 1
        return has_arrived()

    until(f"what {end.what} sends arrives", said)


def publishes(t, end, bodies):
    """One after the other: a PUB of nng drops what it has no buffer for."""
    for n, body in enumerate(bodies, 1):
        end.send(body)
        until("it is kept", lambda n=n: durable_holds(t) == n)


def durable_holds(t):
    """How many messages wait for the durable subscription."""
    return sum(it["messages_ready"] + it["messages_unsettled"] for it in t.broker.all_of("queues") if it["name"] == f"{t.address()}!mine")


def settle_pong_waits_for_the_application(t):
    first = t.receiving("pynng", "pull", options="?settle=pong", hold=True)
    t.start("pynng", "push").send(*numbered(0, 10))
    first.take(3)
    first.gets(*numbered(0, 3))
    until("what was before the last is settled", lambda: t.queue() <= 8)
    first.kill()
    # The last that it took may come again; nothing that it had not taken is lost.
    second = t.start("pynng", "pull", options="?settle=pong")
    second.eventually_gets(b"9.")
    assert second.got in (numbered(2, 10), numbered(3, 10)), f"it got {second.got}"


def credit_is_how_many_are_out(t):
    first = t.receiving("pynng", "pull", options="?settle=pong&credit=2", hold=True)
    t.start("pynng", "push").send(*numbered(0, 10))
    # Of the one in front nobody knows before the pong of the next.
    until("three are out", lambda: [it["unsettled"] for it in t.consumers()] == [3])
    second = t.receiving("nanomsg", "pull")
    second.gets(*numbered(3, 10))
    first.take(3)
    first.gets(*numbered(0, 3))
    # Of a REP: requests in hand.
    few, many = t.raw("req.sp.nanomsg.org", "few"), t.raw("req.sp.nanomsg.org", "many", "?credit=3")
    for name, worker, n in (("few", few, 1), ("many", many, 3)):
        until("it is there", lambda name=name: t.n_consumers(name) == 1)
        for k in range(4):
            t.start("pynng", "req", name).begin(str(k).encode())
        assert {worker.recv()[-1:] for _ in range(n)} <= {b"0", b"1", b"2", b"3"}
        assert worker.is_quiet(0.2), f"a REP has more than {n} requests in hand"


def a_prefix_spares_a_sub_the_rest(t, library):
    everything = t.receiving(library, "sub")
    # Its own topic matches all: what it does not get was not sent to it.
    some = t.receiving(library, "sub", options="?prefix=b&prefix=c%20c")
    publish = t.connected("pynng", "pub")
    arrives(publish, b"b first", lambda: b"b first" in everything.got and b"b first" in some.got)
    for body in (b"a", b"bb", b"cc", b"c c", b"b last"):
        arrives(publish, body, lambda body=body: body in everything.got)
    some.eventually_gets(b"b last")
    assert set(some.got) == {b"b first", b"bb", b"c c", b"b last"}, f"it got {set(some.got)}"


@has_own_broker
def an_end_of_a_pair_comes_back_to_its_side(t, one, other):
    first = t.receiving(one, "pair", options="?side=a")
    first.send(*numbered(0, 20))
    until("they are kept", lambda: kept(t) == 20)
    t.broker.kill()
    t.broker.start()
    second = t.start(other, "pair", options="?side=b")
    second.gets(*numbered(0, 20))
    second.send(b"an answer")
    first.gets(b"an answer")


def kept(t):
    """How many messages the queues have whose names begin with the address."""
    return sum(it["messages_ready"] + it["messages_unsettled"] for it in t.broker.all_of("queues") if t.address() in it["name"])
