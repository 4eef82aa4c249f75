//! The loop of one SP connection: WebSocket messages → session → broker, and back in fragments.
//!
//! ```text
//! socket.turn() ─▶ session.handle_message ─▶ port.call … port.flush
//! port.ready()  ─▶ port.drain ─▶ session.handle_event ─▶ session.poll_message ─▶ socket.write
//!                                                         └ the peer's system has it ─▶ session.handle_delivered
//! ```
//!
//! Programs of libnanomsg and nng at the other end allow little: no ping unless the
//! client has asked for it, nothing at all to a PUSH or PUB, and no Close for what is not final. So a connection that ends for now is
//! cut, and its client comes back by itself.
//!
//! *When a client has a message* nobody says. The system tells how much of what was written its peer has acknowledged; it is asked after
//! each write, and then again after a while that grows. With `settle=pong` a ping behind each message asks the client instead.
//!
//! Always, with a test of its name in `front::tests`:
//! - `nobody_is_pinged_and_who_gets_nothing_hears_nothing`
//! - `a_message_cut_off_is_not_taken`
//! - `a_delivery_counts_once_the_peer_s_system_has_it`
//! - `what_is_on_its_way_at_a_shutdown_is_taken`
//! - `a_shutdown_cuts_without_a_close`
//! - `who_leaves_has_its_messages_taken_all_the_same`
//! - `who_does_not_read_is_let_go_all_the_same`
//!
//! Not here: what a message means (session), who may use an address (broker).

mod under_way;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::sp::{Fragment, Fragments, Role, Settle, fragments};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tracing::info;

use self::under_way::UnderWay;
use super::attach::{Wish, attach};
use super::clock::{Alarm, down, now};
use super::door::{Arrival, Client};
use super::drive::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DRAIN_BYTES_MAX};
use super::newcomers::Newcomer;
use super::port::{Inside, News, Port, heard_of};
use super::refused::Refused;
use super::socket::{Fault, Heard, Socket, Turn};
use super::{CLOSE_WITHIN, Front, metrics};
use crate::access::Principal;
use crate::broker::{Protocol, SpClient};
use crate::engine::address::Address;
use crate::front::auth::Proof;
use crate::logs::seldom;
use crate::registry::Verb;
use crate::session::NotAttached;
use crate::session::sp::{self, Closing, Session};

/// What a WebSocket reads into: see [`Socket::new`].
const READ_BYTES: usize = 8 * 1024;
/// How long a connection stays at a shutdown as if nothing were, so that no client comes back to a listener that is about to go.
const LINGER: Duration = Duration::from_millis(200);
/// How long it takes at most until a client that gets nothing has heard that we leave: what it has sent until then comes still.
const PARTING: Duration = Duration::from_secs(1);
/// How long one stays whose client cannot be attached now.
const REST: Duration = Duration::from_secs(1);

/// Who a client is: by its upgrade, else by its certificate, else nobody in particular, where such are let in.
pub(super) async fn known<B>(
    front: &Front<B>,
    shown: Option<Principal>,
    certificate: Option<&[u8]>,
    peer: SocketAddr,
) -> Result<Principal, Refused> {
    match (shown, certificate) {
        (Some(principal), _) => Ok(principal),
        (None, Some(der)) => {
            let proof = Proof::Certificate(der);
            Ok(front.auth.verify(proof, peer, Protocol::Sp).await?)
        }
        (None, None) => front.auth.stranger().ok_or(Refused::NoCredentials),
    }
}

/// Whether a client may use its address as what it is.
pub(super) fn check_rights<B: Inside>(
    broker: &B,
    peer: SocketAddr,
    who: &Principal,
    realm: &str,
    client: &sp::Client,
) -> Result<(), Refused> {
    let address = Address::parse(&client.address, broker.address_limits());
    let address = address.map_err(|_| Refused::BadSpPath)?;
    let verbs: &[Verb] = match client.role {
        Role::Push | Role::Pub | Role::Req | Role::Surveyor => &[Verb::Send],
        Role::Pull | Role::Sub | Role::Rep | Role::Respondent => &[Verb::Consume],
        Role::Bus | Role::Pair | Role::Pair1 => &[Verb::Send, Verb::Consume],
    };
    let from = (peer, Protocol::Sp);
    let may = |verb: &Verb| broker.may(from, who, *verb, realm, &address);
    if verbs.iter().all(may) {
        Ok(())
    } else {
        Err(Refused::Denied)
    }
}

