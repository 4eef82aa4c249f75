//! What an attachment does for WAMP alone: it asks its realm's router, and carries out what that says.
//!
//! ```text
//! session ─ ask ─▶ Attachment::wamp ─▶ router (one lock a realm, held for one question)
//!                                        └─▶ outboxes of those concerned ─▶ their sessions
//! ```
//!
//! Events are no business of the router's: a subscription is a consumer of a topic, as it is for every other door, or of a durable
//! queue, and what is published goes the way of all messages (`publish.rs`). The router gives ids, tells others of it (meta events),
//! and leads calls from callers to callees.
//!
//! Always, with tests of these names in `broker/tests/wamp.rs`:
//! - `whoever_leaves_takes_all_with_it`
//! - `a_client_that_does_not_read_costs_so_much_and_no_more`
//!
//! Not here: messages on the wire (session), who calls whom (router).

mod authorizer;
mod courier;
mod doors;
mod late;
mod reflection;
mod requesters;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rand::TryRng as _;
use rand::rngs::SysRng;
use restante_proto::wamp::{Payload, Serializer};
use restante_storage::QueueId;
use restante_storage::payload::WampPeer;
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, watch};

use super::attachment::Attachment;
use super::call::{Attach, AttachError, End, WampClient};
use super::history::{CALLS_MAX, Histories, TURNS_PER_REALM};
use super::now;
use super::outbox::{Bells, Outbox, Subscriber};
use super::stats::CallEnd;
use super::{Protocol, Shared};
use crate::engine::QueueHandle;
use crate::engine::address::{Address, Filter};
use crate::message::SharedMessage;
use crate::refusal::Refusal;
use crate::registry::Verb;
use crate::router::{
    CallOptions, CallRequest, Called, CancelMode, DisclosePolicy, Limits, Match, MetaAnswer,
    MetaError, Party, Ppt, RegisterOptions, RegistrationId, Router, SessionDetails, SessionId,
    Sink, SubscriptionId, Testament, ToSession, Transport, YieldOptions, is_reserved,
};
use crate::wamp::history::GET_EVENTS;
use crate::wamp::options::PublishOptions;
use crate::wamp::{code, event, json, uri};
pub use authorizer::Authorized;
use courier::Courier;
pub(super) use doors::Due;
pub use doors::REPLIES;
use requesters::{Answer, Requester, Requesters};

/// Things that have happened of which others are told before somebody else has the realm.
const NEWS_MAX: usize = 256;

