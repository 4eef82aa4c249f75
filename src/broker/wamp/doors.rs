//! Calls through the doors: a request that comes in by another protocol and is answered by a WAMP procedure, and a WAMP call that
//! whoever consumes from that address answers.
//!
//! ```text
//! message with reply-to ─▶ nobody takes it, but a procedure is registered there ─▶ INVOCATION … YIELD ─▶ message to reply-to
//! CALL ─▶ no such procedure, but somebody takes what is sent there ─▶ message with reply-to … message ─▶ RESULT
//! ```
//!
//! Who calls by a message needs the right to send and to call, who is answered by one likewise. A request to a procedure is
//! handed over and not stored, as any call is: its answer is what confirms it. An error is a reply with the property [`ERROR`]; so is
//! that there was no answer in time (`late.rs`).
//!
//! Always, with tests of these names in `broker/tests/wamp.rs`:
//! - `a_procedure_answers_requests_of_other_doors`
//! - `a_call_is_answered_by_other_doors`

use std::sync::Arc;
use std::time::Instant;

use restante_proto::wamp::{Payload, Serializer};

use super::requesters::{Answer, Request, Requester};
use super::{Realm, WampCall, WampTold, refused};
use crate::access::Permit;
use crate::broker::attachment::{Attachment, Outcome};
use crate::broker::call::Landed;
use crate::broker::publish::{Care, Takers};
use crate::engine::address::Address;
use crate::message::{Message, NewMessage, PRIORITY_DEFAULT, SharedMessage, WampSend};
use crate::refusal::Refusal;
use crate::registry::Verb;
use crate::router::{
    CallOptions, CallRequest, Called, CancelMode, Disclosed, Invocation, Party, SessionId,
    ToSession,
};
use crate::wamp::{body, code, uri};

/// The consumer by which a session gets the answers of other doors, and the temporary queue that it consumes.
pub const REPLIES: &str = "replies";
/// By this property a reply says that it is an error, and which.
pub(super) const ERROR: &str = "wamp-error";
/// Calls of one session that wait for the answer of another door.
const ASKED_MAX: usize = 16_384;

/// The request of a door's call: each calls once.
pub(super) const REQUEST: u64 = 1;

impl Attachment {
    /// Hands a request of another door to the procedure that is registered there, if one is. `address` has nobody else who takes
    /// it.
    pub(in crate::broker) fn call_by_message(
        &mut self,
        address: &Address,
        message: &NewMessage,
    ) -> Option<Outcome> {
        let reply_to = message.reply_to.as_deref()?;
        let routers = self.shared.routers.get(&self.realm)?;
        let procedure = uri::to_uri(address.as_str()).into_owned();
        routers.lock().router.registration_for(&procedure)?;
        let full_name = self.own_temporary(reply_to);
        let reply_to = full_name.as_deref().unwrap_or(reply_to);
        let Ok(reply_to) = Address::parse(reply_to, self.shared.settings.address) else {
            return Some(Outcome::Refused(Refusal::BadAddress));
        };
        let permit = self.permit(Verb::Call, address);
        let Some(permit) = permit.filter(|_| self.may(Verb::Send, &reply_to)) else {
            return Some(Outcome::Refused(Refusal::Denied));
        };
        let asked = Message {
            body: message.body.clone(),
            text: message.text,
            content_type: message.content_type.clone(),
            ..Message::default()
        };
        let Ok(payload) = body::to_payload(&asked, Serializer::Json) else {
            return Some(Outcome::Refused(Refusal::TooLarge));
        };
        let identity = Disclosed {
            session: None,
            authid: Arc::clone(&self.principal.name),
            authrole: self
                .principal
                .roles
                .first()
                .map_or("", String::as_str)
                .into(),
        };
        let requester = Requester::Sender(Request {
            principal: Arc::clone(&self.principal.name),
            reply_to: reply_to.as_str().to_owned(),
            correlation_id: message.correlation_id.clone(),
            ttl_ms: message.ttl_ms,
        });
        let mut sink = crate::router::Sink::new();
        {
            let mut realm = routers.lock();
            if !realm.requesters.has_room_for(&self.principal.name) {
                return Some(Outcome::Refused(Refusal::TooMany));
            }
            let door = realm.new_door();
            realm.requesters.insert(Instant::now(), door, requester);
            let options = CallOptions {
                timeout_ms: message.ttl_ms.unwrap_or(0),
                ..CallOptions::default()
            };
            let call = CallRequest {
                options,
                identity: Some(identity),
                payload_bytes: payload.len(),
                disclose: self.shared.settings.wamp.disclose,
                trustlevel: permit.trustlevel.map(u64::from),
                ..CallRequest::new(REQUEST, &procedure, payload)
            };
            // A door says nothing that a session could be aborted for.
            realm.router.call(Party::Door(door), call, &mut sink).ok();
            self.carry_out(&mut realm, sink);
        }
        self.send_what_is_due(&routers);
        self.landed = Landed::Delivered;
        self.shared.stats.published(self.protocol);
        Some(Outcome::Done)
    }

