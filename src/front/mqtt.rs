//! The loop of one MQTT connection: bytes → packets → session → broker, and back with one write.
//!
//! ```text
//! wire.turn()  ─▶ decoder ─▶ session.handle_packet ─▶ port.call … port.flush
//! port.ready() ─▶ port.drain ─▶ session.handle_event ─▶ session.write ─▶ wire.write
//! ```
//!
//! The guards are the backpressure, as in `drive`: no read while the session wants no packets, the broker has no room, or
//! the peer does not read; no drain while the peer does not read, and no deliveries while the session has enough of them:
//! confirms go on, or a client that waits for one before it acknowledges would wait for ever. A read's bytes may hold more
//! packets than are wanted: the rest stays, and counts as read once it is wanted.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `a_mqtt_peer_that_does_not_read_is_not_written_to`, and is given up in the end.
//! - `past_the_window_the_rest_of_a_read_waits`.
//! - `a_broker_without_room_is_not_the_client_s_silence`: keep alive is judged only by who listens.
//!
//! Not here: bytes (wire), decisions about packets (session) and messages (broker).

mod prove;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use restante_proto::mqtt::{Decoder, Packet, PacketType, ReasonCode, Secret};
use tokio::sync::watch;
use tracing::info;
use uuid::Uuid;

use super::attach::{self, attach};
use super::clock::{Alarm, down, now, wall};
use super::door::{Arrival, Client, Door};
use super::drive::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DRAIN_BYTES_MAX};
use super::newcomers::Newcomer;
use super::port::{Inside, News, Port, heard_of, lets_go};
use super::pulse::Stall;
use super::socket::Fault;
use super::traffic::Connected;
use super::{CLOSE_WITHIN, Front, metrics};
use crate::broker::Attached;
use crate::logs::seldom;
use crate::session::NotAttached;
use crate::session::mqtt::{AttachWish, Closing, Session, Step, Wish};
use prove::Prover;
use wire::{Lost, Turn, Wire};

/// PUBACKs that are one packet's work: they are settled with one call, and the larger a batch, the fewer records.
const ACKS_EACH: u64 = 16;
/// About how much is encoded at once.
const WRITE_BYTES: usize = 64 * 1024;
/// What a WebSocket message may have beyond the largest packet: clients put several into one.
const MESSAGE_BYTES_MORE: usize = 64 * 1024;

/// Serves a connection that is to speak MQTT, to its end.
/// Once it has said who it is, it is no `newcomer` any more.
pub(super) async fn drive<B: Inside>(
    front: &Front<B>,
    arrival: Box<Arrival>,
    began: Instant,
    newcomer: Newcomer,
) {
    let Some(settings) = &front.mqtt else { return };
    let Arrival {
        stream,
        early,
        mut client,
    } = arrival.unboxed();
    let bytes_max = settings.limits.packet_bytes_max as usize + MESSAGE_BYTES_MORE;
    front
        .metrics
        .traffic
        .sockets
        .fetch_add(1, Ordering::Relaxed);
    let mut driver = Driver {
        wire: Wire::new(client.door, stream, early, bytes_max).await,
        decoder: Decoder::server(settings.limits.clone()),
        input: BytesMut::new(),
        left: false,
        session: Session::new(settings.clone(), began),
        stall: Stall::new(front.mbws.heartbeat),
        alarm: Alarm::new(),
        shutdown: front.shutdown.clone(),
        listening: false,
        told: false,
        leaves: false,
        id: None,
        open: None,
        prover: None,
        drain: front.settings.drain,
        metrics: front.metrics.clone(),
    };
    // What happens once is in boxes that are dropped: an idle connection costs what `serve` costs.
    let deadline = began + settings.connect_within;
    let mut newcomer = Some(newcomer);
    let came = Box::pin(driver.come_in(front, &mut client, deadline, &mut newcomer)).await;
    let end = match came {
        Ok(attached) => driver.serve(attached, &client).await,
        Err(end) => end,
    };
    Box::pin(driver.finish(end, &client)).await;
}

