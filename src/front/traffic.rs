//! What goes over MQTT connections, counted for `$SYS` topics, which want numbers that can be read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start. Shared by all connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes, packets and PUBLISH packets from clients.
    pub received: Way,
    /// The same to clients.
    pub sent: Way,
    /// Clients attached now, and the most at once.
    pub connected: AtomicU64,
    pub(crate) most: AtomicU64,
    /// Connections that came to speak MQTT.
    pub sockets: AtomicU64,
    /// Clients that were attached.
    pub attached: AtomicU64,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Way {
    /// Bytes, without what a WebSocket or TLS adds.
    pub bytes: AtomicU64,
    /// Packets.
    pub packets: AtomicU64,
    /// Of them, PUBLISH.
    pub publishes: AtomicU64,
    /// The payloads' bytes in those.
    pub payload_bytes: AtomicU64,
}

impl Way {
    pub(super) fn count(&self, bytes: usize, packets: u64, publishes: u64, payload_bytes: u64) {
        for (count, more) in [
            (&self.bytes, bytes as u64),
            (&self.packets, packets),
            (&self.publishes, publishes),
            (&self.payload_bytes, payload_bytes),
        ] {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

impl Traffic {
    /// One client more, until it is dropped.
    pub(super) fn client(self: &Arc<Self>) -> Connected {
        self.attached.fetch_add(1, Ordering::Relaxed);
        let n = 1 + self.connected.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(n, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }
}

/// Counts a client for as long as it lives.
#[derive(Debug)]
pub(super) struct Connected(Arc<Traffic>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
