//! From `open` to an attachment: who it is, then the session it wants; all of it before a deadline.

use std::net::SocketAddr;

use super::auth::{NotBelieved, Proof};
use super::clock::now;
use super::drive::Client;
use super::port::Inside;
use super::{Front, metrics};
use crate::access::Principal;
use crate::broker::{Attach, Attached, Protocol};
use crate::session::mbws::{AttachWish, Credentials, NotAttached};

/// Authenticates and attaches a client.
pub(super) async fn attach<B: Inside>(
    front: &Front<B>,
    client: &Client,
    wish: AttachWish,
) -> Result<(B::Port, Attached), NotAttached> {
    let began = now();
    let attached = async {
        let shown = wish.credentials.as_ref();
        let upgrade = client.principal.as_ref();
        let principal = believe(front, upgrade, shown, client.peer).await?;
        let attach = Attach {
            principal,
            realm: client.realm.clone(),
            protocol: Protocol::Mbws,
            peer: client.peer,
            session: wish.session,
            name: wish.name,
        };
        Ok(front.broker.attach(attach).await?)
    };
    let attached = tokio::time::timeout(front.settings.attach_within, Box::pin(attached)).await;
    metrics::attached(began, now());
    attached.unwrap_or(Err(NotAttached::Busy))
}

/// Who it is, by the upgrade or by `open`. By both only if they name the same principal: one of them would otherwise
/// have been believed in vain.
async fn believe<B: Inside>(
    front: &Front<B>,
    upgrade: Option<&Principal>,
    shown: Option<&Credentials>,
    peer: SocketAddr,
) -> Result<Principal, NotAttached> {
    let shown = match shown {
        Some(credentials) => Some(front.auth.verify(Proof::Open(credentials), peer).await?),
        None => None,
    };
    match (upgrade, shown) {
        (Some(upgrade), Some(shown)) if upgrade.name != shown.name => {
            Err(NotAttached::Unauthorized)
        }
        (Some(upgrade), _) => Ok(upgrade.clone()),
        (None, Some(shown)) => Ok(shown),
        (None, None) => Err(NotAttached::Unauthorized),
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
