"""The routers that the scenarios are run against: Restante, and Crossbar.io for comparison. Each has the users of USERS."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig import DEADLINE_S, Broker, until  # noqa: E402

REALM = "default"
# Events of topics that begin with it are kept.
HISTORY = "history"
# The private half is 32 octets of 2: a key for tests.
USERS = {
    "tester": {"role": "testing", "password": "pass, word=ß"},
    "other": {"role": "other", "password": "another-word"},
    "narrow": {"role": "narrow", "password": "narrow word"},
    "keyholder": {"role": "testing", "key": "02" * 32, "public": "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"},
}
ROLES = ("testing", "other", "narrow")


class Restante(Broker):
    """The program, with RawSocket on its port and on a Unix socket too."""

    name = "restante"
    has_long_poll = True

    def __init__(self, program, folder, origin):
        super().__init__(program, folder, origin)
        self.path = str(folder / "wamp.sock")
        self.environment |= {"RESTANTE_WAMP_UNIX_SOCKET": self.path}

    def prepare(self):
        """Roles, rules and users."""
        self.command("queue", "add", "kept", "--history", "--bind", f"{HISTORY}#")
        for role in ROLES:
            self.command("role", "add", role)
        for role in ("testing", "other"):
            self.command("rule", "add", f"{role}-all", "#", "--role", role, "--allow", "send,consume,call,register")
            self.command("rule", "add", f"{role}-meta", "$wamp/#", "--role", role, "--allow", "call,consume")
        self.command("rule", "add", "narrow", "it/narrow/#", "--role", "narrow", "--allow", "send,consume,call,register")
        for name, user in USERS.items():
            more = ["--no-password", "--public-key", user["public"]] if "public" in user else []
            if "password" in user:
                (self.folder / "password").write_text(user["password"])
                more += ["--new-password-file", "password"]
            self.command("user", "add", name, "--role", user["role"], *more)

    def at(self):
        return {"host": self.host, "port": int(self.port), "path": self.path, "longpoll": "/wamp/lp"}

    def kill(self):
        self.process.kill()
        self.process.wait()

    def faults(self):
        return [line for line in self.log.read_text().splitlines() if " ERROR " in line or "panicked" in line]


class Crossbar:
    """Crossbar.io from its package, whose program is given. What it keeps is in memory."""

    name = "crossbar"
    # Its long-poll answers every open with an error.
    has_long_poll = False

    def __init__(self, program, folder, origin):
        self.program, self.folder = program, folder
        self.log = folder / "crossbar.log"
        self.process = None
        self.path = str(folder / "wamp.sock")
        self.host, self.port = "127.0.0.1", free_port()

    def start(self):
        node = self.folder / "node" / ".crossbar"
        node.mkdir(parents=True, exist_ok=True)
        (node / "config.json").write_text(json.dumps(self.config(), indent=1))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.program, "start", "--cbdir", str(node)], cwd=self.folder, stdout=log, stderr=log,
                                            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, start_new_session=True)
        until("crossbar listens", self.listens, max(60, DEADLINE_S))

    def listens(self):
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            return False
        return Path(self.path).exists()

    def prepare(self):
        pass

    def at(self):
        return {"host": self.host, "port": self.port, "path": self.path}

    def kill_and_restart(self):
        self.end(signal.SIGKILL)
        Path(self.path).unlink(missing_ok=True)
        self.start()

    def stop(self):
        self.end(signal.SIGTERM)

    def kill(self):
        # With its worker, which is of its group.
        with contextlib.suppress(ProcessLookupError):
            self.end(signal.SIGKILL)

    def end(self, number):
        os.killpg(self.process.pid, number)
        self.process.wait(DEADLINE_S)

    def faults(self):
        return []

    def config(self):
        serializers = ["json", "msgpack", "cbor", "ubjson"]
        rawsocket = {"serializers": serializers, "auth": authentication()}
        everything = {"uri": "", "match": "prefix", "allow": dict.fromkeys(("call", "register", "publish", "subscribe"), True)}
        narrow = everything | {"uri": "it.narrow."}
        return {
            "version": 2,
            "workers": [{
                "type": "router",
                "realms": [{
                    "name": REALM,
                    "roles": [{"name": role, "permissions": [narrow if role == "narrow" else everything]} for role in ROLES],
                    "store": {"type": "memory", "event-history": [{"uri": HISTORY, "match": "prefix", "limit": 1000}]},
                }],
                "transports": [
                    {
                        "type": "universal",
                        "endpoint": {"type": "tcp", "port": self.port, "interface": self.host},
                        "rawsocket": rawsocket,
                        "websocket": {path: {"type": "websocket", "serializers": serializers, "auth": authentication()}
                                      for path in ("ws", "wamp")},
                    },
                    {"type": "rawsocket", "endpoint": {"type": "unix", "path": self.path}} | rawsocket,
                ],
            }],
        }


def authentication():
    """What Crossbar.io is to know of the users."""
    with_password = {name: user for name, user in USERS.items() if "password" in user}
    return {
        "ticket": {"type": "static", "principals": {
            name: {"ticket": user["password"], "role": user["role"]} for name, user in with_password.items()}},
        "wampcra": {"type": "static", "users": {name: salted(user) for name, user in with_password.items()}},
        "scram": {"type": "static", "principals": {name: scram(user) for name, user in with_password.items()}},
        "cryptosign": {"type": "static", "principals": {
            name: {"authorized_keys": [user["public"]], "role": user["role"]} for name, user in USERS.items() if "public" in user}},
    }


def salted(user):
    # Crossbar.io keeps the password itself, and derives the key from it.
    return {"secret": user["password"], "salt": secrets.token_hex(8), "iterations": 1000, "keylen": 32, "role": user["role"]}


def scram(user):
    # Of autobahn's requirements; without them a run against Restante goes on.
    from argon2.low_level import Type, hash_secret_raw

    salt = secrets.token_bytes(16)
    costs = {"iterations": 2, "memory": 512}
    raw = hash_secret_raw(user["password"].encode(), salt, 2, 512, 1, 32, Type.ID)
    key = base64.b64encode(raw).rstrip(b"=")

    def of(what):
        return hmac.new(key, what, hashlib.sha256).digest()

    return {"kdf": "argon2id-13", **costs, "salt": salt.hex(), "stored-key": hashlib.sha256(of(b"Client Key")).hexdigest(),
            "server-key": of(b"Server Key").hex(), "role": user["role"]}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stalled:
    """Subscribers that never read: each a RawSocket with JSON, by hand, of the user `tester`."""

    def __init__(self, router):
        self.router, self.sockets = router, []

    def add(self, topic):
        at = self.router.at()
        connection = socket.socket()
        self.sockets.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(DEADLINE_S)
        connection.connect((at["host"], at["port"]))
        connection.sendall(b"\x7f\xf1\0\0")
        assert take(connection, 4)[1] & 0x0F == 1, "the router does not take JSON over RawSocket"
        hello = {"roles": {"subscriber": {}}, "authmethods": ["ticket"], "authid": "tester"}
        for message, answer in (([1, REALM, hello], 4), ([5, USERS["tester"]["password"], {}], 2), ([32, 1, {}, topic], 33)):
            body = json.dumps(message).encode()
            connection.sendall(len(body).to_bytes(4, "big") + body)
            got = json.loads(take(connection, int.from_bytes(take(connection, 4), "big")))
            assert got[0] == answer, f"the stalled subscriber got {got}"

    def end(self):
        while self.sockets:
            self.sockets.pop().close()


def take(connection, n_bytes):
    got = b""
    while len(got) < n_bytes:
        more = connection.recv(n_bytes - len(got))
        assert more, "the router closed the connection of a stalled subscriber"
        got += more
    return got
