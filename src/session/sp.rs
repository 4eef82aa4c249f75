//! An SP session over one WebSocket: messages in, calls out, events in, messages out.
//!
//! ```text
//!             in                                              out
//! PUSH        Publish, kept ─ full: tried again, nothing read
//! PULL                                                        deliveries of the queue, settled once the client has them
//! PUB, BUS    Publish, told                                   (BUS) what the others tell
//! SUB                                                         what is told; `?durable=`: deliveries of a queue of its own
//! REQ         Publish with reply-to, by stack ─ once          the answer, behind the stack that the request had
//! REP         Publish to reply-to; settles the request        requests, each behind an id of its own
//! SURVEYOR, RESPONDENT: as REQ and REP, told to all who are there
//! PAIR        Publish to the other end                        what that sends
//! ```
//!
//! A client says nothing of all this: its token and its path are all that is known of it. No message has an answer; what the
//! broker cannot take yet makes the client wait, as no more is read of it.
//!
//! Always, each with a test of its name in `tests`:
//! - `what_is_full_is_tried_again_in_order`
//! - `what_waits_does_not_keep_what_was_read_with_it`
//! - `a_request_is_asked_once_and_answered_once`
//! - `a_request_that_nobody_answers_goes_to_another`
//! - `a_delivery_is_settled_once_the_client_has_it`
//! - `nothing_is_said_to_who_gets_nothing`
//! - `what_was_pushed_is_kept_when_its_client_goes`
//!
//! Not here: WebSocket, TCP, when a client has something (front), headers' bytes (`restante_proto`), who waits for whom (broker).

mod asking;
mod publishing;
mod receiving;
mod sending;
mod table;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use restante_proto::mbws::Ranges;
use restante_proto::sp::{CloseCode, HeaderError, Options, Role, Side, Stack, Verdict};
use smallvec::SmallVec;

pub use wish::{Closing, Dropped, Outgoing, Settings, Wish};

use self::sending::Sending;
use self::table::Table;
use super::rate::Bucket;
use crate::broker::{Call, End, Event};
use crate::message::SpSend;
use crate::refusal::Refusal;

/// The name of the session's consumer of what the client gets.
const CONSUMER: &str = "sp";
/// That of what answers the client's questions, and of the temporary queue that they come to.
const REPLIES: &str = "replies";
/// How many answers may be on their way.
const REPLIES_CREDIT: u64 = 1024;
/// Questions of one client that may wait for an answer, and surveys of which it has heard and not answered.
const WAITING_MAX: usize = 1024;
/// By this property of a message between the two ends of a pair its hops are counted.
const HOPS: &str = "sp-hops";
/// How long a client that cannot be served now is kept before its connection ends: it comes back at once.
const CUT_AFTER: Duration = Duration::from_secs(1);

/// Who a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What the client is.
    pub role: Role,
    /// The address in its path, as the broker spells it.
    pub address: Arc<str>,
    /// What its query asks for.
    pub options: Options,
}

/// One SP conversation.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    client: Client,
    state: State,
    /// The last call's tag, and the last that is confirmed.
    last: u64,
    confirmed: u64,
    /// The calls that begin the consumers, while they are not confirmed.
    beginning: Option<u64>,
    wishes: VecDeque<Wish>,
    out: VecDeque<Outgoing>,
    sending: Sending,
    publishing: Option<Bucket>,
    /// Offsets of deliveries that are out, in order.
    under_way: VecDeque<u64>,
    /// The credit of each consumer, as last said.
    credit: u64,
    replies_credit: u64,
    /// REQ, SURVEYOR: what was asked and may be answered, and how often it was asked.
    asked: Table<Stack, u32>,
    /// REP, RESPONDENT: what the client was asked, by the id that it has here.
    in_hand: Table<u32, InHand>,
    next_id: u32,
    /// What was dropped since it was last asked for.
    dropped: SmallVec<[Dropped; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// No message is taken any more; what is under way is confirmed first.
    Draining {
        deadline: Instant,
    },
    Over(Closing),
}

/// A question that a client is to answer.
#[derive(Debug)]
struct InHand {
    /// In its queue, if it came from one.
    offset: Option<u64>,
    reply_to: Option<String>,
    correlation_id: Option<String>,
}

impl Session {
    /// A conversation with an attached client. `seed`: any number; ids of requests begin with it.
    pub fn new(settings: Arc<Settings>, client: Client, seed: u32, now: Instant) -> Self {
        let mut session = Session {
            publishing: settings.publish_rate.map(|rate| Bucket::new(rate, now)),
            settings,
            client,
            state: State::Running,
            last: 0,
            confirmed: 0,
            beginning: None,
            wishes: VecDeque::new(),
            out: VecDeque::new(),
            sending: Sending::default(),
            under_way: VecDeque::new(),
            credit: 0,
            replies_credit: 0,
            asked: Table::new(WAITING_MAX),
            in_hand: Table::new(WAITING_MAX),
            next_id: seed,
            dropped: SmallVec::new(),
        };
        session.begin();
        session
    }

