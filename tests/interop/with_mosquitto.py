"""mosquitto_pub and mosquitto_sub. A subscription is a process of its own, as each publish is.

A `Client` is known by its id alone until it subscribes, or is asked for what a session has that it had before.
"""

import queue
import signal
import subprocess
import threading

import door
from door import DEADLINE_S, SESSION_EXPIRY_S, Message, Refused, check, next_of

VERSIONS = {"3.1": "mqttv31", "3.1.1": "mqttv311", "5.0": "mqttv5"}
# How long mosquitto_sub may take to say goodbye.
PATIENCE_S = 2
# Of those that stay, by client id: what they subscribed to.
SUBSCRIBED = {}


class Client(door.Client):
    def open(self, of, password, wishes):
        """Connects. `hold`: the program stands still once it has subscribed."""
        self.of, self.password, self.stays, self.hold = of, password, wishes.stays, wishes.hold
        # The programs take no shorter one than 5 s.
        self.keep_alive = max(wishes.keep_alive, 5)
        self.process = None
        self.talk = queue.Queue()
        most = wishes.packet_maximum
        self.more = ["-D", "connect", "maximum-packet-size", str(most)] if most else []
        if wishes.will:
            topic, payload, its_qos = wishes.will
            self.more += ["--will-topic", topic, "--will-payload", payload.decode(), "--will-qos", str(its_qos)]
        # That it is let in: a publish of QoS 0 that nobody hears.
        self.publish("nobody", b"", 0)
        if self.client_id in SUBSCRIBED:
            self.subscribe(*SUBSCRIBED[self.client_id])

    def common(self):
        of = self.of
        return ["-h", of.host, "-p", str(of.port), "-V", VERSIONS[of.version], "-u", "whoever", "-P", self.password]

    def subscribe(self, filter, qos, identifier=None):
        if self.process:
            # A second filter is another client's.
            other = self.of.connect(password=self.password)
            other.inbox = self.inbox
            return other.subscribe(filter, qos, identifier)
        command = ["stdbuf", "-oL", "mosquitto_sub", *self.common(), "-i", self.client_id, "-k", str(self.keep_alive), "-d", *self.more]
        if self.stays:
            command += ["-c"] + (["-x", str(SESSION_EXPIRY_S)] if self.of.is_5 else [])
            SUBSCRIBED[self.client_id] = (filter, qos)
        if identifier:
            command += ["-D", "subscribe", "subscription-identifier", str(identifier)]
        # The payload in hexadecimal: it may be of any bytes.
        properties = "%A\t%C\t%D\t%E\t%P\t%R\t%S" if self.of.is_5 else ""
        command += ["-q", str(qos), "-t", filter, "-F", f"=%q\t%r\t%x\t%t\t{properties}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", bufsize=1)
        threading.Thread(target=self.read, args=(self.process,), daemon=True).start()
        code = next_of(self.talk, "SUBACK")
        if self.hold:
            self.process.send_signal(signal.SIGSTOP)
        return code

    def read(self, process):
        for line in process.stdout:
            line = line.rstrip("\n")
            if line.startswith("Subscribed (mid: "):
                self.talk.put(int(line.rsplit(": ", 1)[1]))
            elif line.startswith("All subscription requests were denied"):
                self.talk.put(0x87)
            elif "received PINGRESP" in line:
                self.talk.put("PINGRESP")
            elif line.startswith("="):
                self.inbox.put(self.message(line[1:].split("\t")))

    def message(self, parts):
        message = Message(parts[3], bytes.fromhex(parts[2]), int(parts[0]), parts[1] == "1")
        if self.of.is_5:
            _alias, content_type, correlation, expiry, user, response_topic, identifiers = parts[4:]
            message.content_type, message.response_topic = content_type, response_topic
            message.correlation = correlation.encode()
            message.expiry = int(expiry) if expiry else None
            message.user = [tuple(pair.split(":", 1)) for pair in user.split(" ")] if user else []
            message.identifiers = [int(one) for one in identifiers.split()] if identifiers else []
        return message

    def publish(self, topic, payload, qos, **properties):
        command = ["mosquitto_pub", *self.common(), "-q", str(qos), "-t", topic, *arguments(properties)]
        command += ["-s"] if payload else ["-n"]
        done = subprocess.run(command, input=payload, capture_output=True, timeout=DEADLINE_S)
        said = (done.stdout + done.stderr).decode()
        if "Connection error" in said:
            raise Refused(code_of(said))
        if "failed: Not authorized" in said:
            return 0x87
        check(done.returncode == 0 and not said, f"mosquitto_pub ended with {done.returncode}: {said}")
        return 0

    def has_in_hand(self, n_messages):
        """It stands still: what it has is in its socket."""

    def pinged(self):
        self.subscribe(self.of.topic("ping"), 0)
        while next_of(self.talk, "PINGRESP") != "PINGRESP":
            pass

    def leave(self):
        """Whether it has said goodbye for good: in 5.0 it asks for its will (0x04), and it hangs for ever where the signal comes while
        it handles a packet."""
        try:
            self.end(signal.SIGTERM, PATIENCE_S)
            return not self.of.is_5
        except subprocess.TimeoutExpired:
            self.drop()
            return False

    def drop(self):
        self.end(signal.SIGKILL)

    def end(self, how, within=DEADLINE_S):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(within)
            self.process = None


def code_of(said):
    """The code in the words of the library: those of 3.x are the longer ones."""
    words = {"Connection Refused: bad user": 4, "Connection Refused: not auth": 5, "Bad User Name": 0x86, "Not authorized": 0x87}
    return next((code for word, code in words.items() if word in said), 0)


def arguments(properties):
    names = {"content_type": "content-type", "response_topic": "response-topic", "expiry": "message-expiry-interval"}
    for name, value in properties.items():
        if name == "user":
            for pair in value:
                yield from ("-D", "publish", "user-property", *pair)
        elif name == "correlation":
            yield from ("-D", "publish", "correlation-data", value.decode())
        else:
            yield from ("-D", "publish", names[name], str(value))


class Door(door.Door):
    new_client = Client
    # It takes text for it.
    correlation = b"request 1"


if __name__ == "__main__":
    door.main(Door)
