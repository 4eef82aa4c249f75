"""rumqttc, a client library in Rust. Each connection is a process: `rumqttc/` here, which takes wishes and tells what comes of them.

RESTANTE_TEST_RUMQTTC says where that program is (`tests/run interop` builds it).
"""

import json
import os
import queue
import subprocess
import threading

import door
from door import DEADLINE_S, SESSION_EXPIRY_S, Message, Refused, next_of

PROGRAM = os.environ["RESTANTE_TEST_RUMQTTC"]


class Client(door.Client):
    def open(self, of, password, wishes):
        """Connects."""
        self.events = {name: queue.Queue() for name in ("connack", "suback", "unsuback", "done", "pingresp", "end")}
        given = {
            "host": of.host,
            "port": of.port,
            "websocket": of.transport == "websocket",
            "version": of.version,
            "client_id": self.client_id,
            "password": password,
            "stays": wishes.stays,
            # It takes no shorter one than 5 s.
            "keep_alive_s": max(wishes.keep_alive, 5),
            "hold": wishes.hold,
            "session_expiry_s": SESSION_EXPIRY_S,
            "receive_maximum": wishes.receive_maximum,
            "packet_maximum": wishes.packet_maximum,
            "alias_maximum": wishes.alias_maximum,
            "will": wishes.will and (wishes.will[0], list(wishes.will[1]), wishes.will[2]),
        }
        self.process = subprocess.Popen([PROGRAM, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", bufsize=1)
        threading.Thread(target=self.read, daemon=True).start()
        answer = next_of(self.events["connack"], "CONNACK")
        if isinstance(answer, Refused):
            raise answer
        self.present, self.assigned = answer

    def read(self):
        for line in self.process.stdout:
            name, value = json.loads(line)
            if name == "message":
                self.inbox.put(self.message(value))
            elif name == "refused":
                self.events["connack"].put(Refused(value))
            else:
                self.events[name].put(value)

    def message(self, told):
        message = Message(told["topic"], bytes(told["payload"]), told["qos"], told["retain"])
        for name in ("content_type", "response_topic", "expiry"):
            setattr(message, name, told.get(name))
        message.user = [tuple(pair) for pair in told.get("user", [])]
        message.identifiers = told.get("identifiers", [])
        if told.get("correlation") is not None:
            message.correlation = bytes(told["correlation"])
        return message

    def wish(self, what, **fields):
        self.process.stdin.write(json.dumps({"do": what, **fields}) + "\n")

    def acknowledge(self):
        self.wish("acknowledge")

    def subscribe(self, filter, qos, no_local=False, identifier=None):
        self.wish("subscribe", filter=filter, qos=qos, no_local=no_local, identifier=identifier)
        return next_of(self.events["suback"], "SUBACK")

    def unsubscribe(self, filter):
        self.wish("unsubscribe", filter=filter)
        return next_of(self.events["unsuback"], "UNSUBACK")

    def publish(self, topic, payload, qos, correlation=None, **properties):
        if correlation is not None:
            properties["correlation"] = list(correlation)
        self.wish("publish", topic=topic, payload=list(payload), qos=qos, **properties)
        return next_of(self.events["done"], f"the acknowledgement of a publish of QoS {qos}") if qos else 0

    def pinged(self):
        next_of(self.events["pingresp"], "PINGRESP")

    def ended(self):
        code, _why = next_of(self.events["end"], "the end of the connection")
        return code

    def leave(self):
        self.wish("leave")
        self.process.wait(DEADLINE_S)

    def drop(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)


class Door(door.Door):
    new_client = Client


if __name__ == "__main__":
    door.main(Door)
