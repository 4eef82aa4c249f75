"""Every pattern between every two programs."""

import time

from ends import CONNECT
from rig import until

# nngcat counts in whole seconds.
EVERY_S = {"nanocat": 0.2, "nngcat": 1, "pynng": 0.2}
# A survey of nanocat is over after a second.
SURVEYS_S = {"nanocat": 1.2, "nngcat": 2, "pynng": 1.2}


def is_tool(library):
    return library in CONNECT


class Speaker:
    """A client that sends `body` again and again: what a socket drops that is not connected yet is nobody's fault."""

    def __init__(self, t, library, role, body):
        self.every_s = SURVEYS_S[library] if role == "surveyor" else EVERY_S[library]
        self.body, self.again_at = body, None
        if is_tool(library):
            self.end = t.start(library, role, data=body.decode(), interval=self.every_s)
        else:
            self.end, self.again_at = t.connected(library, role), time.monotonic()

    def speaks_until(self, what, holds):
        def said():
            if self.again_at and time.monotonic() >= self.again_at:
                self.end.begin(self.body)
                self.again_at = time.monotonic() + self.every_s
            return holds()

        try:
            until(what, said)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.end.what} said {self.end.lines[-3:]}") from None


def pushes(t, library, bodies, has_arrived):
    """Sends them, one after the other; each has arrived once `has_arrived` says so of its number."""
    if is_tool(library):
        for n, body in enumerate(bodies, 1):
            end = t.start(library, "push", data=body.decode())
            until("it has arrived", lambda n=n: has_arrived(n))
            until(f"{end.what} ends", lambda end=end: not end.is_alive())
            assert end.process.returncode == 0, f"{end.what} ended with {end.process.returncode}: {end.lines}"
        return
    t.start(library, "push").send(*bodies)
    until("they have arrived", lambda: has_arrived(len(bodies)))


def push_to_pull(t, sender, receiver):
    bodies = [b"sent before", 'a "quoted" ß\n\\'.encode(), b"sent after", b"and last"]
    pushes(t, sender, bodies[:2], lambda n: t.queue() == n)
    end = t.start(receiver, "pull")
    end.gets(*bodies[:2])
    pushes(t, sender, bodies[2:], lambda n: len(end.got) == 2 + n)
    end.gets(*bodies)
    t.holds(0)


def pub_to_sub(t, publisher, subscriber):
    everything = t.receiving(subscriber, "sub")
    some = t.receiving(subscriber, "sub", topics=["b", "cc"])
    for body in (b"a:1", b"b:2", b"c:3", b"cc:4"):
        speaker = Speaker(t, publisher, "pub", body)
        speaker.speaks_until(f"{body} has arrived", lambda body=body: body in everything.got)
    for body in (b"b:2", b"cc:4"):
        some.eventually_gets(body)
    assert set(some.got) == {b"b:2", b"cc:4"}, f"it got {set(some.got)}"


def req_to_rep(t, asker, worker):
    working = t.start(worker, "rep", data="an answer")
    answer = b"an answer" if is_tool(worker) else b"re:a question"
    if is_tool(asker):
        asking = t.start(asker, "req", data="a question")
        asking.gets(answer)
        working.gets(b"a question")
        return
    asking = t.start(asker, "req")
    for n in range(1, 21):
        asking.begin(b"a question")
        asking.gets_so_many(n)
    asking.gets(*[answer] * 20)
    working.gets(*[b"a question"] * 20)


def surveyor_to_respondents(t, surveyor, respondent):
    first = t.receiving(respondent, "respondent", data="one")
    second = t.receiving(respondent, "respondent", data="two")
    expected = [b"one", b"two"] if is_tool(respondent) else [b"re:who?"] * 2
    asking = Speaker(t, surveyor, "surveyor", b"who?")
    asking.speaks_until("two have answered", lambda: len(asking.end.got) >= 2)
    asking = asking.end
    assert sorted(asking.got[:2]) == expected, f"it got {asking.got}"
    for end in (first, second):
        end.gets_so_many(1)
        assert set(end.got) == {b"who?"}, f"{end.what} got {end.got}"


def both_speak(t, one, other, role):
    first, second = Speaker(t, one, role, b"from one"), Speaker(t, other, role, b"from the other")
    until("both are there", lambda: t.n_consumers() == 2)
    first.speaks_until("the other has it", lambda: b"from one" in second.end.got)
    second.speaks_until("the one has it", lambda: b"from the other" in first.end.got)
    first, second = first.end, second.end
    assert set(first.got) == {b"from the other"} and set(second.got) == {b"from one"}, f"they got {set(first.got)} and {set(second.got)}"


def bus_to_bus(t, one, other):
    both_speak(t, one, other, "bus")


def pair_to_pair(t, one, other):
    both_speak(t, one, other, "pair")


def pair1_to_pair1(t, one, other):
    both_speak(t, one, other, "pair1")
