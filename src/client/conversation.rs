//! One session from the client's side: what is unconfirmed, what is sent again, what is held, what credit is due.
//!
//! ```text
//! command ─▶ unconfirmed ──(n_sent)──▶ frames            opened: drop what is confirmed, n_sent back to 0
//! confirm ─▶ front of unconfirmed goes, replies          then: hold … → resends … → credit …
//! ```
//!
//! A state machine without a socket, a clock or a task: frames and commands in, frames out (MBWS.md §7).
//!
//! Always, each with a test of its name:
//! - `a_resume_resends_exactly_what_is_unconfirmed`: with the same seqs, in order, once.
//! - `hold_lists_what_is_in_hand`: and comes before the resends, which come before credit.
//! - `a_lost_session_is_told_or_begun_anew`: never silently.
//!
//! Not here: bytes (`wire`), reconnecting (`task`), deliveries' own state (`shelf`).

mod resume;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use restante_proto::mbws::{Cancel, Close, Consume};
use restante_proto::mbws::{Code, Confirm, Credit, Deliver, Frame, Hold, Ranges};
use uuid::Uuid;

use super::Ticket;
use super::error::{Broken, ClientError, Stop};
use super::opening::Opening;
use super::outbox::{Command, Outbox, Reply};
use super::shelf::{Arrival, Shelf};

/// The client's side of one session.
#[derive(Debug)]
pub(super) struct Conversation {
    outbox: Arc<Outbox>,
    at_least_once: bool,
    pub(super) session: Uuid,
    next_seq: u64,
    /// Sequenced frames that are not confirmed, ascending by seq, without gaps.
    unconfirmed: VecDeque<Entry>,
    /// How many of `unconfirmed`, from the front, need not be sent (again) on this socket.
    n_sent: usize,
    /// How many of those still to be sent were sent on an earlier socket: credit waits for them.
    n_resend: usize,
    /// The last seq that ever went out in this session.
    ever_sent: u64,
    holds: VecDeque<Frame>,
    members: BTreeMap<Arc<str>, Member>,
    /// Consumers whose credit should be looked at.
    credit_due: Vec<Arc<str>>,
    /// Consumers whose application should be woken.
    announce: Vec<Arc<str>>,
    close: Closing,
    /// What an earlier process in this session had confirmed. Its sends are known by their seq.
    inherited: u64,
    /// Which of those failed, as far as told: the broker may tell it again.
    inherited_failures: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    frame: Frame,
    ticket: Option<Ticket>,
    reply: Option<Reply>,
}

/// A consumer, as the task knows it.
#[derive(Debug)]
struct Member {
    shelf: Arc<Shelf>,
    /// How to start it again in a new session.
    consume: Consume,
    /// Whether the broker knows it on this socket: before that, no credit.
    live: bool,
    n_delivered: u64,
    limit: u64,
    credit_listed: bool,
    announce_listed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Wanted,
    Said,
}

impl Conversation {
    pub(super) fn new(outbox: Arc<Outbox>, at_least_once: bool, opened: &Opening) -> Self {
        Conversation {
            outbox,
            at_least_once,
            session: opened.session,
            next_seq: opened.confirmed + 1,
            unconfirmed: VecDeque::new(),
            n_sent: 0,
            n_resend: 0,
            ever_sent: opened.confirmed,
            holds: VecDeque::new(),
            members: BTreeMap::new(),
            credit_due: Vec::new(),
            announce: Vec::new(),
            close: Closing::No,
            inherited: opened.confirmed,
            inherited_failures: BTreeSet::new(),
        }
    }

