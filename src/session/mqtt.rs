//! The MQTT session over one connection, 3.1, 3.1.1 and 5.0: packets in, calls out, events in, packets out.
//!
//! ```text
//!     ┌──CONNECT, method──▶ Authenticating ──believed──┐
//!     │                             │                   ▼
//! Connecting ────────CONNECT────────┼───────────▶ Attaching ──attached──▶ Running ──shutdown──▶ Draining
//!     │                             │                   │                    │                     │
//!     └─────────────────────────────┴───────────────────┴── error, goodbye ──┴─────────────────────┴──▶ Over
//! ```
//!
//! The session that outlives its connections is the broker's: queue, subscriptions, and the packet ids of QoS 2 flows that are
//! under way. What stands here lives as long as one connection, and starts from what the broker says is durable. A session
//! with expiry 0 has nothing but this.
//!
//! Always, each with a test of its name in `tests::invariants`:
//! - `no_more_is_in_flight_than_the_client_takes`.
//! - `every_publish_is_answered_once_and_only_when_it_is_confirmed`.
//! - `no_two_deliveries_have_one_packet_id`.
//!
//! Not here: bytes (`restante_proto`), sockets (front), credentials, and what a call does (broker).

mod auth;
mod calls;
mod connect;
mod deliver;
mod output;
mod publish;
mod reasons;
mod subscribe;
#[cfg(test)]
mod tests;
mod topic;
mod translate;
mod wish;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use restante_proto::mqtt::{
    Connack, Connect, Disconnect, DisconnectProperties, Error, Packet, PacketType, ReasonCode, Str,
    Version,
};
use restante_storage::UnixMillis;

pub use auth::{Proved, Step};
pub use connect::AttachWish;
pub use wish::{Closing, DeniedPublish, Settings, Tally, Wish};

use crate::broker::{Attached, End, Event, MqttState};
use crate::refusal::Refusal;
pub use crate::session::{Credentials, NotAttached};

use super::rate::Bucket;
use auth::Turn;
use calls::{Calls, Waits};
use connect::Wanted;
use deliver::Outbound;
use output::{Answer, Output};
use publish::Inbound;
use subscribe::{Codes, Key, Subscriptions};

/// Bytes of deliveries that may wait here before no more are wanted.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Deliveries that may wait here for a place before no more are wanted.
const WAITING_MAX: usize = 64;

/// One MQTT conversation over one network connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    state: State,
    version: Option<Version>,
    /// When the client was last heard of.
    heard: Instant,
    /// How long it may be silent; none: for ever.
    patience: Option<Duration>,
    /// What an AUTH may be.
    turn: Turn,
    /// Whether packets were not wanted since it was last heard of: it may have sent some.
    held_up: bool,
    /// Whether the session is in the broker's log: it outlives this connection, or has a will.
    is_durable: bool,
    /// How long, as it is now.
    expiry: Duration,
    /// Whether the client has left a will.
    has_will: bool,
    publishing: Option<Bucket>,
    calls: Calls,
    wishes: VecDeque<Wish>,
    inbound: Inbound,
    outbound: Outbound,
    subscriptions: Subscriptions,
    codes: Codes,
    output: Output,
    tally: Tally,
}

#[derive(Debug)]
enum State {
    Connecting {
        deadline: Instant,
    },
    Authenticating {
        deadline: Instant,
        wanted: Box<Wanted>,
    },
    Attaching(Box<Wanted>),
    Running,
    Draining {
        deadline: Instant,
    },
    Over(Box<Closing>),
}

