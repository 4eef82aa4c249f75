"""paho-mqtt, the client library of the Eclipse project."""

import queue
import threading

from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTv5, MQTTv31, MQTTv311, SubscribeOptions
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import door
from door import DEADLINE_S, SESSION_EXPIRY_S, Message, Refused, check, next_of

VERSIONS = {"3.1": MQTTv31, "3.1.1": MQTTv311, "5.0": MQTTv5}
PUBLISH = {
    "user": "UserProperty",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation": "CorrelationData",
    "expiry": "MessageExpiryInterval",
    "alias": "TopicAlias",
}


class Client(door.Client):
    def open(self, of, password, wishes):
        """Connects."""
        self.is_5 = of.is_5
        self.answers, self.acks, self.ends = queue.Queue(), {}, queue.Queue()
        self.pings, self.held, self.aliases = queue.Queue(), [], {}
        self.acked = threading.Condition()
        transport = "websockets" if of.transport == "websocket" else "tcp"
        clean = None if of.is_5 else not wishes.stays
        self.paho = Paho(
            CallbackAPIVersion.VERSION2, self.client_id, clean, None, VERSIONS[of.version], transport, False, manual_ack=wishes.hold
        )
        self.paho.username_pw_set("whoever", password)
        if wishes.will:
            self.paho.will_set(*wishes.will)
        self.paho.on_connect = lambda _paho, _data, flags, reason, given: self.answers.put((flags, reason, given))
        self.paho.on_subscribe = lambda _paho, _data, _mid, reasons, _given: self.answers.put(reasons)
        self.paho.on_unsubscribe = lambda _paho, _data, _mid, reasons, _given: self.answers.put(reasons)
        self.paho.on_disconnect = lambda _paho, _data, _flags, reason, _given: self.ends.put(reason)
        self.paho.on_publish = self.on_publish
        self.paho.on_message = self.on_message
        self.paho.on_log = lambda _paho, _data, _level, text: self.pings.put(text) if text == "Received PINGRESP" else None
        more = {}
        if of.is_5:
            given = Properties(PacketTypes.CONNECT)
            given.SessionExpiryInterval = SESSION_EXPIRY_S if wishes.stays else 0
            if wishes.receive_maximum:
                given.ReceiveMaximum = wishes.receive_maximum
            if wishes.packet_maximum:
                given.MaximumPacketSize = wishes.packet_maximum
            if wishes.alias_maximum:
                given.TopicAliasMaximum = wishes.alias_maximum
            more = {"clean_start": not wishes.stays, "properties": given}
        self.paho.connect(of.host, of.port, wishes.keep_alive, **more)
        self.paho.loop_start()
        flags, reason, given = next_of(self.answers, "CONNACK")
        if reason.is_failure:
            # paho speaks of reasons in the words of 5.0, whatever the version.
            raise Refused(reason.value if of.is_5 else {0x86: 4, 0x87: 5}.get(reason.value, reason.value))
        self.present = flags.session_present if of.version != "3.1" else None
        self.assigned = getattr(given, "AssignedClientIdentifier", None)

    def on_publish(self, _paho, _data, mid, reason, _properties):
        with self.acked:
            self.acks[mid] = reason.value
            self.acked.notify_all()

    def on_message(self, _paho, _data, got):
        message = Message(got.topic, bytes(got.payload), got.qos, bool(got.retain))
        if self.is_5:
            given = got.properties
            if hasattr(given, "TopicAlias"):
                # paho leaves it to its user to know what an alias stands for.
                message.topic = self.aliases[given.TopicAlias] = got.topic or self.aliases.get(given.TopicAlias)
            for name, of_paho in PUBLISH.items():
                if name != "alias" and hasattr(given, of_paho):
                    setattr(message, name, getattr(given, of_paho))
            message.identifiers = list(getattr(given, "SubscriptionIdentifier", []))
        self.held.append((got.mid, got.qos))
        self.inbox.put(message)

    def acknowledge(self):
        held, self.held = self.held, []
        for mid, qos in held:
            self.paho.ack(mid, qos)

    def subscribe(self, filter, qos, no_local=False, identifier=None):
        if self.is_5:
            given = Properties(PacketTypes.SUBSCRIBE)
            if identifier:
                given.SubscriptionIdentifier = identifier
            self.paho.subscribe(filter, options=SubscribeOptions(qos, no_local), properties=given)
        else:
            self.paho.subscribe(filter, qos)
        return next_of(self.answers, "SUBACK")[0].value

    def unsubscribe(self, filter):
        self.paho.unsubscribe(filter)
        reasons = next_of(self.answers, "UNSUBACK")
        return reasons[0].value if reasons else None

    def publish(self, topic, payload, qos, **properties):
        given = Properties(PacketTypes.PUBLISH) if self.is_5 else None
        for name, value in properties.items():
            setattr(given, PUBLISH[name], value)
        mid = self.paho.publish(topic, payload, qos, properties=given).mid
        with self.acked:
            check(self.acked.wait_for(lambda: mid in self.acks, DEADLINE_S), f"a publish of QoS {qos} is not acknowledged")
            return self.acks.pop(mid)

    def pinged(self):
        next_of(self.pings, "PINGRESP")

    def ended(self):
        reason = next_of(self.ends, "the end of the connection").value
        # Without a DISCONNECT from the broker: "unspecified".
        return None if reason == 0x80 else reason

    def leave(self):
        self.paho.disconnect()
        next_of(self.ends, "the end of the connection")
        self.paho.loop_stop()

    def drop(self):
        socket = self.paho.socket()
        if socket is not None:
            getattr(socket, "_socket", socket).shutdown(2)
        self.paho.loop_stop()


class Door(door.Door):
    new_client = Client


if __name__ == "__main__":
    door.main(Door)
