//! Who is attached, and how: what listings, logs and administrators go by.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use restante_storage::UnixMillis;
use uuid::Uuid;

use super::call::{Attach, Protocol, SpClient, WampClient};
use super::now;

/// A client's connection: an outbox has one for as long as it lives.
#[derive(Debug)]
pub(crate) struct Card {
    /// The connection's id: a UUID v7, so that they sort by age.
    pub(super) connection: Uuid,
    /// The session's id.
    pub(super) session: Uuid,
    pub(super) realm: Arc<str>,
    pub(super) principal: Arc<str>,
    /// The client's name for its session; may be empty.
    pub(super) name: String,
    pub(super) protocol: Protocol,
    /// The client's id, where its protocol has one.
    pub(super) client: Option<Arc<str>>,
    /// Who it is to other WAMP clients, where it is one.
    pub(super) wamp: Option<Box<WampClient>>,
    pub(super) sp: Option<Box<SpClient>>,
    /// The queue that an SP client consumes from, once it does.
    pub(super) sp_queue: OnceLock<Arc<str>>,
    pub(super) peer: SocketAddr,
    pub(super) tls: bool,
    pub(super) since: UnixMillis,
    /// When it asked to be attached.
    pub(super) asked: Instant,
    durable: AtomicBool,
}

impl Card {
    pub(super) fn new(wish: &Attach, session: Uuid) -> Self {
        Card {
            connection: Uuid::now_v7(),
            session,
            realm: Arc::clone(&wish.realm),
            principal: Arc::clone(&wish.principal.name),
            name: wish.name.clone().unwrap_or_default(),
            protocol: wish.protocol,
            client: wish.client.clone(),
            wamp: wish.wamp.clone(),
            sp: wish.sp.clone(),
            sp_queue: OnceLock::new(),
            peer: wish.peer,
            tls: wish.tls,
            since: now(),
            asked: wish.asked,
            durable: AtomicBool::new(false),
        }
    }

    /// Whether its session outlives the connection.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    /// Its session was made or found in the log.
    pub(super) fn becomes_durable(&self) {
        self.durable.store(true, Ordering::Relaxed);
    }
}
