"""What breaks the rules, by hand. While it does, a PUSH and a PULL of the libraries go on."""

import contextlib
import functools
import threading

from brokers import CLOSED, Trial, has_own_broker
from raw import BINARY, CONTINUATION, PING, PONG, TEXT, Refused, WebSocket, close, frame
from rig import until

# What a client offers: the other side's name.
PEERS = {"push": "pull", "pull": "push", "pub": "sub", "sub": "pub", "req": "rep", "rep": "req", "surveyor": "respondent",
         "respondent": "surveyor", "bus": "bus", "pair": "pair", "pair1": "pair1"}
ID = b"\x81\x23\x45\x67"
MIB = 1024 * 1024
_lock = threading.Lock()


def token(role):
    return f"{PEERS[role]}.sp.nanomsg.org"


class Standing:
    """A PUSH of libnanomsg and a PULL of nng, which have nothing to do with all this."""

    def __init__(self, broker):
        self.trial = Trial(broker, "standing")
        self.pull = self.trial.receiving("pynng", "pull")
        self.push = self.trial.connected("nanomsg", "push")
        self.connection = self.connections()
        self.sent = []

    def connections(self):
        return [it["connection"] for it in self.trial.consumers()]

    def goes_on(self):
        with _lock:
            self.sent.append(b"%d" % len(self.sent))
            self.push.send(self.sent[-1])
            self.pull.gets(*self.sent)
            assert self.connections() == self.connection, "the standing PULL was connected anew"


def disturbs_nobody(function):
    """And so the standing clients are asked before and after it."""

    @functools.wraps(function)
    def shown(t, *way):
        with _lock:
            if not hasattr(t.broker, "standing"):
                t.broker.standing = Standing(t.broker)
        process = t.broker.process
        remark = function(t, *way)
        t.broker.standing.goes_on()
        assert t.broker.process is process and t.broker.is_alive(), "the broker is gone"
        return remark

    return shown


def by_hand(t, role, name="a", options="", **more):
    socket = t.raw(token(role), name, options, **more)
    if role in ("pull", "sub", "rep", "respondent", "bus", "pair", "pair1"):
        until("it is there", lambda: t.n_consumers(name) >= 1)
    return socket


def refused(t, role_token, name="a", options=""):
    """With which status an upgrade is answered."""
    try:
        t.raw(role_token, name, options)
    except Refused as refusal:
        return refusal.status
    raise AssertionError("it was let in")


def goes_on(t, push, name="a"):
    """Whether a PUSH by hand is still heard."""
    push.send(b"still here")
    t.holds(1, name)


@disturbs_nobody
def a_frame_from_a_sub_closes(t):
    sub = by_hand(t, "sub")
    sub.send(b"I have something to say")
    code = sub.end()
    assert code == 1002, f"it was closed with {code}"


@disturbs_nobody
def a_frame_from_a_pull_is_ignored(t):
    pull, push = by_hand(t, "pull"), by_hand(t, "push")
    pull.send(b"I have something to say")
    push.send(b"for you")
    assert pull.recv() == b"for you"
    t.holds(0)


@disturbs_nobody
def short_and_endless_headers_are_ignored(t):
    worker, asking = by_hand(t, "rep"), by_hand(t, "req")
    word = b"\0\0\0\x07"
    for message in (b"", b"\x81", b"\x81\x23\x45", word, word * 3, word * 8 + ID + b"nine words", word * 100, b"text?"):
        asking.send(message)
    asking.send(word * 7 + ID + b"eight words")
    got = worker.recv()
    assert got.endswith(b"eight words"), f"the worker got {got}"
    for message in (b"", b"\x81", b"text?", word * 9 + ID + b"an answer"):
        worker.send(message)
    header = got[:-len(b"eight words")]
    worker.send(header + b"an answer")
    answer = asking.recv()
    assert answer == word * 7 + ID + b"an answer", f"the asker got {answer}"


@disturbs_nobody
def short_and_endless_surveys_are_ignored(t):
    answering, asking = by_hand(t, "respondent"), by_hand(t, "surveyor")
    word = b"\0\0\0\x07"
    for message in (b"", b"\x81", word, word * 8 + ID + b"nine words"):
        asking.send(message)
    asking.send(ID + b"who?")
    got = answering.recv()
    assert got.endswith(b"who?"), f"the respondent got {got}"
    for message in (b"", b"me", word):
        answering.send(message)
    answering.send(got[:-4] + b"me")
    answer = asking.recv()
    assert answer == ID + b"me", f"the surveyor got {answer}"


