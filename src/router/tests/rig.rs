//! A router and what it has said: the only code of these tests that knows the API's shape.

use std::sync::Arc;

use restante_storage::UnixMillis;
use serde_json::{Map, Value, json};

use crate::router::{
    CallOptions, CallRequest, Called, CancelMode, Features, Invocation, Limits, Match, MetaAnswer,
    MetaError, Party, Refused, RegisterOptions, RegistrationId, Router, SessionDetails, SessionId,
    Sink, SubscriptionId, Testament, ToSession, Violation, YieldOptions,
};

/// What calls carry.
pub(super) type Payload = &'static str;

/// When all is created: 2023-11-14T22:13:20.007Z.
pub(super) const NOW: UnixMillis = UnixMillis::new(1_700_000_000_007);

pub(super) struct Rig {
    pub(super) router: Router<Payload>,
    pub(super) sink: Sink<Payload>,
}

pub(super) fn id(session: u64) -> SessionId {
    SessionId::new(session)
}

pub(super) fn party(session: u64) -> Party {
    Party::Session(id(session))
}

/// User `u7`, role `guest`, for session 7.
pub(super) fn details(session: u64, authrole: &str) -> SessionDetails {
    SessionDetails {
        session: id(session),
        authid: format!("u{session}").into(),
        authrole: authrole.into(),
        authmethod: "ticket".into(),
        authprovider: "static".into(),
        transport: None,
    }
}

/// Everything announced.
pub(super) fn all_features() -> Features {
    let mut features = Features::default();
    features.caller.progressive_call_invocations = true;
    features.caller.payload_passthru_mode = true;
    features.callee.progressive_call_results = true;
    features.callee.progressive_call_invocations = true;
    features.callee.call_canceling = true;
    features.callee.call_timeout = true;
    features.callee.call_reroute = true;
    features.callee.payload_passthru_mode = true;
    features.callee.registration_revocation = true;
    features.subscriber.subscription_revocation = true;
    features
}

/// What a message is, in a line: `7 result 1 payload`.
pub(super) fn line((party, message): &(Party, ToSession<Payload>)) -> String {
    let to = match party {
        Party::Session(id) => id.get().to_string(),
        Party::Door(number) => format!("door{number}"),
    };
    let what = match message {
        ToSession::Invocation(it) => invocation_line(it),
        ToSession::Interrupt(it) => {
            format!("interrupt {} {} {}", it.request, it.mode.name(), it.reason)
        }
        ToSession::Result(it) => {
            let more = if it.progress { " +" } else { "" };
            format!("result {} {}{more}", it.request, it.payload)
        }
        ToSession::CallError(it) => {
            let payload = it
                .payload
                .map(|payload| format!(" {payload}"))
                .unwrap_or_default();
            format!("error {} {}{payload}", it.request, it.uri)
        }
        ToSession::YieldRefused { request, why } => format!("refused {request} {}", why.uri()),
        ToSession::Timer {
            request,
            timeout_ms,
        } => format!("timer {request} {timeout_ms}"),
        ToSession::Unregistered {
            registration,
            reason,
            is_told,
        } => {
            let silent = if *is_told { "" } else { " silent" };
            format!("unregistered {} {reason}{silent}", registration.get())
        }
        ToSession::Unsubscribed {
            subscription,
            reason,
            is_told,
        } => {
            let silent = if *is_told { "" } else { " silent" };
            format!("unsubscribed {} {reason}{silent}", subscription.get())
        }
        ToSession::MetaEvent(it) => {
            let topic = it.topic.strip_prefix("wamp.").unwrap();
            format!("{topic} {}", json!(it.args))
        }
        ToSession::Goodbye { reason, message } => {
            let message = message
                .as_ref()
                .map(|it| format!(" {it}"))
                .unwrap_or_default();
            format!("goodbye {reason}{message}")
        }
    };
    format!("{to} {what}")
}

