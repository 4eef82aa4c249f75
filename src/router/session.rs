//! Who is in the realm: joining, leaving, being killed (wamp.md §3, §5, §9.1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::calls::Ends;
use super::news::News;
use super::output::{Disclosed, Sink, ToSession};
use super::testaments::Testaments;
use super::{Party, Refused, RegistrationId, Router, SessionId, SubscriptionId};

/// The reason of a GOODBYE whose killer gave none.
pub(super) const KILLED: &str = "wamp.close.killed";

/// Who a session is: what `wamp.session.get` and `wamp.session.on_join` say. No secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDetails {
    /// Its id.
    pub session: SessionId,
    /// The user.
    pub authid: Arc<str>,
    /// The user's role.
    pub authrole: Arc<str>,
    /// How the user proved it.
    pub authmethod: Arc<str>,
    /// Who checked that.
    pub authprovider: Arc<str>,
    /// The way it came; none if that is nobody's business.
    pub transport: Option<Transport>,
}

/// What a session came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// `websocket`, `rawsocket`, `longpoll`.
    pub kind: &'static str,
    /// `wamp.2.json` and so on.
    pub protocol: &'static str,
    /// The address at the other end.
    pub peer: Option<Arc<str>>,
    /// Whether it is encrypted.
    pub is_secure: bool,
}

/// What a session announced in HELLO, as far as it changes what the router does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// As a caller.
    pub caller: CallerFeatures,
    /// As a callee.
    pub callee: CalleeFeatures,
    /// As a subscriber.
    pub subscriber: SubscriberFeatures,
}

/// What a caller announced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallerFeatures {
    /// It sends calls in pieces.
    pub progressive_call_invocations: bool,
    /// It sends and takes payloads that the router does not look into.
    pub payload_passthru_mode: bool,
}

/// What a callee announced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CalleeFeatures {
    /// It gives results in pieces.
    pub progressive_call_results: bool,
    /// It takes calls in pieces.
    pub progressive_call_invocations: bool,
    /// It understands INTERRUPT; a client may have written `call_cancelling` (wamp.md §16).
    pub call_canceling: bool,
    /// It can watch the time itself.
    pub call_timeout: bool,
    /// Its `wamp.error.unavailable` means: try another.
    pub call_reroute: bool,
    /// It sends and takes payloads that the router does not look into.
    pub payload_passthru_mode: bool,
    /// It understands that a registration is taken from it.
    pub registration_revocation: bool,
}

/// What a subscriber announced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriberFeatures {
    /// It understands that a subscription is taken from it.
    pub subscription_revocation: bool,
}

/// A session that is in the realm.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) details: SessionDetails,
    pub(super) features: Features,
    pub(super) subscriptions: BTreeSet<SubscriptionId>,
    /// How many of these are to the router's own topics.
    pub(super) n_reserved: usize,
    pub(super) registrations: BTreeSet<RegistrationId>,
    /// URIs of which it has said something, and about how many bytes that is.
    pub(super) definitions: BTreeMap<Arc<str>, usize>,
    /// Shapes of wildcard patterns that it was the first to subscribe to.
    pub(super) subscribed_shapes: Vec<u128>,
    /// The same, of those that it has registered.
    pub(super) registered_shapes: Vec<u128>,
    pub(super) ends: Ends,
    /// The last progressive calls that ended: a CALL of one that was under way is no violation.
    pub(super) finished: VecDeque<u64>,
    /// Boxed, for few sessions have any.
    pub(super) testaments: Option<Box<Testaments>>,
}

impl SessionDetails {
    /// As the meta API gives them.
    pub(super) fn to_value(&self) -> Value {
        let mut value = json!({
            "session": self.session.get(),
            "authid": &*self.authid,
            "authrole": &*self.authrole,
            "authmethod": &*self.authmethod,
            "authprovider": &*self.authprovider,
        });
        if let (Some(transport), Some(details)) = (&self.transport, value.as_object_mut()) {
            details.insert("transport".to_owned(), transport.to_value());
        }
        value
    }

    /// Who it is, where that is disclosed.
    pub(super) fn disclosed(&self) -> Disclosed {
        Disclosed {
            session: Some(self.session),
            authid: Arc::clone(&self.authid),
            authrole: Arc::clone(&self.authrole),
        }
    }
}

impl Transport {
    fn to_value(&self) -> Value {
        json!({
            "type": self.kind,
            "protocol": self.protocol,
            "peer": self.peer.as_deref(),
            "secure": self.is_secure,
        })
    }
}