@disturbs_nobody
def hop_counts_are_limited(t):
    one, other = by_hand(t, "pair1"), t.raw(token("pair1"))
    until("both are there", lambda: t.n_consumers() == 2)
    for hops in (9, 255, 8, 200, 1):
        one.send(hops.to_bytes(4, "big") + b"%d" % hops)
    got = [other.recv()]
    if got[0] == b"\0\0\0\x098":
        got.append(other.recv())
    assert got[-1] == b"\0\0\0\x021", f"the other got {got}"
    for message in (b"\0\0\1\0too many for a byte", b"\0\0\0"):
        bad = t.raw(token("pair1"), f"bad{len(message)}")
        bad.send(message)
        code = bad.end()
        assert code == 1002, f"it was closed with {code}"
    one.send(b"\0\0\0\1still here")
    assert other.recv() == b"\0\0\0\2still here"


BROKEN = {
    "no mask": frame(b"hello", mask=None),
    "a reserved bit": frame(b"hello", reserved=4),
    "a reserved opcode": frame(b"hello", opcode=3),
    "a reserved control opcode": frame(b"hello", opcode=11),
    "a continuation of nothing": frame(b"hello", opcode=CONTINUATION),
    "a message in a message": frame(b"hel", is_final=False) + frame(b"lo"),
    "a ping in fragments": frame(b"hello", opcode=PING, is_final=False),
    "a long ping": frame(b"h" * 126, opcode=PING),
}


@disturbs_nobody
def broken_frames_close(t):
    for n, (what, octets) in enumerate(BROKEN.items()):
        for role in ("push", "pull"):
            socket = by_hand(t, role, f"{role}{n}")
            socket.write(octets)
            code = socket.end()
            assert code == 1002, f"{what} of a {role} was closed with {code}"
        assert t.queue(f"push{n}") == 0, f"{what} was taken"


@disturbs_nobody
def text_is_taken_if_it_is_utf_8(t):
    push, pull = by_hand(t, "push"), by_hand(t, "pull")
    push.send("hé".encode(), opcode=TEXT)
    assert pull.recv() == "hé".encode()
    push.send(b"h\xe9", opcode=TEXT)
    code = push.end()
    assert code == 1007, f"it was closed with {code}"
    t.holds(0)


@disturbs_nobody
def a_ping_is_answered(t):
    push = by_hand(t, "push")
    push.write(frame(b"hel", is_final=False) + frame(b"are you there?", opcode=PING) + frame(b"lo", opcode=CONTINUATION))
    answer = push.recv_frame()
    assert (answer.opcode, answer.payload) == (PONG, b"are you there?"), f"it was answered by {answer}"
    assert by_hand(t, "pull").recv() == b"hello"


# What of a message may have come when the connection ends.
PARTS = {
    "a first fragment": frame(b"hel", is_final=False),
    "two fragments": frame(b"hel", is_final=False) + frame(b"lo", opcode=CONTINUATION, is_final=False),
    "half a payload": frame(b"hello", length=1000),
    "half a header": frame(b"h" * 1000)[:3],
}
CUTS = {
    "Close": lambda socket: socket.write(close(1000)),
    "FIN": WebSocket.drop,
    "RST": WebSocket.reset,
}


@disturbs_nobody
def a_message_that_is_cut_off_is_not_taken(t):
    n = 0
    for part in PARTS.values():
        for how, cut in CUTS.items():
            if how == "Close" and part in (PARTS["half a payload"], PARTS["half a header"]):
                # Its octets would be the rest of the message.
                continue
            n += 1
            push = by_hand(t, "push")
            push.send(b"whole %d" % n)
            t.holds(n)
            push.write(part)
            cut(push)
            if how == "Close":
                push.end()
    pull = by_hand(t, "pull")
    by_hand(t, "push").send(b"the last")
    got = [pull.recv() for _ in range(n + 1)]
    assert got == [b"whole %d" % k for k in range(1, n + 1)] + [b"the last"], f"it got {got}"