    /// The application wants something.
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Send {
                frame,
                ticket,
                reply,
            } => self.push_entry(Frame::Send(frame), Some(ticket), reply),
            Command::Consume {
                frame,
                shelf,
                existing,
                reply,
            } => self.start(frame, shelf, existing, reply),
            Command::Cancel { consumer, reply } => self.cancel(&consumer, reply),
            Command::Stir(name) => self.stir(&name),
        }
    }

    fn start(&mut self, consume: Consume, shelf: Arc<Shelf>, existing: bool, reply: Reply) {
        let name = Arc::clone(&shelf.name);
        if self.members.contains_key(&name) {
            reply_to(Some(reply), Err(ClientError::Refused(Code::InUse)));
            return;
        }
        let member = Member {
            shelf: Arc::clone(&shelf),
            consume: consume.clone(),
            live: existing,
            n_delivered: 0,
            limit: 0,
            credit_listed: false,
            announce_listed: false,
        };
        self.members.insert(Arc::clone(&name), member);
        if !existing {
            self.push_entry(Frame::Consume(consume), None, Some(reply));
            return;
        }
        shelf.adopt();
        if let Some(offsets) = shelf.holding(&Ranges::new()) {
            self.holds.push_back(hold_frame(&name, offsets));
        }
        self.stir(&name);
        reply_to(Some(reply), Ok(()));
    }

    fn cancel(&mut self, name: &str, reply: Option<Reply>) {
        let Some(member) = self.members.get_mut(name) else {
            reply_to(reply, Ok(()));
            return;
        };
        member.shelf.end(ClientError::Closed);
        self.stir(name);
        let cancel = Cancel {
            consumer: name.to_owned(),
            ..Cancel::default()
        };
        self.push_entry(Frame::Cancel(cancel), None, reply);
    }

    /// Sends what was settled, and looks at the credit.
    fn stir(&mut self, name: &str) {
        let Some(member) = self.members.get(name) else {
            return;
        };
        let shelf = Arc::clone(&member.shelf);
        for settle in shelf.take_settles() {
            self.push_entry(Frame::Settle(settle), None, None);
        }
        self.list_credit(&shelf.name);
    }

    fn list_credit(&mut self, name: &Arc<str>) {
        if let Some(member) = self.members.get_mut(name)
            && !std::mem::replace(&mut member.credit_listed, true)
        {
            self.credit_due.push(Arc::clone(name));
        }
    }

    fn push_entry(&mut self, mut frame: Frame, ticket: Option<Ticket>, reply: Option<Reply>) {
        let seq = self.next_seq;
        self.next_seq += 1;
        set_seq(&mut frame, seq);
        self.unconfirmed.push_back(Entry {
            seq,
            frame,
            ticket,
            reply,
        });
    }

    /// Ends the session once all is confirmed.
    pub(super) fn handle_close(&mut self) {
        if self.close == Closing::No {
            self.close = Closing::Wanted;
        }
    }

    /// Whether the session's end has been said.
    pub(super) fn has_said_close(&self) -> bool {
        self.close == Closing::Said
    }

    /// The next frame to be sent on this socket, in the order that a resume needs: hold, resends, credit, the rest.
    pub(super) fn poll_frame(&mut self) -> Option<Cow<'_, Frame>> {
        if let Some(hold) = self.holds.pop_front() {
            return Some(Cow::Owned(hold));
        }
        if self.n_resend == 0
            && let Some(credit) = self.poll_credit()
        {
            return Some(Cow::Owned(Frame::Credit(credit)));
        }
        if self.n_sent < self.unconfirmed.len() {
            return self.next_entry();
        }
        if self.close == Closing::Wanted && self.unconfirmed.is_empty() {
            self.close = Closing::Said;
            return Some(Cow::Owned(Frame::Close(Close::default())));
        }
        None
    }

    fn next_entry(&mut self) -> Option<Cow<'_, Frame>> {
        let entry = self.unconfirmed.get_mut(self.n_sent)?;
        self.n_sent += 1;
        self.n_resend = self.n_resend.saturating_sub(1);
        self.ever_sent = self.ever_sent.max(entry.seq);
        if let Frame::Consume(consume) = &mut entry.frame
            && let Some(member) = self.members.get_mut(consume.consumer.as_str())
        {
            member.live = true;
            member.limit = member.shelf.limit(member.n_delivered);
            consume.limit = Some(member.limit);
        }
        Some(Cow::Borrowed(&entry.frame))
    }

    fn poll_credit(&mut self) -> Option<Credit> {
        while let Some(name) = self.credit_due.pop() {
            let Some(member) = self.members.get_mut(&name) else {
                continue;
            };
            member.credit_listed = false;
            if !member.live {
                continue;
            }
            let limit = member.shelf.limit(member.n_delivered);
            let raised = limit.saturating_sub(member.limit);
            let none_left = member.limit <= member.n_delivered;
            if raised >= member.shelf.credit_step() || (raised > 0 && none_left) {
                member.limit = limit;
                return Some(Credit {
                    consumer: name.to_string(),
                    limit,
                });
            }
        }
        None
    }

    /// The broker said something.
    ///
    /// # Errors
    /// How the connection ends.
    pub(super) fn handle_frame(&mut self, frame: Frame) -> Result<(), Stop> {
        match frame {
            Frame::Deliver(deliver) => self.delivered(*deliver),
            Frame::Confirm(confirm) => self.confirmed(&confirm).map_err(Stop::Fatal)?,
            Frame::Cancel(cancel) => self.cancelled(cancel),
            Frame::Error(error) => return Err(stop_for(error.code, error.reason)),
            Frame::Close(close) => return Err(Stop::Broken(Broken::Closed(close.reason))),
            Frame::Open(_)
            | Frame::Opened(_)
            | Frame::Hold(_)
            | Frame::Send(_)
            | Frame::Consume(_)
            | Frame::Credit(_)
            | Frame::Settle(_) => {
                return Err(Stop::Fatal(ClientError::Protocol(
                    "it sent a frame that only clients send, or a second `opened`",
                )));
            }
        }
        Ok(())
    }

    /// Wakes the consumers that something came for: once for each read, not for each message.
    pub(super) fn announce(&mut self) {
        while let Some(name) = self.announce.pop() {
            if let Some(member) = self.members.get_mut(&name) {
                member.announce_listed = false;
                member.shelf.announce();
            }
        }
    }

    fn delivered(&mut self, deliver: Deliver) {
        let Some(member) = self.members.get_mut(deliver.consumer.as_str()) else {
            return; // on its way while its consumer was cancelled: the broker has released it
        };
        member.n_delivered += 1;
        let none_left = member.n_delivered >= member.limit;
        let shelf = Arc::clone(&member.shelf);
        let arrival = shelf.arrive(deliver);
        if arrival == Arrival::Ready && !std::mem::replace(&mut member.announce_listed, true) {
            self.announce.push(Arc::clone(&shelf.name));
        }
        match arrival {
            Arrival::Settled => self.stir(&shelf.name),
            // It used credit up and fills no place in the window.
            Arrival::Known => self.list_credit(&shelf.name),
            // What was too little to be worth a frame is all that there is now.
            Arrival::Ready if none_left => self.list_credit(&shelf.name),
            Arrival::Ready => {}
        }
    }

    fn confirmed(&mut self, confirm: &Confirm) -> Result<(), ClientError> {
        if confirm.upto >= self.next_seq {
            return Err(ClientError::Protocol(
                "it confirmed frames that were never sent",
            ));
        }
        let mut failed = confirm.failed.iter().copied().peekable();
        let mut progress = *self.outbox.progress.borrow();
        let mut n_sends = 0;
        while let Some((seq, code)) = failed.next_if(|(seq, _)| *seq <= self.inherited) {
            if self.inherited_failures.insert(seq) {
                self.outbox.add_failure(Ticket(seq), code);
                progress.failed += 1;
            }
        }
        while let Some(entry) = self
            .unconfirmed
            .pop_front_if(|entry| entry.seq <= confirm.upto)
        {
            self.n_sent = self.n_sent.saturating_sub(1);
            while failed.next_if(|(seq, _)| *seq < entry.seq).is_some() {}
            let refused = failed
                .next_if(|(seq, _)| *seq == entry.seq)
                .map(|(_, code)| code);
            if let Some(ticket) = entry.ticket {
                n_sends += 1;
                progress.confirmed = ticket;
                progress.failed += u64::from(refused.is_some());
            }
            self.complete(entry, refused);
        }
        if n_sends > 0 {
            self.outbox.window.add_permits(n_sends);
        }
        self.outbox.progress.send_if_modified(|now| {
            let moved = *now != progress;
            *now = progress;
            moved
        });
        Ok(())
    }

    fn complete(&mut self, entry: Entry, refused: Option<Code>) {
        match (&entry.frame, refused) {
            (Frame::Settle(settle), refused) => {
                if let Some(member) = self.members.get(settle.consumer.as_str()) {
                    member.shelf.confirm(settle, refused);
                }
            }
            (Frame::Consume(consume), Some(code)) => {
                if let Some(member) = self.members.remove(consume.consumer.as_str()) {
                    member.shelf.end(ClientError::Refused(code));
                }
            }
            (Frame::Cancel(cancel), _) => {
                self.members.remove(cancel.consumer.as_str());
            }
            (_, Some(code)) => {
                if let (Some(ticket), None) = (entry.ticket, &entry.reply) {
                    self.outbox.add_failure(ticket, code);
                }
            }
            (_, None) => {}
        }
        let outcome = refused.map_or(Ok(()), |code| Err(ClientError::Refused(code)));
        reply_to(entry.reply, outcome);
    }

    fn cancelled(&mut self, cancel: Cancel) {
        if let Some(member) = self.members.remove(cancel.consumer.as_str()) {
            member.shelf.end(ClientError::Cancelled {
                code: cancel.code,
                reason: cancel.reason,
            });
        }
    }

    /// Tells everybody who waits that it is over.
    pub(super) fn end(&mut self, why: &ClientError) {
        for command in self.outbox.shut() {
            self.handle_command(command);
        }
        for entry in std::mem::take(&mut self.unconfirmed) {
            reply_to(entry.reply, Err(why.clone()));
        }
        for member in std::mem::take(&mut self.members).into_values() {
            member.shelf.end(why.clone());
        }
    }
}

/// How an `error` frame ends the connection.
pub(super) fn stop_for(code: Code, reason: String) -> Stop {
    match code {
        Code::ShuttingDown | Code::Internal => Stop::Broken(Broken::Closed(Some(reason))),
        _ => Stop::Fatal(ClientError::Fatal { code, reason }),
    }
}

fn hold_frame(name: &Arc<str>, offsets: Ranges) -> Frame {
    Frame::Hold(Hold {
        consumer: name.to_string(),
        offsets,
    })
}

fn set_seq(frame: &mut Frame, seq: u64) {
    match frame {
        Frame::Send(send) => send.seq = seq,
        Frame::Consume(consume) => consume.seq = seq,
        Frame::Settle(settle) => settle.seq = seq,
        Frame::Cancel(cancel) => cancel.seq = Some(seq),
        _ => {}
    }
}

fn reply_to(reply: Option<Reply>, outcome: Result<(), ClientError>) {
    if let Some(reply) = reply {
        // Whoever asked may have stopped waiting.
        drop(reply.send(outcome));
    }
}