/// What a session asks of its realm's router.
#[derive(Debug, Clone, PartialEq)]
pub enum WampAsk {
    /// An id for a subscription; answered by [`WampTold::Subscribed`]. Others hear of it once it has [begun](WampAsk::Begun).
    Subscribe {
        /// The client's request.
        request: u64,
        /// Topic or pattern.
        topic: String,
        /// How it is matched.
        how: Match,
        /// The same as a filter.
        filter: String,
    },
    /// The consumer of a subscription is there.
    Begun {
        /// Its id.
        subscription: u64,
    },
    /// A subscription ends, or never began. Not answered.
    Unsubscribe {
        /// Its id.
        subscription: u64,
    },
    /// Answered by [`WampTold::Registered`].
    Register {
        /// The client's request.
        request: u64,
        /// Procedure or pattern.
        procedure: String,
        /// The same as a filter.
        filter: String,
        /// Its options.
        options: RegisterOptions,
    },
    /// Answered by [`WampTold::Unregistered`].
    Unregister {
        /// The client's request.
        request: u64,
        /// The registration.
        registration: u64,
    },
    /// Answered by what a callee says, or the router.
    Call(Box<WampCall>),
    /// Whether the session may do something; answered by [`WampTold::Authorized`].
    Authorize {
        /// The session's number for that.
        question: u64,
        /// The procedure that knows.
        authorizer: String,
        /// `publish` and so on.
        action: &'static str,
        /// With what.
        uri: String,
        /// How that is matched.
        how: Match,
    },
    /// A call is not wanted any more.
    Cancel {
        /// The call's request.
        request: u64,
        /// How.
        mode: CancelMode,
    },
    /// A call's time is over.
    Expire {
        /// The call's request.
        request: u64,
    },
    /// A callee's result.
    Yield {
        /// The invocation's request.
        invocation: u64,
        /// Its options.
        options: YieldOptions,
        /// The result.
        payload: Payload,
    },
    /// What came for the session's calls that others answer by messages.
    Answered(Arc<SharedMessage>),
    /// A callee's error.
    Error {
        /// The invocation's request.
        invocation: u64,
        /// The error.
        uri: String,
        /// How its payload was packed, if that is opaque.
        ppt: Option<Ppt>,
        /// More of it.
        payload: Payload,
    },
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct WampCall {
    /// The client's request.
    pub request: u64,
    /// What is called.
    pub procedure: String,
    /// The same as an address.
    pub address: String,
    /// Its options.
    pub options: CallOptions,
    /// Whether callers are disclosed.
    pub disclose: DisclosePolicy,
    /// The request is an old one: it goes on with a call, or is a violation.
    pub continues_only: bool,
    /// What the client's payloads are written in.
    pub serializer: Serializer,
    /// The arguments.
    pub payload: Payload,
}

/// What a session hears of its realm's router.
#[derive(Debug, Clone, PartialEq)]
pub enum WampTold {
    /// The id of a subscription.
    Subscribed {
        /// The client's request.
        request: u64,
        /// The id.
        subscription: u64,
    },
    /// It is a callee now.
    Registered {
        /// The client's request.
        request: u64,
        /// The registration.
        registration: u64,
        /// Of which procedure or pattern.
        procedure: String,
        /// How it is matched.
        how: Match,
    },
    /// It is no callee any more.
    Unregistered {
        /// The client's request.
        request: u64,
        /// Of that registration.
        registration: u64,
    },
    /// A request is refused.
    Refused {
        /// The request's type.
        request_type: u16,
        /// The request.
        request: u64,
        /// The error.
        uri: &'static str,
        /// Why, for people.
        message: String,
    },
    /// What the router itself answers to a call.
    Result {
        /// The call's request.
        request: u64,
        /// The answer.
        payload: Payload,
    },
    /// What the authorizer said.
    Authorized {
        /// The session's number for what it has asked.
        question: u64,
        /// The answer.
        said: Authorized,
    },
    /// A call would be answered by a message: the session is to consume from `~replies` by the name [`REPLIES`], and to ask again.
    WantsReplies(Box<WampCall>),
    /// The client has broken the protocol.
    Violated(String),
    /// What others, or the router, have for it.
    Said(Box<ToSession<Payload>>),
}

impl WampTold {
    /// About how many bytes it holds on to.
    fn weight(&self) -> usize {
        const REST: usize = 256;
        let payload = match self {
            WampTold::Result { payload, .. } => payload.len(),
            WampTold::Said(said) => match &**said {
                ToSession::Invocation(it) => it.payload.len(),
                ToSession::Result(it) => it.payload.len(),
                ToSession::CallError(it) => it.payload.as_ref().map_or(0, Payload::len),
                // Shared, but whoever is the last to read it keeps all of it.
                ToSession::MetaEvent(it) => it.n_bytes,
                _ => 0,
            },
            _ => 0,
        };
        payload + REST
    }
}

/// The routers of all realms that have, or had, a WAMP client.
#[derive(Debug, Default)]
pub(super) struct Routers {
    realms: Mutex<FxHashMap<Arc<str>, Arc<Mutex<Realm>>>>,
    pub(super) histories: Histories,
}

/// A realm's router, and where its sessions are.
#[derive(Debug)]
pub(super) struct Realm {
    pub(super) router: Router<Payload>,
    pub(super) outboxes: FxHashMap<SessionId, Arc<Outbox>>,
    /// The histories whose patterns are subscriptions that stay.
    pub(super) histories: imbl::OrdMap<QueueId, Arc<QueueHandle>>,
    /// Who has called by another door, and is not answered.
    requesters: Requesters,
    last_door: u64,
    /// Of its calls that read histories.
    pub(super) history_turns: Arc<Semaphore>,
}

impl Shared {
    /// A listener has no credit or room for a message. A WAMP client that does not take its events is let go, if so configured.
    pub(super) fn missed_by(&self, subscriber: &Subscriber) {
        self.stats.topic_dropped();
        let outbox = subscriber.outbox();
        if self.settings.wamp.ends_the_slow && outbox.card.protocol == Protocol::Wamp {
            outbox.end(End::TooSlow);
        }
    }
}

impl Realm {
    /// An administrator takes something from clients: they are told what the router says. Nothing that is taken so has to do with
    /// other doors.
    pub(super) fn take_back<R>(
        &mut self,
        shared: &Shared,
        ask: impl FnOnce(&mut Router<Payload>, &mut Sink<Payload>) -> R,
    ) -> R {
        self.hand_out(shared, ask).0
    }

