//! From the application to the task that owns the socket: one lock, one wake-up for many wishes.
//!
//! ```text
//! send, consume, settle ─▶ window (permits) ─▶ Outbox ─▶ Conversation ─▶ Wire
//! ```
//!
//! A locked list and not a channel, because a send's ticket must be given in the order in which the list is read.
//! It is bounded by the window's permits: a send takes one and its confirm gives it back.

use std::sync::Arc;

use parking_lot::Mutex;
use restante_proto::mbws::{self, Code};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::error::ClientError;
use super::shelf::Shelf;
use super::{Connection, Failure, Progress, Ticket};

/// Told when a frame is confirmed or refused.
pub(super) type Reply = oneshot::Sender<Result<(), ClientError>>;

/// What the application wants of the task.
#[derive(Debug)]
pub(super) enum Command {
    Send {
        frame: Box<mbws::Send>,
        ticket: Ticket,
        reply: Option<Reply>,
    },
    Consume {
        frame: mbws::Consume,
        shelf: Arc<Shelf>,
        /// It exists in the session that was resumed.
        existing: bool,
        reply: Reply,
    },
    Cancel {
        consumer: Arc<str>,
        reply: Option<Reply>,
    },
    /// The shelf of this consumer has settlements to send, or room for more credit.
    Stir(Arc<str>),
}

/// How the application wants the client to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Run,
    /// Confirm everything, then end the session.
    Close,
    /// Drop the socket, keep the session.
    Detach,
}

/// Shared by the handles and the task of one client.
#[derive(Debug)]
pub(super) struct Outbox {
    list: Mutex<List>,
    filled: Notify,
    /// A permit for each send that may still become unconfirmed.
    pub(super) window: Semaphore,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) connection: watch::Sender<Connection>,
    failures: Mutex<Vec<Failure>>,
}

#[derive(Debug)]
struct List {
    commands: Vec<Command>,
    next_ticket: u64,
    open: bool,
}

impl Outbox {
    /// `confirmed`: the session's last confirmed seq, after which tickets are counted.
    pub(super) fn new(window: usize, confirmed: u64, resumed: bool) -> Self {
        Outbox {
            list: Mutex::new(List {
                commands: Vec::new(),
                next_ticket: confirmed + 1,
                open: true,
            }),
            filled: Notify::new(),
            window: Semaphore::new(window.max(1)),
            wish: watch::Sender::new(Wish::Run),
            progress: watch::Sender::new(Progress {
                confirmed: Ticket(confirmed),
                failed: 0,
            }),
            connection: watch::Sender::new(Connection::Up { resumed }),
            failures: Mutex::new(Vec::new()),
        }
    }

    /// Puts sends on the list, giving them consecutive tickets; returns the last. None: the client has ended.
    pub(super) fn push_sends(
        &self,
        frames: impl IntoIterator<Item = Box<mbws::Send>>,
        mut reply: Option<Reply>,
    ) -> Option<Ticket> {
        let mut list = self.list.lock();
        if !list.open {
            return None;
        }
        for frame in frames {
            let ticket = Ticket(list.next_ticket);
            list.next_ticket += 1;
            list.commands.push(Command::Send {
                frame,
                ticket,
                reply: reply.take(),
            });
        }
        let last = Ticket(list.next_ticket - 1);
        drop(list);
        self.filled.notify_one();
        Some(last)
    }

    /// Puts one wish on the list. False: the client has ended.
    pub(super) fn push(&self, command: Command) -> bool {
        let mut list = self.list.lock();
        if !list.open {
            return false;
        }
        list.commands.push(command);
        drop(list);
        self.filled.notify_one();
        true
    }

    /// Takes all that is on the list, leaving `spare` (emptied) in its place.
    pub(super) fn take(&self, spare: &mut Vec<Command>) {
        spare.clear();
        std::mem::swap(&mut self.list.lock().commands, spare);
    }

    /// Takes nothing more, and returns what was still there.
    pub(super) fn shut(&self) -> Vec<Command> {
        let mut list = self.list.lock();
        list.open = false;
        self.window.close();
        std::mem::take(&mut list.commands)
    }

    /// Waits until something was put on the list since the last wait. For one waiter.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The last ticket given.
    pub(super) fn last_ticket(&self) -> Ticket {
        Ticket(self.list.lock().next_ticket - 1)
    }

    /// Raises the wish; a later one never weakens an earlier.
    pub(super) fn wish(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let raised = *now < wish;
            *now = (*now).max(wish);
            raised
        });
    }

    pub(super) fn add_failure(&self, ticket: Ticket, code: Code) {
        self.failures.lock().push(Failure { ticket, code });
    }

    pub(super) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.failures.lock())
    }

    /// Why nothing can be done any more.
    pub(super) fn why_ended(&self) -> ClientError {
        match &*self.connection.borrow() {
            Connection::Failed(error) => error.clone(),
            Connection::Up { .. } | Connection::Down { .. } | Connection::Closed => {
                ClientError::Closed
            }
        }
    }
}