/// Serves an upgraded connection to its end.
pub(super) async fn drive<B: Inside>(
    front: &Front<B>,
    arrival: Box<Arrival>,
    began: Instant,
    newcomer: Newcomer,
) {
    let Arrival {
        stream,
        early,
        mut client,
    } = *arrival;
    let (Some(door), Some(settings)) = (&front.settings.sp, &front.sp) else {
        return;
    };
    stream.keep_alive(door.keep_alive);
    let mut socket = Socket::new(stream, early, door.message_bytes_max, READ_BYTES).await;
    let Some(known) = client.sp.take() else {
        return turn_away(socket, &client).await;
    };
    let Some(principal) = client.principal.clone() else {
        return;
    };
    let deadline = began + front.mbws.open_within;
    let about = SpClient {
        role: known.role,
        address: Arc::clone(&known.address),
    };
    let wish = Wish::of_sp(principal, about);
    let attached = Box::pin(attach(front, &client, wish, deadline)).await;
    drop(newcomer);
    let (port, attached) = match attached {
        Ok((port, attached)) => (port, attached),
        Err(why) => return put_off(socket, why, front.shutdown.clone(), &client).await,
    };
    let listed = metrics::sp_connection(known.role.name());
    socket.admit();
    let (realm, conn, peer) = (&client.realm, client.conn, client.peer);
    let (role, address) = (known.role, &*known.address);
    info!(%realm, %conn, session = %attached.session, %peer, %role, address, "attached");
    let pongs = known.options.settle == Some(Settle::Pong);
    let seed = attached.session.as_u64_pair().1 as u32;
    let driver = Driver {
        socket,
        session: Session::new(settings.clone(), *known, seed, now()),
        under_way: UnderWay::new(pongs),
        rest: None,
        alarm: Alarm::new(),
        shutdown: front.shutdown.clone(),
        leaving: Leaving::No,
        drain: front.settings.drain,
        metrics: front.metrics.clone(),
    };
    driver.serve(port, &client).await;
    drop(listed);
}

/// What the client wants to speak is not spoken: it is told so, for good.
async fn turn_away(socket: Socket, client: &Client) {
    metrics::sp_ended("unknown-subprotocol");
    seldom!(60, info, conn = %client.conn, peer = %client.peer, "an SP protocol that is not spoken");
    let code = restante_proto::sp::CloseCode::Protocol.number();
    let bye = socket.close(code, "this scalability protocol is not spoken here");
    if tokio::time::timeout(CLOSE_WITHIN, bye).await.is_err() {
        tracing::debug!(conn = %client.conn, "the peer did not close in time");
    }
}

/// The client cannot be attached now. A Close would be for good.
async fn put_off(
    socket: Socket,
    why: NotAttached,
    mut shutdown: watch::Receiver<bool>,
    client: &Client,
) {
    metrics::sp_ended("not-attached");
    seldom!(60, info, conn = %client.conn, peer = %client.peer, %why, "cannot be attached");
    rest(REST, &mut shutdown).await;
    socket.cut().await;
}

/// Waits before a connection is cut, so that its client is not back at once; a shutdown cuts that short.
async fn rest(most: Duration, shutdown: &mut watch::Receiver<bool>) {
    let is_down = tokio::time::timeout(most, down(shutdown)).await.is_ok();
    if is_down && most > Duration::ZERO {
        tokio::time::sleep(LINGER).await;
    }
}

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session says how.
    Over,
    PeerClosed,
    Gone,
    /// Broken rules of WebSocket, and how to close.
    Bad(u16),
}

/// How far a connection is on its way out of a broker that shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// It goes on until then.
    Lingers(Instant),
    /// The client has been told, and what comes until it is gone, or until then, is taken.
    Parts(Instant),
    /// The session knows.
    Told,
}

