//! The one interface that sessions, links and control use (design: `ARCHITECTURE.md`).

mod call;

use std::sync::Arc;

pub use call::{
    Attach, AttachError, Attached, Call, Consume, Delivery, End, Event, Protocol, SessionWish,
    Settle, Source,
};
use restante_proto::mbws::Ranges;

/// The broker: a cheap handle to the log, the engine and everybody attached.
#[derive(Clone)]
pub struct Broker {
    #[expect(dead_code, reason = "interface first")]
    inner: Arc<()>,
}

/// One client inside the broker. Owned by the task that drives its socket; dropping it means that the socket is gone.
pub struct Attachment {}

impl Broker {
    /// Whether there is a realm of that name.
    pub fn has_realm(&self, _name: &str) -> bool {
        unimplemented!("interface first")
    }

    /// Starts or resumes a session for a client. Waits, where a session is resumed or durable, for the log; returns
    /// when the session itself is durable.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub async fn attach(&self, _wish: Attach) -> Result<(Attachment, Attached), AttachError> {
        unimplemented!("interface first")
    }
}

impl Attachment {
    /// Takes a wish; answered, in order of tags, by [`Event::Confirmed`]. Never waits. Tags ascend by one.
    pub fn call(&mut self, _tag: u64, _call: Call) {
        unimplemented!("interface first")
    }

    /// Raises to `limit` how many deliveries `consumer` may have been sent on this socket. Not answered; a consumer
    /// that is not there is ignored.
    pub fn credit(&mut self, _consumer: &str, _limit: u64) {
        unimplemented!("interface first")
    }

    /// After a resume, before credit: what the client still has in hand; all else of that consumer goes back.
    pub fn hold(&mut self, _consumer: &str, _offsets: &Ranges) {
        unimplemented!("interface first")
    }

    /// Hands all calls since the last flush to the log, as one batch. Call it when a read brought nothing more.
    pub fn flush(&mut self) {
        unimplemented!("interface first")
    }

    /// Whether more calls may be made now. While false, the driver must not read its socket: backpressure.
    pub fn has_room(&self) -> bool {
        unimplemented!("interface first")
    }

    /// Waits until there is something to [`drain`](Self::drain) or there is room again. Cancel-safe.
    pub async fn ready(&mut self) {
        unimplemented!("interface first")
    }

    /// Takes what is ready: confirms, deliveries up to about `bytes_max` of bodies, the end. Never waits.
    pub fn drain(&mut self, _bytes_max: usize) -> Vec<Event> {
        unimplemented!("interface first")
    }

    /// Ends the session for good (MBWS `close`): what it had not settled is released, its temporary queues go.
    pub fn end(self) {
        unimplemented!("interface first")
    }
}
