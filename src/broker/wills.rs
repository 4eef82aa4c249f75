//! Wills: checked when a client connects, kept with its session, and published when it is gone without a goodbye.
//!
//! ```text
//! attach ─▶ check ─▶ DefineSession with the will          Errand::Will ─▶ rights, routes, takers as of now ─▶ one record
//! ```
//!
//! Whether, and when, is the engine's to say (`engine/wills.rs`); the keeper alone writes what becomes of a will, so that it is
//! published once. A client with a will has a session in the log even if that ends with its connection: it is how the broker
//! knows, after a crash, whose wills it owes.
//!
//! Always, with tests of these names in `broker/tests/mqtt/wills.rs`:
//! - `a_will_is_published_once_whatever_crashes`
//! - `a_right_that_is_gone_takes_the_will_with_it`
//! - `whoever_takes_over_has_the_old_will_published_or_not_as_mqtt_says`
//! - `whoever_comes_last_keeps_the_session_and_its_will`
//! - `nobody_is_let_go_or_mourned_for_another_by_any_door`
//!
//! Not here: CONNECT's fields (session), what a record does (engine).

use std::sync::atomic::Ordering;

use bytes::Bytes;
use metrics::counter;
use prost::Message as _;
use restante_storage::payload::{Envelope, Subscription, Will};
use restante_storage::{Draft, Kind, Lsn, QueueId, SessionNo};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::attachment::Attachment;
use super::call::{Attach, AttachError, NewWill, Protocol};
use super::core::{Ask, Extras, Found};
use super::keeper::Scribe;
use super::mqtt::are_all_no_local;
use super::outbox::Outbox;
use super::placing::{Landing, Placed};
use super::publish::{Takers, elsewhere, trusted};
use super::{Broker, Shared, TAKEOVERS_MAX, ends, is_theirs, now};
use crate::access::{Identity, Permit, Principal};
use crate::engine::DueWill;
use crate::engine::address::{Address, AddressLimits, Filter, Space};
use crate::message::NewMessage;
use crate::refusal::Refusal;
use crate::registry::Verb;
use crate::routes::Sent;

impl Attachment {
    /// A will as its session keeps it, if its client may have it.
    ///
    /// # Errors
    /// [`AttachError::Will`].
    pub(super) fn will(&self, it: &NewWill) -> Result<Will, AttachError> {
        let message = &it.message;
        let address = Address::parse(&message.address, self.shared.settings.address);
        let address = address.map_err(|_bad| AttachError::Will(Refusal::BadAddress))?;
        if !self.may(Verb::Send, &address) {
            return Err(AttachError::Will(Refusal::Denied));
        }
        let (issuer, roles) = match &self.principal.identity {
            Identity::Jwt { issuer } => (issuer.to_string(), self.principal.roles.to_vec()),
            _ => Default::default(),
        };
        let will = Will {
            id: 0,
            delay_ms: u64::try_from(it.delay.as_millis()).unwrap_or(u64::MAX),
            envelope: Some(self.envelope(address.as_str().to_owned(), message, None)),
            body: message.body.clone(),
            retain: message.retain,
            ttl_ms: message.ttl_ms,
            issuer,
            roles,
        };
        // It is written down with its session, beside all else, and then by itself.
        let fits = will.encoded_len() <= self.shared.log().limits().record_bytes_max / 4;
        fits.then_some(will)
            .ok_or(AttachError::Will(Refusal::TooLarge))
    }
}

