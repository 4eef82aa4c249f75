"""The broker ends and comes back, and its clients with it."""

import os

from brokers import attached, has_own_broker
from ends import LIBRARIES
from rig import until

# One client of each library for each pattern, connected all the time.
ROLES = ("push", "pull", "pub", "sub", "req", "rep", "surveyor", "respondent", "bus", "pair")
CLIENTS = [(library, role) for library in LIBRARIES for role in ROLES] + [("pynng", "pair1")]
TOOLS = [("nanocat", role) for role in ("pull", "sub", "rep", "respondent", "bus", "pair")] + [
    ("nngcat", role) for role in ("pull", "sub", "rep", "respondent", "bus", "pair", "pair1")]


def standing(t):
    """Clients of every pattern and both libraries, each at an address of its own."""
    return [(library, role, t.connected(library, role, f"{library}-{role}", **({"data": "x"} if role in ("rep", "respondent") else {})))
            for library, role in CLIENTS + TOOLS]


def missing(t, clients):
    return [f"{library} {role}" for library, role, _ in clients if attached(t.broker, role, t.address(f"{library}-{role}")) != 1]


def all_come_back(t, clients, n, what):
    try:
        until("all are there", lambda: not missing(t, clients))
    except AssertionError:
        ended = [f"{end.what}: {end.process.returncode}" for _, _, end in clients if not end.is_alive()]
        raise AssertionError(f"after {what} {n} these did not come back: {missing(t, clients)}; ended: {ended}") from None


@has_own_broker
def every_client_comes_back_after_a_graceful_restart(t):
    clients = standing(t)
    for n in range(1, int(os.environ.get("RESTANTE_TEST_SP_RESTARTS", "20")) + 1):
        t.broker.terminate()
        t.broker.start()
        all_come_back(t, clients, n, "restart")


@has_own_broker
def every_client_comes_back_after_kill_9(t):
    clients = standing(t)
    for n in range(1, 6):
        t.broker.kill()
        t.broker.start()
        all_come_back(t, clients, n, "kill")