/// Whoever comes by a path has the realm of the path. Over TCP a user name may begin with the realm's, if there is one; if there
/// is none, it is a user's name with a colon, and what looked like a realm comes back.
fn within_realm<B: Inside>(
    front: &Front<B>,
    client: &mut Client,
    mut wish: AttachWish,
) -> (attach::Wish, Option<String>) {
    let hint = wish.realm_hint.clone();
    let Some(hint) = hint.filter(|_| client.door == Door::MqttOverTcp) else {
        return (attach::Wish::from(wish), None);
    };
    if !front.broker.has_realm(&hint) {
        return (attach::Wish::from(wish), Some(hint));
    }
    if let Some(realm) = wish.take_realm() {
        client.realm = Arc::from(realm);
    }
    (attach::Wish::from(wish), None)
}

/// Tells the operator, where somebody is not let in, that what stood before the name is no realm. The client is told what it is
/// told for a wrong password: names of realms are not for strangers.
fn tell_unknown(client: &Client, why: Option<&NotAttached>, unknown: Option<&str>) {
    if let (Some(NotAttached::Unauthorized), Some(realm)) = (why, unknown) {
        let (conn, peer) = (client.conn, client.peer);
        let reason = format!("no realm {realm}");
        seldom!(60, info, %conn, %peer, reason, "not let in");
    }
}

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session says why.
    Over,
    /// Nothing comes any more.
    Lost(Lost),
    /// It took nothing for too long.
    Stalled,
}

struct Driver {
    wire: Wire,
    decoder: Decoder,
    /// What came and is no whole packet, or is not wanted yet.
    input: BytesMut,
    /// Whether there may be whole packets in it.
    left: bool,
    session: Session,
    stall: Stall,
    alarm: Alarm,
    shutdown: watch::Receiver<bool>,
    /// Whether we listened when we last looked.
    listening: bool,
    /// Whether the session knows of the shutdown.
    told: bool,
    /// Whether the client ends its session for good.
    leaves: bool,
    /// The session's id, once there is one.
    id: Option<Uuid>,
    /// Counts the connection, once it is attached.
    open: Option<(metrics::Open, Connected)>,
    /// Its authentications with a method, if it has one. In a box: most clients have none.
    prover: Option<Box<Prover>>,
    drain: Duration,
    metrics: Arc<metrics::Metrics>,
}

impl Driver {
    /// From the first byte to the attachment, or to why there is none.
    async fn come_in<B: Inside>(
        &mut self,
        front: &Front<B>,
        client: &mut Client,
        deadline: Instant,
        newcomer: &mut Option<Newcomer>,
    ) -> Result<Result<(Box<B::Port>, Attached), NotAttached>, End> {
        let (wish, asked) = self.connect(front, client).await?;
        let (mut wish, unknown) = within_realm(front, client, *wish);
        wish.asked = Some(asked);
        let proved = self.prover.as_mut().map(|it| it.principal()).transpose();
        let attached = match proved {
            // A token is believed whatever the name is; but where it names a realm that there is not, another will not do.
            Ok(_) if unknown.is_some() && wish.shows_token() => Err(NotAttached::Unauthorized),
            Ok(proved) => {
                wish.proved = proved;
                attach(front, client, wish, deadline).await
            }
            Err(why) => Err(why),
        };
        *newcomer = None;
        tell_unknown(client, attached.as_ref().err(), unknown.as_deref());
        Ok(attached)
    }

