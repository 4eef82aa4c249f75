//! From `open` or CONNECT to an attachment: who it is, before the deadline of whoever has not said it yet; then the session
//! it wants.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;

use super::auth::{NotBelieved, Proof};
use super::clock::now;
use super::door::Client;
use super::port::Inside;
use super::{Front, metrics};
use crate::access::Principal;
use crate::broker::{Attach, Attached, NewWill, Protocol, SessionWish, SpClient, WampClient};
use crate::session::{Credentials, NotAttached, mbws, mqtt};

/// What a client says of itself, and what it wants, whatever it speaks.
pub(super) struct Wish {
    credentials: Option<Credentials>,
    /// Whom it has proved to be already, in more than one step.
    pub(super) proved: Option<Principal>,
    /// When it asked, where it took more than one step since to know it.
    pub(super) asked: Option<Instant>,
    protocol: Protocol,
    session: SessionWish,
    name: Option<String>,
    client: Option<Arc<str>>,
    will: Option<Box<NewWill>>,
    wamp: Option<Box<WampClient>>,
    sp: Option<Box<SpClient>>,
}

impl Wish {
    /// Whether it shows a token, or a JWT.
    pub(super) fn shows_token(&self) -> bool {
        matches!(self.credentials, Some(Credentials::Token(_)))
    }

    /// Of a WAMP client that is known.
    pub(super) fn of_wamp(principal: Principal, client: Box<WampClient>) -> Self {
        Wish {
            wamp: Some(client),
            ..Wish::of_known(principal, Protocol::Wamp)
        }
    }

    /// Of an SP client, which was known by its upgrade.
    pub(super) fn of_sp(principal: Principal, client: SpClient) -> Self {
        Wish {
            sp: Some(Box::new(client)),
            ..Wish::of_known(principal, Protocol::Sp)
        }
    }

    /// Of somebody who is known, for a session that ends with the connection.
    fn of_known(principal: Principal, protocol: Protocol) -> Self {
        Wish {
            credentials: None,
            proved: Some(principal),
            asked: None,
            protocol,
            session: SessionWish {
                id: None,
                expiry: std::time::Duration::ZERO,
                fresh: false,
            },
            name: None,
            client: None,
            will: None,
            wamp: None,
            sp: None,
        }
    }
}

impl From<mbws::AttachWish> for Wish {
    fn from(wish: mbws::AttachWish) -> Self {
        Wish {
            credentials: wish.credentials,
            proved: None,
            asked: None,
            protocol: Protocol::Mbws,
            session: wish.session,
            name: wish.name,
            client: None,
            will: None,
            wamp: None,
            sp: None,
        }
    }
}

impl From<mqtt::AttachWish> for Wish {
    fn from(wish: mqtt::AttachWish) -> Self {
        Wish {
            credentials: wish.credentials,
            proved: None,
            asked: None,
            protocol: Protocol::Mqtt,
            session: wish.session,
            name: None,
            client: Some(wish.client),
            will: wish.will,
            wamp: None,
            sp: None,
        }
    }
}

/// Authenticates a client until `deadline`, and attaches it. What it gets is in a box: a connection's task has room for
/// each place that it is handed on to.
pub(super) async fn attach<B: Inside>(
    front: &Front<B>,
    client: &Client,
    wish: Wish,
    deadline: Instant,
) -> Result<(Box<B::Port>, Attached), NotAttached> {
    let began = now();
    let attached = async {
        let (shown, proved) = (wish.credentials.as_ref(), wish.proved);
        let believed = believe(front, client, shown, proved, wish.protocol);
        let believed = timeout_at(deadline.into(), believed).await;
        let principal = believed.unwrap_or(Err(NotAttached::Busy))?;
        let attach = Attach {
            principal,
            realm: client.realm.clone(),
            protocol: wish.protocol,
            peer: client.peer,
            tls: client.tls,
            session: wish.session,
            name: wish.name,
            client: wish.client,
            will: wish.will,
            wamp: wish.wamp,
            sp: wish.sp,
            asked: wish.asked.unwrap_or(began),
        };
        let (port, attached) = front.broker.attach(attach).await?;
        Ok((Box::new(port), attached))
    };
    let attached = tokio::time::timeout(front.settings.attach_within, Box::pin(attached)).await;
    metrics::attached(began, now());
    attached.unwrap_or(Err(NotAttached::Busy))
}

/// Who it is, by the upgrade or by `open` or CONNECT. By both only if they name the same principal: one of them would otherwise
/// have been believed in vain. By its certificate only where it said nothing: what somebody says counts for more than
/// what their machine shows by itself.
async fn believe<B: Inside>(
    front: &Front<B>,
    client: &Client,
    shown: Option<&Credentials>,
    proved: Option<Principal>,
    protocol: Protocol,
) -> Result<Principal, NotAttached> {
    let verify = |proof| front.auth.verify(proof, client.peer, protocol);
    let shown = match shown {
        Some(credentials) => Some(verify(Proof::Open(credentials)).await?),
        None => proved,
    };
    match (client.principal.as_ref(), shown) {
        (Some(upgrade), Some(shown)) if upgrade.name != shown.name => {
            Err(NotAttached::Unauthorized)
        }
        (Some(upgrade), _) => Ok(upgrade.clone()),
        (None, Some(shown)) => Ok(shown),
        (None, None) => match client.certificate.as_deref() {
            Some(der) => Ok(verify(Proof::Certificate(der)).await?),
            None => Err(NotAttached::Unauthorized),
        },
    }
}

impl From<NotBelieved> for NotAttached {
    fn from(why: NotBelieved) -> Self {
        match why {
            NotBelieved::Wrong => NotAttached::Unauthorized,
            NotBelieved::Throttled => NotAttached::Throttled,
            NotBelieved::Busy => NotAttached::Busy,
        }
    }
}
