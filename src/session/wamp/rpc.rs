//! Calls, both ways: what the client asks of the realm's router, and what that says.
//!
//! Rules: the WAMP specification, "Remote Procedure Calls" and their advanced features.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::wamp::{Dict, Message, Payload, Value};
use rustc_hash::FxBuildHasher;

use super::output::{Unwritten, Why};
use super::publish::of_refusal;
use super::requests::{Answer, Turn};
use super::wish::Disclosure;
use super::{Session, Wish, goodbye};
use crate::broker::{Call, Consume, REPLIES, Source, WampAsk, WampCall, WampTold};
use crate::message::SharedMessage;
use crate::refusal::Refusal;
use crate::router::{
    CallError, CallOptions, CallResult, CancelMode, DisclosePolicy, Interrupt, Invocation, Invoke,
    Match, MetaEvent, RegisterOptions, ToSession, YieldOptions, is_reserved,
};
use crate::wamp::code;
use crate::wamp::event::{invalid_argument, invalid_uri};
use crate::wamp::options::{Wrong, flag, how, own_text, ppt, tell_ppt, uint};
use crate::wamp::{json, uri};

/// By this procedure a client acknowledges events of durable subscriptions: their publications' ids are its arguments.
pub(super) const RECEIVED: &str = "restante.event.received";

/// When calls are to be given up.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, u64)>,
    /// By request: when, and how long it has from each result on.
    calls: HashMap<u64, (Instant, Duration), FxBuildHasher>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn start(&mut self, now: Instant, request: u64, after: Duration) {
        self.stop(request);
        // So far away that nobody waits for it.
        let Some(at) = now.checked_add(after) else {
            return;
        };
        self.due.insert((at, request));
        self.calls.insert(request, (at, after));
    }

    fn restart(&mut self, now: Instant, request: u64) {
        if let Some((_, after)) = self.calls.get(&request) {
            self.start(now, request, *after);
        }
    }

    fn stop(&mut self, request: u64) {
        if let Some((at, _)) = self.calls.remove(&request) {
            self.due.remove(&(at, request));
        }
    }

    fn pop(&mut self, now: Instant) -> Option<u64> {
        let (at, request) = *self.due.first()?;
        (at <= now).then(|| {
            self.stop(request);
            request
        })
    }
}

impl Session {
    pub(super) fn call(
        &mut self,
        request: u64,
        options: &Dict,
        procedure: String,
        payload: Payload,
    ) {
        let strict = self.ids_ascend();
        let turn = self.requests.turn(request, strict);
        if turn == Turn::Wrong {
            let why = format!("request id {request} is ahead of its turn: ids ascend by one");
            return self.violate(&why);
        }
        // Where ids need not ascend, an old one says nothing.
        let continues_only = strict && turn == Turn::Old;
        let read = call_options(options);
        let is_uri = self.is_uri(&procedure, Match::Exact);
        let address = is_uri.then(|| uri::to_address(&procedure)).flatten();
        let refused = match (&read, &address) {
            (Err(why), _) => Some(invalid_argument(why)),
            (_, None) => Some(invalid_uri(&procedure)),
            _ => None,
        };
        if let Some((uri, why)) = refused {
            return self.refuse(code::CALL, request, uri, &why);
        }
        let (Ok(options), Some(address)) = (read, address) else {
            return;
        };
        if procedure == RECEIVED && !continues_only {
            return self.call_received(request, &payload);
        }
        let disclose = match self.settings.disclosure {
            Disclosure::Wished => DisclosePolicy::Asked,
            Disclosure::Always => DisclosePolicy::Always,
            Disclosure::Never => DisclosePolicy::Never,
        };
        self.ask(WampAsk::Call(Box::new(WampCall {
            request,
            procedure,
            address,
            options,
            disclose,
            continues_only,
            serializer: self.transport.serializer,
            payload,
        })));
    }

    /// The client acknowledges events.
    fn call_received(&mut self, request: u64, payload: &Payload) {
        let ids = payload.args().ok().and_then(|args| {
            let ids: Option<Vec<u64>> = args.iter().map(Value::as_id).collect();
            ids.filter(|it| !it.is_empty())
        });
        let Some(ids) = ids else {
            let why = "the arguments are ids of publications, one at least";
            return self.refuse(code::CALL, request, "wamp.error.invalid_argument", why);
        };
        if !self.acknowledge(&ids, Some(request)) {
            self.settled(request.into(), Some(Refusal::NoSuchDelivery));
        }
    }

