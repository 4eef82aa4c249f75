//! A message out of a request: the same way as through any door, by a client that is attached for as long as that takes.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use restante_admin_api::document::Verb;
use restante_admin_api::queue::PublishRequest;
use restante_admin_api::{Caller, ControlError, How, Published};
use tokio::time::timeout;
use uuid::Uuid;

use super::rights::Rights;
use super::{Controller, invalid};
use crate::broker::{
    Attach, AttachError, Attachment, Call, End, Event, Landed, Protocol, SessionWish,
};
use crate::message::{NewMessage, PRIORITY_DEFAULT};
use crate::refusal::Refusal;
use crate::trace::TraceContext;

/// How long the log may take to confirm: as long as a client waits for an answer.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);

/// The tag of the one call.
const TAG: u64 = 1;

impl Controller {
    pub(super) async fn publish_one(
        &self,
        caller: &Caller,
        realm: String,
        request: PublishRequest,
        how: How,
    ) -> Result<Published, ControlError> {
        self.must_be_there(&realm)?;
        let rights = self.rights(caller)?;
        let mut message = self.message(request, "")?;
        if let Some((parent, state)) = &caller.trace
            && let Some(context) = TraceContext::parse(parent, state.as_deref())
        {
            context.put(&mut message.properties);
        }
        if how.dry_run {
            let outcome = self.broker.explain(&rights.who, None, &realm, &message);
            let refused = |why| refused(why, &rights, &realm, &message.address);
            outcome.outcome.map_err(refused)?;
            return Ok(Published {
                outcome: "checked".to_owned(),
                message_id: message.message_id,
            });
        }
        let id = message
            .message_id
            .get_or_insert_with(|| Uuid::now_v7().to_string())
            .clone();
        let address = message.address.clone();
        let landed = timeout(
            CONFIRMED_WITHIN,
            self.send(caller, &rights, &realm, message),
        )
        .await
        .map_err(|_| ControlError::Unsettled)??;
        Ok(Published {
            outcome: landed
                .map_err(|why| refused(why, &rights, &realm, &address))?
                .as_str()
                .to_owned(),
            message_id: Some(id),
        })
    }

    async fn send(
        &self,
        caller: &Caller,
        rights: &Rights,
        realm: &str,
        message: NewMessage,
    ) -> Result<Result<Landed, Refusal>, ControlError> {
        let attach = Attach {
            principal: rights.who.clone(),
            realm: realm.into(),
            protocol: Protocol::Rest,
            peer: caller.peer.address,
            tls: caller.peer.tls,
            session: SessionWish {
                id: None,
                expiry: Duration::ZERO,
                fresh: false,
            },
            name: None,
            client: None,
            will: None,
            wamp: None,
            sp: None,
            asked: Instant::now(),
        };
        let (mut client, _) = self.broker.attach(attach).await.map_err(not_attached)?;
        client.call(TAG, Call::Publish(Box::new(message)));
        client.flush();
        confirmed(&mut client).await
    }