    /// The broker itself asks the router one thing, and hands out what it says. Gives what those are to be told who have asked by
    /// other doors.
    fn hand_out<R>(
        &mut self,
        shared: &Shared,
        ask: impl FnOnce(&mut Router<Payload>, &mut Sink<Payload>) -> R,
    ) -> (R, Vec<Answer>) {
        let mut sink = Sink::new();
        let answer = ask(&mut self.router, &mut sink);
        let mut bells = Bells::default();
        let courier = Courier {
            shared,
            bells: &mut bells,
            own: None,
        };
        let for_doors = courier.carry_out(self, sink).into_iter();
        let told = for_doors.filter_map(|(door, said)| self.requesters.answer(door, &said));
        let told = told.collect();
        let mut has_more = true;
        while has_more {
            let mut sink = Sink::new();
            has_more = self.router.tell_news(NEWS_MAX, &mut sink);
            let courier = Courier {
                shared,
                bells: &mut bells,
                own: None,
            };
            // News is for sessions alone.
            courier.carry_out(self, sink);
            bells.ring();
        }
        (answer, told)
    }

    /// The number of a call in or out by another door.
    fn new_door(&mut self) -> u64 {
        self.last_door += 1;
        self.last_door
    }
}

impl Routers {
    pub(super) fn of(&self, realm: &Arc<str>, limits: Limits) -> Arc<Mutex<Realm>> {
        let mut all = self.realms.lock();
        let known = all.entry(Arc::clone(realm));
        let made = known.or_insert_with(|| {
            Arc::new(Mutex::new(Realm {
                router: Router::new(limits, SysRng.try_next_u64().unwrap_or_default()),
                outboxes: FxHashMap::default(),
                histories: imbl::OrdMap::new(),
                requesters: Requesters::default(),
                last_door: 0,
                history_turns: Arc::new(Semaphore::new(TURNS_PER_REALM)),
            }))
        });
        Arc::clone(made)
    }

    /// All that there are, by realm.
    pub(super) fn all(&self) -> BTreeMap<Arc<str>, Arc<Mutex<Realm>>> {
        let all = self.realms.lock();
        let all = all.iter();
        all.map(|(name, realm)| (Arc::clone(name), Arc::clone(realm)))
            .collect()
    }

    /// The router of a realm that has one.
    pub(super) fn get(&self, realm: &str) -> Option<Arc<Mutex<Realm>>> {
        self.realms.lock().get(realm).cloned()
    }
}

/// What an attachment knows of its WAMP session.
#[derive(Debug)]
pub(super) struct Wamp {
    realm: Arc<Mutex<Realm>>,
    id: SessionId,
    pub(super) authid: Arc<str>,
    pub(super) authrole: Arc<str>,
    /// What is left of the calls that may wait for a history.
    pub(super) asking: Arc<Semaphore>,
    /// Dropped when the session leaves: whoever reads a history for it gives up then.
    pub(super) stays: watch::Sender<()>,
    /// By subscription that has not begun: what others are to hear of it.
    held: BTreeMap<u64, Sink<Payload>>,
    /// By door: calls of this session that others answer by messages, and the router's request.
    asked: FxHashMap<u64, u64>,
    pub(super) telling: super::telling::Telling,
}

impl Attachment {
    /// A WAMP client takes its place in the realm.
    pub(super) fn join(&mut self, wish: &Attach) -> Result<(), AttachError> {
        let Some(client) = &wish.wamp else {
            return Ok(());
        };
        let limits = self.shared.settings.wamp.limits;
        let realm = self.shared.routers.of(&self.realm, limits);
        let id = SessionId::new(client.session);
        let mut sink = Sink::new();
        {
            let mut locked = realm.lock();
            let details = self.details(client);
            if !locked.router.join(details, client.features, &mut sink) {
                return Err(AttachError::NotYours);
            }
            locked.outboxes.insert(id, Arc::clone(&self.outbox));
            self.keep_histories(&mut locked);
            self.carry_out(&mut locked, sink);
        }
        self.wamp = Some(Box::new(Wamp {
            realm,
            id,
            authid: Arc::clone(&client.authid),
            authrole: Arc::clone(&client.authrole),
            asking: Arc::new(Semaphore::new(CALLS_MAX)),
            stays: watch::Sender::new(()),
            held: BTreeMap::new(),
            asked: FxHashMap::default(),
            telling: super::telling::Telling::default(),
        }));
        self.bells.ring();
        Ok(())
    }