    /// Waits for the CONNECT, and for what proves who it is where that takes more. Says when the first came.
    async fn connect<B: Inside>(
        &mut self,
        front: &Front<B>,
        client: &mut Client,
    ) -> Result<(Box<AttachWish>, Instant), End> {
        let (mut unknown, mut asked) = (None, None);
        loop {
            self.write()?;
            let blocked = self.wire.is_blocked();
            self.stall.look(now(), blocked);
            let wake = earlier(self.session.poll_timeout(), self.stall.next());
            tokio::select! {
                turn = self.wire.turn(!blocked && self.session.wants_packets(), &mut self.input) => {
                    if let Turn::Ended(lost) = turn {
                        return Err(End::Lost(lost));
                    }
                    if let Turn::Bytes(bytes) = turn {
                        self.metrics.mqtt_read(bytes, &[0; 16], 0);
                    }
                    self.left = true;
                }
                () = reach(&mut self.alarm, wake) => self.wake(now())?,
                () = down(&mut self.shutdown), if !self.told => self.shut_down(),
            }
            while self.left && self.session.wants_packets() {
                let mut tally = Tally::default();
                self.left = self.take_packet(now(), &mut tally);
                self.count_in(&tally);
                if self.left {
                    asked.get_or_insert_with(now);
                }
                let asked = asked.unwrap_or_else(now);
                match self.session.poll_call() {
                    Some(Wish::Attach(wish)) => return Ok((wish, asked)),
                    Some(Wish::Prove { step, data }) => {
                        self.introduce(front, client, step, &data, &mut unknown);
                        if let Some(Wish::Attach(wish)) = self.session.poll_call() {
                            return Ok((wish, asked));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// A stranger proves who it is. Over TCP, its name may begin with that of the realm it wants.
    fn introduce<B: Inside>(
        &mut self,
        front: &Front<B>,
        client: &mut Client,
        step: Step,
        data: &Secret,
        unknown: &mut Option<String>,
    ) {
        let new = || Box::new(Prover::new(front.auth.clone(), client.peer));
        let prover = self.prover.get_or_insert_with(new);
        let mut rename = |user: &mut String| {
            if client.door != Door::MqttOverTcp {
                return;
            }
            match prove::take_realm(user, |realm| front.broker.has_realm(realm)) {
                Some((realm, true)) => client.realm = Arc::from(realm),
                Some((realm, false)) => *unknown = Some(realm),
                None => {}
            }
        };
        let proved = prover.step(step, data, &mut rename);
        prover.realm = (client.door == Door::MqttOverTcp).then(|| client.realm.clone());
        tell_unknown(client, proved.as_ref().err(), unknown.as_deref());
        self.session.handle_proved(now(), proved);
    }

    /// A client that is attached proves that it is the same still. The realm is that of its CONNECT for good.
    fn prove_again(&mut self, step: Step, data: &Secret) {
        let proved = match &mut self.prover {
            Some(prover) => prover.step_again(step, data),
            None => Err(NotAttached::Unauthorized),
        };
        self.session.handle_proved(now(), proved);
    }

    /// From the CONNACK to the end.
    async fn serve<P: Port>(
        &mut self,
        attached: Result<(Box<P>, Attached), NotAttached>,
        client: &Client,
    ) -> End {
        let (attached, port) = match attached {
            Ok((port, attached)) => (Ok(attached), Some(port)),
            Err(why) => (Err(why), None),
        };
        if let Ok(attached) = &attached {
            let version = self.session.version().map_or("", |it| it.name());
            self.id = Some(attached.session);
            let connected = self.metrics.traffic.client();
            self.open = Some((metrics::mqtt_connection(version), connected));
            self.decoder.admit();
            self.wire.admit();
            let (realm, conn) = (&client.realm, client.conn);
            let (session, resumed) = (attached.session, attached.resumed);
            info!(%realm, %conn, %session, peer = %client.peer, resumed, mqtt = version, "attached");
        }
        self.session.handle_attached(now(), attached);
        match port {
            Some(port) => self.run(port).await,
            None => self.run_out().await,
        }
    }

    async fn run<P: Port>(&mut self, mut port: Box<P>) -> End {
        self.hand_over(&mut *port);
        // What came behind the CONNECT.
        self.left = !self.input.is_empty();
        let end = loop {
            if let Err(end) = self.step(&mut *port).await {
                break end;
            }
        };
        // What was acknowledged is settled, also if it waited for others.
        self.session.settle_now();
        self.relay(&mut *port);
        port.flush();
        if self.leaves {
            port.end();
        }
        end
    }

    /// Writes what is left where there is no attachment.
    async fn run_out(&mut self) -> End {
        loop {
            if let Err(end) = self.write() {
                return end;
            }
            let written = self.wire.turn(false, &mut self.input);
            match tokio::time::timeout(CLOSE_WITHIN, written).await {
                Ok(Turn::Written) => {}
                Ok(_) | Err(_) => return End::Lost(Lost::Gone),
            }
        }
    }

    /// Writes what is ready, and waits for one thing to happen.
    async fn step<P: Port>(&mut self, port: &mut P) -> Result<(), End> {
        self.write()?;
        let blocked = self.wire.is_blocked();
        let reading = !blocked && self.session.wants_packets() && port.has_room();
        let open = self.session.closing().is_none();
        let wanted = match (blocked, self.session.wants_deliveries()) {
            (true, _) => News::Alarms,
            (false, false) => News::AllButDeliveries,
            (false, true) => News::All,
        };
        self.stall.look(now(), blocked);
        self.listen(reading);
        let wake = earlier(self.session.poll_timeout(), self.stall.next());
        let left = reading && self.left;
        tokio::select! {
            turn = self.wire.turn(reading && !left, &mut self.input) => self.read(port, turn),
            () = std::future::ready(()), if left => self.read(port, Turn::Nothing),
            () = heard_of(port, wanted), if open => self.drain(port, wanted),
            () = reach(&mut self.alarm, wake) => self.beat(port, reading),
            () = down(&mut self.shutdown), if !self.told => {
                self.shut_down();
                self.hand_over(port);
                Ok(())
            }
        }
    }

    /// Whether we listen from now on. Who did not cannot judge that nothing came: the keep alive begins anew.
    fn listen(&mut self, listening: bool) {
        if listening && !self.listening {
            let now = now();
            self.session.heard(now);
            self.session.handle_timeout(now);
        }
        self.listening = listening;
    }

    /// Takes what came and all that came with it, as one batch.
    fn read<P: Port>(&mut self, port: &mut P, turn: Turn) -> Result<(), End> {
        let mut tally = Tally::default();
        let read = self.read_batch(port, turn, &mut tally);
        // Also when the peer is gone: what it sent before is taken.
        self.hand_over(port);
        if self.input.is_empty() {
            // An idle connection keeps no room: there are many of them.
            self.input = BytesMut::new();
        }
        self.count_in(&tally);
        read
    }

    fn read_batch<P: Port>(
        &mut self,
        port: &mut P,
        mut turn: Turn,
        tally: &mut Tally,
    ) -> Result<(), End> {
        let now = now();
        let mut n_turns = 0;
        loop {
            n_turns += 1;
            match turn {
                Turn::Bytes(0) | Turn::Written | Turn::Nothing => {}
                Turn::Bytes(more) => {
                    // A large packet may be under way for longer than its sender may be silent.
                    self.session.heard(now);
                    tally.bytes += more;
                }
                Turn::Ended(lost) => return Err(End::Lost(lost)),
            }
            self.left = !self.take_packets(port, now, tally) && !self.input.is_empty();
            let full = n_turns.max(tally.packets()) >= BATCH_MESSAGES_MAX;
            if full || tally.bytes >= BATCH_BYTES_MAX || !self.is_wanted(port) {
                return Ok(());
            }
            match self.wire.turn_now(&mut self.input) {
                Some(next) => turn = next,
                None => return Ok(()),
            }
        }
    }

    /// Takes the packets that are here, as many as are wanted; whether those are all.
    fn take_packets<P: Port>(&mut self, port: &mut P, now: Instant, tally: &mut Tally) -> bool {
        while tally.packets() < BATCH_MESSAGES_MAX && self.is_wanted(port) {
            if !self.take_packet(now, tally) {
                return true;
            }
            self.relay(port);
        }
        false
    }

    fn is_wanted<P: Port>(&self, port: &P) -> bool {
        self.session.wants_packets() && port.has_room()
    }

    /// Gives the session a packet; false: there is no whole one.
    fn take_packet(&mut self, now: Instant, tally: &mut Tally) -> bool {
        match self.decoder.decode(&mut self.input) {
            Ok(Some(packet)) => {
                tally.count(&packet);
                self.session.handle_packet(now, packet);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.session.handle_decode_error(now, error);
                false
            }
        }
    }

    /// Grants all that the session wishes by now, at once.
    fn hand_over<P: Port>(&mut self, port: &mut P) {
        self.session.settle_up();
        self.relay(port);
        port.flush();
    }

    /// Grants what the session wishes.
    fn relay<P: Port>(&mut self, port: &mut P) {
        while let Some(wish) = self.session.poll_call() {
            match wish {
                Wish::Call { tag, call } => port.call(tag, call),
                Wish::Credit { consumer, limit } => port.credit(&consumer, limit),
                Wish::GiveUpWill => port.give_up_will(),
                Wish::Expiry(expiry) => port.set_expiry(expiry),
                Wish::End => self.leaves = true,
                Wish::Prove { step, data } => self.prove_again(step, &data),
                Wish::Attach(_) => unreachable!("an attached session does not attach again"),
            }
        }
    }

    /// Takes what the broker has. Who is let go while they read nothing is not waited for.
    fn drain<P: Port>(&mut self, port: &mut P, wanted: News) -> Result<(), End> {
        let wall = wall();
        let bytes_max = if wanted == News::All {
            DRAIN_BYTES_MAX
        } else {
            0
        };
        let mut is_let_go = false;
        for event in port.drain(bytes_max) {
            is_let_go |= lets_go(&event);
            self.session.handle_event(wall, event);
        }
        self.hand_over(port);
        if is_let_go && wanted == News::Alarms {
            return Err(End::Over);
        }
        Ok(())
    }

    /// Writes what the session has, as far as the peer takes it; the end comes after the last of it.
    fn write(&mut self) -> Result<(), End> {
        if self.session.has_output() {
            let (session, wall) = (&mut self.session, wall());
            let mut bytes = 0;
            let written = self.wire.write(|output| {
                if session.has_output() {
                    let before = output.len();
                    session.write(wall, output, WRITE_BYTES);
                    bytes += output.len() - before;
                }
            });
            let tally = self.session.take_tally();
            self.metrics.mqtt_written(bytes, &tally);
            written.map_err(End::Lost)?;
        }
        if self.session.closing().is_some() && !self.wire.is_blocked() {
            return Err(End::Over);
        }
        Ok(())
    }

    fn beat<P: Port>(&mut self, port: &mut P, reading: bool) -> Result<(), End> {
        if !reading {
            self.session.heard(now());
        } else if let Some(turn) = self.wire.turn_now(&mut self.input) {
            // What has come by now counts, however late we look.
            self.read(port, turn)?;
        }
        self.wake(now())?;
        self.hand_over(port);
        Ok(())
    }

    fn wake(&mut self, now: Instant) -> Result<(), End> {
        if self.stall.is_due(now) {
            return Err(End::Stalled);
        }
        self.session.handle_timeout(now);
        Ok(())
    }

    fn shut_down(&mut self) {
        self.told = true;
        self.session.handle_shutdown(now() + self.drain);
    }

    fn count_in(&self, tally: &Tally) {
        let payload_bytes = tally.payload_bytes;
        self.metrics
            .mqtt_read(tally.bytes, &tally.by_type, payload_bytes);
    }

    /// Says good-bye, counts and logs it. The attachment is gone already: the broker does not wait for the peer.
    async fn finish(self, end: End, client: &Client) {
        let reason = self.end_reason(end);
        self.tell_end(reason, client);
        if client.door == Door::MqttOverTcp && self.session.version().is_none() {
            return; // Nothing was said that the peer must get to read.
        }
        let bye = async {
            match (end, self.session.closing()) {
                (End::Over, Some(closing)) => {
                    let code = close_code(closing);
                    self.wire.close(code, &closing.text).await;
                }
                (End::Lost(Lost::Closed), _) => self.wire.see_out().await,
                (End::Lost(Lost::NotBinary), _) => {
                    let why = "MQTT is in binary messages [MQTT-6.0.0-1]";
                    self.wire.close(1003, why).await;
                }
                (End::Lost(Lost::Broken(fault)), _) => {
                    let code = close_code_of(fault);
                    self.wire.close(code, "").await;
                }
                (End::Over | End::Lost(Lost::Gone) | End::Stalled, _) => {}
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, bye).await.is_err() {
            tracing::debug!(conn = %client.conn, "the peer did not close in time");
        }
    }

    fn end_reason(&self, end: End) -> &'static str {
        match end {
            End::Over => self.session.closing().map_or("over", |it| it.reason),
            End::Lost(Lost::Closed) => "peer-closed",
            End::Lost(Lost::Gone) => "gone",
            End::Lost(Lost::NotBinary) => "not-binary",
            End::Lost(Lost::Broken(_)) => "bad-websocket",
            End::Stalled => "stalled",
        }
    }

    fn tell_end(&self, reason: &'static str, client: &Client) {
        metrics::mqtt_disconnected(reason);
        let why = self.session.closing().map_or("", |it| it.text.as_str());
        let (realm, conn, peer) = (&client.realm, client.conn, client.peer);
        match self.id {
            Some(session) => {
                info!(%realm, %conn, %session, %peer, code = reason, why, "connection ended");
            }
            // Anybody can connect, and leave.
            None => {
                seldom!(60, info, %realm, %conn, %peer, code = reason, why, "connection ended");
            }
        }
    }
}

/// What one batch brought, by the number of the packets' type.
#[derive(Default)]
struct Tally {
    by_type: [u32; 16],
    acks: u64,
    others: u64,
    bytes: usize,
    payload_bytes: u64,
}

impl Tally {
    fn count(&mut self, packet: &Packet) {
        let packet_type = packet.packet_type();
        match packet_type {
            PacketType::Puback => self.acks += 1,
            _ => self.others += 1,
        }
        if let Some(count) = self.by_type.get_mut(packet_type as usize) {
            *count += 1;
        }
        if let Packet::Publish(publish) = packet {
            self.payload_bytes += publish.payload.len() as u64;
        }
    }

    /// How much of a batch there is, as packets that are more than an acknowledgement.
    fn packets(&self) -> u64 {
        self.others + self.acks / ACKS_EACH
    }
}

/// How a WebSocket is closed whose session is over (RFC 6455 §7.4.1).
fn close_code(closing: &Closing) -> u16 {
    match closing.code {
        None => 1000,
        Some(ReasonCode::ServerShuttingDown) => 1001,
        Some(ReasonCode::PacketTooLarge) => 1009,
        Some(
            ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::UnsupportedVersion,
        ) => 1002,
        Some(ReasonCode::Unspecified) => 1011,
        // Against our rules, rather than the protocol's.
        Some(_) => 1008,
    }
}

fn close_code_of(fault: Fault) -> u16 {
    match fault {
        Fault::NotUtf8 => 1007,
        Fault::TooBig => 1009,
        Fault::Protocol => 1002,
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Waits for `at`; for ever, where there is nothing to wait for.
async fn reach(alarm: &mut Alarm, at: Option<Instant>) {
    match at {
        Some(at) => alarm.reach(at).await,
        None => std::future::pending().await,
    }
}
