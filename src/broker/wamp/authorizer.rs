//! Asking the realm's authorizer, a procedure, for a session that waits for the answer.
//!
//! Always, with a test of this name in `broker/tests/wamp.rs`: `an_authorizer_is_asked_and_believed`.

use std::time::Instant;

use restante_proto::wamp::{Dict, Payload, Serializer, Value};

use super::doors::REQUEST;
use super::requesters::Requester;
use super::{Realm, WampTold};
use crate::broker::attachment::Attachment;
use crate::router::{CallRequest, CallResult, Match, Party, SessionId, ToSession};

/// What the authorizer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorized {
    /// Yes or no, and whether that is to be remembered.
    Says {
        /// Whether the session may.
        allow: bool,
        /// Whether the answer counts for a while.
        cache: bool,
    },
    /// There is none, or it did not answer as it should.
    Failed,
}

impl Attachment {
    /// Asks whether the session that `asks` may do that. The rules are asked as ever, besides.
    pub(super) fn ask_authorizer(
        &mut self,
        realm: &parking_lot::Mutex<Realm>,
        asks: Requester,
        authorizer: &str,
        (action, uri, how): (&'static str, &str, Match),
    ) {
        let details = self
            .outbox
            .card
            .wamp
            .as_ref()
            .map_or_else(Dict::new, |client| {
                Dict::new()
                    .with("session", client.session)
                    .with("realm", &*self.realm)
                    .with("authid", &*client.authid)
                    .with("authrole", &*client.authrole)
                    .with("authmethod", client.authmethod)
                    .with("authprovider", client.authprovider)
            });
        let options = Dict::new().with("match", how.name());
        let args = [details.into(), uri.into(), action.into(), options.into()];
        let payload = Payload::from_values(Serializer::Json, &args, &Dict::new());
        let payload = payload.unwrap_or_default();
        self.with_router_of(realm, |realm, sink| {
            let door = realm.new_door();
            realm.requesters.insert(Instant::now(), door, asks);
            let call = CallRequest {
                payload_bytes: payload.len(),
                ..CallRequest::new(REQUEST, authorizer, payload)
            };
            // A door says nothing that a session could be aborted for.
            realm.router.call(Party::Door(door), call, sink).ok();
        });
    }

    /// The authorizer has answered, or cannot.
    pub(super) fn tell_authorized(
        &mut self,
        realm: &Realm,
        id: SessionId,
        (question, said): (u64, Authorized),
    ) {
        let Some(outbox) = realm.outboxes.get(&id) else {
            return;
        };
        let told = WampTold::Authorized { question, said };
        let weight = told.weight();
        outbox.put(|waiting| waiting.tell(told, weight));
        self.bells.ring_later(outbox);
    }
}

/// What a router's word for the one who asked means.
pub(super) fn read(said: &ToSession<Payload>) -> Authorized {
    let ToSession::Result(CallResult { payload, .. }) = said else {
        return Authorized::Failed;
    };
    let args = payload.args().unwrap_or_default();
    let says = |allow, cache| Authorized::Says { allow, cache };
    match args.first() {
        Some(Value::Bool(allow)) => says(*allow, true),
        Some(Value::Dict(answer)) => match answer.flag("allow") {
            Ok(Some(allow)) => says(allow, answer.flag("cache") != Ok(Some(false))),
            _ => Authorized::Failed,
        },
        _ => Authorized::Failed,
    }
}