    fn details(&self, client: &WampClient) -> SessionDetails {
        let card = &self.outbox.card;
        SessionDetails {
            session: SessionId::new(client.session),
            authid: Arc::clone(&client.authid),
            authrole: Arc::clone(&client.authrole),
            authmethod: client.authmethod.into(),
            authprovider: client.authprovider.into(),
            transport: Some(Transport {
                kind: client.transport,
                protocol: client.serializer,
                peer: None,
                is_secure: card.tls,
            }),
        }
    }

    /// Asks the realm's router. What it says comes as [`Event::Wamp`](super::Event::Wamp).
    pub fn wamp(&mut self, ask: WampAsk) {
        let Some(wamp) = &self.wamp else { return };
        let (realm, id) = (Arc::clone(&wamp.realm), wamp.id);
        self.ask_router(&realm, id, ask);
        self.send_what_is_due(&realm);
    }

    fn ask_router(&mut self, realm: &Mutex<Realm>, id: SessionId, ask: WampAsk) {
        match ask {
            WampAsk::Authorize {
                question,
                authorizer,
                action,
                uri,
                how,
            } => {
                let asks = Requester::Session { id, question };
                self.ask_authorizer(realm, asks, &authorizer, (action, &uri, how));
            }
            WampAsk::Answered(message) => self.answered_elsewhere(realm, &message),
            WampAsk::Subscribe {
                request,
                topic,
                how,
                filter,
            } => self.begin_subscribing(realm, id, request, &topic, how, &filter),
            WampAsk::Begun { subscription } => {
                let held = self
                    .wamp
                    .as_mut()
                    .and_then(|it| it.held.remove(&subscription));
                if let Some(sink) = held {
                    self.carry_out(&mut realm.lock(), sink);
                }
            }
            WampAsk::Unsubscribe { subscription } => {
                let held = self
                    .wamp
                    .as_mut()
                    .and_then(|it| it.held.remove(&subscription));
                let mut sink = Sink::new();
                let mut locked = realm.lock();
                let subscription = SubscriptionId::new(subscription);
                // Where it is gone already, there is nothing to say.
                locked.router.unsubscribe(id, subscription, &mut sink).ok();
                // Of one that never began nobody heard.
                if held.is_none() {
                    self.carry_out(&mut locked, sink);
                }
            }
            WampAsk::Register {
                request,
                procedure,
                filter,
                options,
            } => self.register(realm, id, (request, &procedure, &filter), options),
            WampAsk::Unregister {
                request,
                registration,
            } => {
                let mut sink = Sink::new();
                let mut locked = realm.lock();
                let named = RegistrationId::new(registration);
                let told = match locked.router.unregister(id, named, &mut sink) {
                    Ok(()) => WampTold::Unregistered {
                        request,
                        registration,
                    },
                    Err(why) => refused(code::UNREGISTER, request, why.uri(), why.to_string()),
                };
                self.tell_self(told);
                self.carry_out(&mut locked, sink);
            }
            WampAsk::Call(call) => self.call_procedure(realm, id, *call),
            WampAsk::Cancel { request, mode } => {
                self.with_router(realm, |router, sink| {
                    router.cancel(Party::Session(id), request, mode, sink);
                });
            }
            WampAsk::Expire { request } => {
                self.with_router(realm, |router, sink| {
                    router.expire(Party::Session(id), request, sink);
                });
            }
            WampAsk::Yield {
                invocation,
                options,
                payload,
            } => {
                let party = Party::Session(id);
                let done = self.with_router(realm, |router, sink| {
                    router.yield_(party, invocation, options, payload, sink)
                });
                if let Err(violation) = done {
                    self.tell_self(WampTold::Violated(violation.to_string()));
                }
            }
            WampAsk::Error {
                invocation,
                uri,
                ppt,
                payload,
            } => {
                let party = Party::Session(id);
                let done = self.with_router(realm, |router, sink| {
                    router.error(party, invocation, uri, ppt, payload, sink)
                });
                if let Err(violation) = done {
                    self.tell_self(WampTold::Violated(violation.to_string()));
                }
            }
        }
    }

