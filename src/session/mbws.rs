//! The MBWS session over one WebSocket: `open`, then frames in, calls out, events in, frames out (MBWS.md).
//!
//! ```text
//! Opening ──open──▶ Attaching ──attached──▶ Running ──shutdown──▶ Draining
//!    │                  │                      │                      │
//!    └──────────────────┴── error, close ──────┴──────────────────────┴──▶ Over
//! ```
//!
//! The session that outlives its sockets is the broker's. What stands here lives as long as one socket, and starts
//! from what the broker says is durable.
//!
//! Always, each with a test of its name in `tests`:
//! - `a_skipped_seq_ends_the_socket`: calls leave here with tags that ascend by one, whatever the client sends.
//! - `a_replayed_frame_is_not_called_again`.
//! - `past_the_window_no_frame_is_wanted`: unconfirmed calls never exceed the window.
//! - `nothing_is_confirmed_that_the_broker_did_not_confirm`.
//!
//! Not here: bytes (`restante_proto`), sockets and pings (front), credentials, addresses and what a call does (broker).

mod open;
#[cfg(test)]
mod tests;
mod translate;
mod wish;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::mbws::{
    Accept, Cancel, Code, Confirm, Credit, Deliver, ErrorFrame, Frame, Hold, Open, Opened,
};
use restante_storage::UnixMillis;

pub use open::AttachWish;
pub use wish::{Binding, Closing, Settings, Wish};

use crate::broker::{Attached, Call, End, Event};
use crate::refusal::Refusal;
pub use crate::session::{Credentials, NotAttached};

use super::rate::Bucket;

/// One MBWS conversation.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    state: State,
    /// Which bindings the client reads.
    accept: Accept,
    /// Binding of the last message that came.
    heard_in: Binding,
    heartbeat: Duration,
    /// The last seq that was called.
    last: u64,
    /// The last seq that the broker confirmed; never above `last`.
    confirmed: u64,
    publishing: Option<Bucket>,
    wish: Option<Wish>,
    opened: Option<Box<Opened>>,
    confirm: Option<Confirm>,
    frames: VecDeque<Frame>,
    error: Option<ErrorFrame>,
}

#[derive(Debug)]
enum State {
    Opening { deadline: Instant },
    Attaching,
    Running,
    Draining { deadline: Instant },
    Over(Closing),
}

/// What holds for the place of a sequenced frame.
enum Place {
    Next,
    Replayed,
    Wrong,
}

