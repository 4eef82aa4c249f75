//! Who proves who it is, step by step: from what a session wishes to the one who knows, and back.
//!
//! Nothing here waits: a step costs some HMACs. An exchange is one connection's, and begins anew with each first message.
//!
//! Who has authenticated once stays who it is: another authentication proves that the same user is still there, and whoever proves
//! to be another is let go. That the user may still be here is watched by the broker, as for everybody.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use restante_proto::mqtt::Secret;

use crate::access::{Exchange, Principal};
use crate::broker::Protocol;
use crate::front::Authenticate;
use crate::session::NotAttached;
use crate::session::mqtt::{Proved, Step};

/// One client's authentications with a method.
pub(super) struct Prover {
    auth: Arc<dyn Authenticate>,
    peer: SocketAddr,
    exchange: Option<Exchange>,
    /// Who it proved to be first.
    who: Option<Arc<str>>,
    /// The same, until it is attached.
    principal: Option<Principal>,
    /// The realm that may stand before its name when it authenticates anew.
    pub(super) realm: Option<Arc<str>>,
}

impl Prover {
    pub(super) fn new(auth: Arc<dyn Authenticate>, peer: SocketAddr) -> Self {
        Prover {
            auth,
            peer,
            exchange: None,
            who: None,
            principal: None,
            realm: None,
        }
    }

    /// Takes a step; `rename` may take a realm off the user's name.
    pub(super) fn step(
        &mut self,
        step: Step,
        data: &Secret,
        rename: &mut dyn FnMut(&mut String),
    ) -> Result<Proved, NotAttached> {
        let exchange = self.exchange.take();
        match step {
            Step::First => {
                let told = self
                    .auth
                    .challenge(&data.0, rename, self.peer, Protocol::Mqtt);
                let (exchange, says) = told?;
                self.exchange = Some(exchange);
                Ok(Proved::Challenge(secret(says)))
            }
            Step::Last => {
                let exchange = exchange.ok_or(NotAttached::Unauthorized)?;
                let proved = self
                    .auth
                    .prove(&exchange, &data.0, self.peer, Protocol::Mqtt);
                let (principal, says) = proved?;
                self.is(principal)?;
                Ok(Proved::Believed(secret(says)))
            }
        }
    }

    /// Takes a step of an authentication anew: in the realm of the first, which may stand before the name.
    pub(super) fn step_again(&mut self, step: Step, data: &Secret) -> Result<Proved, NotAttached> {
        let realm = self.realm.clone();
        let mut rename = |user: &mut String| {
            take_realm(user, |it| Some(it) == realm.as_deref());
        };
        self.step(step, data, &mut rename)
    }

    /// Who it is, to be attached.
    ///
    /// # Errors
    /// It has not proved to be anybody.
    pub(super) fn principal(&mut self) -> Result<Principal, NotAttached> {
        self.principal.take().ok_or(NotAttached::Unauthorized)
    }

    fn is(&mut self, principal: Principal) -> Result<(), NotAttached> {
        match &self.who {
            Some(who) if *who != principal.name => Err(NotAttached::Unauthorized),
            Some(_) => Ok(()),
            None => {
                self.who = Some(Arc::clone(&principal.name));
                self.principal = Some(principal);
                Ok(())
            }
        }
    }
}

/// Takes `REALM:` off a name, if it is there and `is_realm`; what looked like one, and whether it was.
pub(super) fn take_realm(
    user: &mut String,
    is_realm: impl FnOnce(&str) -> bool,
) -> Option<(String, bool)> {
    let (realm, rest) = user.split_once(':')?;
    if realm.is_empty() {
        return None;
    }
    let (realm, rest) = (realm.to_owned(), rest.to_owned());
    let is_realm = is_realm(&realm);
    if is_realm {
        *user = rest;
    }
    Some((realm, is_realm))
}

fn secret(text: String) -> Secret {
    Secret(Bytes::from(text))
}
