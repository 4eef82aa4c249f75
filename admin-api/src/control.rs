//! What the admin API asks of the broker, and nothing else of it is known here.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

/// A future on the heap, so that [`Control`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The broker, as the admin API sees it. Any method may be called at any time, from many requests at once.
pub trait Control: Send + Sync + 'static {
    /// How the broker is. Must not wait: it is asked by whoever restarts what hangs.
    fn health(&self) -> Health;

    /// All metrics, in Prometheus' text format 0.0.4.
    fn metrics(&self) -> String;

    /// All queues of all realms, in any order. No queue comes twice.
    fn queues(&self) -> BoxFuture<'_, Vec<QueueInfo>>;

    /// Who shows `authorization`, the untouched value of that header (RFC 9110 §11.6.2), from the address `peer`.
    ///
    /// Counts wrong passwords; may be dropped half-way. Must not log `authorization`.
    ///
    /// # Errors
    /// [`AuthError`]: not let in.
    fn authenticate<'a>(
        &'a self,
        authorization: &'a [u8],
        peer: IpAddr,
    ) -> BoxFuture<'a, Result<Admin, AuthError>>;
}

/// How the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// False: only a restart helps. Depends on no disk space, no link and no peer.
    pub live: bool,
    /// The broker takes traffic if all of these are `ok`; none at all means that it does.
    pub ready: Vec<Check>,
}

impl Health {
    /// Whether all checks are `ok`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.iter().all(|check| check.ok)
    }
}

/// One condition of being ready. Shown to everybody who can reach the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Such as `recovered`, `log`, `disk`, `listeners`, `draining`: lower case, and never another for the same condition.
    pub name: &'static str,
    /// Whether it is met.
    pub ok: bool,
    /// One line for the operator, without secrets and paths. May be empty.
    pub text: String,
}

/// A queue, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueInfo {
    /// Its realm.
    pub realm: String,
    /// Its name, unique in the realm.
    pub name: String,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Messages that wait for a consumer.
    pub messages_ready: u64,
    /// Messages that a consumer has and did not settle yet.
    pub messages_unsettled: u64,
    /// What all its messages' bodies and properties take.
    pub bytes: u64,
    /// Consumers that are attached.
    pub consumers: u64,
    /// The offset that the next message will get.
    pub next_offset: u64,
    /// When its oldest message came: milliseconds since 1970 UTC. None: it is empty.
    pub oldest_timestamp: Option<u64>,
    /// Its limits.
    pub policy: Policy,
}

/// A queue's limits. None: there is no such limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// How long a message may wait, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Messages in the queue.
    pub max_messages: Option<u64>,
    /// Bytes in the queue.
    pub max_bytes: Option<u64>,
    /// Deliveries of one message, the first included.
    pub max_attempts: Option<u32>,
    /// The address where messages go that expire, overflow or fail too often. None: they are dropped.
    pub dead_letter: Option<String>,
}

/// Somebody who was let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// The user's or key's name, for the log.
    pub name: String,
    /// May see metrics and resources.
    pub may_read: bool,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Malformed, wrong, unknown or disabled: 401.
    #[error("these credentials are not valid")]
    Refused,
    /// Too many wrong passwords from this address or for this account: 429.
    #[error("too many wrong passwords")]
    TooMany {
        /// Earlier tries are refused unseen.
        retry_after: Duration,
    },
    /// Too many passwords are being checked: 503.
    #[error("too many log-ins at once")]
    Busy,
}
