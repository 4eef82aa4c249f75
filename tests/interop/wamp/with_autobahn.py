"""autobahn for Python, over asyncio or over Twisted: with_autobahn.py FRAMEWORK GIVEN. Its loop runs in a thread of its own."""

import concurrent.futures
import inspect
import sys
import threading

import txaio

FRAMEWORK = sys.argv[1]
if FRAMEWORK == "asyncio":
    import asyncio

    from autobahn.asyncio.rawsocket import WampRawSocketClientFactory
    from autobahn.asyncio.wamp import ApplicationSession
    from autobahn.asyncio.websocket import WampWebSocketClientFactory
else:
    txaio.use_twisted()
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint

    from autobahn.twisted.rawsocket import WampRawSocketClientFactory
    from autobahn.twisted.wamp import ApplicationSession
    from autobahn.twisted.websocket import WampWebSocketClientFactory

from autobahn.exception import PayloadExceededError
from autobahn.wamp import auth, message, types
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import CBORSerializer, JsonSerializer, MsgPackSerializer, UBJSONSerializer
from autobahn.wamp.types import ComponentConfig

import door
from door import DEADLINE_S, Call, Event, Invocation, Refused, Registration, Result, Subscription

SERIALIZERS = {
    "json": JsonSerializer,
    "msgpack": MsgPackSerializer,
    "cbor": CBORSerializer,
    "ubjson": UBJSONSerializer,
    "json.batched": lambda: JsonSerializer(batched=True),
    "msgpack.batched": lambda: MsgPackSerializer(batched=True),
    "cbor.batched": lambda: CBORSerializer(batched=True),
}
SECRETS = {"ticket": "ticket", "wampcra": "secret", "scram": "password", "cryptosign": "privkey"}


def with_more(kind):
    """The kind of message, with options besides those that autobahn knows."""

    class WithMore(kind):
        __slots__ = ("more",)

        def __init__(self, *args, more=None, **given):
            super().__init__(*args, **given)
            self.more = more

        def marshal(self):
            made = super().marshal()
            made[2].update(self.more or {})
            return made

    return WithMore


class Open:
    """Options as a dict; those that autobahn does not know go along as they are."""

    def __init__(self, **given):
        known = inspect.signature(type(self).__mro__[2].__init__).parameters
        self.more = {name: value for name, value in given.items() if name not in known}
        super().__init__(**{name: value for name, value in given.items() if name in known})

    def message_attr(self):
        return super().message_attr() | ({"more": self.more} if self.more else {})


class SubscribeOptions(Open, types.SubscribeOptions):
    pass


class PublishOptions(Open, types.PublishOptions):
    pass


class RegisterOptions(Open, types.RegisterOptions):
    pass


class CallOptions(Open, types.CallOptions):
    pass


for name in ("Subscribe", "Publish", "Register", "Call"):
    setattr(message, name, with_more(getattr(message, name)))


class Loop:
    """The framework's loop, in a thread."""

    def __init__(self):
        if FRAMEWORK == "asyncio":
            self.loop = asyncio.new_event_loop()
            txaio.config.loop = self.loop
            self.soon = self.loop.call_soon_threadsafe
            threading.Thread(target=self.run, daemon=True).start()
        else:
            txaio.config.loop = reactor
            self.soon = reactor.callFromThread
            threading.Thread(target=reactor.run, args=[False], daemon=True).start()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def begin(self, make):
        """Runs what makes a future or a Deferred on the loop; a future of this thread."""
        done = concurrent.futures.Future()

        def go():
            future = txaio.as_future(make)
            txaio.add_callbacks(future, done.set_result, lambda failure: done.set_exception(refusal(failure.value)))

        self.soon(go)
        return done

    def wait(self, make):
        return self.begin(make).result(DEADLINE_S)


def refusal(error):
    if isinstance(error, ApplicationError):
        return Refused(error.error, error.args, error.kwargs)
    if isinstance(error, PayloadExceededError):
        # Its own name for an ERROR with that URI.
        return Refused(ApplicationError.PAYLOAD_SIZE_EXCEEDED, error.args)
    return error


LOOP = Loop()


class Session(ApplicationSession):
    def __init__(self, client, realm, authenticator):
        super().__init__(ComponentConfig(realm))
        self.client, self.authenticator = client, authenticator
        self.joined = concurrent.futures.Future()
        self.stays = False

    def onConnect(self):
        self.begin()

    def begin(self):
        if self.authenticator is None:
            return self.join(self.config.realm)
        args = self.authenticator._args
        self.join(self.config.realm, [self.authenticator.name], args.get("authid"), authextra=self.authenticator.authextra or None)

    def onChallenge(self, challenge):
        return self.authenticator.on_challenge(self, challenge)

    def onWelcome(self, welcome):
        return self.authenticator.on_welcome(self, welcome.authextra) if self.authenticator else None

    def onJoin(self, details):
        self.joined.set_result(details)

    def onLeave(self, details):
        if not self.joined.done():
            self.joined.set_exception(Refused(details.reason, [details.message]))
        self.client.ends.put(details.reason)
        if not self.stays:
            return super().onLeave(details)

    def onDisconnect(self):
        if not self.joined.done():
            self.joined.set_exception(Refused("the connection was closed"))
        self.client.gone.set()

    def onUserError(self, failure, text):
        pass