    /// Asks the router one thing, and carries out what it says.
    pub(super) fn with_router<R>(
        &mut self,
        realm: &Mutex<Realm>,
        ask: impl FnOnce(&mut Router<Payload>, &mut Sink<Payload>) -> R,
    ) -> R {
        self.with_router_of(realm, |realm, sink| ask(&mut realm.router, sink))
    }

    fn with_router_of<R>(
        &mut self,
        realm: &Mutex<Realm>,
        ask: impl FnOnce(&mut Realm, &mut Sink<Payload>) -> R,
    ) -> R {
        let mut sink = Sink::new();
        let mut locked = realm.lock();
        let answer = ask(&mut locked, &mut sink);
        self.carry_out(&mut locked, sink);
        answer
    }

    fn begin_subscribing(
        &mut self,
        realm: &Mutex<Realm>,
        id: SessionId,
        request: u64,
        topic: &str,
        how: Match,
        filter: &str,
    ) {
        let checked = match Filter::parse(filter, self.shared.settings.address) {
            Ok(filter) if self.may_listen(&filter) => Ok(()),
            Ok(_) => Err((
                "wamp.error.not_authorized",
                "no rule lets this client subscribe".to_owned(),
            )),
            Err(why) => Err(("wamp.error.invalid_uri", why.to_string())),
        };
        if let Err((uri, why)) = checked {
            return self.tell_self(refused(code::SUBSCRIBE, request, uri, why));
        }
        let mut sink = Sink::new();
        let subscribed = realm
            .lock()
            .router
            .subscribe(id, topic, how, now(), &mut sink);
        match subscribed {
            Ok(it) => {
                if it.is_new
                    && let Some(wamp) = self.wamp.as_mut()
                {
                    wamp.held.insert(it.id.get(), sink);
                }
                self.tell_self(WampTold::Subscribed {
                    request,
                    subscription: it.id.get(),
                });
            }
            Err(why) => {
                self.tell_self(refused(
                    code::SUBSCRIBE,
                    request,
                    why.uri(),
                    why.to_string(),
                ));
            }
        }
    }

    fn register(
        &mut self,
        realm: &Mutex<Realm>,
        id: SessionId,
        (request, procedure, filter): (u64, &str, &str),
        options: RegisterOptions,
    ) {
        let checked = match Filter::parse(filter, self.shared.settings.address) {
            Ok(filter) if self.may_do(Verb::Register, filter.as_str()) => Ok(()),
            Ok(_) => Err((
                "wamp.error.not_authorized",
                "no rule lets this client register".to_owned(),
            )),
            Err(why) => Err(("wamp.error.invalid_uri", why.to_string())),
        };
        if let Err((uri, why)) = checked {
            return self.tell_self(refused(code::REGISTER, request, uri, why));
        }
        let mut sink = Sink::new();
        let mut locked = realm.lock();
        let told = match locked
            .router
            .register(id, procedure, options, now(), &mut sink)
        {
            Ok(registration) => WampTold::Registered {
                request,
                registration: registration.get(),
                procedure: procedure.to_owned(),
                how: options.how,
            },
            Err(why) => refused(code::REGISTER, request, why.uri(), why.to_string()),
        };
        self.tell_self(told);
        self.carry_out(&mut locked, sink);
    }

