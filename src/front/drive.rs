//! The loop of one MBWS connection: bytes → codec → session → broker, and back with one flush.
//!
//! ```text
//! socket.turn() ─▶ decode ─▶ session.handle_frame ─▶ port.call … port.flush
//! port.ready()  ─▶ port.drain ─▶ session.handle_event ─▶ session.poll_frame ─▶ socket.write
//! ```
//!
//! The guards are the backpressure: no read while the session's window is used up, the broker has no room, or the peer
//! does not read; no delivery while the peer does not read. So a slow peer stalls nobody but itself. That its rights are
//! gone, or that it is over, is heeded all the same: not to read must not be a way to stay.
//!
//! Always, with a test of its name in `front::tests`:
//! - `a_peer_that_does_not_read_is_not_written_to`.
//! - `a_peer_that_does_not_read_is_let_go_of_all_the_same`.
//! - `what_is_under_way_at_shutdown_is_confirmed_first`.
//!
//! Not here: decisions about messages (session, broker).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use restante_proto::mbws::{
    Code, DecodeError, Frame, Limits, decode_binary, decode_text, encode_binary, encode_text,
};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tracing::info;
use uuid::Uuid;

use super::attach::{self, attach};
use super::clock::{Alarm, down, now, wall};
use super::door::{Arrival, Client};
use super::metrics;
use super::newcomers::Newcomer;
use super::port::{Inside, News, Port, heard_of, lets_go};
use super::pulse::{Beat, Pulse};
use super::socket::{Fault, Heard, Socket, Turn};
use super::{CLOSE_WITHIN, Front};
use crate::logs::seldom;
use crate::session::mbws::{AttachWish, Binding, NotAttached, Session, Wish};

/// A batch ends at either: others want to be served too.
pub(super) const BATCH_MESSAGES_MAX: u64 = 64;
pub(super) const BATCH_BYTES_MAX: usize = 128 * 1024;
/// About how much is drained at once; it waits in the session while the peer does not read.
pub(super) const DRAIN_BYTES_MAX: usize = 64 * 1024;
/// What a WebSocket reads into: see [`Socket::new`].
const READ_BYTES: usize = 8 * 1024;
/// Frames of a batch are encoded into pieces of one buffer of this size, or of the frame's if it is larger.
const ENCODE_BYTES: usize = 4 * 1024;

/// Serves an upgraded connection to its end.
/// Once it has said who it is, it is no `newcomer` any more.
pub(super) async fn drive<B: Inside>(
    front: &Front<B>,
    arrival: Box<Arrival>,
    began: Instant,
    newcomer: Newcomer,
) {
    let Arrival {
        stream,
        early,
        client,
    } = arrival.unboxed();
    let bytes_max = front.settings.limits.frame_bytes_max;
    let mut driver = Driver {
        socket: Socket::new(stream, early, bytes_max, READ_BYTES).await,
        session: Session::new(front.mbws.clone(), began),
        pulse: Pulse::new(front.mbws.heartbeat, now()),
        alarm: Alarm::new(),
        shutdown: front.shutdown.clone(),
        told: false,
        leaves: false,
        id: None,
        front: Shared {
            limits: front.settings.limits.clone(),
            drain: front.settings.drain,
            metrics: front.metrics.clone(),
        },
    };
    // What happens once is in boxes that are dropped: an idle connection costs what `serve` costs.
    let end = match Box::pin(driver.open()).await {
        Ok(wish) => {
            let deadline = began + front.mbws.open_within;
            let wish = attach::Wish::from(*wish);
            let attached = Box::pin(attach(front, &client, wish, deadline)).await;
            drop(newcomer);
            driver.serve(attached, &client).await
        }
        Err(end) => end,
    };
    Box::pin(driver.finish(end, &client)).await;
}

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session says how to close.
    Over,
    PeerClosed,
    Gone,
    Silent,
    Stalled,
}

struct Driver {
    socket: Socket,
    session: Session,
    pulse: Pulse,
    alarm: Alarm,
    shutdown: watch::Receiver<bool>,
    /// Whether the session knows of the shutdown.
    told: bool,
    /// Whether the client ends its session for good.
    leaves: bool,
    /// The session's id, once there is one.
    id: Option<Uuid>,
    front: Shared,
}

/// What a driver keeps of the front's settings.
struct Shared {
    limits: Limits,
    drain: Duration,
    metrics: Arc<metrics::Metrics>,
}