class Client(door.Client):
    def open(self, of, realm, user, method, secret, message_max=None):
        """Joins."""
        self.gone = threading.Event()
        authenticator = None
        if method != "none":
            authenticator = auth.create_authenticator(method, authid=user, **{SECRETS[method]: secret})
        self.session = Session(self, realm, authenticator)
        serializer = SERIALIZERS[self.serializer]()
        LOOP.wait(lambda: self.connect(of, serializer, message_max))
        self.is_joined()

    def is_joined(self):
        details = self.session.joined.result(DEADLINE_S)
        self.id, self.authid, self.authrole = details.session, details.authid, details.authrole
        roles = self.session._router_roles
        self.roles = {
            name: {feature for feature, value in vars(role).items() if value is True} for name, role in roles.items()
        }

    def join_again(self):
        """Leaves, and joins over the same connection."""
        self.session.stays = True
        LOOP.soon(self.session.leave)
        self.ends.next()
        self.session.joined = concurrent.futures.Future()
        LOOP.wait(self.session.begin)
        self.is_joined()
        self.session.stays = False

    def connect(self, of, serializer, message_max):
        at = of.given["at"]
        if of.transport == "websocket":
            factory = WampWebSocketClientFactory(lambda: self.session, url=of.url(), serializers=[serializer])
        else:
            factory = WampRawSocketClientFactory(lambda: self.session, serializer=serializer)
            if message_max:
                factory.setProtocolOptions(maxMessagePayloadSize=message_max)
        if FRAMEWORK == "asyncio":
            if of.transport == "unix":
                return LOOP.loop.create_unix_connection(factory, at["path"])
            return LOOP.loop.create_connection(factory, at["host"], at["port"])
        factory.noisy = False
        if of.transport == "unix":
            return UNIXClientEndpoint(reactor, at["path"]).connect(factory)
        return TCP4ClientEndpoint(reactor, at["host"], at["port"]).connect(factory)

    def subscribe(self, topic, **options):
        subscription = Subscription(topic)

        def on_event(*args, details, **kwargs):
            subscription.put(Event(list(args), kwargs, details.publication, details.topic, {
                name: getattr(details, name) for name in ("publisher", "publisher_authid", "publisher_authrole", "retained")
                if getattr(details, name) is not None
            }))
            # While it is not done, autobahn does not acknowledge.
            return txaio.create_future() if subscription.hold else None

        options = SubscribeOptions(details=True, **options)
        subscription.library = LOOP.wait(lambda: self.session.subscribe(on_event, topic, options))
        subscription.id = subscription.library.id
        return subscription

    def unsubscribe(self, subscription):
        LOOP.wait(subscription.library.unsubscribe)

    def publish(self, topic, args=(), kwargs=None, **options):
        publication = LOOP.wait(lambda: self.session.publish(topic, *args, **(kwargs or {}), options=PublishOptions(**options)))
        return publication and publication.id

    def register(self, procedure, answer=None, **options):
        registration = Registration(procedure, answer)

        def on_call(*args, details, **kwargs):
            future = txaio.create_future()
            told = {name: getattr(details, name) for name in ("caller", "caller_authid", "caller_authrole", "procedure")}
            made = Invocation(args, kwargs, told | {"receive_progress": bool(details.progress)},
                              lambda result: LOOP.soon(resolve, future, result),
                              lambda args, kwargs: LOOP.soon(lambda: details.progress(*args, **kwargs)))
            if answer:
                resolve(future, answer(made))
            else:
                registration.put(made)
            if FRAMEWORK == "asyncio":
                future.add_done_callback(lambda done: done.cancelled() and made.interrupted.set())
            else:
                future._canceller = lambda _: made.interrupted.set()
            return future

        options = RegisterOptions(details=True, **options)
        registration.library = LOOP.wait(lambda: self.session.register(on_call, procedure, options))
        registration.id = registration.library.id
        return registration

    def unregister(self, registration):
        LOOP.wait(registration.library.unregister)

    def begin(self, procedure, args=(), kwargs=None, receive_progress=False, **options):
        going = Call(None, lambda mode: LOOP.wait(lambda: self.session._transport.send(message.Cancel(request, mode))))
        if receive_progress:
            options["on_progress"] = lambda got: going.progress.put(Result(list(got.results), got.kwresults))
        options = CallOptions(details=True, **options)

        def call():
            future = self.session.call(procedure, *args, **(kwargs or {}), options=options)
            return future, max(self.session._call_reqs)

        # What call returns is a future itself, and is kept from being waited for here.
        started = concurrent.futures.Future()
        LOOP.soon(lambda: started.set_result(attempt(call)))
        got = started.result(DEADLINE_S)
        if isinstance(got, Exception):
            raise refusal(got)
        future, request = got
        going.future = concurrent.futures.Future()
        LOOP.soon(lambda: txaio.add_callbacks(
            future, lambda result: going.future.set_result(Result(list(result.results), result.kwresults)),
            lambda failure: going.future.set_exception(refusal(failure.value))))
        return going

    def leave(self):
        LOOP.soon(self.session.leave)
        self.ends.next()
        self.gone.wait(DEADLINE_S)

    def drop(self):
        """Ends the connection without a word."""
        if self.session._transport:
            LOOP.wait(lambda: self.session._transport.abort())
        self.gone.wait(DEADLINE_S)


def attempt(what):
    try:
        return what()
    except Exception as error:
        return error


def resolve(future, result):
    if txaio.is_called(future):
        return
    if isinstance(result, Refused):
        txaio.reject(future, ApplicationError(result.uri, *result.args_of_it, **result.kwargs_of_it))
    else:
        txaio.resolve(future, types.CallResult(*result.args, **result.kwargs))


class Door(door.Door):
    new_client = Client
    serializers = binary = ["json", "msgpack", "cbor", "ubjson"]


if __name__ == "__main__":
    door.main(Door)
