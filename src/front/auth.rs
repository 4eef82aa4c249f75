//! Who a client is: what the front shows to the one who knows, and what it hears back.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use crate::access::wamp::{self, Begun, Dict, Hello, Refusal, Welcome};
use crate::access::{Exchange, Principal};
use crate::broker::Protocol;
use crate::session::Credentials;

/// What a client shows to say who it is. Never logged.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The value of `Authorization` on the upgrade, as it came.
    Header(&'a [u8]),
    /// Fields of `open`, or of CONNECT.
    Open(&'a Credentials),
    /// A client certificate, in DER, from an authority that the configuration names; the client has its key. Shown where
    /// neither of the others is.
    Certificate(&'a [u8]),
}

/// Why somebody is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBelieved {
    /// No or wrong credentials; which of both is nobody's business.
    Wrong,
    /// Too many wrong ones from there of late: not even looked at.
    Throttled,
    /// Too many others are being checked.
    Busy,
}

/// An answer that may take tens of milliseconds: passwords are hashed slowly, elsewhere.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Principal, NotBelieved>> + Send + 'a>>;

/// The same, to WAMP's AUTHENTICATE: a ticket may be a password.
pub type Welcomed<'a> = Pin<Box<dyn Future<Output = Result<Welcome, Refusal>> + Send + 'a>>;

/// Whoever knows the credentials.
pub trait Authenticate: Send + Sync + 'static {
    /// Who it is that shows `proof` from `peer`, speaking `protocol`. May be dropped half-way.
    fn verify<'a>(&'a self, proof: Proof<'a>, peer: SocketAddr, protocol: Protocol) -> Answer<'a>;

    /// Who it is that shows nothing, if such are let in.
    fn stranger(&self) -> Option<Principal>;

    /// Begins a SCRAM exchange with a client's first message: what the client is to be told. `rename` may change the user's name,
    /// as where a realm's is in front of it. Takes no time that would have to be waited for.
    ///
    /// # Errors
    /// [`NotBelieved`]: the client is not let in.
    fn challenge(
        &self,
        first: &[u8],
        rename: &mut dyn FnMut(&mut String),
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<(Exchange, String), NotBelieved>;

    /// Ends it with the client's last message: who it is, and what it is to be told. Takes no time either.
    ///
    /// # Errors
    /// [`NotBelieved`]: the client is not let in.
    fn prove(
        &self,
        exchange: &Exchange,
        last: &[u8],
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<(Principal, String), NotBelieved>;

    /// Begins with a WAMP client's HELLO: what it is to be asked, or who it is without. Takes no time that would have to be waited for.
    ///
    /// # Errors
    /// [`Refusal`]: the client is not let in.
    fn greet(&self, hello: &Hello, peer: SocketAddr) -> Result<Begun, Refusal>;

    /// Ends it with what AUTHENTICATE says. May be dropped half-way.
    fn answer<'a>(
        &'a self,
        exchange: Box<wamp::Exchange>,
        signature: &'a str,
        extra: &'a Dict,
        peer: SocketAddr,
    ) -> Welcomed<'a>;
}
