"""What the scenarios see of a client library: a `Door` that makes sessions, and their `Client`s.

A library's own module (with_*.py) has a subclass of each and calls `main`, which runs the scenarios it is told and prints a
line of JSON for each.
"""

import json
import os
import queue
import secrets
import sys
import threading
import time
import traceback
import urllib.request
from dataclasses import dataclass, field

# How long what must happen may take.
DEADLINE_S = float(os.environ.get("RESTANTE_TEST_DEADLINE_S", "10"))
POLL_S = 0.005


class Failed(Exception):
    """What a scenario expects is not so."""


class Refused(Exception):
    """An ABORT or an ERROR with this URI."""

    def __init__(self, uri, args=(), kwargs=None):
        super().__init__(f"refused with {uri}: {short([*args])}")
        self.uri = uri
        self.args_of_it, self.kwargs_of_it = list(args), dict(kwargs or {})


def check(holds, text):
    if not holds:
        raise Failed(text)


def equal(got, expected, what):
    check(got == expected and same_types(got, expected), f"{what}: {short(got)} instead of {short(expected)}")


def same_types(got, expected):
    """Whether true is not 1, and 1 not 1.0, at any depth."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(same_types(got[key], value) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        return isinstance(got, (list, tuple)) and all(map(same_types, got, expected))
    return type(got) is type(expected)


def short(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


def refused(what, *uris):
    """That `what` is refused, with one of the URIs if there are any; the refusal."""
    try:
        got = what()
    except Refused as refusal:
        check(not uris or refusal.uri in uris, f"refused with {refusal.uri} instead of {' or '.join(uris)}")
        return refusal
    raise Failed(f"it was not refused, but {short(got)}")


def next_of(source, what):
    try:
        return source.get(timeout=DEADLINE_S)
    except queue.Empty:
        raise Failed(f"{what} did not come within {DEADLINE_S:g} s") from None


@dataclass
class Event:
    args: list
    kwargs: dict
    # None where the library does not tell.
    publication: int = None
    topic: str = None
    details: dict = field(default_factory=dict)


@dataclass
class Result:
    args: list
    kwargs: dict


class Inbox:
    """What came, in order."""

    def __init__(self, what):
        self.what = what
        self.queue = queue.Queue()

    def put(self, value):
        self.queue.put(value)

    def next(self):
        return next_of(self.queue, self.what)

    def so_far(self):
        """What has come and was not asked for yet."""
        return [self.queue.get() for _ in range(self.queue.qsize())]


class Subscription(Inbox):
    def __init__(self, topic):
        super().__init__(f"an event of {topic}")
        self.topic = topic
        self.id = None
        # While set, events are neither answered nor acknowledged.
        self.hold = False


class Registration(Inbox):
    def __init__(self, procedure, answer):
        super().__init__(f"a call of {procedure}")
        self.procedure = procedure
        # None: calls go into the inbox and are answered by the scenario.
        self.answer = answer
        self.id = None


class Invocation:
    """A call that the scenario answers. Libraries set `_answer` (with a Result or a Refused) and `_progress`."""

    def __init__(self, args, kwargs, details, answer, progress):
        self.args, self.kwargs, self.details = list(args), dict(kwargs), details
        self._answer, self._progress = answer, progress
        self.interrupted = threading.Event()

    def answer(self, *args, **kwargs):
        self._answer(Result(list(args), kwargs))

    def fail(self, uri, *args, **kwargs):
        self._answer(Refused(uri, args, kwargs))

    def progress(self, *args, **kwargs):
        self._progress(list(args), kwargs)

    def is_interrupted(self):
        check(self.interrupted.wait(DEADLINE_S), "the callee is not interrupted")


class Call:
    """A call that goes on. `future` gets a Result or a Refused; what comes before it goes into `progress`."""

    def __init__(self, future, cancel):
        self.future, self._cancel = future, cancel
        self.progress = Inbox("a progressive result")

    def result(self):
        try:
            return self.future.result(DEADLINE_S)
        except TimeoutError:
            raise Failed(f"a call is not answered within {DEADLINE_S:g} s") from None

    def cancel(self, mode):
        self._cancel(mode)


class Client:
    """One session. Libraries give it open, subscribe, unsubscribe, publish, register, unregister, begin, leave, drop."""

    # Of WELCOME: the session's id, and the features of the roles where the library tells.
    id = None
    roles = None

    def __init__(self, serializer):
        self.serializer = serializer
        # The reasons of GOODBYE.
        self.ends = Inbox("the end of the session")

    def call(self, procedure, *args, options=None, **kwargs):
        return self.begin(procedure, args, kwargs, **(options or {})).result()

    def value(self, procedure, *args, **kwargs):
        """The first value that a call results in."""
        got = self.call(procedure, *args, **kwargs)
        return got.args[0] if got.args else None

    def told(self, topic, *args, options=None, **kwargs):
        """Publishes, and has it acknowledged; the publication."""
        return self.publish(topic, args, kwargs, acknowledge=True, **(options or {}))


class Door:
    """Makes sessions over one transport, with one serializer unless a scenario wants another."""

    # What can have another session's serializer, and which of these have binary values.
    serializers = binary = ["json"]

    def __init__(self, given):
        self.given = given
        self.transport, self.serializer = given["transport"], given["serializer"]
        self.realm, self.users = given["realm"], given["users"]
        self.control = given["control"]
        self.clients = []
        self.prefix = ""

    def url(self):
        at = self.given["at"]
        return {"websocket": f"ws://{at['host']}:{at['port']}/ws", "rawsocket": f"rs://{at['host']}:{at['port']}",
                "unix": f"unix://{at['path']}"}[self.transport]

    def start(self, scenario):
        self.prefix = f"it.{scenario}.x{secrets.token_hex(4)}"

    def end(self):
        """Nothing of a scenario outlives it."""
        for client in self.clients:
            try:
                client.drop()
            except Exception:  # It may be gone already, in whatever way.
                pass
        self.clients.clear()

    def uri(self, rest):
        return f"{self.prefix}.{rest}" if rest else self.prefix

    def join(self, user="tester", method="ticket", secret=None, serializer=None, realm=None, **wishes):
        """A session of `user`, who proves it by `method`: none, ticket, wampcra, scram or cryptosign."""
        known = self.users.get(user, {})
        secret = secret or known.get("key" if method == "cryptosign" else "password")
        client = self.new_client(serializer or self.serializer)
        self.clients.append(client)
        client.open(self, realm or self.realm, None if method == "none" else user, method, secret, **wishes)
        return client

    def ask(self, what, **fields):
        """Has `run` do something with the router; its answer."""
        request = urllib.request.Request(f"{self.control}/{what}", json.dumps(fields).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def until(self, what, holds):
        last = time.monotonic() + DEADLINE_S
        while not (got := holds()):
            check(time.monotonic() < last, f"not within {DEADLINE_S:g} s: {what}")
            time.sleep(POLL_S)
        return got


def main(make_door):
    import scenarios

    given = json.loads(sys.argv[-1])
    door = make_door(given)
    for name in given["scenarios"]:
        failed = None
        door.start(name)
        try:
            getattr(scenarios, name)(door)
        except (Failed, Refused, TimeoutError) as error:
            where = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("scenarios.py")]
            failed = f"{error or 'no answer came'} (scenarios.py:{where[-1] if where else 0})"
        except Exception:
            failed = traceback.format_exc()
        finally:
            door.end()
        print(json.dumps({"scenario": name, "failed": failed}), flush=True)
    # A library's threads are not waited for.
    os._exit(0)