impl Driver {
    /// Waits for `open`.
    async fn open(&mut self) -> Result<Box<AttachWish>, End> {
        loop {
            self.write()?;
            let wake = self
                .session
                .poll_timeout()
                .unwrap_or_else(|| self.pulse.next());
            let reading = self.session.wants_frames();
            tokio::select! {
                turn = self.socket.turn(reading) => {
                    self.front.metrics.frames_in.increment(turn.messages());
                    self.hear(now(), turn)?;
                }
                () = self.alarm.reach(wake) => self.session.handle_timeout(now()),
                () = down(&mut self.shutdown), if !self.told => self.shut_down(),
            }
            if let Some(Wish::Attach(wish)) = self.session.poll_call() {
                return Ok(wish);
            }
        }
    }

    /// From `opened` to the end.
    async fn serve<P: Port>(
        &mut self,
        attached: Result<(Box<P>, crate::broker::Attached), NotAttached>,
        client: &Client,
    ) -> End {
        let (attached, port) = match attached {
            Ok((port, attached)) => (Ok(attached), Some(port)),
            Err(why) => (Err(why), None),
        };
        if let Ok(attached) = &attached {
            self.socket.admit();
            self.id = Some(attached.session);
            let (realm, conn) = (&client.realm, client.conn);
            let (session, resumed) = (attached.session, attached.resumed);
            info!(%realm, %conn, %session, peer = %client.peer, resumed, "attached");
        }
        self.session.handle_attached(attached);
        self.pulse = Pulse::new(self.session.heartbeat(), now());
        match port {
            Some(port) => self.run(port).await,
            None => self.run_out().await,
        }
    }