impl Session {
    /// A conversation over a connection that began at `now`.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Session {
            state: State::Opening {
                deadline: now + settings.open_within,
            },
            accept: Accept::Both,
            heard_in: Binding::Text,
            heartbeat: settings.heartbeat,
            last: 0,
            confirmed: 0,
            publishing: settings.publish_rate.map(|rate| Bucket::new(rate, now)),
            wish: None,
            opened: None,
            confirm: None,
            frames: VecDeque::new(),
            error: None,
            settings,
        }
    }

    /// A frame came. Take its wish with [`poll_call`](Self::poll_call) before the next one is given.
    ///
    /// What is wrong with it is answered here; nothing is taken any more once [`closing`](Self::closing) is there.
    pub fn handle_frame(&mut self, now: Instant, frame: Frame, binding: Binding) {
        self.heard_in = binding;
        match self.state {
            State::Opening { .. } => self.first_frame(frame),
            State::Running => self.running_frame(now, frame),
            // The driver does not read meanwhile; a frame that comes all the same is the client's to send again.
            State::Attaching | State::Draining { .. } | State::Over(_) => {}
        }
    }

    /// Something came that is no frame: in a message of that binding, or in none.
    pub fn handle_decode_error(&mut self, code: Code, reason: String, binding: Option<Binding>) {
        self.heard_in = binding.unwrap_or(self.heard_in);
        self.fail(code, reason);
    }

    /// What became of [`Wish::Attach`].
    pub fn handle_attached(&mut self, attached: Result<Attached, NotAttached>) {
        if !matches!(self.state, State::Attaching) {
            return;
        }
        match attached {
            Ok(attached) => self.start(attached),
            Err(why) => self.fail(open::code(why), why.to_string()),
        }
    }

    /// The attachment has something to tell. `wall` is the time of day, for what a message has left to live.
    pub fn handle_event(&mut self, wall: UnixMillis, event: Event) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        match event {
            Event::Confirmed { upto, failed } => self.confirmed(upto, failed),
            Event::Delivery(delivery) => {
                let deliver: Box<Deliver> = translate::deliver(*delivery, wall);
                self.frames.push_back(Frame::Deliver(deliver));
            }
            Event::Cancelled { consumer, why } => self.frames.push_back(Frame::Cancel(Cancel {
                seq: None,
                consumer: consumer.as_ref().to_owned(),
                code: Some(translate::code(why)),
                reason: Some(why.to_string()),
            })),
            // It has consumers, and no subscriptions.
            Event::Unsubscribed { .. } | Event::Wamp(_) => {}
            Event::Ended(end) => self.ended(end),
        }
    }

    /// The broker goes down: no frame is taken any more, and what is under way is confirmed until `deadline`.
    pub fn handle_shutdown(&mut self, deadline: Instant) {
        match self.state {
            State::Running if self.in_flight() > 0 => self.state = State::Draining { deadline },
            State::Opening { .. } | State::Attaching | State::Running => self.shut_down(),
            State::Draining { .. } | State::Over(_) => {}
        }
    }

    /// It is `now`; to be called at [`poll_timeout`](Self::poll_timeout), harmless before.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Opening { deadline } if now >= deadline => {
                self.fail(Code::Protocol, "no open frame in time".to_owned());
            }
            State::Draining { deadline } if now >= deadline => self.shut_down(),
            _ => {}
        }
    }

    /// What it wants done, once.
    pub fn poll_call(&mut self) -> Option<Wish> {
        self.wish.take()
    }

    /// What it wants sent, in order, each with its binding.
    pub fn poll_frame(&mut self) -> Option<(Frame, Binding)> {
        let frame = self.next_frame()?;
        let binding = self.binding_of(&frame);
        Some((frame, binding))
    }

    /// When it wants to be woken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Opening { deadline } | State::Draining { deadline } => Some(deadline),
            State::Attaching | State::Running | State::Over(_) => None,
        }
    }

    /// Whether a frame may be given to it. While not, the driver does not read, so that TCP pushes back.
    pub fn wants_frames(&self) -> bool {
        match self.state {
            State::Opening { .. } => true,
            State::Running => self.in_flight() < u64::from(self.settings.window),
            State::Attaching | State::Draining { .. } | State::Over(_) => false,
        }
    }

    /// How the WebSocket is to be closed after the frames that are left; none while it goes on.
    pub fn closing(&self) -> Option<&Closing> {
        match &self.state {
            State::Over(closing) => Some(closing),
            _ => None,
        }
    }

    /// Time between pings, as granted; whole seconds.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// How many calls are not confirmed yet.
    fn in_flight(&self) -> u64 {
        self.last - self.confirmed
    }

    fn first_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Open(open) => self.open(open),
            _ => self.fail(Code::Protocol, "the first frame must be open".to_owned()),
        }
    }

    fn open(&mut self, open: Open) {
        self.accept = open.accept;
        self.heartbeat = open::heartbeat(open.heartbeat, self.settings.heartbeat);
        match AttachWish::read(open) {
            Ok(wish) => {
                self.state = State::Attaching;
                self.wish = Some(Wish::Attach(Box::new(wish)));
            }
            Err(reason) => self.fail(Code::Protocol, reason.to_owned()),
        }
    }

    fn start(&mut self, attached: Attached) {
        self.state = State::Running;
        self.last = attached.confirmed;
        self.confirmed = attached.confirmed;
        self.opened = Some(Box::new(Opened {
            session: attached.session.to_string(),
            resumed: attached.resumed,
            confirmed: attached.confirmed,
            expiry: attached.expiry.as_secs(),
            window: self.settings.window,
            max_frame: self.settings.frame_bytes_max,
            heartbeat: u32::try_from(self.heartbeat.as_secs()).unwrap_or(u32::MAX),
            broker: self.settings.broker.clone(),
            server: self.settings.server.clone(),
        }));
        // Always, so that a client need not wait to learn that nothing failed (MBWS.md §7.1).
        if attached.resumed {
            self.tell_confirmed(attached.confirmed, attached.failed);
        }
    }

    fn running_frame(&mut self, now: Instant, frame: Frame) {
        match frame {
            Frame::Send(send) => {
                let seq = send.seq;
                self.sequenced(seq, |session| session.publish(now, send));
            }
            Frame::Consume(consume) => self.sequenced(consume.seq, |_| translate::consume(consume)),
            Frame::Settle(settle) => self.sequenced(settle.seq, |_| translate::settle(settle)),
            Frame::Cancel(Cancel { seq, consumer, .. }) => {
                self.sequenced(seq.unwrap_or(0), |_| Call::Cancel { consumer });
            }
            Frame::Credit(Credit { consumer, limit }) => {
                self.wish = Some(Wish::Credit { consumer, limit });
            }
            Frame::Hold(Hold { consumer, offsets }) => {
                self.wish = Some(Wish::Hold { consumer, offsets });
            }
            Frame::Close(_) => self.end(),
            Frame::Open(_) => self.fail(Code::Protocol, "the session is open already".to_owned()),
            Frame::Opened(_) | Frame::Confirm(_) | Frame::Deliver(_) | Frame::Error(_) => {
                self.fail(Code::Protocol, "only a broker sends this verb".to_owned());
            }
        }
    }

    /// Calls a frame whose turn it is; its tag is used up even if the call is a refusal.
    fn sequenced(&mut self, seq: u64, call: impl FnOnce(&mut Self) -> Call) {
        match self.place(seq) {
            Place::Next => {
                self.last = seq;
                let call = call(self);
                self.wish = Some(Wish::Call { tag: seq, call });
            }
            Place::Replayed => {}
            Place::Wrong if seq == 0 => {
                self.fail(Code::Protocol, "this verb needs a seq, from 1".to_owned());
            }
            Place::Wrong => {
                let reason = format!("seq {seq} where {} was due", self.last.saturating_add(1));
                self.fail(Code::Gap, reason);
            }
        }
    }

    fn place(&self, seq: u64) -> Place {
        match seq.checked_sub(1) {
            None => Place::Wrong,
            Some(before) if before == self.last => Place::Next,
            Some(before) if before < self.last => Place::Replayed,
            Some(_) => Place::Wrong,
        }
    }

    fn publish(&mut self, now: Instant, send: Box<restante_proto::mbws::Send>) -> Call {
        let within_rate = self.publishing.as_mut().is_none_or(|it| it.take(now));
        if within_rate {
            translate::publish(*send)
        } else {
            Call::Refuse(Refusal::Rate)
        }
    }

    fn confirmed(&mut self, upto: u64, failed: Vec<(u64, Refusal)>) {
        assert!(
            upto <= self.last,
            "confirmed up to {upto}, but called only up to {}",
            self.last
        );
        self.confirmed = self.confirmed.max(upto);
        self.tell_confirmed(upto, failed);
        if matches!(self.state, State::Draining { .. }) && self.in_flight() == 0 {
            self.shut_down();
        }
    }

    /// Puts it to the confirm that is not sent yet, so that one drain makes one frame.
    fn tell_confirmed(&mut self, upto: u64, failed: Vec<(u64, Refusal)>) {
        let confirm = self.confirm.get_or_insert_default();
        confirm.upto = confirm.upto.max(upto);
        let failed = failed.into_iter();
        let failed = failed.map(|(seq, why)| (seq, translate::code(why)));
        confirm.failed.extend(failed);
    }

    fn end(&mut self) {
        self.wish = Some(Wish::End);
        self.state = State::Over(Closing {
            close_code: 1000,
            code: None,
            reason: "closed by the client".to_owned(),
        });
    }

    fn ended(&mut self, end: End) {
        match end {
            End::TakenOver | End::Moved => self.fail(
                Code::TakenOver,
                "the session goes on over another socket".to_owned(),
            ),
            End::SessionOver => self.fail(
                Code::NoSession,
                "the session is over: it has expired, or an administrator has ended it".to_owned(),
            ),
            // What is under way is confirmed first: `handle_shutdown`, which comes with it, brings the deadline.
            End::ShuttingDown if self.in_flight() > 0 => {}
            End::ShuttingDown => self.shut_down(),
            End::TooSlow => self.fail(
                Code::Denied,
                "the client does not take what it has asked for".to_owned(),
            ),
            End::Kicked => self.fail(
                Code::ShuttingDown,
                "an administrator has closed this connection; the session can be resumed"
                    .to_owned(),
            ),
            End::Revoked => self.fail(
                Code::Denied,
                "the credentials are no longer good: revoked, disabled or expired".to_owned(),
            ),
            End::LogFailed => self.fail(
                Code::Internal,
                "the broker's log failed: what is not confirmed may not be durable".to_owned(),
            ),
        }
    }

    fn shut_down(&mut self) {
        let reason = "the broker is shutting down; the session can be resumed";
        self.fail(Code::ShuttingDown, reason.to_owned());
    }

    /// Ends this socket with an `error`; the session itself survives.
    fn fail(&mut self, code: Code, reason: String) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        self.wish = None;
        self.error = Some(ErrorFrame {
            code,
            reason: reason.clone(),
        });
        self.state = State::Over(Closing {
            close_code: code.close_code().unwrap_or(translate::CLOSE_INTERNAL),
            code: Some(code),
            reason,
        });
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if let Some(opened) = self.opened.take() {
            return Some(Frame::Opened(*opened));
        }
        if let Some(confirm) = self.confirm.take() {
            return Some(Frame::Confirm(confirm));
        }
        if let Some(frame) = self.frames.pop_front() {
            return Some(frame);
        }
        // An idle session keeps no room: there are many of them.
        self.frames.shrink_to(0);
        self.error.take().map(Frame::Error)
    }

    /// MBWS.md §6: what `accept` allows; a message's being text is kept.
    fn binding_of(&self, frame: &Frame) -> Binding {
        match (self.accept, frame) {
            (Accept::Text, _) => Binding::Text,
            (Accept::Binary, _) => Binding::Binary,
            (Accept::Both, Frame::Deliver(deliver)) if deliver.body.text => Binding::Text,
            (Accept::Both, Frame::Deliver(_)) => Binding::Binary,
            (Accept::Both, _) => self.heard_in,
        }
    }
}