    /// What a request wants to be sent; `at`: where in the body it is.
    pub(super) fn message(
        &self,
        request: PublishRequest,
        at: &str,
    ) -> Result<NewMessage, ControlError> {
        let here = |field: &str, what: &str| invalid(&format!("{at}/{field}"), what);
        let limits = self.config.load().limits.clone();
        let (body, text) = match (request.body, request.body_base64) {
            (Some(_), Some(_)) => return Err(here("body_base64", "there is a `body` already")),
            (Some(body), None) => (Bytes::from(body), true),
            (None, Some(body)) => {
                let body = BASE64_STANDARD.decode(body);
                (
                    body.map_err(|_| here("body_base64", "is no base64"))?
                        .into(),
                    false,
                )
            }
            (None, None) => (Bytes::new(), false),
        };
        if request.priority.is_some_and(|priority| priority > 9) {
            return Err(here("priority", "is from 0 to 9"));
        }
        if request.properties.len() > limits.properties {
            let what = format!("has more than {} of them", limits.properties);
            return Err(here("properties", &what));
        }
        for (field, text) in [
            ("message_id", &request.message_id),
            ("correlation_id", &request.correlation_id),
            ("key", &request.key),
        ] {
            if text.as_ref().is_some_and(String::is_empty) {
                return Err(here(field, "is empty; leave it out"));
            }
        }
        let message = NewMessage {
            address: request.address,
            message_id: request.message_id,
            correlation_id: request.correlation_id,
            reply_to: request.reply_to,
            content_type: request.content_type,
            key: request.key,
            priority: request.priority.unwrap_or(PRIORITY_DEFAULT),
            properties: request.properties,
            ttl_ms: request.ttl_ms,
            transient: false,
            body,
            text,
            ..NewMessage::default()
        };
        let bytes_max = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        if header_bytes(&message) > bytes_max {
            let text = format!("all but the body has more than {bytes_max} bytes");
            return Err(ControlError::TooLarge(text));
        }
        let bytes_max = usize::try_from(limits.frame_bytes).unwrap_or(usize::MAX);
        if message.body.len() > bytes_max {
            let text = format!("the body has more than {bytes_max} bytes");
            return Err(ControlError::TooLarge(text));
        }
        Ok(message)
    }
}

/// The same limit as for a frame's header, about.
fn header_bytes(message: &NewMessage) -> usize {
    let texts = [
        &message.message_id,
        &message.correlation_id,
        &message.reply_to,
        &message.content_type,
        &message.key,
    ];
    let texts = texts.into_iter().flatten().map(String::len);
    let properties = message.properties.iter();
    let properties = properties.map(|(name, value)| name.len() + value.len());
    message.address.len() + texts.chain(properties).sum::<usize>()
}

/// What became of the call that was flushed. Where the client is ended first, nobody knows.
async fn confirmed(client: &mut Attachment) -> Result<Result<Landed, Refusal>, ControlError> {
    loop {
        for event in client.drain(0) {
            match event {
                Event::Confirmed { upto: TAG, failed } => {
                    let why = failed.into_iter().find(|(tag, _)| *tag == TAG);
                    return Ok(why.map_or(Ok(client.landed()), |(_, why)| Err(why)));
                }
                // What was sent before is still confirmed.
                Event::Ended(End::ShuttingDown) => {}
                Event::Ended(_) => return Err(ControlError::Unsettled),
                Event::Confirmed { .. }
                | Event::Delivery(_)
                | Event::Cancelled { .. }
                | Event::Unsubscribed { .. }
                | Event::Wamp(_) => {}
            }
        }
        client.ready().await;
    }
}

fn not_attached(error: AttachError) -> ControlError {
    match error {
        AttachError::TooMany => ControlError::Full(error.to_string()),
        AttachError::ShuttingDown => ControlError::ShuttingDown,
        // It asks for no session of its own, and has no will.
        AttachError::NoSession
        | AttachError::NotYours
        | AttachError::TakenOver
        | AttachError::Will(_) => ControlError::Internal,
    }
}

/// A refusal, in the API's words.
fn refused(why: Refusal, rights: &Rights, realm: &str, address: &str) -> ControlError {
    match why {
        Refusal::Denied => rights.denied(Verb::Send, realm, address),
        Refusal::NoRoute => ControlError::Conflict(format!(
            "nothing takes messages for {address}: no queue is bound to it, nobody listens, and none is made by sending"
        )),
        Refusal::Full | Refusal::TooMany => ControlError::Full(why.to_string()),
        Refusal::TooLarge => ControlError::TooLarge(why.to_string()),
        Refusal::Expired => invalid("/ttl_ms", why.to_string()),
        Refusal::BadAddress | Refusal::BadFilter => invalid("/address", why.to_string()),
        Refusal::Rate | Refusal::Unsupported | Refusal::InUse => {
            ControlError::Conflict(why.to_string())
        }
        // A publish names none of these.
        Refusal::NoSuchConsumer | Refusal::NoSuchDelivery | Refusal::NoSuchSubscription => {
            ControlError::Internal
        }
    }
}