@disturbs_nobody
def one_mebibyte_passes(t, sender, receiver):
    # The largest that programs of both libraries take unless they are told otherwise.
    body = bytes(range(256)) * (MIB // 256)
    pull = t.start(receiver, "pull")
    t.start(sender, "push").send(body)
    pull.gets(body)


@disturbs_nobody
def seventeen_mebibytes_are_refused(t):
    push = by_hand(t, "push")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        push.write(frame(b"x" * (17 * MIB)))
    code = push.end()
    assert code in (1009, None), f"it was closed with {code}"
    # Here the Close is not lost in what is still on its way.
    says = by_hand(t, "push", "b")
    says.write(frame(b"", length=17 * MIB))
    code = says.end()
    assert code == 1009, f"it was closed with {code}"
    pieces = by_hand(t, "push", "c")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pieces.write(frame(b"x" * MIB, is_final=False))
        for _ in range(16):
            pieces.write(frame(b"x" * MIB, opcode=CONTINUATION, is_final=False))
    code = pieces.end()
    assert code in (1009, None), f"it was closed with {code}"
    assert t.queue("a") == t.queue("b") == t.queue("c") == 0, "some of it was taken"


@disturbs_nobody
def sixteen_mebibytes_pass_or_are_refused(t):
    body = bytes(range(256)) * ((16 * MIB - 4096) // 256)
    pull, push = by_hand(t, "pull"), by_hand(t, "push")
    push.send(body)
    assert pull.recv() == body, "it came changed"
    # With what is stored along with it, it is too long for a record.
    push.send(b"x" * 16 * MIB)
    code = push.end()
    assert code == 1009, f"it was closed with {code}"
    t.holds(0)


@disturbs_nobody
@has_own_broker
def who_never_reads_holds_up_nobody(t):
    n, size = 3000, 20_000
    stuck = [by_hand(t, role, f"{role}s", receive_buffer=4096) for role in ("pull", "sub", "bus")]
    pull, sub, bus = t.receiving("pynng", "pull", "pulls"), by_hand(t, "sub", "subs"), t.raw(token("bus"), "buss")
    before = t.broker.memory()
    push, pub, other = by_hand(t, "push", "pulls"), by_hand(t, "pub", "subs"), t.raw(token("bus"), "buss")
    got = {"sub": 0, "bus": 0}

    def reads(name, socket):
        with contextlib.suppress(EOFError, OSError):
            while socket.recv():
                got[name] += 1

    for name, socket in (("sub", sub), ("bus", bus)):
        threading.Thread(target=reads, args=(name, socket), daemon=True).start()
    most = before
    for k in range(n):
        body = b"%d " % k + b"." * size
        for socket in (push, pub, other):
            socket.send(body)
        if k % 100 == 0:
            most = max(most, t.broker.memory())
            # Whoever reads gets it: nobody is kept waiting.
            until("the others are served", lambda k=k: got["sub"] > k * 0.9 and got["bus"] > k * 0.9)
    until("the PULL that reads has the rest", lambda: len(pull.got) >= n - 64)
    most = max(most, t.broker.memory())
    # Besides some MiB for each that does not read, and for the end of the log.
    assert most - before < 80 * MIB, f"the broker took {(most - before) // MIB} MiB more"
    assert len(stuck) == 3
    return f"{(most - before) // MIB} MiB more memory for {3 * n * size // MIB} MiB"


@disturbs_nobody
def request_ids_may_be_used_again(t):
    worker, asking = by_hand(t, "rep", options="?credit=8"), by_hand(t, "req")
    # Asked again before there is an answer: it is asked once.
    for _ in range(3):
        asking.send(ID + b"again?")
    got = worker.recv()
    assert worker.is_quiet(0.3), "the worker was asked twice"
    worker.send(got[:-6] + b"once")
    assert asking.recv() == ID + b"once"
    # A second answer is one too many.
    worker.send(got[:-6] + b"twice")
    # By another client the same id is another request; after its answer, by the same one.
    other = by_hand(t, "req")
    other.send(ID + b"mine?")
    got = worker.recv()
    worker.send(got[:-5] + b"yours")
    assert other.recv() == ID + b"yours"
    asking.send(ID + b"and now?")
    got = worker.recv()
    assert got.endswith(b"and now?"), f"the worker got {got}"
    worker.send(got[:-8] + b"now")
    assert asking.recv() == ID + b"now"


@disturbs_nobody
def a_third_end_of_a_pair_is_cut(t):
    for role in ("pair", "pair1"):
        header = b"\0\0\0\1" if role == "pair1" else b""
        one, other = by_hand(t, role, role), t.raw(token(role), role)
        until("both are there", lambda role=role: t.n_consumers(role) == 2)
        third = t.raw(token(role), role)
        with contextlib.suppress(ConnectionError):
            third.send(header + b"from the third")
        code = third.end()
        assert code is None, f"it was closed with {code}: libnanomsg would not come back"
        one.send(header + b"to the other")
        other.send(header + b"to the one")
        assert other.recv().endswith(b"to the other") and one.recv().endswith(b"to the one")
        # Its place is had by whoever comes next, once there is one.
        other.drop()
        until("one is left", lambda role=role: t.n_consumers(role) == 1)
        other = t.raw(token(role), role)
        until("both are there again", lambda role=role: t.n_consumers(role) == 2)
        other.send(header + b"I am new")
        assert one.recv().endswith(b"I am new")


@disturbs_nobody
def an_unknown_token_is_closed(t):
    star = t.raw("star.sp.nanomsg.org")
    assert b"star.sp.nanomsg.org" in star.response, "the token is not echoed"
    code = star.end()
    assert code == 1002, f"it was closed with {code}"


@disturbs_nobody
def what_is_not_allowed_is_refused(t):
    broker = t.broker
    for role in PEERS:
        try:
            socket = WebSocket(broker.host, int(broker.port), f"/sp/{CLOSED}/a", token(role))
            t.sockets.append(socket)
            status = 101
        except Refused as refusal:
            status = refusal.status
        assert status == 403, f"a {role} was answered with {status}"
    for what, status in ((None, 400), ("", 400), ("mqtt", 400), ("pull.sp.nanomsg.org.", 400)):
        got = refused(t, what)
        assert got == status, f"the token {what} was answered with {got}"
    for options in ("?nonsense=1", "?durable=x", "?credit=0", "?credit=1&credit=1", "?settle=tcp"):
        got = refused(t, token("push"), options=options)
        assert got == 400, f"{options} of a PUSH was answered with {got}"
    for path in ("/sp/", "/sp", "/sp/%zz", "/sp/a//b", "/sp/../a"):
        try:
            t.sockets.append(WebSocket(broker.host, int(broker.port), path, token("push")))
            got = 101
        except Refused as refusal:
            got = refusal.status
        assert got in (400, 404), f"{path} was answered with {got}"


@disturbs_nobody
def passwords_are_checked(t):
    import base64

    right, wrong = (base64.b64encode(it).decode() for it in (b"tester:pass, word", b"tester:wrong"))
    try:
        t.raw(token("push"), headers=[f"Authorization: Basic {wrong}"])
        raise AssertionError("a wrong password lets in")
    except Refused as refusal:
        assert refusal.status == 401, f"it was answered with {refusal.status}"
    push = t.raw(token("push"), headers=[f"Authorization: Basic {right}"])
    goes_on(t, push)
    principals = {it["principal"] for it in t.broker.all_of("connections")}
    assert any("tester" in it for it in principals), f"connected are {principals}"


@disturbs_nobody
def the_answer_to_an_upgrade_is_short(t):
    for role in PEERS:
        socket = t.raw(token(role), f"the-longest-{role}")
        got = socket.response
        assert len(got) <= 511, f"a {role} was answered with {len(got)} octets"
        # nng compares these values octet by octet, libnanomsg takes no other Connection.
        fine = (got.startswith(b"HTTP/1.1 101 ") and b"upgrade: websocket\r\n" in got.replace(b"Upgrade:", b"upgrade:")
                and b"connection: upgrade\r\n" in got.lower() and f": {token(role)}\r\n".encode() in got)
        assert fine, f"a {role} was answered with {got}"


@disturbs_nobody
def long_messages_come_in_short_frames(t):
    pull, push = by_hand(t, "pull"), by_hand(t, "push")
    push.send(b"x" * MIB)
    frames = [pull.recv_frame()]
    while not frames[-1].is_final:
        frames.append(pull.recv_frame())
    assert [it.opcode for it in frames] == [BINARY] + [CONTINUATION] * (len(frames) - 1)
    assert max(len(it.payload) for it in frames) <= 65536 and sum(len(it.payload) for it in frames) == MIB