impl Broker {
    /// Has the will of whoever had the session published, where a new client of the same id does not put it off: where the session
    /// ends with this, or the will has no delay. Gives the session as it is then, which is the client's.
    ///
    /// # Errors
    /// [`AttachError::NotYours`]; [`AttachError::TakenOver`], once somebody else has this client's place.
    pub(super) async fn mourn(
        &self,
        wish: &Attach,
        outbox: &Outbox,
        uuid: Uuid,
        mut found: Option<Found>,
    ) -> Result<Option<Found>, AttachError> {
        for _ in 0..TAKEOVERS_MAX {
            // Whoever is there now may have come later, and is not to be let go for this one.
            if outbox.is_closed() {
                return Err(AttachError::TakenOver);
            }
            let Some(old) = &found else {
                return Ok(None);
            };
            is_theirs(&old.whole, wish)?;
            let will = old.whole.will.as_ref();
            let Some(will) = will.filter(|will| ends(wish, old) || will.delay_ms == 0) else {
                return Ok(found);
            };
            old.outbox.iter().for_each(|other| other.take_over());
            self.shared.mourn(old.whole.number, will.id).await?;
            found = self.find(uuid).await?;
        }
        Err(AttachError::TooMany)
    }
}

impl Shared {
    /// Has a will published, and waits until that is applied.
    pub(super) async fn mourn(&self, session: u64, will: u64) -> Result<(), AttachError> {
        let (reply, over) = oneshot::channel();
        self.ask(Ask::FireWill {
            session: SessionNo::new(session),
            will: Lsn::new(will),
            reply,
        });
        over.await.map_err(|_gone| AttachError::ShuttingDown)
    }

    /// Whose will it is, as they would be now. None: nobody any more.
    fn testator(&self, it: &DueWill) -> Option<Principal> {
        let access = self.access.load();
        if it.will.issuer.is_empty() {
            return access.principal_named(&it.principal, now());
        }
        let named = Principal {
            name: it.principal.as_str().into(),
            roles: it.will.roles.clone().into(),
            identity: Identity::Jwt {
                issuer: it.will.issuer.as_str().into(),
            },
            expires: None,
        };
        access.renew(&named, now())
    }
}

/// A will that may be published.
struct Published {
    message: NewMessage,
    permit: Permit,
    landings: Vec<Landing>,
    retains: bool,
}

impl Scribe {
    /// Writes what becomes of a will, as one record: the message, or that there is none.
    pub(super) fn write_will(&mut self, it: &DueWill) {
        let published = match it.given_up {
            true => Err("given-up"),
            false => self.place_will(it),
        };
        let outcome = match &published {
            Ok(it) if it.landings.is_empty() => "unwanted",
            Ok(_) => "published",
            Err(why) => why,
        };
        counter!("restante_mqtt_wills_total", "outcome" => outcome).increment(1);
        if !it.given_up {
            let address = it.will.envelope.as_ref().map(|it| it.address.as_str());
            let (realm, client) = (&it.realm, &it.client);
            tracing::info!(
                realm,
                client,
                address,
                outcome,
                "a client is gone without a goodbye: its will"
            );
        }
        match published {
            Ok(message) => self.publish_will(it, message),
            Err(_) => self.end_will(it),
        }
    }

    fn end_will(&mut self, it: &DueWill) {
        self.push_draft(&Draft {
            source: Some(it.source),
            ..Draft::new(Kind::Enqueue, now(), &Envelope::default())
        });
    }

