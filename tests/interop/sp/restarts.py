"""The broker ends and comes back, and its clients with it."""

import collections
import os

from brokers import has_own_broker
from ends import LIBRARIES
from rig import until

# Much less than the minute after which a REQ asks again by itself.
AT_ONCE_S = 20
# Clients of both libraries in every role, connected all the time: (library, role, address).
CLIENTS = [
    (library, role, f"{library}-{pattern}")
    for library in LIBRARIES
    for pattern, roles in (("pipeline", ("push", "pull")), ("pubsub", ("pub", "sub")), ("reqrep", ("req", "rep")),
                           ("survey", ("surveyor", "respondent")), ("bus", ("bus",)), ("pair", ("pair", "pair")))
    for role in roles
] + [("pynng", "pair1", "pynng-pair1"), ("pynng", "pair1", "pynng-pair1")]
# And of the programs, as they are.
TOOLS = [
    (tool, role, f"{tool}-{role}")
    for tool, roles in (("nanocat", ("pull", "sub", "rep", "respondent", "bus", "pair")),
                        ("nngcat", ("pull", "sub", "rep", "respondent", "bus", "pair", "pair1")))
    for role in roles
]
# What is told from one to the other after each restart, by role.
TELLS = {"push": "pull", "req": "rep", "pair": "pair", "pair1": "pair1"}


class Crowd:
    """All these clients."""

    def __init__(self, t):
        self.t = t
        self.wanted = collections.Counter((role, name) for _, role, name in CLIENTS + TOOLS)
        self.ends = collections.defaultdict(list)
        for library, role, name in CLIENTS + TOOLS:
            more = {"data": "an answer"} if library in ("nanocat", "nngcat") and role in ("rep", "respondent") else {}
            self.ends[role, name].append(t.start(library, role, name, **more))
        self.comes_back("their start")

    def comes_back(self, what):
        """Waits until all are there again."""
        try:
            until("all are there", lambda: not self.missing())
        except AssertionError:
            ended = [f"{end.what}: {end.process.returncode}" for ends in self.ends.values() for end in ends if not end.is_alive()]
            start = f"{what} (its start took {self.t.broker.started_in_s:.1f} s)"
            raise AssertionError(f"after {start} these did not come back: {self.missing()}; ended: {ended}") from None

    def missing(self):
        """What is not there as often as it should be."""
        got = self.t.clients()
        return [f"{role} of {name}" for (role, name), n in self.wanted.items() if got[role, name] != n]

    def talks(self, what):
        """Waits until what each sends, who can know that it does, has arrived."""
        body = what.encode()
        heard = []
        for (role, name), ends in self.ends.items():
            if role in TELLS and (role, name) in {(role, name) for _, role, name in CLIENTS}:
                ends[0].begin(body)
                heard.append(self.ends[TELLS[role], name][-1])
        for end in heard:
            end.eventually_gets(body)


@has_own_broker
def every_client_comes_back_after_a_graceful_restart(t):
    crowd = Crowd(t)
    crowd.talks("first")
    times = int(os.environ.get("RESTANTE_TEST_SP_RESTARTS", "20"))
    for n in range(1, times + 1):
        t.broker.terminate()
        t.broker.start()
        crowd.comes_back(f"restart {n}")
        crowd.talks(f"restart {n}")
    return f"{times} times {crowd.wanted.total()} clients"


@has_own_broker
def every_client_comes_back_after_kill_9(t):
    crowd = Crowd(t)
    times = int(os.environ.get("RESTANTE_TEST_SP_RESTARTS", "20"))
    for n in range(1, times + 1):
        t.broker.kill()
        t.broker.start()
        crowd.comes_back(f"kill {n}")
        crowd.talks(f"kill {n}")
    return f"{times} times {crowd.wanted.total()} clients"


@has_own_broker
def a_request_in_hand_survives_a_restart(t, asker, worker):
    for n, ends in enumerate((t.broker.terminate, t.broker.kill)):
        name = str(n)
        first = t.start(worker, "rep", name, hold=True)
        asking = t.start(asker, "req", name)
        asking.begin(b"a question")
        first.gets(b"a question")
        ends()
        t.broker.start()
        # The REQ asks again as soon as it is back. The answer to what it asked before is nobody's.
        first.begin(b"too late")
        first.gets(b"a question", b"a question")
        first.begin(b"an answer")
        asking.gets(b"an answer", seconds=AT_ONCE_S)
