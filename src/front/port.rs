//! The broker as the front sees it: two traits, for the broker itself and for the one that tests make up.
//!
//! Both say nothing that [`Broker`] and [`Attachment`] do not say: see there what each method means.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use restante_proto::mbws::Ranges;

use crate::access::Principal;
use crate::broker::{
    Attach, AttachError, Attached, Attachment, Broker, Call, End, Event, Protocol, WampAsk,
};
use crate::engine::address::{Address, AddressLimits};
use crate::registry::Verb;

/// Where clients are attached: [`Broker`].
pub trait Inside: Clone + Send + Sync + 'static {
    /// What an attached client gets.
    type Port: Port;

    /// Whether there is a realm of that name.
    fn has_realm(&self, name: &str) -> bool;

    /// Whether somebody at a door may do that with an address: the one decision.
    fn may(
        &self,
        from: (SocketAddr, Protocol),
        who: &Principal,
        verb: Verb,
        realm: &str,
        address: &Address,
    ) -> bool;

    /// What addresses may be.
    fn address_limits(&self) -> AddressLimits;

    /// Starts or resumes a session for a client. May be dropped half-way.
    fn attach(
        &self,
        wish: Attach,
    ) -> impl Future<Output = Result<(Self::Port, Attached), AttachError>> + Send;
}

/// One client inside the broker: [`Attachment`].
pub trait Port: Send + 'static {
    /// Takes a wish; never waits.
    fn call(&mut self, tag: u64, call: Call);
    /// Asks the realm's WAMP router; never waits.
    fn wamp(&mut self, ask: WampAsk);
    /// Raises a consumer's credit.
    fn credit(&mut self, consumer: &str, limit: u64);
    /// What a resumed client has in hand.
    fn hold(&mut self, consumer: &str, offsets: &Ranges);
    /// Has the session outlive its connection so long after all.
    fn set_expiry(&mut self, expiry: Duration);
    /// The client says goodbye: its will is not published.
    fn give_up_will(&mut self);
    /// Hands over what was called since the last flush.
    fn flush(&mut self);
    /// Whether more may be called now.
    fn has_room(&self) -> bool;
    /// Waits for something to drain, or for room again; where `deliveries` are not wanted, not for them. Cancel-safe.
    fn ready(&mut self, deliveries: bool) -> impl Future<Output = ()> + Send;
    /// Waits for what is heeded also while the client takes nothing. Cancel-safe.
    fn alarmed(&mut self) -> impl Future<Output = ()> + Send;
    /// Takes what is ready, no deliveries if `bytes_max` is 0; never waits.
    fn drain(&mut self, bytes_max: usize) -> Vec<Event>;
    /// Ends the session for good.
    fn end(self);
}

/// What of the broker's news a connection takes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    All,
    /// The session has deliveries enough.
    AllButDeliveries,
    /// The peer does not read: only what is heeded all the same.
    Alarms,
}

/// Waits for such news.
pub(super) async fn heard_of<P: Port>(port: &mut P, wanted: News) {
    match wanted {
        News::All => port.ready(true).await,
        News::AllButDeliveries => port.ready(false).await,
        News::Alarms => port.alarmed().await,
    }
}

/// Whether the broker lets the client go with this, so that one who reads nothing is not waited for.
pub(super) fn lets_go(event: &Event) -> bool {
    matches!(event, Event::Ended(end) if *end != End::ShuttingDown)
}

impl Inside for Broker {
    type Port = Attachment;

    fn has_realm(&self, name: &str) -> bool {
        Broker::has_realm(self, name)
    }

    fn may(
        &self,
        from: (SocketAddr, Protocol),
        who: &Principal,
        verb: Verb,
        realm: &str,
        address: &Address,
    ) -> bool {
        Broker::may(self, from, who, verb, realm, address)
    }

    fn address_limits(&self) -> AddressLimits {
        Broker::address_limits(self)
    }

    fn attach(
        &self,
        wish: Attach,
    ) -> impl Future<Output = Result<(Attachment, Attached), AttachError>> + Send {
        Broker::attach(self, wish)
    }
}

impl Port for Attachment {
    fn call(&mut self, tag: u64, call: Call) {
        Attachment::call(self, tag, call);
    }

    fn wamp(&mut self, ask: WampAsk) {
        Attachment::wamp(self, ask);
    }

    fn credit(&mut self, consumer: &str, limit: u64) {
        Attachment::credit(self, consumer, limit);
    }

    fn hold(&mut self, consumer: &str, offsets: &Ranges) {
        Attachment::hold(self, consumer, offsets);
    }

    fn set_expiry(&mut self, expiry: Duration) {
        Attachment::set_expiry(self, expiry);
    }

    fn give_up_will(&mut self) {
        Attachment::give_up_will(self);
    }

    fn flush(&mut self) {
        Attachment::flush(self);
    }

    fn has_room(&self) -> bool {
        Attachment::has_room(self)
    }

    fn ready(&mut self, deliveries: bool) -> impl Future<Output = ()> + Send {
        Attachment::ready_for(self, deliveries)
    }

    fn alarmed(&mut self) -> impl Future<Output = ()> + Send {
        Attachment::alarmed(self)
    }

    fn drain(&mut self, bytes_max: usize) -> Vec<Event> {
        Attachment::drain(self, bytes_max)
    }

    fn end(self) {
        Attachment::end(self);
    }
}