impl Leaving {
    fn until(self) -> Option<Instant> {
        match self {
            Leaving::Lingers(at) | Leaving::Parts(at) => Some(at),
            Leaving::No | Leaving::Told => None,
        }
    }
}

struct Driver {
    socket: Socket,
    session: Session,
    under_way: UnderWay,
    /// What of a message is still to be written.
    rest: Option<Fragments>,
    alarm: Alarm,
    shutdown: watch::Receiver<bool>,
    leaving: Leaving,
    drain: Duration,
    metrics: Arc<metrics::Metrics>,
}

impl Driver {
    async fn serve<P: Port>(mut self, mut port: Box<P>, client: &Client) {
        let end = loop {
            if let Err(end) = self.step(&mut *port).await {
                break end;
            }
        };
        // What has arrived meanwhile is settled.
        self.under_way.is_to_look_at_last();
        self.look_at_arrivals();
        let was_sent = end != End::Over && self.session.handle_gone();
        self.carry_out(&mut *port);
        port.flush();
        let closing = self.session.closing().copied();
        let Driver {
            socket, shutdown, ..
        } = self;
        let note = if was_sent {
            "a message was on its way to it"
        } else {
            ""
        };
        let end = (end, note);
        let finish = finish(socket, shutdown.clone(), (end, closing), client);
        if end.0 == End::Over || self.session.is_done_sending() {
            drop(port);
            return finish.await;
        }
        let left = Left {
            session: self.session,
            alarm: self.alarm,
            shutdown,
            told: self.leaving != Leaving::No,
            drain: self.drain,
        };
        tokio::join!(finish, left.serve(port));
    }

    /// Writes what is ready, and waits for one thing to happen.
    async fn step<P: Port>(&mut self, port: &mut P) -> Result<(), End> {
        self.carry_out(port);
        self.write()?;
        self.look_at_arrivals();
        self.carry_out(port);
        port.flush();
        // Who is let go while it reads nothing is not waited for.
        if self.session.closing().is_some() {
            return Err(End::Over);
        }
        let reading = self.session.wants_messages() && port.has_room();
        // Of who is gone, nobody reads what waits; a place that others want is free.
        if self.session.waits_for_now() && self.socket.is_ended_by_peer() {
            return Err(End::Gone);
        }
        // Who does not read is told of nothing new meanwhile; what it has sent is confirmed all the same.
        let wanted = match self.socket.is_blocked() {
            true => News::AllButDeliveries,
            false => News::All,
        };
        let wake = self.session.poll_timeout();
        let wake = [wake, self.under_way.look_at(), self.leaving.until()];
        let wake = wake.into_iter().flatten().min();
        tokio::select! {
            turn = self.socket.turn(reading) => match self.read(port, turn) {
                Err(End::PeerClosed | End::Gone) if matches!(self.leaving, Leaving::Parts(_)) => {
                    self.leave(now());
                    Ok(())
                }
                read => read,
            },
            () = heard_of(port, wanted) => {
                self.drain(port, wanted);
                Ok(())
            }
            () = reach(&mut self.alarm, wake) => {
                let now = now();
                self.session.handle_timeout(now);
                if self.leaving.until().is_some_and(|at| at <= now) {
                    self.leave(now);
                }
                Ok(())
            }
            () = down(&mut self.shutdown), if self.leaving == Leaving::No => {
                self.leaving = Leaving::Lingers(now() + LINGER);
                Ok(())
            }
        }
    }

    /// The next step on the way out.
    fn leave(&mut self, now: Instant) {
        let gets_nothing = matches!(self.session.role(), Role::Push | Role::Pub);
        if gets_nothing && matches!(self.leaving, Leaving::Lingers(_)) {
            self.socket.end_writing();
            self.leaving = Leaving::Parts(now + PARTING);
        } else {
            self.leaving = Leaving::Told;
            self.session.handle_shutdown(now + self.drain);
        }
    }