    /// Events were acknowledged, durably.
    pub(super) fn settled(&mut self, request: Option<u64>, refusal: Option<Refusal>) {
        let Some(request) = request else { return };
        match refusal {
            None => self.output.message(Message::Result {
                request,
                details: Dict::new(),
                payload: Payload::none(),
            }),
            Some(Refusal::NoSuchDelivery | Refusal::NoSuchConsumer) => {
                let why = "none of these events waits for an acknowledgement of this session";
                self.refuse(code::CALL, request, "wamp.error.invalid_argument", why);
            }
            Some(why) => {
                let (uri, text) = of_refusal(why);
                self.refuse(code::CALL, request, uri, text);
            }
        }
    }

    pub(super) fn cancel(&mut self, request: u64, options: &Dict) {
        // Whatever mode it names: the call is not wanted any more. No ERROR is specified for CANCEL, and clients take none.
        let named = options.text("mode").ok().flatten();
        let mode = named.and_then(CancelMode::named).unwrap_or_default();
        self.ask(WampAsk::Cancel { request, mode });
    }

    pub(super) fn register(&mut self, request: u64, options: &Dict, procedure: String) {
        if !self.is_next(request) {
            return;
        }
        let read = register_options(options).map_err(invalid_argument);
        let checked = read.and_then(|options| {
            let is_uri = self.is_uri(&procedure, options.how) && !is_reserved(&procedure);
            let filter = is_uri
                .then(|| uri::to_filter(&procedure, options.how))
                .flatten();
            Ok((options, filter.ok_or_else(|| invalid_uri(&procedure))?))
        });
        match checked {
            Ok((options, filter)) => self.ask(WampAsk::Register {
                request,
                procedure,
                filter,
                options,
            }),
            Err((uri, why)) => self.refuse(code::REGISTER, request, uri, &why),
        }
    }

    pub(super) fn unregister(&mut self, request: u64, registration: u64) {
        if self.is_next(request) {
            self.ask(WampAsk::Unregister {
                request,
                registration,
            });
        }
    }

    pub(super) fn yielded(&mut self, request: u64, options: &Dict, payload: Payload) {
        let read = flag(options, "progress").and_then(|progress| {
            let ppt = ppt(options)?;
            Ok(YieldOptions { progress, ppt })
        });
        match read {
            Ok(options) => self.ask(WampAsk::Yield {
                invocation: request,
                options,
                payload,
            }),
            // The caller waits, and there is no ERROR to a YIELD that a callee would understand.
            Err(why) => self.ask(WampAsk::Error {
                invocation: request,
                uri: "wamp.error.invalid_argument".to_owned(),
                ppt: None,
                payload: self.explained(&format!("the callee's YIELD.options: {why}")),
            }),
        }
    }

    pub(super) fn failed_invocation(
        &mut self,
        request_type: u16,
        request: u64,
        details: &Dict,
        error: String,
        payload: Payload,
    ) {
        if request_type != code::INVOCATION {
            let why = format!(
                "ERROR to a request of type {request_type}, where only INVOCATION (68) has one"
            );
            return self.violate(&why);
        }
        // Old callees have bad URIs here; what they mean is more than its form.
        let ppt = ppt(details).unwrap_or_default();
        self.ask(WampAsk::Error {
            invocation: request,
            uri: error,
            ppt,
            payload,
        });
    }

    pub(super) fn expire_calls(&mut self, now: Instant) {
        while let Some(request) = self.timers.pop(now) {
            self.ask(WampAsk::Expire { request });
        }
    }

    fn ask(&mut self, ask: WampAsk) {
        self.wishes.push_back(Wish::Ask(Box::new(ask)));
    }

    fn explained(&self, why: &str) -> Payload {
        let args = [why.into()];
        let payload = Payload::from_values(self.transport.serializer, &args, &Dict::new());
        payload.unwrap_or_default()
    }

    /// The realm's router has something to say.
    pub(super) fn told(&mut self, now: Instant, told: WampTold) {
        match told {
            WampTold::Subscribed {
                request,
                subscription,
            } => self.has_id(request, subscription),
            WampTold::Registered {
                request,
                registration,
                procedure,
                how,
            } => {
                self.has_registered(registration, &procedure, how);
                self.output.message(Message::Registered {
                    request,
                    registration,
                });
            }
            WampTold::Authorized { question, said } => self.authorized(now, question, said),
            WampTold::Unregistered {
                request,
                registration,
            } => {
                self.has_lost_registration(registration);
                self.output.message(Message::Unregistered {
                    request,
                    details: None,
                });
            }
            WampTold::Refused {
                request_type,
                request,
                uri,
                message,
            } => {
                if request_type == code::SUBSCRIBE {
                    self.topics.is_refused(request);
                }
                self.refuse(request_type, request, uri, &message);
            }
            WampTold::Result { request, payload } => self.output.message(Message::Result {
                request,
                details: Dict::new(),
                payload,
            }),
            WampTold::WantsReplies(call) => self.wants_replies(*call),
            WampTold::Violated(why) => self.violate(&why),
            WampTold::Said(said) => self.said(now, *said),
        }
    }

