//! Which door a connection comes in by: by its first byte, and where that begins an HTTP request, by the upgrade.
//!
//! ```text
//! gate ─▶ first byte ─┬─ 0x10, a CONNECT ─▶ MQTT over TCP
//!                     ├─ 0x7F ─▶ handshake ▶ WAMP over RawSocket
//!                     └─ anything else ───▶ upgrade ─┬─▶ MBWS or SP, or MQTT or WAMP over WebSocket
//!                                                    └─▶ requests of WAMP's long-poll
//! ```
//!
//! A listener of MQTT or of WAMP alone looks at nothing: whatever comes there is to be that.
//!
//! Always, with a test of its name in `front::tests`:
//! - `the_first_byte_tells_what_is_spoken`, encrypted or not.
//!
//! Not here: the deadline (accept), what an HTTP request must be (request).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use restante_proto::wamp::rawsocket::MAGIC;
use uuid::Uuid;

use super::listener::Socket;
use super::port::Inside;
use super::upgrade::{Requests, upgrade};
use super::wamp::{self, Way};
use super::{Front, metrics};
use crate::access::Principal;
use crate::broker::Protocol;
use crate::logs::seldom;
use crate::session;
use crate::tls::{Admitted, Gate, Stream};

/// The realm of those who name none.
pub(super) const REALM_DEFAULT: &str = "default";
/// The fixed header of a CONNECT begins so, in every version (MQTT 5.0 §3.1.1).
const CONNECT: u8 = 0x10;

/// Where clients come, and what they may speak there.
pub struct Listener {
    /// The socket.
    pub socket: Socket,
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
    /// WAMP over RawSocket.
    Wamp,
}

/// What became of a connection that was let in.
pub(super) enum Arrived {
    /// It has found its door.
    AtDoor(Box<Arrival>),
    /// It stays with HTTP, for one request after the other.
    Requests(Requests),
}

/// A connection that has found its door.
pub(super) struct Arrival {
    pub(super) stream: Stream,
    /// What came behind the upgrade's request.
    pub(super) early: Bytes,
    pub(super) client: Client,
}

impl Arrival {
    /// Out of its box, which is given back: one that is taken from stays as long as its name.
    pub(super) fn unboxed(self: Box<Self>) -> Self {
        *self
    }
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
    /// Who an SP client is; none: what it wants to speak is not spoken.
    pub(super) sp: Option<Box<session::sp::Client>>,
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
    /// WAMP, by whatever transport.
    Wamp(Way),
    /// SP, in binary WebSocket messages.
    Sp,
}

impl Door {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Door::Mbws => Protocol::Mbws,
            Door::MqttOverWebSocket | Door::MqttOverTcp => Protocol::Mqtt,
            Door::Wamp(_) => Protocol::Wamp,
            Door::Sp => Protocol::Sp,
        }
    }

    /// Whether it is behind an upgrade.
    pub(super) fn is_web_socket(self) -> bool {
        match self {
            Door::Mbws | Door::MqttOverWebSocket | Door::Sp => true,
            Door::MqttOverTcp => false,
            Door::Wamp(way) => way.transport == wamp::Transport::WebSocket,
        }
    }
}

/// Finds the door of a connection; none where it ends before, or is refused. Has no deadline of its own.
pub(super) async fn arrive<B: Inside>(
    front: &Arc<Front<B>>,
    takes: Takes,
    mut admitted: Admitted,
    peer: SocketAddr,
    conn: Uuid,
) -> Option<Arrived> {
    let looks = takes == Takes::All && (front.mqtt.is_some() || front.settings.wamp.is_some());
    let first = match looks {
        true => Some(admitted.stream.first_byte().await.ok()??),
        false => None,
    };
    let door = match (takes, first) {
        (Takes::Mqtt, _) => Door::MqttOverTcp,
        (Takes::All, Some(CONNECT)) if front.mqtt.is_some() => Door::MqttOverTcp,
        (Takes::Wamp, _) => shake_hands(front, &mut admitted.stream, peer, conn).await?,
        (Takes::All, Some(MAGIC)) if front.settings.wamp.is_some() => {
            shake_hands(front, &mut admitted.stream, peer, conn).await?
        }
        (Takes::All, _) => return upgrade(front, admitted, peer, conn).await,
    };
    Some(Arrived::AtDoor(Box::new(Arrival {
        client: Client {
            conn,
            peer,
            door,
            realm: Arc::from(REALM_DEFAULT),
            principal: None,
            sp: None,
            certificate: admitted.certificate,
            tls: admitted.stream.is_tls(),
        },
        stream: admitted.stream,
        early: Bytes::new(),
    })))
}

/// The door of whoever speaks RawSocket; none: its handshake was not good, and it was told why.
async fn shake_hands<B>(
    front: &Front<B>,
    stream: &mut Stream,
    peer: SocketAddr,
    conn: Uuid,
) -> Option<Door> {
    let settings = front.settings.wamp.as_ref()?;
    match wamp::shake_hands(stream, settings).await {
        Ok(way) => Some(Door::Wamp(way)),
        Err(reason) => {
            metrics::handshake_refused(reason);
            seldom!(60, info, %conn, %peer, reason, "RawSocket refused");
            None
        }
    }
}
