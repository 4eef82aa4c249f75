#!/usr/bin/env python3
"""A client of libnanomsg or of nng (as pynng has it) that does what it is told, one line of stdin at a time.

    peer.py nanomsg|pynng ROLE URL [--topic TOPIC]… [--hold]

`send HEX` sends, and `sent` is printed once the library has it; `got HEX` is printed of each message. A REP or RESPONDENT answers
what it gets with `re:` in front; with `--hold` it waits for `send HEX` to do so. With `--hold` a PULL, SUB or PAIR reads one message for
each `take`. It ends with its stdin.
"""

import argparse
import os
import queue
import sys
import threading

ANSWERING = ("rep", "respondent")
ASKING = ("req", "surveyor")


def open_nanomsg(role, url, topics):
    """A socket, and what it raises when there are no more answers to a survey."""
    import libnanomsg

    return libnanomsg.Socket(role, url, topics), libnanomsg.Over


def open_pynng(role, url, topics):
    """Likewise."""
    import pynng

    kinds = {"push": pynng.Push0, "pull": pynng.Pull0, "pub": pynng.Pub0, "sub": pynng.Sub0, "req": pynng.Req0, "rep": pynng.Rep0,
             "surveyor": pynng.Surveyor0, "respondent": pynng.Respondent0, "bus": pynng.Bus0, "pair": pynng.Pair0, "pair1": pynng.Pair1}
    more = {"topics": topics} if role == "sub" else {}
    return kinds[role](dial=url, block_on_dial=False, **more), (pynng.Timeout, pynng.BadState)


def tell(word, body=None):
    print(word if body is None else f"{word} {body.hex()}", flush=True)


class Peer:
    def __init__(self, socket, over, role, hold):
        self.socket, self.over, self.role, self.hold = socket, over, role, hold
        # What is to be sent as an answer; permission to read.
        self.answers, self.takes = queue.Queue(), queue.Queue()

    def receive(self):
        while True:
            if self.hold and self.role not in ANSWERING:
                self.takes.get()
            try:
                body = self.socket.recv()
            except Exception as error:
                return tell(f"failed {error!r}")
            tell("got", body)
            if self.role in ANSWERING:
                self.socket.send(self.answers.get() if self.hold else b"re:" + body)
                tell("sent")

    def ask(self, body):
        self.socket.send(body)
        tell("sent")
        if self.role == "req":
            return tell("got", self.socket.recv())
        try:
            while True:
                tell("got", self.socket.recv())
        except self.over:
            tell("over")

    def obey(self, line):
        word, _, rest = line.strip().partition(" ")
        if word == "take":
            self.takes.put(None)
        elif self.role in ANSWERING:
            self.answers.put(bytes.fromhex(rest))
        elif self.role in ASKING:
            self.ask(bytes.fromhex(rest))
        else:
            self.socket.send(bytes.fromhex(rest))
            tell("sent")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("library", choices=("nanomsg", "pynng"))
    parser.add_argument("role")
    parser.add_argument("url")
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--hold", action="store_true")
    asked = parser.parse_args()
    opening = {"nanomsg": open_nanomsg, "pynng": open_pynng}[asked.library]
    socket, over = opening(asked.role, asked.url, [topic.encode() for topic in asked.topic])
    peer = Peer(socket, over, asked.role, asked.hold)
    tell("ready")
    if asked.role not in (*ASKING, "push", "pub"):
        threading.Thread(target=peer.receive, daemon=True).start()
    for line in sys.stdin:
        try:
            peer.obey(line)
        except Exception as error:
            tell(f"failed {error!r}")
    # A library's threads are not waited for.
    socket.close()
    os._exit(0)


if __name__ == "__main__":
    main()