impl<P: Clone> Router<P> {
    /// Takes a session in; false, and nothing changes, if its id is taken: choose another. Its WELCOME goes before what is in `sink`.
    #[must_use]
    pub fn join(
        &mut self,
        details: SessionDetails,
        features: Features,
        sink: &mut Sink<P>,
    ) -> bool {
        let id = details.session;
        if self.sessions.contains_key(&id) {
            return false;
        }
        let about = details.to_value();
        let session = Session {
            details,
            features,
            subscriptions: BTreeSet::new(),
            n_reserved: 0,
            registrations: BTreeSet::new(),
            definitions: BTreeMap::new(),
            subscribed_shapes: Vec::new(),
            registered_shapes: Vec::new(),
            ends: Ends::default(),
            finished: VecDeque::new(),
            testaments: None,
        };
        self.sessions.insert(id, Box::new(session));
        self.announce("wamp.session.on_join", || vec![about], sink);
        true
    }

    /// A session's end, however it came: its calls, its callers' calls, registrations, subscriptions, testaments. Nothing happens if it
    /// is not here, for instance because it was killed. What others hear of it comes by [`tell_news`](Self::tell_news).
    pub fn leave(&mut self, session: SessionId, sink: &mut Sink<P>) {
        self.remove_session(session, true, sink);
    }

    /// Who a session is.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<&SessionDetails> {
        self.sessions.get(&session).map(|it| &it.details)
    }

    /// Sends a session away, and out of the router at once. What others hear of it comes by [`tell_news`](Self::tell_news).
    ///
    /// # Errors
    /// [`Refused::NoSuchSession`].
    pub fn kill(
        &mut self,
        session: SessionId,
        reason: Option<&str>,
        message: Option<&str>,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        if !self.sessions.contains_key(&session) {
            return Err(Refused::NoSuchSession);
        }
        self.kill_one(session, reason, message, true, sink);
        Ok(())
    }

    /// Sends all away for whom `is_meant` says so, save `killer`, and returns them ascending.
    pub fn kill_where(
        &mut self,
        killer: Option<SessionId>,
        is_meant: impl Fn(&SessionDetails) -> bool,
        reason: Option<&str>,
        message: Option<&str>,
        sink: &mut Sink<P>,
    ) -> Vec<SessionId> {
        let victims = self.victims(killer, is_meant);
        for victim in &victims {
            self.kill_one(*victim, reason, message, true, sink);
        }
        victims
    }

    /// Sends all away save `killer`, and returns how many these were. No meta event tells of it, and no testament is given out
    /// (wamp.md §9.1).
    pub fn kill_all(
        &mut self,
        killer: Option<SessionId>,
        reason: Option<&str>,
        message: Option<&str>,
        sink: &mut Sink<P>,
    ) -> usize {
        let victims = self.victims(killer, |_| true);
        for victim in &victims {
            self.kill_one(*victim, reason, message, false, sink);
        }
        victims.len()
    }

    fn victims(
        &self,
        killer: Option<SessionId>,
        is_meant: impl Fn(&SessionDetails) -> bool,
    ) -> Vec<SessionId> {
        let others = self.sessions.iter().filter(|(id, _)| Some(**id) != killer);
        let meant = others.filter(|(_, session)| is_meant(&session.details));
        let mut victims: Vec<_> = meant.map(|(id, _)| *id).collect();
        victims.sort_unstable();
        victims
    }

    fn kill_one(
        &mut self,
        session: SessionId,
        reason: Option<&str>,
        message: Option<&str>,
        is_loud: bool,
        sink: &mut Sink<P>,
    ) {
        let goodbye = ToSession::Goodbye {
            reason: reason.unwrap_or(KILLED).into(),
            message: message.map(Into::into),
        };
        sink.tell(Party::Session(session), goodbye);
        self.remove_session(session, is_loud, sink);
    }

    /// The session is out of the table before anything else, so that it gets none of what its end causes.
    fn remove_session(&mut self, id: SessionId, is_loud: bool, sink: &mut Sink<P>) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        // Those to meta events first: what the others' end causes is not for it any more.
        let (reserved, others): (Vec<_>, Vec<_>) = (session.subscriptions.into_iter())
            .partition(|subscription| self.is_of_meta_topic(*subscription));
        for subscription in reserved.into_iter().chain(others) {
            let is_over = self.remove_subscriber(subscription, id);
            if let Some(is_over) = is_over.filter(|_| is_loud) {
                self.add_news(News::Unsubscribed(id, subscription, is_over));
            }
        }
        for registration in session.registrations {
            let is_over = self.remove_callee(registration, id);
            if let Some(is_over) = is_over.filter(|_| is_loud) {
                self.add_news(News::Unregistered(id, registration, is_over));
            }
        }
        for uri in session.definitions.into_keys() {
            if self.definitions.remove(id, &uri) && is_loud {
                self.add_news(News::Undefined(uri));
            }
        }
        self.end_calls(session.ends, sink);
        if !is_loud {
            return;
        }
        if let Some(testaments) = session.testaments {
            sink.testaments.extend(testaments.in_order());
        }
        let SessionDetails {
            authid, authrole, ..
        } = session.details;
        self.add_news(News::Left(id, authid, authrole));
    }
}
