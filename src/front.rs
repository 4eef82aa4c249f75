//! Where clients come in: listeners, what is spoken, the HTTP upgrade, and one loop for each connection.
//!
//! ```text
//! accept ─▶ gate (TLS or plain) ─▶ door ─┬─▶ upgrade ─▶ drive (MBWS) ─┬─ ⇄ session ⇄ broker
//!                                        └───────────▶ mqtt, wamp ───┘
//! ```
//!
//! Not here: decisions about messages (session, broker), credentials (access), TLS itself (tls), settings' defaults
//! (config).

mod accept;
mod attach;
mod auth;
mod clock;
mod door;
mod drive;
mod listener;
mod metrics;
mod mqtt;
mod newcomers;
mod origin;
mod port;
mod pulse;
mod ration;
mod refused;
mod request;
mod socket;
mod sp;
mod tcp;
#[cfg(test)]
mod tests;
mod traffic;
mod upgrade;
mod wamp;
mod wamp_prove;

use std::sync::Arc;
use std::time::Duration;

use restante_proto::mbws::Limits;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use auth::{Answer, Authenticate, NotBelieved, Proof, Welcomed};
pub use door::{Listener, Takes};
pub use listener::{Socket, UnixSocket};
pub use port::{Inside, Port};
pub use traffic::Traffic;
pub use wamp::{LongPoll, Wamp};
pub use wamp_prove::{Prover, Shown, Step};

use crate::session;
use crate::session::mbws;

/// How long a peer may take to close its end after we have closed ours.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What the front is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Open connections, over all listeners; at least 1.
    pub connections_max: usize,
    /// Open connections of one address that have not said yet who they are; at least 1.
    pub unauthenticated_per_address: usize,
    /// Web pages that may connect beside those of our own host, like `https://console.example`.
    pub origins: Vec<String>,
    /// What one frame may be; no WebSocket message is longer than its `frame_bytes_max`.
    pub limits: Limits,
    /// How long an attach may take, with authentication and, for a resumed session, the log.
    pub attach_within: Duration,
    /// How long a shutdown waits for confirms of what is under way.
    pub drain: Duration,
    /// What MBWS sessions are told. Its `open_within` is one deadline from accept to `open`, or to the CONNECT of MQTT.
    pub mbws: mbws::Settings,
    /// The MQTT door; none: it is shut.
    pub mqtt: Option<Mqtt>,
    /// The WAMP door; none: it is shut.
    pub wamp: Option<Wamp>,
    /// The SP door; none: it is shut.
    pub sp: Option<Sp>,
}

/// The SP door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sp {
    /// Bytes of the longest message, its header included.
    pub message_bytes_max: usize,
    /// How long a connection may be silent before the system looks whether its peer is still there.
    pub keep_alive: Duration,
    /// What sessions are told.
    pub session: session::sp::Settings,
}

/// The MQTT door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Where MQTT over WebSocket is: each `/`, or without a slash at its end.
    pub paths: Vec<String>,
    /// What sessions are told. Its `connect_within` counts from accept.
    pub session: session::mqtt::Settings,
}

/// What all connections share.
struct Front<B> {
    broker: B,
    auth: Arc<dyn Authenticate>,
    settings: Settings,
    mbws: Arc<mbws::Settings>,
    mqtt: Option<Arc<session::mqtt::Settings>>,
    wamp: Option<Arc<session::wamp::Settings>>,
    sp: Option<Arc<session::sp::Settings>>,
    permits: Arc<Semaphore>,
    newcomers: newcomers::Newcomers,
    long_polls: Arc<wamp::LongPolls>,
    metrics: Arc<metrics::Metrics>,
    shutdown: watch::Receiver<bool>,
}

/// Serves clients on `listeners` until `shutdown` says true (or its sender is gone), then drains: no frame is taken any
/// more, what is under way is confirmed, every client is told `shutting-down`.
///
/// Ends when all connections have, at the latest [`Settings::drain`] and a few seconds after the shutdown; what is open
/// then is cut. Call it after the metrics recorder is installed. `traffic` is counted in as it goes.
pub async fn serve<B: Inside>(
    listeners: Vec<Listener>,
    broker: B,
    auth: Arc<dyn Authenticate>,
    settings: Settings,
    traffic: Arc<Traffic>,
    shutdown: watch::Receiver<bool>,
) {
    let front = Arc::new(Front {
        broker,
        auth,
        mbws: Arc::new(settings.mbws.clone()),
        mqtt: settings
            .mqtt
            .as_ref()
            .map(|it| Arc::new(it.session.clone())),
        wamp: settings
            .wamp
            .as_ref()
            .map(|it| Arc::new(it.session.clone())),
        sp: settings.sp.as_ref().map(|it| Arc::new(it.session.clone())),
        permits: Arc::new(Semaphore::new(settings.connections_max)),
        newcomers: newcomers::Newcomers::new(settings.unauthenticated_per_address),
        long_polls: wamp::LongPolls::new(),
        metrics: Arc::new(metrics::Metrics::new(traffic)),
        settings,
        shutdown,
    });
    let loops = listeners.into_iter();
    let loops: JoinSet<()> = loops
        .map(|listener| accept::accept(front.clone(), listener))
        .collect();
    let patience = front.settings.drain + 2 * CLOSE_WITHIN;
    let long_polls = front.long_polls.drain(front.shutdown.clone(), patience);
    tokio::join!(loops.join_all(), long_polls);
}
