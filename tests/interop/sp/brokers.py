"""The broker of the scenarios, and what a scenario has of it: addresses of its own, clients that end with it, and the admin API's view."""

import collections
import contextlib
import json
import re
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig import DEADLINE_S, Broker, until  # noqa: E402

import ends  # noqa: E402
import raw  # noqa: E402

ROLE = "guest"
# Addresses below it are nobody's.
CLOSED = "closed"


def has_own_broker(function):
    """Of a scenario that stops the broker, or loads it."""
    function.has_own_broker = True
    return function


class Restante(Broker):
    """The program, which lets strangers use every address but those below `closed`."""

    def __init__(self, program, folder, segments="4MiB"):
        folder.mkdir()
        super().__init__(program, folder, "http://127.0.0.1")
        self.key = self.started_in_s = None
        self.environment |= {"RESTANTE_ACCESS_ANONYMOUS_ROLE": ROLE, "RESTANTE_STORAGE_SEGMENT_BYTES": segments,
                             "RESTANTE_STORAGE_TAIL_BYTES": "4MiB", "RESTANTE_STORAGE_IN_FLIGHT_BYTES": "32MiB"}

    def prepare(self):
        """Roles, rules and a user."""
        self.command("role", "add", ROLE)
        self.command("rule", "add", "all", "#", "--role", ROLE, "--allow", "send,consume,call,register")
        self.command("rule", "add", "none", f"{CLOSED}/#", "--role", ROLE, "--deny", "send,consume")
        (self.folder / "password").write_text("pass, word")
        self.command("user", "add", "tester", "--role", ROLE, "--new-password-file", "password")
        self.key = (self.folder / "data/cli.key").read_text().strip()

    def start(self):
        begun = time.monotonic()
        super().start()
        self.started_in_s = time.monotonic() - begun

    def get(self, path):
        """Of the admin API."""
        request = urllib.request.Request(f"http://{self.admin}/api/v1/{path}", headers={"Authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.load(answer)

    def all_of(self, what):
        """Every page of a list."""
        items, cursor = [], ""
        while cursor is not None:
            page = self.get(f"{what}?limit=500{cursor}")
            items += page["items"]
            cursor = page["next"] and f"&after={urllib.parse.quote(page['next'])}"
        return items

    def terminate(self):
        self.process.terminate()
        code = self.process.wait(DEADLINE_S)
        assert code == 0, f"the broker ended with {code}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def is_alive(self):
        return self.process.poll() is None

    def memory(self):
        """Resident bytes that are no file's."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024

    def faults(self):
        return [line for line in self.log.read_text().splitlines() if " ERROR " in line or "panicked" in line]


class Trial:
    """One scenario, one way: nothing that it begins outlives it."""

    def __init__(self, broker, name):
        self.broker, self.name = broker, name
        self.prefix = f"{name[:20]}/{secrets.token_hex(3)}"
        self.ends, self.sockets = [], []

    def address(self, name="a"):
        return f"{self.prefix}/{name}"

    def url(self, name="a", options=""):
        broker = self.broker
        return f"ws://{broker.host}:{broker.port}/sp/{self.address(name)}{options}"

    def start(self, library, role, name="a", options="", **more):
        """A client in a process of its own, which may not be connected yet."""
        what = f"{library} {role}"
        end = ends.End(what, ends.command(library, role, self.url(name, options), **more))
        self.ends.append(end)
        return end

    def connected(self, library, role, name="a", options="", **more):
        """The same; the broker has it."""
        before = self.clients()[role, name]
        end = self.start(library, role, name, options, **more)
        try:
            until(f"{end.what} is connected", lambda: self.clients()[role, name] > before)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {end.lines[-3:]}") from None
        return end

    def clients(self):
        """How many of its clients are connected, by role and address."""
        shown = [item["sp"] for item in self.broker.all_of("connections") if item["sp"]]
        begin = f"{self.prefix}/"
        return collections.Counter((it["role"], it["address"].removeprefix(begin)) for it in shown if it["address"].startswith(begin))

    def receiving(self, library, role, name="a", options="", **more):
        """The same; whatever is sent from now on reaches it."""
        before = {it["connection"] for it in self.consumers(name)}
        end = self.start(library, role, name, options, **more)
        try:
            until(f"{end.what} receives", lambda: {it["connection"] for it in self.consumers(name)} - before)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {end.lines[-3:]}") from None
        return end

    def n_consumers(self, name="a"):
        return len(self.consumers(name))

    def consumers(self, name="a"):
        address = self.address(name)
        return [item for item in self.broker.all_of("consumers") if any(address in (item[key] or "") for key in ("queue", "filter"))]

    def raw(self, token, name="a", options="", **more):
        """A WebSocket by hand."""
        socket = raw.WebSocket(self.broker.host, int(self.broker.port), f"/sp/{self.address(name)}{options}", token, **more)
        self.sockets.append(socket)
        return socket

    def queue(self, name="a"):
        """How many messages the address's queue has that are not settled."""
        try:
            queue = self.broker.get(f"realms/default/queues/{urllib.parse.quote(self.address(name), safe='')}")
        except urllib.error.HTTPError as error:
            assert error.code == 404, f"the admin API answered with {error.code}"
            return 0
        return queue["messages_ready"] + queue["messages_unsettled"]

    def holds(self, n, name="a"):
        """Waits until so many messages are in the address's queue."""
        until(f"{n} messages are in the queue", lambda: self.queue(name) == n)

    def end(self):
        for end in self.ends:
            end.kill()
        for socket in self.sockets:
            with contextlib.suppress(OSError):
                socket.drop()