impl Session {
    /// A conversation over a connection that began at `now`.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Session {
            state: State::Connecting {
                deadline: now + settings.connect_within,
            },
            version: None,
            heard: now,
            patience: None,
            turn: Turn::Never,
            held_up: false,
            is_durable: false,
            expiry: Duration::ZERO,
            has_will: false,
            publishing: settings.publish_rate.map(|rate| Bucket::new(rate, now)),
            calls: Calls::default(),
            wishes: VecDeque::new(),
            inbound: Inbound::default(),
            outbound: Outbound::new(),
            subscriptions: Subscriptions::default(),
            codes: Codes::default(),
            output: Output::new(),
            tally: Tally::default(),
            settings,
        }
    }

    /// A packet came. Take its wishes with [`poll_call`](Self::poll_call) before the next one is given; after the last one that
    /// is there, [`settle_up`](Self::settle_up).
    ///
    /// What is wrong with it is answered here; nothing is taken any more once [`closing`](Self::closing) is there.
    pub fn handle_packet(&mut self, now: Instant, packet: Packet) {
        self.heard = now;
        match (&self.state, packet) {
            (State::Connecting { deadline }, Packet::Connect(connect)) => {
                self.connect(*deadline, &connect);
            }
            (State::Connecting { .. }, _) => {
                self.fail(
                    ReasonCode::ProtocolError,
                    "the first packet must be a CONNECT",
                );
            }
            (State::Running, packet) => self.running_packet(now, packet),
            (State::Authenticating { .. }, Packet::Auth(auth)) => self.auth(auth),
            // The driver does not read meanwhile. A goodbye is one at any time.
            (
                State::Authenticating { .. } | State::Attaching(_) | State::Draining { .. },
                Packet::Disconnect(disconnect),
            ) => self.disconnect(&disconnect),
            (State::Authenticating { .. }, _) => {
                let why = "only AUTH and DISCONNECT may come before the CONNACK";
                self.fail(ReasonCode::ProtocolError, why);
            }
            (State::Attaching(_) | State::Draining { .. } | State::Over(_), _) => {}
        }
        self.held_up = !self.wants_packets();
    }

    /// Bytes came that are no packet.
    pub fn handle_decode_error(&mut self, now: Instant, error: Error) {
        self.heard = now;
        if matches!(self.state, State::Over(_)) {
            return;
        }
        let text = error.to_string();
        if matches!(self.state, State::Connecting { .. }) {
            if let Some((version, mut connack)) = error.connack() {
                self.output.version_is(version);
                if version == Version::V5 {
                    connack.properties.reason_string = Str::try_from(text.as_str()).ok();
                }
                self.output.connack(connack);
            }
            return self.close(reasons::word(error.reason()), Some(error.reason()), text);
        }
        let code = error.disconnect().map_or(error.reason(), |it| it.reason);
        self.fail(code, text);
    }

    /// What became of [`Wish::Attach`].
    pub fn handle_attached(&mut self, now: Instant, attached: Result<Attached, NotAttached>) {
        let State::Attaching(wanted) = &self.state else {
            return;
        };
        self.heard = now;
        let attached = match attached {
            Ok(attached) => attached,
            Err(why) => {
                let showed_credentials = wanted.attach.credentials.is_some();
                let code = reasons::of_attach(why, showed_credentials);
                return self.fail(code, why.to_string());
            }
        };
        let connack = Packet::Connack(Box::new(wanted.connack(&attached, &self.settings)));
        let patience = wanted.keep_alive;
        if !self.output.fits(&connack) {
            let why = "the maximum packet size is too small for a CONNACK";
            return self.fail(ReasonCode::PacketTooLarge, why);
        }
        self.patience = patience;
        self.output.packet(connack);
        self.start(&attached);
    }

    /// The attachment has something to tell; after the last that it has, [`settle_up`](Self::settle_up). `wall` is the time of day, for what a message has left to live.
    pub fn handle_event(&mut self, wall: UnixMillis, event: Event) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        match event {
            Event::Confirmed { upto, failed } => self.confirmed(upto, failed),
            Event::Delivery(delivery) => self.deliver(*delivery, wall),
            // The queue behind it was deleted: MQTT has no word for that.
            Event::Cancelled { .. } => {}
            // Nor for this.
            Event::Unsubscribed {
                filter,
                share,
                upto,
            } => self.lose(&Key { filter, share }, upto),
            // WAMP's alone.
            Event::Wamp(_) => {}
            Event::Ended(end) => self.ended(end),
        }
    }

    /// The broker goes down: no packet is taken any more, and what is under way is confirmed until `deadline`.
    pub fn handle_shutdown(&mut self, deadline: Instant) {
        self.settle_now();
        match self.state {
            State::Running if self.calls.in_flight() > 0 => {
                self.state = State::Draining { deadline };
            }
            State::Connecting { .. }
            | State::Authenticating { .. }
            | State::Attaching(_)
            | State::Running => self.shut_down(),
            State::Draining { .. } | State::Over(_) => {}
        }
    }

    /// It is `now`; to be called at [`poll_timeout`](Self::poll_timeout), harmless before.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Connecting { deadline } if now >= deadline => {
                self.close("connect-timeout", None, "no CONNECT in time".to_owned());
            }
            State::Authenticating { deadline, .. } if now >= deadline => {
                let why = "the authentication was not over in time";
                self.fail_as("connect-timeout", ReasonCode::NotAuthorized, why);
            }
            State::Draining { deadline } if now >= deadline => self.shut_down(),
            // What it has sent was not read: it may be alive.
            State::Running if self.held_up => {
                self.heard = now;
                self.held_up = !self.wants_packets();
            }
            State::Running if self.silent_at().is_some_and(|at| now >= at) => {
                let why = "no packet for one and a half times the keep alive";
                self.fail(ReasonCode::KeepAliveTimeout, why);
            }
            _ => {}
        }
    }

    /// The client was heard of otherwise: a part of a packet came, or the driver had reasons of its own not to read until
    /// `now`. The keep alive begins anew.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When it wants to be woken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { deadline }
            | State::Authenticating { deadline, .. }
            | State::Draining { deadline } => Some(deadline),
            State::Running => self.silent_at(),
            State::Attaching(_) | State::Over(_) => None,
        }
    }

    /// What it wants done, in order, each once: after every `handle_…`, until there is nothing.
    pub fn poll_call(&mut self) -> Option<Wish> {
        let wish = self.wishes.pop_front();
        if self.wishes.is_empty() && self.wishes.capacity() > IDLE_CAPACITY {
            self.wishes.shrink_to(IDLE_CAPACITY);
        }
        wish
    }

    /// Encodes what is ready to the end of `out`, until about `bytes_max` more are there; how many packets. `wall` is the time
    /// of day.
    pub fn write(&mut self, wall: UnixMillis, out: &mut BytesMut, bytes_max: usize) -> u64 {
        self.output.write(wall, out, bytes_max, &mut self.tally)
    }

    /// Whether there is something to [`write`](Self::write).
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether a packet may be given to it. While not, the driver does not read, so that TCP pushes back.
    pub fn wants_packets(&self) -> bool {
        match self.state {
            State::Connecting { .. } => true,
            State::Authenticating { .. } => self.turn != Turn::Ours,
            State::Running => self.calls.in_flight() < u64::from(self.settings.window.max(1)),
            State::Attaching(_) | State::Draining { .. } | State::Over(_) => false,
        }
    }

    /// Whether a delivery may be given to it. While not, those that come wait in the broker; confirms are wanted always.
    pub fn wants_deliveries(&self) -> bool {
        let (n_waiting, n_bytes) = self.outbound.n_waiting();
        n_waiting < WAITING_MAX && n_bytes + self.output.n_bytes() < WAITING_BYTES_MAX
    }

    /// Why the connection is to be closed after the packets that are left; none while it goes on.
    pub fn closing(&self) -> Option<&Closing> {
        match &self.state {
            State::Over(closing) => Some(closing),
            _ => None,
        }
    }

    /// The version that the client speaks; none before its CONNECT.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// What was done since this was last asked, for metrics.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.patience.map(|patience| self.heard + patience)
    }

    fn connect(&mut self, deadline: Instant, connect: &Connect) {
        let version = connect.version;
        let properties = &connect.properties;
        self.version = Some(version);
        self.has_will = connect.will.is_some();
        let is_v5 = version == Version::V5;
        let aliases_max = properties.topic_alias_maximum.unwrap_or(0);
        let aliases_max = aliases_max.min(self.settings.topic_alias_max);
        self.output.begin(
            version,
            properties.maximum_packet_size,
            properties.request_problem_information != Some(false),
            if is_v5 { aliases_max } else { 0 },
        );
        let receive_maximum = self.settings.receive_maximum;
        let receive_maximum = properties
            .receive_maximum
            .map_or(receive_maximum, |it| it.min(receive_maximum));
        self.outbound.begin(receive_maximum.get());
        match Wanted::read(connect, &self.settings) {
            Ok((wanted, None)) => self.attach(Box::new(wanted)),
            Ok((wanted, Some(begun))) => self.authenticate(deadline, Box::new(wanted), begun),
            Err((code, why)) => self.fail(code, why),
        }
    }

    fn attach(&mut self, wanted: Box<Wanted>) {
        let attach = Box::new(wanted.attach.clone());
        self.state = State::Attaching(wanted);
        self.wishes.push_back(Wish::Attach(attach));
    }

    fn start(&mut self, attached: &Attached) {
        self.state = State::Running;
        self.calls.begin(attached.confirmed);
        self.expiry = attached.expiry;
        let Some(known) = &attached.mqtt else {
            return;
        };
        self.is_durable = known.kept;
        if self.is_durable {
            self.outbound.is_durable();
        }
        if attached.resumed {
            self.resume(known);
        }
    }

    fn resume(&mut self, known: &MqttState) {
        self.inbound.resume(&known.received);
        self.subscriptions.resume(&known.subscriptions);
        self.release_again(&known.releasing);
        // There may be messages of subscriptions that have ended since.
        self.grant_own();
        let consumers: Vec<_> = self.subscriptions.consumers().cloned().collect();
        for consumer in consumers {
            self.grant_shared(consumer);
        }
    }

    fn running_packet(&mut self, now: Instant, packet: Packet) {
        if !matches!(packet, Packet::Puback(_)) {
            self.settle_now();
        }
        match packet {
            Packet::Publish(publish) => self.publish(now, publish),
            Packet::Puback(ack) => self.puback(&ack),
            Packet::Pubrec(ack) => self.pubrec(&ack),
            Packet::Pubrel(ack) => self.pubrel(ack),
            Packet::Pubcomp(ack) => self.pubcomp(&ack),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe),
            Packet::Pingreq => self.output.pingresp(),
            Packet::Disconnect(disconnect) => self.disconnect(&disconnect),
            Packet::Connect(_) => self.fail(ReasonCode::ProtocolError, "a second CONNECT"),
            Packet::Auth(auth) => self.auth(auth),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.fail(
                    ReasonCode::ProtocolError,
                    "only a server sends such a packet",
                );
            }
        }
    }

    /// Says something at once, if nothing that came before waits for its answer; else behind that.
    fn tell(&mut self, answer: Answer) {
        if let Some(Waits::Answer(answer)) = self.calls.behind(Waits::Answer(answer)) {
            self.output.answer(answer);
        }
    }

    fn confirmed(&mut self, upto: u64, failed: Vec<(u64, Refusal)>) {
        self.calls.confirmed(upto);
        let mut failed = failed.into_iter().peekable();
        while let Some((tag, waits)) = self.calls.next_confirmed() {
            while failed.next_if(|(other, _)| *other < tag).is_some() {}
            // Several things may wait for one tag; only the first of them is its call.
            let refusal = match waits {
                Waits::Answer(_) | Waits::Codes => None,
                _ => failed
                    .next_if(|(other, _)| *other == tag)
                    .map(|(_, why)| why),
            };
            self.answer(waits, refusal);
            if matches!(self.state, State::Over(_)) {
                return;
            }
        }
        if matches!(self.state, State::Draining { .. }) && self.calls.in_flight() == 0 {
            self.shut_down();
        }
    }

    fn answer(&mut self, waits: Waits, refusal: Option<Refusal>) {
        match waits {
            Waits::Unacknowledged => self.sent(refusal),
            Waits::Puback(id) => self.acknowledge(id, refusal),
            Waits::Pubrec(id) => self.receive(id, refusal),
            Waits::Pubcomp(id) => self.complete(id),
            Waits::Pubrel(id) => self.release(id),
            Waits::Change(change) => self.changed(*change, refusal),
            Waits::Codes => self.tell_codes(),
            Waits::Answer(answer) => self.output.answer(answer),
        }
    }

    /// The client says goodbye.
    fn disconnect(&mut self, disconnect: &Disconnect) {
        let expiry = disconnect.properties.session_expiry_secs;
        let expiry = expiry.map(connect::of_seconds);
        if let Some(expiry) = expiry {
            if self.expiry.is_zero() && !expiry.is_zero() {
                let why = "a session that was to end with its connection cannot be kept after all";
                return self.fail(ReasonCode::ProtocolError, why);
            }
            self.expiry = expiry.min(self.settings.session_expiry_max);
        }
        // Nothing follows a goodbye, either way.
        self.output.clear();
        let normal = disconnect.reason == ReasonCode::Success;
        if normal && self.has_will {
            self.wishes.push_back(Wish::GiveUpWill);
        }
        if matches!(
            self.state,
            State::Authenticating { .. } | State::Attaching(_)
        ) {
            self.wishes.clear();
        } else if self.expiry.is_zero() {
            self.wishes.push_back(Wish::End);
        } else if expiry.is_some() {
            self.wishes.push_back(Wish::Expiry(self.expiry));
        }
        let text = match normal {
            true => "closed by the client".to_owned(),
            false => format!("closed by the client: {}", disconnect.reason),
        };
        self.state = State::Over(Box::new(Closing {
            reason: "closed",
            code: None,
            text,
            normal,
        }));
    }

    fn ended(&mut self, end: End) {
        // What is under way is confirmed first: `handle_shutdown`, which comes with it, brings the deadline.
        if end == End::ShuttingDown && self.calls.in_flight() > 0 {
            return;
        }
        let (word, code, why) = reasons::of_end(end);
        self.fail_as(word, code, why);
    }

    fn shut_down(&mut self) {
        let (word, code, why) = reasons::of_end(End::ShuttingDown);
        match self.state {
            State::Connecting { .. } | State::Authenticating { .. } | State::Attaching(_) => {
                self.fail_as(word, ReasonCode::ServerUnavailable, why);
            }
            _ => self.fail_as(word, code, why),
        }
    }

    /// Ends this connection for a reason that the client is told, if its version can be; the session itself survives.
    fn fail(&mut self, code: ReasonCode, why: impl Into<String>) {
        self.fail_as(reasons::word(code), code, why);
    }

    fn fail_as(&mut self, word: &'static str, code: ReasonCode, why: impl Into<String>) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        let text = why.into();
        let reason_string = Str::try_from(text.as_str()).ok();
        let elsewhere = self.settings.server_reference.clone();
        let server_reference =
            elsewhere.filter(|_| word == "shutting-down" && self.version == Some(Version::V5));
        let told = match server_reference {
            Some(_) => ReasonCode::UseAnotherServer,
            None => code,
        };
        match (&self.state, self.version) {
            (
                State::Connecting { .. } | State::Authenticating { .. } | State::Attaching(_),
                Some(version),
            ) => {
                let mut connack = Connack::refused(fitting(told, PacketType::Connack));
                if version == Version::V5 {
                    connack.properties.reason_string = reason_string;
                    connack.properties.server_reference = server_reference;
                }
                self.output.connack(connack);
            }
            (_, Some(Version::V5)) => self.output.disconnect(Disconnect {
                reason: fitting(told, PacketType::Disconnect),
                properties: DisconnectProperties {
                    reason_string,
                    server_reference,
                    ..DisconnectProperties::default()
                },
            }),
            _ => {}
        }
        self.close(word, Some(code), text);
    }

    fn close(&mut self, reason: &'static str, code: Option<ReasonCode>, text: String) {
        // What a packet before wanted and was taken for is called still; nobody is waited for.
        self.wishes
            .retain(|wish| !matches!(wish, Wish::Attach(_) | Wish::Prove { .. }));
        self.state = State::Over(Box::new(Closing {
            reason,
            code,
            text,
            normal: false,
        }));
    }
}

/// The code, or the general one where that packet may not carry it.
fn fitting(code: ReasonCode, packet: PacketType) -> ReasonCode {
    if code.fits(packet) {
        code
    } else {
        ReasonCode::Unspecified
    }
}

/// Room that an idle connection may keep: there are many of them.
const IDLE_CAPACITY: usize = 32;