    /// Who gets it, by what is in force now; or why nobody does.
    fn place_will(&self, it: &DueWill) -> Result<Published, &'static str> {
        let shared = self.shared();
        let message = message(&it.will);
        let address = Address::parse(&message.address, shared.settings.address);
        let address = address.map_err(|_stricter| "denied")?;
        let who = shared.testator(it).ok_or("denied")?;
        let client = Some(it.client.as_str());
        let permit = match shared.admits(&who, client, &it.realm, &address, &message) {
            Ok(permit) => permit,
            Err(Refusal::Expired) => return Err("expired"),
            Err(_) => return Err("denied"),
        };
        let has_room = it.replaces
            || message.body.is_empty()
            || shared.n_retained.load(Ordering::Relaxed) < shared.settings.mqtt.retained_max;
        let retains = message.retain && address.space() == Space::Ordinary && has_room;
        let care = shared.care(&message);
        let sent = Sent {
            address: address.as_str(),
            message: &message,
            id: &[],
        };
        let mut landings = match shared.place(&it.realm, &address, &sent, false, care, None) {
            Placed::Lands(landings) | Placed::Makes { landings, .. } => landings.into_vec(),
            Placed::Dropped => {
                shared.stats.dropped_by_route();
                return Err("dropped");
            }
            Placed::NoRoute => Vec::new(),
        };
        for landing in &mut landings {
            if let Some(own) = it
                .own
                .as_ref()
                .filter(|own| own_keeps_out(own, &landing.address))
            {
                landing.takers.leave_out_own(Some(own.0), None);
            }
            // Nobody is there to be refused, and to try again.
            landing.takers.shed_what_is_full();
        }
        let n_shed: u64 = landings.iter().map(|it| it.takers.n_shed()).sum();
        if n_shed > 0 {
            shared.stats.shed(n_shed);
        }
        if !retains {
            landings.retain(|it| !it.takers.come_to_nothing());
        }
        if landings.is_empty() && retains {
            landings.push(Landing {
                address: address.as_str().to_owned(),
                takers: Takers::default(),
            });
        }
        Ok(Published {
            message,
            permit,
            landings,
            retains,
        })
    }

    fn publish_will(&mut self, it: &DueWill, published: Published) {
        let mut landings = published.landings.into_iter();
        let Some(first) = landings.next() else {
            return self.end_will(it);
        };
        let mut envelope = it.will.envelope.clone().unwrap_or_default();
        trusted(&mut envelope, published.permit);
        envelope.address = first.address;
        envelope.uuid = Bytes::copy_from_slice(Uuid::now_v7().as_bytes());
        let kind = if published.retains {
            envelope.realm.clone_from(&it.realm);
            Kind::Retain
        } else {
            Kind::Enqueue
        };
        let Takers {
            mut durable,
            transient,
            topics,
            ..
        } = first.takers;
        let (time, message) = (now(), &published.message);
        let mut draft = Draft {
            priority: message.priority,
            expires: message.ttl_ms.map(|ttl| time.saturating_add(ttl)),
            source: Some(it.source),
            body: &message.body,
            ..Draft::new(kind, time, &())
        };
        let others = elsewhere(&draft, &mut envelope, &mut durable, landings);
        draft.envelope = &envelope;
        draft.targets = &durable;
        let Some(index) = self.push_draft(&draft) else {
            return self.end_will(it);
        };
        self.shared().stats.published(Protocol::Mqtt);
        let extras = Extras {
            queues: transient,
            topics,
            others,
        };
        self.add_extras(index, extras);
    }
}

/// Whether a session's own queue is not to get what its client sends to that address (no local).
fn own_keeps_out((_, subscriptions): &(QueueId, Vec<Subscription>), address: &str) -> bool {
    let Ok(address) = Address::parse(address, AddressLimits::CEILING) else {
        return false;
    };
    let matches = |it: &&Subscription| {
        let filter = Filter::parse(&it.filter, AddressLimits::CEILING);
        filter.is_ok_and(|filter| filter.matches(&address))
    };
    are_all_no_local(subscriptions.iter().filter(matches))
}

/// A will as its client would have published it.
fn message(will: &Will) -> NewMessage {
    let envelope = will.envelope.clone().unwrap_or_default();
    let ordered = envelope.ordered.into_iter();
    NewMessage {
        wamp: None,
        sp: None,
        address: envelope.address,
        message_id: envelope.message_id,
        correlation_id: envelope.correlation_id,
        reply_to: envelope.reply_to,
        content_type: envelope.content_type,
        key: envelope.key,
        priority: crate::message::PRIORITY_DEFAULT,
        properties: envelope.properties,
        ttl_ms: will.ttl_ms,
        transient: envelope.qos_bound <= 1,
        body: will.body.clone(),
        text: envelope.text,
        qos: u8::try_from(envelope.qos_bound.saturating_sub(1)).ok(),
        packet: 0,
        retain: will.retain,
        ordered: ordered.map(|it| (it.name, it.value)).collect(),
    }
}
