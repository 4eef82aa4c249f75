"""What the scenarios see of a client library: a `Door` that makes connections, and their `Client`s.

A library's own module (with_*.py) has a subclass of each and calls `main`, which runs the scenarios it is told and prints a
line of JSON for each.
"""

import json
import os
import queue
import secrets
import sys
import time
import traceback
import urllib.request
from dataclasses import dataclass, field

# How long what must happen may take.
DEADLINE_S = float(os.environ.get("RESTANTE_TEST_DEADLINE_S", "30"))
# Of sessions that stay.
SESSION_EXPIRY_S = 600
POLL_S = 0.005


class Failed(Exception):
    """What a scenario expects is not so."""


class Refused(Exception):
    """A CONNECT was answered with this code."""

    def __init__(self, code):
        super().__init__(f"connecting was refused with {code:#x}")
        self.code = code


def check(holds, text):
    if not holds:
        raise Failed(text)


def equal(got, expected, what):
    check(got == expected, f"{what}: {short(got)} instead of {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


@dataclass
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    user: list = field(default_factory=list)
    content_type: str = None
    response_topic: str = None
    correlation: bytes = None
    expiry: int = None
    identifiers: list = field(default_factory=list)


@dataclass
class Wishes:
    """What a connection is to be like."""

    # The session outlives it.
    stays: bool = False
    keep_alive: int = 60
    # Nothing is acknowledged before `acknowledge`.
    hold: bool = False
    receive_maximum: int = None
    packet_maximum: int = None
    alias_maximum: int = None
    # Topic, payload and QoS.
    will: tuple = None


class Client:
    """One connection, which `open` makes. What it receives goes into `inbox`."""

    client_id = ""
    # Whether the session was there before; None where the library does not tell.
    present = None
    # The client id that the broker gave.
    assigned = None

    def __init__(self):
        self.inbox = queue.Queue()

    def receive(self):
        return next_of(self.inbox, "a message")

    def received(self):
        """What has come so far."""
        while not self.inbox.empty():
            yield self.inbox.get()

    def has_in_hand(self, n_messages):
        """Waits until so many have come."""
        for _ in range(n_messages):
            self.receive()


def next_of(source, what):
    try:
        return source.get(timeout=DEADLINE_S)
    except queue.Empty:
        raise Failed(f"{what} did not come within {DEADLINE_S:g} s") from None


class Door:
    """Makes connections of one version over one transport."""

    # What a request is known by; some programs can only send text.
    correlation = b"\x00\x01\xff\xfe"

    def __init__(self, given):
        self.host, self.port = given["host"], given["port"]
        self.transport, self.version = given["transport"], given["version"]
        self.is_5 = self.version == "5.0"
        # A password that may do everything, and one that may do nothing but below narrow/.
        self.token, self.narrow = given["token"], given["narrow"]
        self.control = given["control"]
        self.clients = []
        self.prefix = ""

    def start(self, scenario):
        self.prefix = f"{scenario}/{secrets.token_hex(4)}"

    def end(self):
        """Nothing of a scenario outlives it."""
        for client in self.clients:
            try:
                client.drop()
            except Exception:  # It may be gone already, in whatever way.
                pass
        self.clients.clear()

    def topic(self, rest):
        return f"{self.prefix}/{rest}"

    def connect(self, client_id=None, password=None, **wishes):
        """Connects; see `Wishes` for what can be wished for."""
        client_id = secrets.token_hex(8) if client_id is None else client_id
        client = self.new_client()
        client.client_id = client_id
        self.clients.append(client)
        client.open(self, password or self.token, Wishes(**wishes))
        return client

    def kill_and_restart(self):
        self.ask("kill-and-restart")

    def ask(self, what, **fields):
        """Has `run` do something with the broker; its answer."""
        request = urllib.request.Request(f"{self.control}/{what}", json.dumps(fields).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=2 * DEADLINE_S) as answer:
            return json.load(answer)

    def let_pass(self, seconds):
        time.sleep(seconds)

    def until(self, what, holds):
        last = time.monotonic() + DEADLINE_S
        while not holds():
            check(time.monotonic() < last, f"not within {DEADLINE_S:g} s: {what}")
            time.sleep(POLL_S)


def main(make_door):
    import scenarios

    given = json.loads(sys.argv[1])
    door = make_door(given)
    for name in given["scenarios"]:
        failed = None
        door.start(name)
        try:
            getattr(scenarios, name)(door)
        except (Failed, Refused) as error:
            where = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("scenarios.py")]
            failed = f"{error} (scenarios.py:{where[-1] if where else 0})"
        except Exception:
            failed = traceback.format_exc()
        finally:
            door.end()
        print(json.dumps({"scenario": name, "failed": failed}), flush=True)
    # A library's threads are not waited for.
    os._exit(0)
