//! Which door a connection comes in by: by its first byte, and where that begins an HTTP request, by the upgrade.
//!
//! ```text
//! gate ─▶ first byte ─┬─ 0x10, a CONNECT ─▶ MQTT over TCP
//!                     └─ anything else ───▶ upgrade ─▶ MBWS, or MQTT over WebSocket
//! ```
//!
//! A listener of MQTT alone looks at nothing: whatever comes there is to be MQTT.
//!
//! Always, with a test of its name in `front::tests`:
//! - `the_first_byte_tells_what_is_spoken`, encrypted or not.
//!
//! Not here: the deadline (accept), what an HTTP request must be (request).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::Front;
use super::port::Inside;
use super::upgrade::upgrade;
use crate::access::Principal;
use crate::broker::Protocol;
use crate::tls::{Admitted, Gate, Stream};

/// The realm of those who name none.
pub(super) const REALM_DEFAULT: &str = "default";
/// The fixed header of a CONNECT begins so, in every version (MQTT 5.0 §3.1.1).
const CONNECT: u8 = 0x10;

/// Where clients come, and what they may speak there.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// What is let in.
    pub gate: Gate,
    /// What is spoken.
    pub takes: Takes,
}

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// All that there is; each connection's first byte tells which.
    All,
    /// MQTT over TCP.
    Mqtt,
}

/// A connection that has found its door.
pub(super) struct Arrival {
    pub(super) stream: Stream,
    /// What came behind the upgrade's request.
    pub(super) early: Bytes,
    pub(super) client: Client,
}

/// Who is at the other end, for logs and for the broker.
pub(super) struct Client {
    /// This connection's id.
    pub(super) conn: Uuid,
    pub(super) peer: SocketAddr,
    pub(super) door: Door,
    pub(super) realm: Arc<str>,
    /// Who it is by the upgrade's `Authorization`.
    pub(super) principal: Option<Principal>,
    /// The certificate that it showed, in DER.
    pub(super) certificate: Option<Arc<[u8]>>,
    /// Whether its connection is encrypted.
    pub(super) tls: bool,
}

/// What is spoken over a connection, and how its bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// MBWS, in WebSocket messages.
    Mbws,
    /// MQTT, in binary WebSocket messages.
    MqttOverWebSocket,
    /// MQTT, in the connection's own bytes.
    MqttOverTcp,
}

impl Door {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Door::Mbws => Protocol::Mbws,
            Door::MqttOverWebSocket | Door::MqttOverTcp => Protocol::Mqtt,
        }
    }
}

/// Finds the door of a connection; none where it ends before, or is refused. Has no deadline of its own.
pub(super) async fn arrive<B: Inside>(
    front: &Front<B>,
    takes: Takes,
    mut admitted: Admitted,
    peer: SocketAddr,
    conn: Uuid,
) -> Option<Arrival> {
    let is_mqtt = match takes {
        Takes::Mqtt => true,
        Takes::All => front.mqtt.is_some() && admitted.stream.first_byte().await.ok()?? == CONNECT,
    };
    if !is_mqtt {
        return upgrade(front, admitted, peer, conn).await;
    }
    Some(Arrival {
        client: Client {
            conn,
            peer,
            door: Door::MqttOverTcp,
            realm: Arc::from(REALM_DEFAULT),
            principal: None,
            certificate: admitted.certificate,
            tls: admitted.stream.is_tls(),
        },
        stream: admitted.stream,
        early: Bytes::new(),
    })
}