    fn call_procedure(&mut self, realm: &Mutex<Realm>, id: SessionId, call: WampCall) {
        let request = call.request;
        let checked = match Address::parse(&call.address, self.shared.settings.address) {
            Ok(address) => {
                let permit = self.permit(Verb::Call, &address);
                permit.map(|permit| (address, permit)).ok_or_else(|| {
                    let why = "no rule lets this client call that".to_owned();
                    ("wamp.error.not_authorized", why)
                })
            }
            Err(why) => Err(("wamp.error.invalid_uri", why.to_string())),
        };
        let (address, permit) = match checked {
            Ok(checked) => checked,
            Err((uri, why)) => {
                return self.tell_self(refused(code::CALL, request, uri, why));
            }
        };
        if is_reserved(&call.procedure) && !call.continues_only {
            return self.call_router(realm, id, &call);
        }
        let is_ours = || {
            realm
                .lock()
                .router
                .registration_for(&call.procedure)
                .is_some()
        };
        if !call.continues_only && !is_ours() && self.is_taken(&address) {
            return self.call_elsewhere(realm, id, call, &address, permit);
        }
        let wish = CallRequest {
            options: call.options,
            disclose: call.disclose,
            continues_only: call.continues_only,
            payload_bytes: call.payload.len(),
            trustlevel: permit.trustlevel.map(u64::from),
            ..CallRequest::new(request, &call.procedure, call.payload)
        };
        let called = self.with_router(realm, |router, sink| {
            router.call(Party::Session(id), wish, sink)
        });
        match called {
            Ok(Called::NothingToContinue { is_late: false }) => {
                let why =
                    format!("request id {request} was used before, and no call of it is in flight");
                self.tell_self(WampTold::Violated(why));
            }
            Ok(_) => {}
            Err(violation) => self.tell_self(WampTold::Violated(violation.to_string())),
        }
    }

    /// A call to one of the router's own procedures.
    fn call_router(&mut self, realm: &Mutex<Realm>, id: SessionId, call: &WampCall) {
        // Some look at all that is there: others come first before the next one.
        self.has_to_rest = true;
        if call.procedure.starts_with("wamp.subscription.") {
            self.keep_histories(&mut realm.lock());
        }
        if call.procedure == GET_EVENTS {
            return self.get_events(realm, call);
        }
        let request = call.request;
        let given = call
            .payload
            .args()
            .and_then(|args| Ok((args, call.payload.kwargs()?)));
        let (args, kwargs) = match given {
            Ok((args, kwargs)) => {
                let args: Vec<serde_json::Value> = args.into_iter().map(json::of_value).collect();
                (args, json::of_dict(kwargs))
            }
            Err(why) => {
                let uri = "wamp.error.invalid_argument";
                return self.tell_self(refused(code::CALL, request, uri, why.to_string()));
            }
        };
        if call.procedure == event::ADD_TESTAMENT
            && let Err((uri, why)) = self.may_leave_testament(&args, &kwargs)
        {
            return self.tell_self(refused(code::CALL, request, uri, why));
        }
        if let Some(asked) = reflection::Asked::named(&call.procedure) {
            return self.reflect(realm, id, asked, call, (&args, &kwargs));
        }
        let mut sink = Sink::new();
        let mut locked = realm.lock();
        let answer = locked
            .router
            .meta_call(id, &call.procedure, &args, &kwargs, &mut sink);
        if sink.is_empty() {
            // A long answer is written without the lock.
            drop(locked);
            self.answer_call(call, answer);
        } else {
            self.answer_call(call, answer);
            self.carry_out(&mut locked, sink);
            let has_news = locked.router.has_news();
            drop(locked);
            if has_news {
                self.tell_news(realm);
            }
        }
    }

    /// Answers a call to one of the router's own procedures.
    fn answer_call(&mut self, call: &WampCall, answer: Result<MetaAnswer, MetaError>) {
        let request = call.request;
        let told = match answer {
            Ok(answer) => {
                let args: Vec<_> = answer.args.iter().map(json::to_value).collect();
                let kwargs = json::to_dict(&answer.kwargs);
                let payload = Payload::from_values(call.serializer, &args, &kwargs);
                WampTold::Result {
                    request,
                    payload: payload.unwrap_or_default(),
                }
            }
            Err(why) => refused(code::CALL, request, why.uri, why.message.into_owned()),
        };
        self.tell_self(told);
    }

