//! The broker's answer to `open`.

use restante_proto::mbws::Opened;
use uuid::Uuid;

use super::error::ClientError;

/// What `opened` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The session's id.
    pub session: Uuid,
    /// Whether an earlier session goes on.
    pub resumed: bool,
    /// The last seq of it that is durable; 0 in a new session.
    pub confirmed: u64,
    /// Seconds that the session outlives its socket, as granted.
    pub expiry: u64,
    /// How many sends may be unconfirmed, as granted.
    pub window: u32,
    /// Largest frame that the broker takes, in bytes.
    pub frame_bytes_max: usize,
    /// Seconds between pings.
    pub heartbeat: u32,
    /// The broker's id.
    pub broker: String,
    /// Product and version, for people.
    pub server: String,
}

impl Opening {
    pub(super) fn parse(opened: Opened) -> Result<Self, ClientError> {
        let session = Uuid::parse_str(&opened.session)
            .map_err(|_| ClientError::Protocol("its session id is no UUID"))?;
        Ok(Opening {
            session,
            resumed: opened.resumed,
            confirmed: opened.confirmed,
            expiry: opened.expiry,
            window: opened.window,
            frame_bytes_max: opened.max_frame as usize,
            heartbeat: opened.heartbeat,
            broker: opened.broker,
            server: opened.server,
        })
    }
}