    /// Takes a message and all that came with it, as one batch.
    fn read<P: Port>(&mut self, port: &mut P, turn: Turn) -> Result<(), End> {
        let now = now();
        let (mut turn, mut messages, mut bytes) = (turn, 0, 0);
        let read = loop {
            messages += turn.messages();
            bytes += turn.bytes();
            if let Err(end) = self.hear(now, turn) {
                break Err(end);
            }
            self.carry_out(port);
            let full = messages >= BATCH_MESSAGES_MAX || bytes >= BATCH_BYTES_MAX;
            if full || !self.session.wants_messages() || !port.has_room() {
                break Ok(());
            }
            match self.socket.hear_now() {
                Some(heard) => turn = Turn::Heard(heard),
                None => break Ok(()),
            }
        };
        // Also when the peer is gone: what it sent before is taken.
        port.flush();
        self.metrics.sp_read(messages, bytes as u64);
        read
    }

    fn hear(&mut self, now: Instant, turn: Turn) -> Result<(), End> {
        let Turn::Heard(heard) = turn else {
            return Ok(());
        };
        match heard {
            Heard::Text(message) | Heard::Binary(message) => {
                self.session.handle_message(now, message);
                self.tell_dropped();
            }
            Heard::Alive(Some(pong)) => {
                let n = self.under_way.ponged(&pong);
                self.session.handle_delivered(n);
            }
            Heard::Alive(None) => {}
            Heard::Bad(fault, _) => return Err(End::Bad(close_code(fault))),
            Heard::Closed => return Err(End::PeerClosed),
            Heard::Gone => return Err(End::Gone),
        }
        Ok(())
    }

    fn carry_out<P: Port>(&mut self, port: &mut P) {
        carry_out(&mut self.session, port);
    }

    fn drain<P: Port>(&mut self, port: &mut P, wanted: News) {
        let now = now();
        let bytes_max = match wanted {
            News::All => DRAIN_BYTES_MAX,
            News::AllButDeliveries | News::Alarms => 0,
        };
        for event in port.drain(bytes_max) {
            self.session.handle_event(now, event);
        }
        self.tell_dropped();
    }

    fn tell_dropped(&mut self) {
        for why in self.session.take_dropped() {
            metrics::sp_dropped(why);
            let role = self.session.role();
            seldom!(60, info, %role, reason = why.as_str(), "an SP message was dropped");
        }
    }

    /// Writes what the session has, as far as the peer takes it.
    fn write(&mut self) -> Result<(), End> {
        let (mut messages, mut bytes) = (0, 0);
        let Driver {
            socket,
            session,
            under_way,
            rest,
            ..
        } = self;
        // Positions are those behind what is written now: known once it is.
        let mut from = socket.position();
        let written = socket.write(|_| {
            if let Some(ping) = under_way.ping() {
                from += wire_bytes(ping.len());
                return Some(Message::Ping(ping));
            }
            if rest.is_none() {
                let next = session.poll_message()?;
                messages += 1;
                bytes += (next.header.len() + next.body.len()) as u64;
                under_way.begins(next.is_counted);
                *rest = Some(fragments(&next.header, next.body));
            }
            let fragment = rest.as_mut()?.next()?;
            from += fragment.wire_bytes() as u64;
            if fragment.is_last {
                *rest = None;
                under_way.ends_at(from);
            }
            Some(frame(fragment))
        });
        written.map_err(|_| End::Gone)?;
        self.metrics.sp_written(messages, bytes);
        Ok(())
    }

    /// Tells the session of deliveries that the peer's system has.
    fn look_at_arrivals(&mut self) {
        let now = now();
        if !self.under_way.is_to_look(now) {
            return;
        }
        match self.socket.arrived() {
            Ok(position) => {
                let n = self.under_way.arrived(position, now);
                self.session.handle_delivered(n);
            }
            Err(error) => {
                tracing::debug!(%error, "the system does not say what has arrived");
                // It is asked again as late as if nothing had.
                self.under_way.arrived(0, now);
            }
        }
    }
}

