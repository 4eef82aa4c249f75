"""xconn, over asyncio. Its loop runs in a thread of its own."""

import asyncio
import threading

from wampproto.auth import AnonymousAuthenticator, CryptoSignAuthenticator, TicketAuthenticator, WAMPCRAAuthenticator
from xconn import CBORSerializer, JSONSerializer, MsgPackSerializer, types
from xconn.async_client import connect
from wampproto.exception import ApplicationError as JoinError
from xconn.exception import ApplicationError

import door
from door import DEADLINE_S, Call, Event, Invocation, Refused, Registration, Result, Subscription

SERIALIZERS = {"json": JSONSerializer, "msgpack": MsgPackSerializer, "cbor": CBORSerializer}
LOOP = asyncio.new_event_loop()


def start(coroutine):
    """Runs it on the loop; a future of this thread."""

    async def told():
        try:
            return await coroutine
        except ApplicationError as error:
            raise Refused(error.message, error.args, error.kwargs) from None
        except JoinError as error:
            raise Refused(error.message) from None

    return asyncio.run_coroutine_threadsafe(told(), LOOP)


def wait(coroutine):
    return start(coroutine).result(DEADLINE_S)


class Client(door.Client):
    def open(self, of, realm, user, method, secret, message_max=None):
        """Joins."""
        make = {"none": lambda: AnonymousAuthenticator(""), "ticket": lambda: TicketAuthenticator(user, secret),
                "wampcra": lambda: WAMPCRAAuthenticator(user, secret),
                "cryptosign": lambda: CryptoSignAuthenticator(user, secret, {})}[method]
        self.gone = threading.Event()

        async def on_end():
            self.gone.set()

        self.session = wait(connect(of.url(), realm, make(), SERIALIZERS[self.serializer](), disconnect_callback=on_end))
        details = self.session._base_session.session_details
        self.id, self.authid, self.authrole = details.session_id, details.authid, details.authrole

    def subscribe(self, topic, **options):
        subscription = Subscription(topic)

        async def on_event(event):
            details = event.details or {}
            subscription.put(Event(list(event.args or []), dict(event.kwargs or {}), None, details.get("topic", topic), details))

        subscription.library = wait(self.session.subscribe(topic, on_event, options))
        subscription.id = subscription.library.subscription_id
        return subscription

    def unsubscribe(self, subscription):
        wait(subscription.library.unsubscribe())

    def publish(self, topic, args=(), kwargs=None, **options):
        wait(self.session.publish(topic, list(args) or None, kwargs or None, options))

    def register(self, procedure, answer=None, **options):
        registration = Registration(procedure, answer)

        async def on_call(got):
            future = LOOP.create_future()
            made = Invocation(got.args or [], got.kwargs or {}, {"procedure": procedure} | (got.details or {}),
                              lambda result: LOOP.call_soon_threadsafe(future.set_result, result), None)
            if answer:
                future.set_result(answer(made))
            else:
                registration.put(made)
            result = await future
            if isinstance(result, Refused):
                raise ApplicationError(result.uri, *result.args_of_it, **result.kwargs_of_it)
            return types.Result(result.args, result.kwargs)

        registration.library = wait(self.session.register(procedure, on_call, options))
        registration.id = registration.library.registration_id
        return registration

    def unregister(self, registration):
        wait(registration.library.unregister())

    def begin(self, procedure, args=(), kwargs=None, **options):
        async def call():
            got = await self.session.call(procedure, list(args) or None, kwargs or None, options)
            return Result(list(got.args or []), dict(got.kwargs or {}))

        return Call(start(call()), None)

    def leave(self):
        wait(self.session.leave())
        # It does not call `on_end` then.
        self.gone.set()

    def drop(self):
        if self.gone.is_set():
            return
        transport = self.session._base_session.transport
        LOOP.call_soon_threadsafe(getattr(transport, "_writer", None) and transport._writer.transport.abort
                                  or transport._websocket.transport.abort)
        self.gone.wait(DEADLINE_S)


class Door(door.Door):
    new_client = Client
    serializers = ["json", "msgpack", "cbor"]
    binary = ["msgpack", "cbor"]


if __name__ == "__main__":
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    door.main(Door)
