"""The clients that scenarios have: nanocat and nngcat as they are, and peer.py for what needs more than one message or a say."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig import until  # noqa: E402

FOLDER = Path(__file__).resolve().parent
# The programs of the two libraries; nngcat and pynng are two versions of nng.
TOOLS = ("nanocat", "nngcat", "pynng")
NNG_TOOLS = ("nngcat", "pynng")
# Who of peer.py stands for a library.
LIBRARIES = ("nanomsg", "pynng")
CONNECT = {"nanocat": "--connect", "nngcat": "--dial"}
# One message of a tool, as `--hex` prints it.
PRINTED = re.compile(rb'^"((?:\\x[0-9a-f]{2})*)"$', re.IGNORECASE)


class End:
    """A client in a process of its own. What it got is in `got`, in order."""

    def __init__(self, what, command):
        self.what = what
        self.lines, self.got, self.n_sent = [], [], 0
        self.process = subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        start_new_session=True)
        self.readers = [threading.Thread(target=self.read, args=(stream,), daemon=True)
                        for stream in (self.process.stdout, self.process.stderr)]
        for reader in self.readers:
            reader.start()

    def read(self, stream):
        for line in stream:
            line = line.rstrip(b"\n")
            if printed := PRINTED.match(line):
                self.got.append(bytes.fromhex(printed[1].replace(b"\\x", b"").decode()))
            elif line.startswith(b"got "):
                self.got.append(bytes.fromhex(line[4:].decode()))
            elif line == b"got":
                self.got.append(b"")
            elif line == b"sent":
                self.n_sent += 1
            else:
                self.lines.append(line.decode(errors="replace"))

    def gets(self, *bodies, seconds=None):
        """Waits for just these messages, in this order, as the next or first ones."""
        expected = list(bodies)
        self.gets_so_many(len(expected), seconds)
        assert self.got == expected, f"{self.what} got {short(self.got)} instead of {short(expected)}"

    def gets_so_many(self, n, seconds=None):
        more = {} if seconds is None else {"seconds": seconds}
        try:
            until(f"{self.what} gets {n} messages", lambda: len(self.got) >= n or not self.is_alive(), **more)
        except AssertionError as error:
            raise AssertionError(f"{error}; it got {len(self.got)}: {short(self.got)}, and said {self.lines[-3:]}") from None
        if not self.is_alive():
            self.join()
        ended = f"{self.what} ended with {self.process.returncode}: {self.lines[-3:]}"
        assert len(self.got) >= n, f"{ended}; it got {len(self.got)} of {n} messages"

    def eventually_gets(self, body, seconds=None):
        more = {} if seconds is None else {"seconds": seconds}
        try:
            until(f"{self.what} gets {short(body)}", lambda: body in self.got, **more)
        except AssertionError as error:
            raise AssertionError(f"{error}; it got {short(self.got)}, and said {self.lines[-3:]}") from None

    def is_alive(self):
        return self.process.poll() is None

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def begin(self, body):
        """Has it send, and does not wait."""
        self.tell(f"send {body.hex()}")

    def send(self, *bodies):
        """Has it send, and waits until its library has them all."""
        n = self.n_sent + len(bodies)
        for body in bodies:
            self.begin(body)
        until(f"{self.what} sends {len(bodies)} messages", lambda: self.n_sent >= n)

    def take(self, n=1):
        """Lets one that holds read so many messages."""
        for _ in range(n):
            self.tell("take")

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.join()

    def join(self):
        self.process.wait()
        for reader in self.readers:
            reader.join(5)


def command(library, role, url, data=None, topics=(), interval=None, hold=False):
    """How a client is started. `data` is what nanocat and nngcat send or answer."""
    if library in LIBRARIES:
        topics = [word for topic in topics or ([""] if role == "sub" else []) for word in ("--topic", topic)]
        return [sys.executable, "-B", "peer.py", library, role, url, *topics, *(["--hold"] if hold else [])]
    words = ["stdbuf", "-oL", library, f"--{spelled(library, role)}", CONNECT[library], url]
    # Those that only send take no format.
    words += [] if role in ("push", "pub") else ["--hex"]
    for topic in topics:
        words += ["--subscribe", topic]
    if data is not None:
        words += ["--data", data]
    if interval is not None:
        words += ["--interval", str(interval)]
    return words


def spelled(library, role):
    return "pair0" if library == "nngcat" and role == "pair" else role


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"