    async fn run<P: Port>(&mut self, mut port: Box<P>) -> End {
        let end = loop {
            if let Err(end) = self.step(&mut *port).await {
                break end;
            }
        };
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
            match tokio::time::timeout(CLOSE_WITHIN, self.socket.turn(false)).await {
                Ok(Turn::Flushed) => {}
                Ok(Turn::Heard(_)) | Err(_) => return End::Gone,
            }
        }
    }

    /// Writes what is ready, and waits for one thing to happen.
    async fn step<P: Port>(&mut self, port: &mut P) -> Result<(), End> {
        self.write()?;
        let blocked = self.socket.is_blocked();
        let reading = !blocked && self.session.wants_frames() && port.has_room();
        let open = self.session.closing().is_none();
        let wanted = if blocked { News::Alarms } else { News::All };
        self.pulse.look(now(), reading, blocked);
        let beat = self.pulse.next();
        let wake = self.session.poll_timeout().map_or(beat, |it| it.min(beat));
        tokio::select! {
            turn = self.socket.turn(reading) => self.read(port, turn),
            () = heard_of(port, wanted), if open => self.drain(port, wanted),
            () = self.alarm.reach(wake) => self.beat(),
            () = down(&mut self.shutdown), if !self.told => {
                self.shut_down();
                Ok(())
            }
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
            while let Some(wish) = self.session.poll_call() {
                self.grant(port, wish);
            }
            let full = messages >= BATCH_MESSAGES_MAX || bytes >= BATCH_BYTES_MAX;
            if full || !self.session.wants_frames() || !port.has_room() {
                break Ok(());
            }
            match self.socket.hear_now() {
                Some(heard) => turn = Turn::Heard(heard),
                None => break Ok(()),
            }
        };
        // Also when the peer is gone: what it sent before is taken.
        port.flush();
        self.front.metrics.frames_in.increment(messages);
        read
    }

    fn hear(&mut self, now: Instant, turn: Turn) -> Result<(), End> {
        let Turn::Heard(heard) = turn else {
            return Ok(());
        };
        self.pulse.heard(now);
        match heard {
            Heard::Text(message) => self.take(now, &message, Binding::Text),
            Heard::Binary(message) => self.take(now, &message, Binding::Binary),
            Heard::Alive(_) => {}
            Heard::Bad(fault, reason) => {
                let (code, binding) = in_our_words(fault);
                self.session.handle_decode_error(code, reason, binding);
            }
            Heard::Closed => return Err(End::PeerClosed),
            Heard::Gone => return Err(End::Gone),
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, message: &bytes::Bytes, binding: Binding) {
        match self.decode(message, binding) {
            Ok(frame) => self.session.handle_frame(now, frame, binding),
            Err(error) => {
                let (code, reason) = (error.code(), error.to_string());
                self.session
                    .handle_decode_error(code, reason, Some(binding));
            }
        }
    }

    fn decode(&self, message: &bytes::Bytes, binding: Binding) -> Result<Frame, DecodeError> {
        match binding {
            Binding::Text => decode_text(message, &self.front.limits),
            Binding::Binary => decode_binary(message, &self.front.limits),
        }
    }

    fn grant<P: Port>(&mut self, port: &mut P, wish: Wish) {
        match wish {
            Wish::Call { tag, call } => port.call(tag, call),
            Wish::Credit { consumer, limit } => port.credit(&consumer, limit),
            Wish::Hold { consumer, offsets } => port.hold(&consumer, &offsets),
            Wish::End => self.leaves = true,
            Wish::Attach(_) => unreachable!("an attached session does not attach again"),
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
        if is_let_go && wanted == News::Alarms {
            return Err(End::Over);
        }
        Ok(())
    }

    /// Writes what the session has, as far as the peer takes it; the end comes after the last of it.
    fn write(&mut self) -> Result<(), End> {
        let session = &mut self.session;
        let written = self.socket.write(|room| {
            let (frame, binding) = session.poll_frame()?;
            Some(encode(&frame, binding, room))
        });
        self.front
            .metrics
            .frames_out
            .increment(written.map_err(|_| End::Gone)?);
        if self.session.closing().is_some() && !self.socket.is_blocked() {
            return Err(End::Over);
        }
        Ok(())
    }

    fn beat(&mut self) -> Result<(), End> {
        let now = now();
        self.session.handle_timeout(now);
        match self.pulse.due(now) {
            Some(Beat::Ping) => self.socket.ping().map_err(|_| End::Gone),
            Some(Beat::Silent) => Err(End::Silent),
            Some(Beat::Stalled) => Err(End::Stalled),
            None => Ok(()),
        }
    }

    fn shut_down(&mut self) {
        self.told = true;
        self.session.handle_shutdown(now() + self.front.drain);
    }

    /// Says good-bye, counts and logs it. The attachment is gone already: the broker does not wait for the peer.
    async fn finish(self, end: End, client: &Client) {
        let reason = self.end_reason(end);
        self.tell_end(reason, client);
        let bye = async {
            match (end, self.session.closing()) {
                (End::Over, Some(closing)) => {
                    self.socket.close(closing.close_code, &closing.reason).await;
                }
                (End::PeerClosed, _) => self.socket.see_out().await,
                (End::Over | End::Gone | End::Silent | End::Stalled, _) => {}
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, bye).await.is_err() {
            tracing::debug!(conn = %client.conn, "the peer did not close in time");
        }
    }

    fn end_reason(&self, end: End) -> &'static str {
        match end {
            End::Over => match self.session.closing().and_then(|closing| closing.code) {
                Some(code) => code.as_str(),
                None => "closed",
            },
            End::PeerClosed => "peer-closed",
            End::Gone => "gone",
            End::Silent => "silent",
            End::Stalled => "stalled",
        }
    }

    fn tell_end(&self, reason: &'static str, client: &Client) {
        metrics::ended(reason);
        let closing = self.session.closing();
        if let Some(code) = closing.and_then(|closing| closing.code) {
            metrics::mbws_error(code);
        }
        let why = closing.map_or("", |closing| closing.reason.as_str());
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

/// A fault of the WebSocket as a code, and the binding of the message that has it, where it is one.
fn in_our_words(fault: Fault) -> (Code, Option<Binding>) {
    match fault {
        Fault::NotUtf8 => (Code::NotUtf8, Some(Binding::Text)),
        Fault::TooBig => (Code::TooBig, None),
        Fault::Protocol => (Code::Protocol, None),
    }
}

fn encode(frame: &Frame, binding: Binding, room: &mut BytesMut) -> Message {
    if room.capacity() == 0 {
        room.reserve(ENCODE_BYTES);
    }
    match binding {
        Binding::Binary => {
            encode_binary(frame, room);
            Message::Binary(room.split().freeze())
        }
        Binding::Text => {
            encode_text(frame, room);
            let text = Utf8Bytes::try_from(room.split().freeze());
            Message::Text(text.expect("a frame in text is UTF-8"))
        }
    }
}