    /// A call is to become a message: its answer needs a queue.
    fn wants_replies(&mut self, call: WampCall) {
        self.deferred.push(call);
        if self.deferred.len() > 1 {
            return;
        }
        let tag = self.requests.tag(Answer::Replies);
        let call = Call::Consume(Consume {
            consumer: REPLIES.to_owned(),
            address: format!("~{REPLIES}"),
            source: Source::Queue,
            limit: u64::MAX,
            auto_settle: true,
            exclusive: true,
            retained: false,
            shard: None,
        });
        self.wishes.push_back(Wish::Call { tag, call });
    }

    /// The queue for answers is there, or is refused.
    pub(super) fn has_replies(&mut self, refusal: Option<Refusal>) {
        for call in std::mem::take(&mut self.deferred) {
            match refusal {
                None => self.ask(WampAsk::Call(Box::new(call))),
                Some(why) => {
                    let (uri, text) = of_refusal(why);
                    self.refuse(code::CALL, call.request, uri, text);
                }
            }
        }
    }

    /// Somebody has answered a call by a message.
    pub(super) fn answered(&mut self, message: Arc<SharedMessage>) {
        self.ask(WampAsk::Answered(message));
    }

    fn said(&mut self, now: Instant, said: ToSession<Payload>) {
        match said {
            ToSession::Invocation(it) => self.output.message(invocation(it)),
            ToSession::Interrupt(it) => self.output.message(interrupt(it)),
            ToSession::Result(it) => self.result(now, it),
            ToSession::CallError(it) => self.call_error(it),
            ToSession::YieldRefused { request, why } => {
                self.refuse(code::YIELD, request, why.uri(), &why.to_string());
            }
            ToSession::Timer {
                request,
                timeout_ms,
            } => self
                .timers
                .start(now, request, Duration::from_millis(timeout_ms)),
            ToSession::Unregistered {
                registration,
                reason,
                is_told,
            } => {
                self.has_lost_registration(registration.get());
                if !is_told {
                    return;
                }
                let details = Dict::new()
                    .with("registration", registration.get())
                    .with("reason", &*reason);
                self.output.message(Message::Unregistered {
                    request: 0,
                    details: Some(details),
                });
            }
            ToSession::Unsubscribed {
                subscription,
                reason,
                is_told,
            } => self.revoked(subscription.get(), &reason, is_told),
            ToSession::MetaEvent(it) => self.meta_event(&it),
            ToSession::Goodbye { reason, message } => {
                self.output.message(goodbye(&reason, message.as_deref()));
                self.leave_now(now);
            }
        }
    }

    fn result(&mut self, now: Instant, it: CallResult<Payload>) {
        if self.is_cut_off(it.request, !it.progress) {
            return;
        }
        if it.progress {
            self.timers.restart(now, it.request);
        } else {
            self.timers.stop(it.request);
        }
        let mut details = Dict::new();
        if it.progress {
            details.insert("progress", true);
        }
        tell_ppt(&mut details, it.ppt.as_ref());
        self.output.message(Message::Result {
            request: it.request,
            details,
            payload: it.payload,
        });
    }

    fn call_error(&mut self, it: CallError<Payload>) {
        self.timers.stop(it.request);
        if self.is_cut_off(it.request, true) {
            return;
        }
        let mut details = Dict::new();
        tell_ppt(&mut details, it.ppt.as_ref());
        let payload = match (it.payload, it.message) {
            (Some(payload), _) => payload,
            (None, Some(message)) => self.explained(&message),
            (None, None) => Payload::none(),
        };
        self.output.message(Message::Error {
            request_type: code::CALL,
            request: it.request,
            details,
            error: it.uri.into_owned(),
            payload,
        });
    }

    fn meta_event(&mut self, it: &MetaEvent) {
        let mut details = Dict::new();
        if it.is_pattern {
            details.insert("topic", it.topic);
        }
        let args: Vec<Value> = it.args.iter().map(json::to_value).collect();
        let payload = Payload::from_values(self.transport.serializer, &args, &Dict::new());
        self.output.message(Message::Event {
            subscription: it.subscription.get(),
            publication: it.publication,
            details,
            payload: payload.unwrap_or_default(),
        });
    }

    /// The caller hears of a call no more, of which the last word is still to come.
    fn cut_off(&mut self, request: u64) {
        if !self.output.take_back(request) {
            self.cut_off.insert(request);
            let mode = CancelMode::KillNoWait;
            self.ask(WampAsk::Cancel { request, mode });
        }
    }

