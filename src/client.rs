//! A client of an MBWS broker: sends that are confirmed once they are durable, deliveries that are settled, and a
//! session that goes on by itself when the socket breaks, the network is away or the broker is started again.
//!
//! ```text
//!     Client, Consumer ─▶ Outbox ─▶ ┐ task: Conversation ⇄ Wire ⇄ WebSocket
//!            ▲── Shelf ◀────────────┘        (reconnects with backoff, resumes)
//! ```
//!
//! One task owns the socket; handles are cheap and may be cloned. Sends wait only for room in the window.
//!
//! ```no_run
//! use std::time::Duration;
//! use restante::client::{Client, ClientError, ClientOptions, ConsumeOptions, Outgoing};
//!
//! # async fn example() -> Result<(), ClientError> {
//! let mut options = ClientOptions::new("ws://127.0.0.1:7300/mbws");
//! options.expiry = Duration::from_secs(3600); // the session survives an hour without a socket
//! let client = Client::connect(options).await?;
//!
//! client.send(Outgoing::text("orders/eu", "one")).await?; // waits for room only
//! client.send_confirmed(Outgoing::text("orders/eu", "two")).await?; // waits until it is on disk
//!
//! let mut consumer = client.consume(ConsumeOptions::new("orders/eu")).await?;
//! let batch = consumer.next_batch(100).await?;
//! for delivery in &batch {
//!     println!("{}: {:?}", delivery.offset, delivery.body.bytes);
//! }
//! consumer.accept(batch.iter().map(|delivery| delivery.offset));
//! client.close().await // confirms what is open, then ends the session
//! # }
//! ```
//!
//! What always holds (MBWS.md §7), as long as the session lives:
//! - each send is stored once, in order, however often the socket breaks;
//! - a delivery in the application's hand is not handed over again;
//! - a session that the broker no longer knows is told as [`ClientError::SessionLost`], or, with
//!   [`ClientOptions::at_least_once`], begun anew: never passed over in silence.
//!
//! Not here: TLS itself (`crate::tls`), and the frames' bytes (`restante_proto::mbws`).

mod consumer;
mod conversation;
mod dial;
mod error;
mod opening;
mod options;
mod outbox;
mod request;
mod shelf;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use restante_proto::mbws::{Body, Code, Consume, Deliver, MessageFields, Ranges};
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

pub use consumer::Consumer;
pub(crate) use dial::connector;
pub use error::{Broken, ClientError};
pub use opening::Opening;
pub use options::{Backoff, Binding, ClientOptions, ConsumeOptions, Credentials, Outgoing};

use outbox::{Command, Outbox, Wish};
use request::Replies;
use shelf::Shelf;

/// The place of a send in its session: the first has 1, or, in a session that an earlier process began, the one after
/// the last confirmed. In a session that only sends it is the frame's seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(u64);

impl Ticket {
    /// The number itself.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// How far sends are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// All sends up to this are durable, bar those that failed.
    pub confirmed: Ticket,
    /// How many failed, in all.
    pub failed: u64,
}

/// A send that the broker refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub ticket: Ticket,
    /// Why.
    pub code: Code,
}

/// A settlement that was not applied, or not for all of its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleFailure {
    /// The offsets in it.
    pub offsets: Ranges,
    /// Why; `no-such-delivery`: some were settled by another consumer meanwhile.
    pub code: Code,
}

/// The state of a client's connection.
#[derive(Debug, Clone)]
pub enum Connection {
    /// There is a socket.
    Up {
        /// Whether an earlier session goes on over it.
        resumed: bool,
    },
    /// The socket broke; the client is connecting again.
    Down {
        /// What it broke of.
        why: Arc<Broken>,
    },
    /// The application ended the client.
    Closed,
    /// An error ended the client.
    Failed(ClientError),
}

/// A message that came, to be settled by its consumer and offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the queue; never changes over redeliveries, sessions and crashes.
    pub offset: u64,
    /// 1 for the first delivery, more for later ones.
    pub attempt: u32,
    /// The address that it was sent to.
    pub address: String,
    /// When the broker took it, in milliseconds since 1970.
    pub timestamp: u64,
    /// What it has left to live; none: for ever.
    pub ttl: Option<Duration>,
    /// The sender's fields.
    pub fields: MessageFields,
    /// The body.
    pub body: Body,
}