    /// What a client leaves is looked at when it does, and again when it is published.
    fn may_leave_testament(
        &self,
        args: &[serde_json::Value],
        kwargs: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), event::Refuse> {
        // What is not there, or is no string, the router refuses.
        let Some((topic, options)) = event::testament(args, kwargs) else {
            return Ok(());
        };
        let wished = options.and_then(|it| it.get("disclose_me")?.as_bool());
        if wished == Some(true) && self.shared.settings.wamp.disclose == DisclosePolicy::Never {
            let why = "publishers and callers are not disclosed here".to_owned();
            return Err(("wamp.error.option_disallowed.disclose_me", why));
        }
        let address = uri::to_address(topic).filter(|_| !is_reserved(topic));
        let address = address.and_then(|it| Address::parse(&it, self.shared.settings.address).ok());
        let address = address.ok_or_else(|| event::invalid_uri(topic))?;
        if self.may(Verb::Send, &address) {
            return Ok(());
        }
        let why = "no rule lets this client publish that".to_owned();
        Err(("wamp.error.not_authorized", why))
    }

    /// The session hears of something, behind all that was there before.
    pub(super) fn tell_self(&mut self, told: WampTold) {
        match &told {
            WampTold::Result { .. } => self.shared.stats.wamp.call_ended(CallEnd::Result),
            WampTold::Refused {
                request_type: code::CALL,
                ..
            } => self.shared.stats.wamp.call_ended(CallEnd::Refused),
            _ => {}
        }
        let weight = told.weight();
        self.outbox.put(|waiting| waiting.tell(told, weight));
        self.bells.ring_later(&self.outbox);
    }

    /// Hands out what the router says, in its order.
    fn carry_out(&mut self, realm: &mut Realm, sink: Sink<Payload>) {
        let courier = Courier {
            shared: &self.shared,
            bells: &mut self.bells,
            own: Some(&self.outbox),
        };
        for (door, said) in courier.carry_out(realm, sink) {
            self.tell_door(realm, door, said);
        }
    }

    /// What others are to hear of those who are gone: the realm is theirs between two parts of it.
    fn tell_news(&mut self, realm: &Mutex<Realm>) {
        loop {
            let mut sink = Sink::new();
            let mut locked = realm.lock();
            let has_more = locked.router.tell_news(NEWS_MAX, &mut sink);
            self.carry_out(&mut locked, sink);
            MutexGuard::unlock_fair(locked);
            self.bells.ring();
            if !has_more {
                return;
            }
        }
    }

    /// Rules have changed: what the client may not offer any more is taken from it.
    pub(super) fn lose_registrations(&mut self, is_allowed: impl Fn(&Self, &str) -> bool) {
        let Some(wamp) = &self.wamp else { return };
        let (realm, id) = (Arc::clone(&wamp.realm), wamp.id);
        // Only the router knows: others may have taken some of them.
        let all = realm.lock().router.registrations_of(id);
        for (registration, procedure, how) in all {
            let filter = uri::to_filter(&procedure, how);
            if filter.is_some_and(|filter| is_allowed(self, &filter)) {
                continue;
            }
            self.with_router(&realm, |router, sink| {
                let reason = "wamp.error.not_authorized";
                // It may have been taken before.
                router
                    .revoke_registration(id, registration, reason, sink)
                    .ok();
            });
        }
    }

    /// The same for what it hears of the router's own topics, which no consumer stands for.
    pub(super) fn lose_meta_subscriptions(&mut self, is_allowed: impl Fn(&Self, &str) -> bool) {
        let Some(wamp) = &self.wamp else { return };
        let (realm, id) = (Arc::clone(&wamp.realm), wamp.id);
        let all = realm.lock().router.meta_subscriptions_of(id);
        for (subscription, topic, how) in all {
            let filter = uri::to_filter(&topic, how);
            if filter.is_some_and(|filter| is_allowed(self, &filter)) {
                continue;
            }
            tracing::info!(
                realm = &*self.realm,
                principal = &*self.principal.name,
                topic = &*topic,
                "the right to consume is gone: the subscription ends"
            );
            self.shared.stats.refused(self.protocol, Refusal::Denied);
            self.with_router(&realm, |router, sink| {
                let reason = "wamp.error.not_authorized";
                // It may have been taken before.
                router
                    .revoke_subscription(id, subscription, reason, sink)
                    .ok();
            });
        }
    }

    /// Whether the role that the session goes by is none of its principal's any more.
    pub(super) fn has_lost_its_role(&self) -> bool {
        let role = self.wamp.as_ref().map(|wamp| &*wamp.authrole);
        role.is_some_and(|role| !role.is_empty() && !self.principal.has_role(role))
    }

