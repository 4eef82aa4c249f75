#!/usr/bin/env python3
"""A WAMP client of autobahn, in a process of its own: wamp_peer.py URL call PROCEDURE HEX, or wamp_peer.py URL register PROCEDURE.

It prints `got HEX` of what a call results in, or of what a procedure is called with; the procedure's answer is that with `re:` in front.
"""

import asyncio
import sys

from autobahn.asyncio.component import Component
from autobahn.asyncio.component import run as run_component

URL, WHAT, PROCEDURE, *REST = sys.argv[1:]
component = Component(transports=[{"type": "websocket", "url": URL, "serializers": ["cbor"]}], realm="default",
                      authentication={"anonymous": {}})


def octets(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def tell(word, value=None):
    print(word if value is None else f"{word} {octets(value).hex()}", flush=True)


@component.on_join
async def joined(session, _details):
    if WHAT == "register":

        def answer(*args, **kwargs):
            tell("got", args[0])
            return b"re:" + octets(args[0])

        await session.register(answer, PROCEDURE)
        return tell("ready")
    result = await asyncio.wait_for(session.call(PROCEDURE, bytes.fromhex(REST[0])), 20)
    tell("got", result)
    session.leave()


run_component([component], log_level="error")