impl From<Deliver> for Delivery {
    fn from(deliver: Deliver) -> Self {
        Delivery {
            offset: deliver.offset,
            attempt: deliver.attempt,
            address: deliver.address,
            timestamp: deliver.timestamp,
            ttl: deliver.ttl.map(Duration::from_millis),
            fields: deliver.fields,
            body: deliver.body,
        }
    }
}

/// A handle to one session with a broker; clones share it. When the last handle and the last [`Consumer`] are gone,
/// the socket is dropped as by [`detach`](Self::detach).
#[derive(Debug, Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Dropped with the last handle.
#[derive(Debug)]
struct Owner {
    outbox: Arc<Outbox>,
    opening: Opening,
    window: usize,
    replies: OnceCell<Replies>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.outbox.wish(Wish::Detach);
    }
}

impl Client {
    /// Connects and opens the session; from then on it reconnects by itself.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when [`connect_timeout`](ClientOptions::connect_timeout) is over; at once what
    /// trying again does not change: a bad URL, TLS files that cannot be used, wrong credentials, a realm that is not there.
    pub async fn connect(options: ClientOptions) -> Result<Client, ClientError> {
        dial::check_tls(&options).await?;
        let session = options.session.unwrap_or_else(Uuid::new_v4);
        let deadline = Instant::now() + options.connect_timeout.unwrap_or_default();
        let dialled = dial::dial_until(&options, session, Some(deadline), |_| {});
        let (wire, opening) = dialled.await?;
        let window = options.window.clamp(1, opening.window.max(1)) as usize;
        let outbox = Arc::new(Outbox::new(window, opening.confirmed, opening.resumed));
        let owner = Owner {
            outbox: Arc::clone(&outbox),
            opening: opening.clone(),
            window,
            replies: OnceCell::new(),
        };
        tokio::spawn(task::run(options, outbox, wire, opening));
        Ok(Client {
            owner: Arc::new(owner),
        })
    }

    /// What the broker said when the session was first opened by this client.
    pub fn opening(&self) -> &Opening {
        &self.owner.opening
    }

    /// Sends a message, waiting only for room in the window. Not durable yet: see [`progress`](Self::progress).
    ///
    /// # Errors
    /// [`ClientError::TooBig`], or why the client has ended.
    pub async fn send(&self, message: Outgoing) -> Result<Ticket, ClientError> {
        self.check(&message)?;
        self.room(1).await?;
        self.push(vec![message], None)
    }

    /// Sends many messages with one hand-over, waiting for room for all of them at once where the window is that
    /// large; returns the last one's ticket (the others have the numbers before it).
    ///
    /// # Errors
    /// As [`send`](Self::send); of a message that is too big, before any is sent.
    pub async fn send_batch(&self, messages: Vec<Outgoing>) -> Result<Ticket, ClientError> {
        for message in &messages {
            self.check(message)?;
        }
        let window = self.window();
        let mut left = messages.into_iter();
        let mut last = self.last_ticket();
        while left.len() > 0 {
            let part: Vec<Outgoing> = left.by_ref().take(window).collect();
            self.room(part.len()).await?;
            last = self.push(part, None)?;
        }
        Ok(last)
    }

    /// Sends a message and waits until it is durable.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the broker refused it; otherwise as [`send`](Self::send).
    pub async fn send_confirmed(&self, message: Outgoing) -> Result<(), ClientError> {
        self.check(&message)?;
        self.room(1).await?;
        let (reply, outcome) = oneshot::channel();
        self.push(vec![message], Some(reply))?;
        outcome.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// How many sends may be unconfirmed at once.
    pub fn window(&self) -> usize {
        self.owner.window
    }

    /// How far sends are confirmed, as it moves.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.owner.outbox.progress.subscribe()
    }

    /// The last ticket given.
    pub fn last_ticket(&self) -> Ticket {
        self.owner.outbox.last_ticket()
    }

    /// Waits until all sends so far are confirmed or refused.
    ///
    /// # Errors
    /// Why the client ended before that.
    pub async fn all_confirmed(&self) -> Result<(), ClientError> {
        let last = self.last_ticket();
        let mut progress = self.progress();
        let mut connection = self.connection();
        tokio::select! {
            biased;
            _ = progress.wait_for(|now| now.confirmed >= last) => Ok(()),
            why = ended(&mut connection) => Err(why.err().unwrap_or(ClientError::Closed)),
        }
    }

    /// The sends refused since the last call, but for those of [`send_confirmed`](Self::send_confirmed).
    pub fn take_failures(&self) -> Vec<Failure> {
        self.owner.outbox.take_failures()
    }