    /// What the client is.
    pub fn role(&self) -> Role {
        self.client.role
    }

    /// A message came, whole. Take what it wants with [`poll_wish`](Self::poll_wish) before the next one is given.
    pub fn handle_message(&mut self, now: Instant, message: Bytes) {
        if self.state != State::Running {
            return;
        }
        match self.client.role {
            Role::Push => {
                let message = self.message(message, None);
                self.publish_kept(now, message);
            }
            Role::Pub => {
                let message = self.message(message, Some(SpSend::Told));
                self.publish(now, message);
            }
            Role::Bus => {
                let message = self.message(message, Some(SpSend::ToOthers));
                self.publish(now, message);
            }
            Role::Pair | Role::Pair1 => self.tell_peer(now, message),
            Role::Req | Role::Surveyor => self.question(now, &message),
            Role::Rep | Role::Respondent => self.answer(now, &message),
            Role::Pull | Role::Sub => {
                self.drop_message(Dropped::Unasked);
                if let Some(verdict) = self.client.role.unasked() {
                    self.heed(verdict, "a client of this kind sends no messages");
                }
            }
        }
    }

    /// The attachment has something to tell.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        match event {
            Event::Confirmed { upto, failed } => self.handle_confirmed(now, upto, &failed),
            Event::Delivery(delivery) => self.delivered(now, &delivery),
            Event::Cancelled { why, .. } => self.cannot(why),
            Event::Unsubscribed { .. } | Event::Wamp(_) => {}
            Event::Ended(end) => self.ended(end),
        }
    }

    /// The client has the first `n` of the messages that are [counted](Outgoing::is_counted) and were not said to be there yet.
    pub fn handle_delivered(&mut self, n: usize) {
        let n = n.min(self.under_way.len());
        if n == 0 {
            return;
        }
        let accepted: Ranges = self.under_way.drain(..n).collect();
        self.accept(accepted);
        self.raise_credit(n as u64);
    }

    /// Whether it waits for room for what is worth nothing once the client is gone: a request, or the end of a pair.
    pub fn waits_for_now(&self) -> bool {
        let is_one = matches!(self.client.role, Role::Req | Role::Pair | Role::Pair1);
        is_one && !self.is_kept() && self.sending.has_to_wait()
    }

    fn is_kept(&self) -> bool {
        let client = &self.client;
        match client.role {
            Role::Push => true,
            Role::Req => client.options.keeps_requests,
            Role::Pair | Role::Pair1 => client.options.side.is_some(),
            _ => false,
        }
    }

    /// The client is gone: nobody consumes any more. What it has sent and the broker has not taken yet is tried on with, unless it was a
    /// request that nobody waits for now. Gives whether it was being sent something, which may be why it is gone: the message in front
    /// counts as failed then, and so does every request that it had in hand.
    pub fn handle_gone(&mut self) -> bool {
        if matches!(self.state, State::Over(_)) {
            return false;
        }
        let was_sent = self.give_up_first();
        if !self.is_kept() {
            self.sending = Sending::default();
        } else if self.credit > 0 && !self.sending.is_empty() {
            // Whoever comes in its place has it.
            self.call(Call::Cancel {
                consumer: CONSUMER.to_owned(),
            });
        }
        was_sent
    }

    fn has_pongs(&self) -> bool {
        self.client.options.settle == Some(restante_proto::sp::Settle::Pong)
    }

    fn give_up_first(&mut self) -> bool {
        // The last one that was taken is always among those that no pong has spoken of.
        let first = self.under_way.front().filter(|_| !self.has_pongs());
        let mut failed: Vec<u64> = first.copied().into_iter().collect();
        while let Some(asked) = self.in_hand.pop_oldest() {
            failed.extend(asked.offset);
        }
        failed.sort_unstable();
        let was_sent = !failed.is_empty();
        if was_sent {
            self.release(failed.into_iter().collect());
        }
        was_sent
    }

    /// Whether all that the client has sent is taken.
    pub fn is_done_sending(&self) -> bool {
        self.sending.is_empty()
    }

    /// The broker goes down: no message is taken any more, and what is under way is confirmed until `deadline`.
    pub fn handle_shutdown(&mut self, deadline: Instant) {
        if self.state == State::Running {
            self.state = State::Draining { deadline };
            self.look_whether_drained();
        }
    }

    /// It is `now`; to be called at [`poll_timeout`](Self::poll_timeout), harmless before.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Draining { deadline } = self.state
            && now >= deadline
        {
            self.shut_down();
        }
        self.try_again(now);
        self.give_back_old(now);
    }

    /// What it wants done.
    pub fn poll_wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// What it wants sent, in order.
    pub fn poll_message(&mut self) -> Option<Outgoing> {
        let next = self.out.pop_front();
        if next.is_none() {
            // An idle session keeps no room: there are many of them.
            self.out.shrink_to(0);
        }
        next
    }

    /// When it wants to be woken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let draining = match self.state {
            State::Draining { deadline } => Some(deadline),
            State::Running | State::Over(_) => None,
        };
        let again = self.sending.again_at();
        let oldest = match self.client.role {
            Role::Rep | Role::Respondent => self.in_hand.oldest(),
            _ => None,
        };
        let old = oldest.map(|since| since + self.settings.reply_within);
        [draining, again, old].into_iter().flatten().min()
    }

    /// What was dropped since the last call.
    pub fn take_dropped(&mut self) -> SmallVec<[Dropped; 2]> {
        std::mem::take(&mut self.dropped)
    }

    /// Whether a message may be given to it. While not, the driver does not read, so that TCP pushes back.
    pub fn wants_messages(&self) -> bool {
        let settings = &self.settings;
        let has_room = self
            .sending
            .has_room(settings.window, settings.window_bytes);
        self.state == State::Running && self.beginning.is_none() && has_room
    }

    /// How the connection is to end after the messages that are left; none while it goes on.
    pub fn closing(&self) -> Option<&Closing> {
        match &self.state {
            State::Over(closing) => Some(closing),
            State::Running | State::Draining { .. } => None,
        }
    }

    fn call(&mut self, call: Call) {
        self.last += 1;
        let tag = self.last;
        self.wishes.push_back(Wish::Call { tag, call });
    }

    // How it ends.

    fn is_no_header(&mut self, error: HeaderError) {
        self.drop_message(match error {
            HeaderError::TooDeep { .. } | HeaderError::TooManyHops { .. } => Dropped::TooDeep,
            HeaderError::NoId { .. } | HeaderError::NoHops { .. } | HeaderError::NotHops { .. } => {
                Dropped::Malformed
            }
        });
        self.heed(error.verdict(), "a message without its header");
    }

    fn drop_message(&mut self, why: Dropped) {
        self.dropped.push(why);
    }

    fn heed(&mut self, verdict: Verdict, reason: &'static str) {
        if let Verdict::Close(code) = verdict {
            self.close(code, reason);
        }
    }

    /// What the client is here for cannot be had.
    fn cannot(&mut self, why: Refusal) {
        match why {
            Refusal::Denied => self.close(CloseCode::Policy, "no rule allows it"),
            Refusal::BadAddress | Refusal::BadFilter | Refusal::Unsupported => {
                self.close(CloseCode::Policy, "the address cannot be used so");
            }
            Refusal::InUse => self.cut("somebody else has its place"),
            _ => self.cut("it cannot be served now"),
        }
    }

    fn ended(&mut self, end: End) {
        match end {
            End::Revoked => self.close(CloseCode::Policy, "the credentials are no longer good"),
            End::ShuttingDown => self.look_whether_drained(),
            End::Kicked => self.cut("an administrator has ended the connection"),
            End::TooSlow => self.cut("the client does not take what it has asked for"),
            End::TakenOver | End::SessionOver => self.cut("somebody else has its place"),
            End::Moved => self.cut("there is a queue of the address's name now"),
            End::LogFailed => self.cut("the broker's log failed"),
        }
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.over(Closing::Close { code, reason });
    }

    fn cut(&mut self, reason: &'static str) {
        let after = CUT_AFTER;
        self.over(Closing::Cut { after, reason });
    }

    fn over(&mut self, closing: Closing) {
        if !matches!(self.state, State::Over(_)) {
            self.wishes.clear();
            self.state = State::Over(closing);
        }
    }

    fn look_whether_drained(&mut self) {
        let is_done = self.confirmed == self.last && self.sending.is_empty();
        if is_done && matches!(self.state, State::Draining { .. }) {
            self.shut_down();
        }
    }

    fn shut_down(&mut self) {
        self.over(Closing::Cut {
            after: Duration::ZERO,
            reason: "the broker is shutting down",
        });
    }
}

/// The queue of one end of a pair that has sides.
fn end_of_pair(address: &str, side: Side) -> String {
    let side = match side {
        Side::A => 'a',
        Side::B => 'b',
    };
    format!("{address}!{side}")
}