/// A client that is gone, and messages of it that the broker has read and could not take yet. As long as that is so, it is as if they
/// had not been read.
struct Left {
    session: Session,
    alarm: Alarm,
    shutdown: watch::Receiver<bool>,
    told: bool,
    drain: Duration,
}

impl Left {
    async fn serve<P: Port>(mut self, mut port: Box<P>) {
        loop {
            carry_out(&mut self.session, &mut *port);
            port.flush();
            if self.session.is_done_sending() || self.session.closing().is_some() {
                return;
            }
            let wake = self.session.poll_timeout();
            tokio::select! {
                () = heard_of(&mut *port, News::AllButDeliveries) => {
                    for event in port.drain(0) {
                        self.session.handle_event(now(), event);
                    }
                    for why in self.session.take_dropped() {
                        metrics::sp_dropped(why);
                    }
                }
                () = reach(&mut self.alarm, wake) => self.session.handle_timeout(now()),
                () = down(&mut self.shutdown), if !self.told => {
                    self.told = true;
                    self.session.handle_shutdown(now() + self.drain);
                }
            }
        }
    }
}

fn carry_out<P: Port>(session: &mut Session, port: &mut P) {
    while let Some(wish) = session.poll_wish() {
        match wish {
            sp::Wish::Call { tag, call } => port.call(tag, call),
            sp::Wish::Credit { consumer, limit } => port.credit(consumer, limit),
        }
    }
}

/// Ends the connection, as its end asks for.
async fn finish(
    socket: Socket,
    mut shutdown: watch::Receiver<bool>,
    ((end, note), closing): ((End, &'static str), Option<Closing>),
    client: &Client,
) {
    let (reason, why) = reason(end, note, closing.as_ref());
    metrics::sp_ended(reason);
    let (realm, conn, peer) = (&client.realm, client.conn, client.peer);
    info!(%realm, %conn, %peer, code = reason, why, "connection ended");
    let bye = async {
        match (end, closing) {
            (End::Over, Some(Closing::Close { code, reason })) => {
                socket.close(code.number(), reason).await;
            }
            (End::Over, Some(Closing::Cut { after, .. })) => {
                rest(after, &mut shutdown).await;
                socket.cut().await;
            }
            (End::Bad(code), _) => socket.close(code, "").await,
            (End::PeerClosed, _) => socket.see_out().await,
            (End::Over | End::Gone, _) => drop(socket),
        }
    };
    if tokio::time::timeout(CLOSE_WITHIN, bye).await.is_err() {
        tracing::debug!(conn = %client.conn, "the peer did not close in time");
    }
}

/// Waits until `at`; for ever where there is nothing to wait for.
async fn reach(alarm: &mut Alarm, at: Option<Instant>) {
    match at {
        Some(at) => alarm.reach(at).await,
        None => std::future::pending().await,
    }
}

fn reason(end: End, note: &'static str, closing: Option<&Closing>) -> (&'static str, &'static str) {
    match (end, closing) {
        (End::Over, Some(Closing::Close { reason, .. })) => ("closed", reason),
        (End::Over, Some(Closing::Cut { reason, .. })) => ("cut", reason),
        (End::Over, None) => ("closed", ""),
        (End::PeerClosed, _) => ("peer-closed", note),
        (End::Gone, _) => ("gone", note),
        (End::Bad(1009), _) => ("too-big", "a message longer than sp.message-bytes-max"),
        (End::Bad(_), _) => ("protocol", "rules of WebSocket are broken"),
    }
}

/// RFC 6455 §7.4.1.
fn close_code(fault: Fault) -> u16 {
    match fault {
        Fault::NotUtf8 => 1007,
        Fault::TooBig => 1009,
        Fault::Protocol => 1002,
    }
}

fn frame(fragment: Fragment) -> Message {
    let opcode = match fragment.is_first {
        true => OpCode::Data(Data::Binary),
        false => OpCode::Data(Data::Continue),
    };
    Message::Frame(Frame::message(fragment.payload, opcode, fragment.is_last))
}

/// Bytes of a frame that a server sends with so short a payload (RFC 6455 §5.2).
fn wire_bytes(payload: usize) -> u64 {
    payload as u64 + 2
}
