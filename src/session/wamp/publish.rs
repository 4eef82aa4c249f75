//! PUBLISH, and what is answered to it.
//!
//! Rules: the WAMP specification, "Publishing and Events", "Subscriber Black- and Whitelisting", "Publisher Exclusion", "Publisher
//! Identification", "Event Retention", "Payload Passthru Mode".

use std::time::Instant;

use restante_proto::wamp::{Dict, Message, Payload};
use restante_storage::payload::WampPeer;

use super::requests::{Answer, Turn};
use super::wish::Disclosure;
use super::{Session, Wish};
use crate::broker::Call;
use crate::message::NewMessage;
use crate::refusal::Refusal;
use crate::router::{Match, is_reserved};
use crate::wamp::event::{self, Refuse, invalid_argument, invalid_uri};
use crate::wamp::options::PublishOptions;
use crate::wamp::{code, uri};

impl Session {
    pub(super) fn publish(
        &mut self,
        now: Instant,
        request: u64,
        options: &Dict,
        topic: &str,
        payload: &Payload,
    ) {
        if !self.is_next(request) {
            return;
        }
        let acknowledge = options.flag("acknowledge") == Ok(Some(true));
        if self.is_opaque_unannounced(options) {
            return self.violate("the publisher has not announced payload_passthru_mode");
        }
        match self.read_publish(now, options, topic, payload) {
            Ok((message, publication)) => {
                let tag = self.requests.tag(Answer::Published {
                    request,
                    publication,
                    acknowledge,
                });
                let call = Call::Publish(Box::new(message));
                self.wishes.push_back(Wish::Call { tag, call });
            }
            Err((uri, why)) if acknowledge => self.refuse(code::PUBLISH, request, uri, &why),
            Err(_) => self.tally.refused_unheard += 1,
        }
    }

    fn is_opaque_unannounced(&self, options: &Dict) -> bool {
        let is_opaque = options
            .get("ppt_scheme")
            .is_some_and(|it| it.as_str().is_some_and(|it| !it.is_empty()));
        is_opaque && self.me.as_ref().is_some_and(|me| !me.publishes_opaque)
    }

    fn read_publish(
        &mut self,
        now: Instant,
        options: &Dict,
        topic: &str,
        payload: &Payload,
    ) -> Result<(NewMessage, u64), Refuse> {
        let address = self.own_address(topic)?;
        let options = PublishOptions::read(options).map_err(invalid_argument)?;
        if let Some(bucket) = &mut self.publishing
            && !bucket.take(now)
        {
            let why = "more publishes than limits.publish-rate allows".to_owned();
            return Err(("restante.error.limit_exceeded", why));
        }
        let publication = self.random_id();
        let publisher = self.disclosed(options.disclose_me)?;
        let message = event::message(address, options, payload, publication, publisher)?;
        Ok((message, publication))
    }

    /// Who the client is, if that is to be told; refused if it wishes what is not to be.
    fn disclosed(&self, wished: bool) -> Result<Option<WampPeer>, Refuse> {
        let tells = match self.settings.disclosure {
            Disclosure::Always => true,
            Disclosure::Wished => wished,
            Disclosure::Never if wished => {
                let why = "publishers and callers are not disclosed here".to_owned();
                return Err(("wamp.error.option_disallowed.disclose_me", why));
            }
            Disclosure::Never => false,
        };
        let me = self.me.as_ref().filter(|_| tells);
        Ok(me.map(|me| WampPeer {
            session: me.session,
            authid: me.authid.to_string(),
            authrole: me.authrole.to_string(),
        }))
    }

    /// The address of a URI that a client may publish to or register.
    pub(super) fn own_address(&self, text: &str) -> Result<String, Refuse> {
        if !self.is_uri(text, Match::Exact) || is_reserved(text) {
            return Err(invalid_uri(text));
        }
        uri::to_address(text).ok_or_else(|| invalid_uri(text))
    }

    pub(super) fn is_uri(&self, text: &str, how: Match) -> bool {
        self.settings.uris.allow(text, how)
    }

    /// Whether request ids must ascend by one: what overtakes on its way says nothing of the order in which it was sent.
    pub(super) fn ids_ascend(&self) -> bool {
        self.settings.sequential_ids && self.transport.keeps_order
    }

    /// Whether it is that request's turn; if not, the session is over.
    pub(super) fn is_next(&mut self, request: u64) -> bool {
        let strict = self.ids_ascend();
        let expected = self.requests.next();
        if self.requests.turn(request, strict) == Turn::New || !strict {
            return true;
        }
        self.violate(&format!(
            "request id {request} where {expected} is the next: ids ascend by one"
        ));
        false
    }

    pub(super) fn refuse(&mut self, request_type: u16, request: u64, uri: &str, why: &str) {
        let serializer = self.transport.serializer;
        let args = [why.into()];
        let payload = Payload::from_values(serializer, &args, &Dict::new());
        self.output.message(Message::Error {
            request_type,
            request,
            details: Dict::new(),
            error: uri.to_owned(),
            payload: payload.unwrap_or_default(),
        });
    }

    pub(super) fn confirmed(&mut self, upto: u64, failed: &[(u64, Refusal)]) {
        for (answer, refusal) in self.requests.confirmed(upto, failed) {
            match answer {
                Answer::Published {
                    request,
                    publication,
                    acknowledge,
                } => self.published(request, publication, acknowledge, refusal),
                Answer::Subscribed { subscription } => self.begun(subscription, refusal),
                Answer::Replies => self.has_replies(refusal),
                Answer::Unsubscribed { request } => {
                    if let Some(request) = request {
                        self.output.message(Message::Unsubscribed {
                            request,
                            details: None,
                        });
                    }
                }
                Answer::Received { request } => self.settled(request, refusal),
            }
        }
    }

    fn published(
        &mut self,
        request: u64,
        publication: u64,
        acknowledge: bool,
        refusal: Option<Refusal>,
    ) {
        // That nobody listens is no fault of a publisher's.
        let refusal = refusal.filter(|it| *it != Refusal::NoRoute);
        match refusal {
            None if acknowledge => self.output.message(Message::Published {
                request,
                publication,
            }),
            Some(why) if acknowledge => {
                let (uri, text) = of_refusal(why);
                self.refuse(code::PUBLISH, request, uri, text);
            }
            Some(_) => self.tally.refused_unheard += 1,
            None => {}
        }
    }
}

/// What the broker refuses, in WAMP's words.
pub(super) fn of_refusal(why: Refusal) -> (&'static str, &'static str) {
    match why {
        Refusal::Denied => (
            "wamp.error.not_authorized",
            "no rule lets this client do that",
        ),
        Refusal::BadAddress | Refusal::BadFilter => (
            "wamp.error.invalid_uri",
            "the URI is too long, has too many components, or has something that no address may have",
        ),
        Refusal::TooLarge => (
            "wamp.error.payload_size_exceeded",
            "the message is too large to be stored",
        ),
        Refusal::Full => (
            "wamp.error.unavailable",
            "a queue that it leads to is full, or the disk is: try again later",
        ),
        Refusal::TooMany => ("restante.error.limit_exceeded", "a limit is reached"),
        Refusal::Expired => ("wamp.error.invalid_argument", "it has expired already"),
        Refusal::InUse => (
            "wamp.error.option_not_allowed",
            "the queue of that name is bound to something else, or consumed exclusively",
        ),
        Refusal::NoRoute => (
            "wamp.error.option_not_allowed",
            "there is no such queue, and none may be made",
        ),
        _ => ("wamp.error.unavailable", "the broker does not take it now"),
    }
}