fn invocation_line(it: &Invocation<Payload>) -> String {
    let mut line = format!("invoke {} {}", it.request, it.payload);
    let mut add = |is_there: bool, text: String| {
        if is_there {
            line += &text;
        }
    };
    add(
        it.procedure.is_some(),
        format!(" of {}", it.procedure.as_deref().unwrap_or("")),
    );
    let caller = it.caller.as_ref();
    let (authid, authrole) = caller.map_or(("", ""), |it| (&*it.authid, &*it.authrole));
    let session = caller.and_then(|it| it.session).map_or(0, SessionId::get);
    add(
        caller.is_some(),
        format!(" from {session} {authid} {authrole}"),
    );
    add(it.receive_progress, " receives".to_owned());
    add(it.progress == Some(true), " +".to_owned());
    add(it.progress == Some(false), " .".to_owned());
    add(
        it.timeout_ms.is_some(),
        format!(" within {}", it.timeout_ms.unwrap_or(0)),
    );
    add(
        it.trustlevel.is_some(),
        format!(" trust {}", it.trustlevel.unwrap_or(0)),
    );
    add(
        it.ppt.is_some(),
        format!(" ppt {}", it.ppt.as_ref().map_or("", |it| &*it.scheme)),
    );
    line
}

impl Rig {
    /// A realm without anybody.
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self {
            router: Router::new(limits, 7),
            sink: Sink::new(),
        }
    }

    /// With these sessions, which announced everything.
    pub(super) fn of(sessions: &[u64]) -> Self {
        let mut rig = Self::new();
        for session in sessions {
            rig.join(*session, all_features());
        }
        rig
    }

    pub(super) fn join(&mut self, session: u64, features: Features) {
        assert!(
            self.router
                .join(details(session, "guest"), features, &mut self.sink)
        );
    }

    pub(super) fn leave(&mut self, session: u64) {
        self.router.leave(id(session), &mut self.sink);
    }

    pub(super) fn try_register(
        &mut self,
        session: u64,
        uri: &str,
        options: RegisterOptions,
    ) -> Result<u64, Refused> {
        let id = self
            .router
            .register(id(session), uri, options, NOW, &mut self.sink);
        id.map(RegistrationId::get)
    }

    pub(super) fn register(&mut self, session: u64, uri: &str, options: RegisterOptions) -> u64 {
        self.try_register(session, uri, options).unwrap()
    }

    /// An exact registration of one callee.
    pub(super) fn procedure(&mut self, session: u64, uri: &str) -> u64 {
        self.register(session, uri, RegisterOptions::default())
    }

    pub(super) fn unregister(&mut self, session: u64, registration: u64) -> Result<(), Refused> {
        let registration = RegistrationId::new(registration);
        self.router
            .unregister(id(session), registration, &mut self.sink)
    }

    pub(super) fn try_subscribe(
        &mut self,
        session: u64,
        uri: &str,
        how: Match,
    ) -> Result<u64, Refused> {
        let found = self
            .router
            .subscribe(id(session), uri, how, NOW, &mut self.sink);
        found.map(|it| it.id.get())
    }

    pub(super) fn subscribe(&mut self, session: u64, uri: &str, how: Match) -> u64 {
        self.try_subscribe(session, uri, how).unwrap()
    }

    pub(super) fn unsubscribe(&mut self, session: u64, subscription: u64) -> Result<(), Refused> {
        let subscription = SubscriptionId::new(subscription);
        self.router
            .unsubscribe(id(session), subscription, &mut self.sink)
    }

    pub(super) fn try_call(
        &mut self,
        caller: Party,
        call: CallRequest<'_, Payload>,
    ) -> Result<Called, Violation> {
        self.router.call(caller, call, &mut self.sink)
    }

    pub(super) fn call_with(
        &mut self,
        session: u64,
        request: u64,
        procedure: &str,
        payload: Payload,
        options: CallOptions,
    ) -> Called {
        let mut call = CallRequest::new(request, procedure, payload);
        call.options = options;
        self.try_call(party(session), call).unwrap()
    }

    /// A plain call, whose payload is `in`.
    pub(super) fn call(&mut self, session: u64, request: u64, procedure: &str) -> Called {
        self.call_with(session, request, procedure, "in", CallOptions::default())
    }

    pub(super) fn cancel(&mut self, session: u64, request: u64, mode: CancelMode) {
        self.router
            .cancel(party(session), request, mode, &mut self.sink);
    }

    pub(super) fn expire(&mut self, session: u64, request: u64) {
        self.router.expire(party(session), request, &mut self.sink);
    }

    pub(super) fn yield_with(
        &mut self,
        session: u64,
        invocation: u64,
        payload: Payload,
        options: YieldOptions,
    ) -> Result<(), Violation> {
        let callee = party(session);
        self.router
            .yield_(callee, invocation, options, payload, &mut self.sink)
    }

    /// The last result, which is no violation.
    pub(super) fn yields(&mut self, session: u64, invocation: u64, payload: Payload) {
        let options = YieldOptions::default();
        self.yield_with(session, invocation, payload, options)
            .unwrap();
    }

    /// A piece of a result.
    pub(super) fn progress(&mut self, session: u64, invocation: u64, payload: Payload) {
        let options = YieldOptions {
            progress: true,
            ppt: None,
        };
        self.yield_with(session, invocation, payload, options)
            .unwrap();
    }

    pub(super) fn error(&mut self, session: u64, invocation: u64, uri: &'static str) {
        let callee = party(session);
        let error = self
            .router
            .error(callee, invocation, uri, None, "why", &mut self.sink);
        error.unwrap();
    }

    pub(super) fn meta(
        &mut self,
        session: u64,
        procedure: &str,
        args: Value,
        kwargs: Value,
    ) -> Result<MetaAnswer, MetaError> {
        let args = args.as_array().unwrap();
        let kwargs: &Map<_, _> = kwargs.as_object().unwrap();
        self.router
            .meta_call(id(session), procedure, args, kwargs, &mut self.sink)
    }

    /// The arguments of the answer, or the error's URI as a text.
    pub(super) fn ask(
        &mut self,
        session: u64,
        procedure: &str,
        args: Value,
        kwargs: Value,
    ) -> Value {
        match self.meta(session, procedure, args, kwargs) {
            Ok(answer) => answer.args.into(),
            Err(error) => error.uri.into(),
        }
    }

    /// All that was said since the last time.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut messages = std::mem::take(&mut self.sink.messages);
        while self.router.has_news() {
            self.router.tell_news(1, &mut self.sink);
            messages.append(&mut self.sink.messages);
        }
        messages.iter().map(line).collect()
    }

    pub(super) fn expect(&mut self, expected: &[&str]) {
        assert_eq!(self.read(), expected);
    }

    pub(super) fn testaments(&mut self) -> Vec<Testament> {
        std::mem::take(&mut self.sink.testaments)
    }

    /// Nobody is here, and nothing of anybody is left.
    #[track_caller]
    pub(super) fn assert_empty(&self) {
        let router = &self.router;
        assert_eq!(router.counts(), crate::router::Counts::default());
        assert!(router.doors.is_empty());
        assert_eq!(router.kept_bytes, 0);
        assert!(router.registrations.index.is_empty());
        assert!(router.subscriptions.index.is_empty());
    }
}

pub(super) fn ppt(scheme: &str) -> Option<crate::router::Ppt> {
    Some(crate::router::Ppt {
        scheme: Arc::from(scheme),
        serializer: None,
        cipher: None,
        keyid: None,
    })
}

/// Shared in a way.
pub(super) fn shared(invoke: crate::router::Invoke) -> RegisterOptions {
    RegisterOptions {
        invoke,
        ..RegisterOptions::default()
    }
}

/// Shared in a way, with a limit.
pub(super) fn limited(invoke: crate::router::Invoke, concurrency: u32) -> RegisterOptions {
    RegisterOptions {
        concurrency: std::num::NonZeroU32::new(concurrency),
        ..shared(invoke)
    }
}

pub(super) fn matched(how: Match) -> RegisterOptions {
    RegisterOptions {
        how,
        ..RegisterOptions::default()
    }
}