    /// Whether somebody takes what is sent to an address.
    pub(super) fn is_taken(&self, address: &Address) -> bool {
        let routes = self.shared.routes.load();
        let takers = Takers::of(&routes, &self.realm, address.as_str(), Care::ASKED);
        takers.may_answer()
    }

    /// A call that somebody at another door may answer. Once the session has a queue for that, it becomes a message.
    pub(super) fn call_elsewhere(
        &mut self,
        routers: &parking_lot::Mutex<Realm>,
        id: SessionId,
        call: WampCall,
        address: &Address,
        permit: Permit,
    ) {
        let request = call.request;
        if !self.may(Verb::Send, address) {
            let why = "no rule lets this client send there, where a message would be the call";
            let uri = "wamp.error.not_authorized";
            return self.tell_self(refused(code::CALL, request, uri, why.to_owned()));
        }
        if !self.has_consumer_named(REPLIES) {
            return self.tell_self(WampTold::WantsReplies(Box::new(call)));
        }
        if self
            .wamp
            .as_ref()
            .is_none_or(|it| it.asked.len() >= ASKED_MAX)
        {
            let why = "too many calls wait for answers of other doors".to_owned();
            let uri = "restante.error.limit_exceeded";
            return self.tell_self(refused(code::CALL, request, uri, why));
        }
        let wish = CallRequest {
            options: call.options,
            disclose: call.disclose,
            payload_bytes: call.payload.len(),
            trustlevel: permit.trustlevel.map(u64::from),
            ..CallRequest::new(request, &call.procedure, call.payload)
        };
        let called = self.with_router_of(routers, |realm, sink| {
            let wish = CallRequest {
                fallback: Some(realm.new_door()),
                ..wish
            };
            realm.router.call(Party::Session(id), wish, sink)
        });
        if let Err(violation) = called {
            self.tell_self(WampTold::Violated(violation.to_string()));
        } else {
            debug_assert!(!matches!(called, Ok(Called::NothingToContinue { .. })));
        }
    }

    /// What the router has for a door: a request to send, or the answer to one.
    pub(super) fn tell_door(&mut self, realm: &mut Realm, door: u64, said: ToSession<Payload>) {
        match said {
            ToSession::Invocation(it) => {
                if let Some(wamp) = self.wamp.as_mut() {
                    wamp.asked.insert(door, it.request);
                }
                self.due.push(Due::Request(door, Box::new(it)));
            }
            // Whoever works at it does not hear of it, and its answer will mean nothing: who wants to wait for that has it here.
            ToSession::Interrupt(it) => {
                let known = self.wamp.as_mut().and_then(|it| it.asked.remove(&door));
                if known.is_some() && it.mode == CancelMode::Kill {
                    self.due.push(Due::Killed(door, it.request));
                }
            }
            said => match realm.requesters.answer(door, &said) {
                Some(Answer::Message(reply)) => self.due.push(Due::Reply(reply)),
                Some(Answer::Session { id, question, said }) => {
                    self.tell_authorized(realm, id, (question, said));
                }
                None => {}
            },
        }
    }