    /// The session is over.
    pub(super) fn leave_realm(&mut self) {
        let Some(wamp) = self.wamp.take() else {
            return;
        };
        let mut sink = Sink::new();
        {
            let mut locked = wamp.realm.lock();
            locked.router.leave(wamp.id, &mut sink);
            self.carry_out(&mut locked, sink);
            // One of that id may be another by now, if this one was killed.
            let is_ours = |it: &Arc<Outbox>| Arc::ptr_eq(it, &self.outbox);
            if locked.outboxes.get(&wamp.id).is_some_and(is_ours) {
                locked.outboxes.remove(&wamp.id);
            }
        }
        self.tell_news(&wamp.realm);
        self.send_what_is_due(&wamp.realm);
        let testaments = self
            .outbox
            .put(|waiting| std::mem::take(&mut waiting.testaments));
        for testament in testaments {
            self.publish_testament(&testament, &wamp);
        }
    }

    fn publish_testament(&mut self, testament: &Testament, wamp: &Wamp) {
        let options = PublishOptions::read(&json::to_dict(&testament.options));
        let args: Vec<_> = testament.args.iter().map(json::to_value).collect();
        let kwargs = json::to_dict(&testament.kwargs);
        let payload = Payload::from_values(Serializer::Json, &args, &kwargs);
        let address = uri::to_address(&testament.topic);
        let (Ok(options), Ok(payload), Some(address)) = (options, payload, address) else {
            return;
        };
        let session = testament.author.session.map_or(0, SessionId::get);
        let tells = match self.shared.settings.wamp.disclose {
            DisclosePolicy::Asked => options.disclose_me,
            DisclosePolicy::Always => true,
            DisclosePolicy::Never => false,
        };
        let publisher = tells.then(|| WampPeer {
            session,
            authid: wamp.authid.to_string(),
            authrole: wamp.authrole.to_string(),
        });
        let publication = (SysRng.try_next_u64().unwrap_or_default() >> 11) + 1;
        if let Ok(message) = event::message(address, options, &payload, publication, publisher) {
            self.publish(0, &message);
        }
    }
}

/// A session hears of what it has asked for, after a while.
pub(super) fn tell_late(outbox: &Outbox, told: WampTold) {
    let weight = told.weight();
    let has_room = outbox.put(|waiting| {
        let has_room = waiting.has_room_to_tell();
        if has_room {
            waiting.tell(told, weight);
        }
        has_room
    });
    if !has_room {
        outbox.end(End::TooSlow);
    }
    outbox.ring();
}

pub(super) fn refused(
    request_type: u16,
    request: u64,
    uri: &'static str,
    message: String,
) -> WampTold {
    WampTold::Refused {
        request_type,
        request,
        uri,
        message,
    }
}

/// What tests of the broker see of those who wait for procedures, and change.
#[cfg(test)]
pub(in crate::broker) mod tests {
    use super::requesters::{REQUESTS_MAX, Request};
    use super::*;

    pub(in crate::broker) fn n_requesters(shared: &Shared, realm: &str) -> usize {
        let realm = shared.routers.get(realm).expect("a realm");
        realm.lock().requesters.len()
    }

    /// A principal has as many requests as it may.
    pub(in crate::broker) fn has_all(shared: &Shared, realm: &str, principal: &Arc<str>) {
        let realm = shared.routers.get(realm).expect("a realm");
        let mut realm = realm.lock();
        for _ in 0..REQUESTS_MAX {
            let door = realm.new_door();
            let request = Request {
                principal: Arc::clone(principal),
                reply_to: "nowhere".to_owned(),
                correlation_id: None,
                ttl_ms: None,
            };
            let it = Requester::Sender(request);
            realm.requesters.insert(std::time::Instant::now(), door, it);
        }
    }

    /// How many calls of a session are known to be with other doors.
    pub(in crate::broker) fn n_asked(it: &Attachment) -> usize {
        it.wamp.as_ref().map_or(0, |wamp| wamp.asked.len())
    }

    pub(in crate::broker) fn forget_all(shared: &Shared, realm: &str) {
        let realm = shared.routers.get(realm).expect("a realm");
        realm.lock().requesters = Requesters::default();
    }
}
