"""gmqtt: written for asyncio, with a protocol of its own. Its event loop runs in a thread.

It keeps the reason codes of acknowledgements to itself; they are read off its packet handler.
"""

import asyncio
import logging
import queue
import threading

from gmqtt import Client as Gmqtt
from gmqtt import Message as Will
from gmqtt import Subscription
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError

import door
from door import DEADLINE_S, SESSION_EXPIRY_S, Message, Refused, next_of

PUBLISH = {
    "user": "user_property",
    "content_type": "content_type",
    "response_topic": "response_topic",
    "correlation": "correlation_data",
    "expiry": "message_expiry_interval",
    "alias": "topic_alias",
}
# Its settings know no "never": fewer than no attempts.
NEVER = -2

logging.getLogger("gmqtt").setLevel(logging.CRITICAL)
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(DEADLINE_S)


async def call(function, *args, **kwargs):
    return function(*args, **kwargs)


class Client(door.Client):
    def open(self, of, password, wishes):
        """Connects."""
        self.is_5 = of.is_5
        self.answers, self.acks, self.ends, self.pings = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()
        self.held = []
        run(self.start(of, password, wishes))

    async def start(self, of, password, wishes):
        given = {
            "session_expiry_interval": SESSION_EXPIRY_S if wishes.stays else 0,
            "receive_maximum": wishes.receive_maximum,
            "maximum_packet_size": wishes.packet_maximum,
            "topic_alias_maximum": wishes.alias_maximum,
        }
        given = {name: value for name, value in given.items() if value}
        last = Will(*wishes.will) if wishes.will else None
        self.gmqtt = Gmqtt(self.client_id, clean_session=not wishes.stays, will_message=last, **given)
        # It would think of an id itself.
        self.gmqtt._client_id = self.client_id
        self.gmqtt.reconnect_retries = NEVER
        self.gmqtt.set_auth_credentials("whoever", password)
        self.gmqtt.on_connect = self.on_connect
        self.gmqtt.on_message = self.on_message
        self.gmqtt.on_subscribe = lambda _gmqtt, _mid, codes, _given: self.answers.put(codes)
        self.gmqtt.on_unsubscribe = lambda _gmqtt, _mid, codes: self.answers.put(codes)
        self.gmqtt.on_disconnect = lambda _gmqtt, packet, exc=None: self.ends.put(packet)
        self.listen(wishes.hold)
        try:
            await self.gmqtt.connect(of.host, of.port, keepalive=wishes.keep_alive, version=MQTTv50 if of.is_5 else MQTTv311)
        except MQTTConnectError as error:
            raise Refused(error._code) from None

    def listen(self, hold):
        handler = self.gmqtt._package_handler

        def around(name, then):
            usual = getattr(handler, name)

            def handle(cmd, packet):
                usual(cmd, packet)
                then(packet)

            setattr(handler, name, handle)

        def code(packet):
            return packet[2] if len(packet) > 2 else 0

        around("_handle_puback_packet", lambda packet: self.acks.put(code(packet)))
        # A PUBREC that refuses is the end of its flow; what it says else counts, and PUBCOMP is what ends it.
        around("_handle_pubrec_packet", self.on_pubrec)
        around("_handle_pubcomp_packet", lambda _packet: self.acks.put(self.received))
        around("_handle_pingresp_packet", self.pings.put)
        if hold:
            usual = handler._send_puback
            handler._send_puback = lambda mid, reason_code=0: self.held.append(lambda: usual(mid, reason_code))

    def on_pubrec(self, packet):
        self.received = packet[2] if len(packet) > 2 else 0
        if self.received >= 0x80:
            self.acks.put(self.received)

    def on_connect(self, _gmqtt, present, _code, given):
        self.present = bool(present)
        self.assigned = given.get("assigned_client_identifier", [None])[0]

    def on_message(self, _gmqtt, topic, payload, qos, given):
        message = Message(topic, bytes(payload), qos, bool(given["retain"]))
        for name, of_gmqtt in PUBLISH.items():
            if name != "alias" and of_gmqtt in given:
                values = given[of_gmqtt]
                setattr(message, name, list(values) if name == "user" else values[0])
        message.identifiers = list(given.get("subscription_identifier", []))
        self.inbox.put(message)
        return 0

    def acknowledge(self):
        held, self.held = self.held, []
        for send in held:
            run(call(send))

    def subscribe(self, filter, qos, no_local=False, identifier=None):
        more = {"subscription_identifier": identifier} if identifier else {}
        run(call(self.gmqtt.subscribe, Subscription(filter, qos=qos, no_local=no_local), **more))
        return next_of(self.answers, "SUBACK")[0]

    def unsubscribe(self, filter):
        run(call(self.gmqtt.unsubscribe, filter))
        codes = next_of(self.answers, "UNSUBACK")
        return codes[0] if codes else None

    def publish(self, topic, payload, qos, **properties):
        given = {PUBLISH[name]: value for name, value in properties.items()}
        run(call(self.gmqtt.publish, topic, payload, qos, **given))
        return next_of(self.acks, f"the acknowledgement of a publish of QoS {qos}") if qos else 0

    def pinged(self):
        next_of(self.pings, "PINGRESP")

    def ended(self):
        packet = next_of(self.ends, "the end of the connection")
        return packet[0] if packet else None

    def leave(self):
        run(self.gmqtt.disconnect())

    def drop(self):
        self.gmqtt._is_active = False
        run(call(self.gmqtt._connection._transport.abort))


class Door(door.Door):
    new_client = Client


if __name__ == "__main__":
    door.main(Door)