    /// Sends what the router had for doors, now that its lock is not held.
    pub(super) fn send_what_is_due(&mut self, routers: &parking_lot::Mutex<Realm>) {
        while let Some(due) = self.due.pop() {
            match due {
                Due::Reply(reply) => self.publish_unasked(&reply),
                Due::Request(door, invocation) => self.request(routers, door, *invocation),
                Due::Killed(door, request) => {
                    let uri = "wamp.error.canceled";
                    self.fail_for_door(routers, (door, request), uri, "the call is canceled");
                }
            }
        }
    }

    fn request(
        &mut self,
        routers: &parking_lot::Mutex<Realm>,
        door: u64,
        invocation: Invocation<Payload>,
    ) {
        let procedure = invocation.procedure.as_deref().unwrap_or_default();
        let address = uri::to_address(procedure);
        let body = body::of_payload(&invocation.payload, false);
        let outcome = match (address, body) {
            (Some(address), Ok(body)) => {
                let message = NewMessage {
                    address,
                    correlation_id: Some(door.to_string()),
                    reply_to: Some(format!("~{REPLIES}")),
                    content_type: body.content_type.map(str::to_owned),
                    priority: PRIORITY_DEFAULT,
                    ttl_ms: invocation.timeout_ms,
                    body: body.bytes,
                    text: body.text,
                    wamp: Some(Box::new(WampSend::default())),
                    ..NewMessage::default()
                };
                self.publish(0, &message)
            }
            _ => Outcome::Refused(Refusal::BadAddress),
        };
        let is_taken = !matches!(outcome, Outcome::Refused(_)) && self.landed != Landed::Nowhere;
        if is_taken {
            return;
        }
        let request = self.wamp.as_mut().and_then(|wamp| wamp.asked.remove(&door));
        let Some(request) = request else { return };
        let uri = "wamp.error.no_available_callee";
        self.fail_for_door(routers, (door, request), uri, "nobody takes the call now");
    }

    /// A door's answer is an error.
    fn fail_for_door(
        &mut self,
        routers: &parking_lot::Mutex<Realm>,
        (door, request): (u64, u64),
        uri: &'static str,
        why: &str,
    ) {
        let why = Payload::from_single_text(Serializer::Json, why).unwrap_or_default();
        self.with_router(routers, |router, sink| {
            // A door says nothing that a session could be aborted for.
            router
                .error(Party::Door(door), request, uri, None, why, sink)
                .ok();
        });
    }

    /// Somebody at another door has answered a call.
    pub(super) fn answered_elsewhere(
        &mut self,
        routers: &parking_lot::Mutex<Realm>,
        message: &SharedMessage,
    ) {
        let door = message
            .correlation_id
            .as_deref()
            .and_then(|id| id.parse().ok());
        let Some((door, request)) = door.and_then(|door: u64| {
            let request = self.wamp.as_mut()?.asked.remove(&door)?;
            Some((door, request))
        }) else {
            // Late, or not meant for a call.
            return;
        };
        let payload = body::to_payload(message, Serializer::Json).unwrap_or_default();
        let error = message.properties.get(ERROR).cloned();
        self.with_router_of(routers, |realm, sink| {
            let party = Party::Door(door);
            let router = &mut realm.router;
            match error {
                Some(uri) => router.error(party, request, uri, None, payload, sink).ok(),
                None => {
                    let options = crate::router::YieldOptions::default();
                    router.yield_(party, request, options, payload, sink).ok()
                }
            }
        });
    }
}

/// What is to be sent for a door.
#[derive(Debug)]
pub(in crate::broker) enum Due {
    /// An answer.
    Reply(Box<NewMessage>),
    /// A call.
    Request(u64, Box<Invocation<Payload>>),
    /// A call, and the router's request, that its caller has canceled and waits for.
    Killed(u64, u64),
}