    /// The state of the connection, as it changes.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.owner.outbox.connection.subscribe()
    }

    /// Starts a consumer, or goes on with one; returns when the broker has confirmed it.
    ///
    /// # Errors
    /// [`ClientError::Refused`], or why the client has ended.
    pub async fn consume(&self, options: ConsumeOptions) -> Result<Consumer, ClientError> {
        let name: Arc<str> = match &options.name {
            Some(name) => name.as_str().into(),
            None => format!("c-{}", Uuid::new_v4().simple()).into(),
        };
        let shelf = Arc::new(Shelf::new(name, &options));
        let (reply, outcome) = oneshot::channel();
        let command = Command::Consume {
            existing: options.existing && self.opening().resumed,
            frame: consume_frame(&shelf.name, options),
            shelf: Arc::clone(&shelf),
            reply,
        };
        // Made before the wait, so that a caller who stops waiting leaves no consumer behind.
        let consumer = Consumer::new(Arc::clone(&self.owner), shelf);
        if !self.owner.outbox.push(command) {
            return Err(self.why_ended());
        }
        outcome.await.unwrap_or_else(|_| Err(self.why_ended()))?;
        Ok(consumer)
    }

    /// Sends a request and waits for its reply: a message to the `reply-to` given with it, a temporary queue of this
    /// session, with the request's `correlation-id`. Both fields are set here.
    ///
    /// # Errors
    /// [`ClientError::NoReply`] after `patience`; [`ClientError::Refused`]; why the client has ended.
    pub async fn request(
        &self,
        message: Outgoing,
        patience: Duration,
    ) -> Result<Delivery, ClientError> {
        let replies = &self.owner.replies;
        let start = || Replies::start(self);
        let exchange = async {
            let replies = replies.get_or_try_init(start).await?;
            replies.exchange(self, message).await
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClientError::NoReply(patience)),
        }
    }

    /// Waits until everything sent and settled is confirmed, through as many reconnects as it takes, then ends the
    /// session and its temporary queues. What is in hand unsettled is released. Bound it with a timeout.
    ///
    /// # Errors
    /// Why the client ended otherwise.
    pub async fn close(self) -> Result<(), ClientError> {
        self.owner.outbox.wish(Wish::Close);
        ended(&mut self.connection()).await
    }

    /// Drops the socket at once and keeps the session: its unconfirmed sends are in doubt until it is resumed.
    pub async fn detach(self) {
        self.owner.outbox.wish(Wish::Detach);
        // An error that ended it before is as good an end.
        drop(ended(&mut self.connection()).await);
    }

    /// Waits until the client has ended, by whatever cause.
    ///
    /// # Errors
    /// The error that ended it.
    pub async fn ended(&self) -> Result<(), ClientError> {
        ended(&mut self.connection()).await
    }

    fn check(&self, message: &Outgoing) -> Result<(), ClientError> {
        let max = self.owner.opening.frame_bytes_max;
        let bytes = message.frame_bytes_at_most();
        if max > 0 && bytes > max {
            return Err(ClientError::TooBig { bytes, max });
        }
        Ok(())
    }

    /// Waits for room in the window for `n` sends.
    async fn room(&self, n: usize) -> Result<(), ClientError> {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let permits = self.owner.outbox.window.acquire_many(n).await;
        permits.map_err(|_| self.why_ended())?.forget();
        Ok(())
    }

    fn push(
        &self,
        messages: Vec<Outgoing>,
        reply: Option<outbox::Reply>,
    ) -> Result<Ticket, ClientError> {
        let frames = messages.into_iter().map(Outgoing::into_frame);
        let ticket = self.owner.outbox.push_sends(frames, reply);
        ticket.ok_or_else(|| self.why_ended())
    }

    fn why_ended(&self) -> ClientError {
        self.owner.outbox.why_ended()
    }
}

fn consume_frame(name: &Arc<str>, options: ConsumeOptions) -> Consume {
    Consume {
        seq: 0,
        consumer: name.to_string(),
        address: options.address,
        limit: None,
        mode: options.mode,
        from: options.from,
        filter: options.filter,
        settle: options.settle,
        exclusive: options.exclusive,
    }
}

async fn ended(connection: &mut watch::Receiver<Connection>) -> Result<(), ClientError> {
    let over = |now: &Connection| matches!(now, Connection::Closed | Connection::Failed(_));
    match connection.wait_for(over).await.as_deref() {
        Ok(Connection::Failed(error)) => Err(error.clone()),
        _ => Ok(()),
    }
}