    /// Whether the caller has had the last word of that call already. If this is the router's last one, there is no more of it.
    fn is_cut_off(&mut self, request: u64, is_last: bool) -> bool {
        match is_last {
            true => {
                let was = self.cut_off.remove(&request);
                if was {
                    self.timers.stop(request);
                }
                was
            }
            false => self.cut_off.contains(&request),
        }
    }

    /// A message could not be written: too large for the client, or nothing that its serializer has words for.
    pub(super) fn see_to(&mut self, unwritten: Unwritten) {
        let (message, why) = match unwritten {
            Unwritten::Message { message, why } => (message, why),
            Unwritten::Event {
                subscription,
                queued,
                peer_max,
            } => return self.takes_less(subscription, queued, peer_max),
        };
        let (uri, why) = match &why {
            Why::TooLarge(max) => (
                "wamp.error.payload_size_exceeded",
                format!("the message is larger than the {max} bytes that its receiver takes"),
            ),
            Why::Unspeakable(error) => ("wamp.error.invalid_argument", error.to_string()),
        };
        match *message {
            Message::Invocation { request, .. } => {
                let payload = self.explained(&why);
                self.ask(WampAsk::Error {
                    invocation: request,
                    uri: uri.to_owned(),
                    ppt: None,
                    payload,
                });
            }
            Message::Result {
                request, details, ..
            } => {
                // Of a piece the caller hears nothing but that: the call is over.
                if details.get("progress").is_some() {
                    self.cut_off(request);
                }
                self.refuse(code::CALL, request, uri, &why);
            }
            Message::Error {
                request_type,
                request,
                error,
                details,
                payload,
            } if !payload.is_empty() => self.output.message(Message::Error {
                request_type,
                request,
                details,
                error,
                payload: Payload::none(),
            }),
            // Meta events, and answers that are too large for what is hardly a client.
            _ => {}
        }
    }
}

fn call_options(options: &Dict) -> Result<CallOptions, Wrong> {
    if options.is_empty() {
        return Ok(CallOptions::default());
    }
    let rkey = own_text(options, "rkey")?;
    Ok(CallOptions {
        receive_progress: flag(options, "receive_progress")?,
        progress: flag(options, "progress")?,
        timeout_ms: uint(options, "timeout")?.unwrap_or(0),
        disclose_me: flag(options, "disclose_me")?,
        ppt: ppt(options)?,
        rkey: rkey.map(Into::into),
        is_partition: options.text("runmode") == Ok(Some("partition")),
    })
}

fn register_options(options: &Dict) -> Result<RegisterOptions, Wrong> {
    let invoke = match own_text(options, "invoke")? {
        None => Invoke::default(),
        Some(name) => Invoke::named(&name).ok_or_else(|| {
            format!("invoke is {name:?}, and should be single, first, last, roundrobin or random")
        })?,
    };
    let concurrency = match uint(options, "concurrency")? {
        None => None,
        Some(n) => {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            Some(NonZeroU32::new(n).ok_or("concurrency is 0")?)
        }
    };
    Ok(RegisterOptions {
        how: how(options)?,
        invoke,
        concurrency,
        disclose_caller: flag(options, "disclose_caller")?,
        forward_timeout: flag(options, "forward_timeout")?,
        force_reregister: flag(options, "force_reregister")?,
    })
}

fn invocation(it: Invocation<Payload>) -> Message {
    let mut details = Dict::new();
    if let Some(procedure) = &it.procedure {
        details.insert("procedure", &**procedure);
    }
    if let Some(caller) = &it.caller {
        if let Some(session) = caller.session {
            details.insert("caller", session.get());
        }
        details.insert("caller_authid", &*caller.authid);
        details.insert("caller_authrole", &*caller.authrole);
    }
    if it.receive_progress {
        details.insert("receive_progress", true);
    }
    if let Some(progress) = it.progress {
        details.insert("progress", progress);
    }
    if let Some(timeout) = it.timeout_ms {
        details.insert("timeout", timeout);
    }
    if let Some(trustlevel) = it.trustlevel {
        details.insert("trustlevel", trustlevel);
    }
    tell_ppt(&mut details, it.ppt.as_ref());
    Message::Invocation {
        request: it.request,
        registration: it.registration.map_or(0, |it| it.get()),
        details,
        payload: it.payload,
    }
}

fn interrupt(it: Interrupt) -> Message {
    Message::Interrupt {
        request: it.request,
        options: Dict::new()
            .with("mode", it.mode.name())
            .with("reason", it.reason),
    }
}
