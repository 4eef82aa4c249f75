"""What comes in as SP goes out by another door, and the other way."""

import functools
import queue
import secrets
import sys

from ends import End
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from rig import DEADLINE_S, until


class Mqtt:
    """A client of paho, whose session stays."""

    def __init__(self, t, name=None):
        self.name = name or secrets.token_hex(8)
        self.messages, subscribed, connected = queue.Queue(), queue.Queue(), queue.Queue()
        self.subscribed = subscribed
        self.paho = Paho(CallbackAPIVersion.VERSION2, self.name, protocol=MQTTv5)
        self.paho.username_pw_set("tester", "pass, word")
        self.paho.on_connect = lambda *_: connected.put(None)
        self.paho.on_subscribe = lambda *_: subscribed.put(None)
        self.paho.on_message = lambda _paho, _data, message: self.messages.put(message.payload)
        stays = Properties(PacketTypes.CONNECT)
        stays.SessionExpiryInterval = 600
        self.paho.connect(t.broker.host, int(t.broker.port), clean_start=False, properties=stays)
        self.paho.loop_start()
        connected.get(timeout=DEADLINE_S)

    def subscribe(self, topic):
        self.paho.subscribe(topic, 1)
        self.subscribed.get(timeout=DEADLINE_S)

    def publish(self, topic, body):
        self.paho.publish(topic, body, qos=1).wait_for_publish(DEADLINE_S)

    def next(self):
        return self.messages.get(timeout=DEADLINE_S)

    def end(self):
        self.paho.disconnect()
        self.paho.loop_stop()


def with_mqtt(function):
    """Gives it a client that ends with it."""

    @functools.wraps(function)
    def shown(t, *way):
        mqtt = Mqtt(t)
        try:
            return function(t, mqtt, *way)
        finally:
            mqtt.end()

    return shown


def a_push_is_consumed_over_mbws(t, library):
    t.start(library, "push").send(b"one", "zwei ß".encode())
    t.holds(2)
    got = t.broker.command("consume", t.address())
    assert got == "one\nzwei ß\n", f"it got {got}"
    t.holds(0)


def what_is_sent_over_mbws_is_pulled(t, library):
    t.broker.command("send", t.address(), given="one\nzwei ß\n")
    t.start(library, "pull").gets(b"one", "zwei ß".encode())


@with_mqtt
def a_push_is_consumed_over_mqtt(t, mqtt, library):
    mqtt.subscribe(t.address())
    push = t.start(library, "push")
    push.send(b"one")
    assert mqtt.next() == b"one"
    mqtt.end()
    push.send(b"two", b"three")
    again = Mqtt(t, mqtt.name)
    try:
        got = [again.next(), again.next()]
    finally:
        again.end()
    assert got == [b"two", b"three"], f"it got {got}"


@with_mqtt
def a_mqtt_publish_is_pulled(t, mqtt, library):
    end = t.receiving(library, "pull")
    mqtt.publish(t.address(), b"one")
    mqtt.publish(t.address(), b"two")
    end.gets(b"one", b"two")


@with_mqtt
def a_mqtt_publish_reaches_a_sub(t, mqtt, library):
    end = t.receiving(library, "sub", topics=["a"])
    mqtt.publish(t.address(), b"c")
    mqtt.publish(t.address(), b"ab")
    end.gets(b"ab")


@with_mqtt
def a_pub_reaches_mqtt(t, mqtt, library):
    mqtt.subscribe(t.address("+"))
    end = t.connected(library, "pub")
    n = 0

    def said():
        # What a PUB drops that is not connected yet is nobody's fault.
        nonlocal n
        if n % 20 == 0:
            end.send(b"news")
        n += 1
        return not mqtt.messages.empty()

    until("it arrives", said)
    assert mqtt.next() == b"news"


def wamp(t, *words):
    broker = t.broker
    end = End("autobahn", [sys.executable, "-B", "wamp_peer.py", f"ws://{broker.host}:{broker.port}/wamp", *words])
    t.ends.append(end)
    return end


def procedure(t):
    return t.address().replace("/", ".")


def a_req_is_answered_by_a_wamp_procedure(t, library):
    callee = wamp(t, "register", procedure(t))
    until("it is registered", lambda: "ready" in callee.lines)
    asking = t.start(library, "req")
    asking.begin(b"a question")
    asking.gets(b"re:a question")
    callee.gets(b"a question")


def a_wamp_call_is_answered_by_a_rep(t, library):
    worker = t.receiving(library, "rep")
    caller = wamp(t, "call", procedure(t), b"a question".hex())
    caller.gets_so_many(1)
    caller.gets(b"re:a question")
    worker.gets(b"a question")
