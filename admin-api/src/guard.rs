//! Who may ask: what a request shows against what its route needs.
//!
//! Everything is refused that is not allowed here. Somebody without credentials costs nothing: the broker is only asked about
//! those that are shown. The header is taken out of the request, so that nothing behind the guard can log it.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tracing::debug;
use uuid::Uuid;

use crate::control::{Admin, Control};
use crate::problem::{Code, Problem};
use crate::routes::Need;

/// Lets a request from `peer` pass that has what it needs. Its credentials are gone from `headers` after that.
///
/// # Errors
/// It has not: 401, 403, 429 or 503.
pub(crate) async fn check(
    control: &dyn Control,
    need: Need,
    headers: &mut HeaderMap,
    peer: IpAddr,
    metrics_open: bool,
    request_id: Uuid,
) -> Result<(), Problem> {
    let shown = take_credentials(headers);
    let right: fn(&Admin) -> bool = match need {
        Need::Nothing => return Ok(()),
        Need::Metrics if metrics_open && peer.to_canonical().is_loopback() => return Ok(()),
        Need::Credentials => |_| true,
        Need::Metrics | Need::Read => |admin| admin.may_read,
    };
    let shown = shown?;
    let admin = control.authenticate(shown.as_bytes(), peer).await?;
    debug!(%request_id, admin = admin.name, "authenticated");
    if right(&admin) {
        Ok(())
    } else {
        Err(Problem::new(Code::Forbidden, "this needs the right `read`"))
    }
}

/// Two headers are as bad as none: a proxy may have looked at the other one.
fn take_credentials(headers: &mut HeaderMap) -> Result<HeaderValue, Problem> {
    let n_shown = headers.get_all(AUTHORIZATION).iter().count();
    match (headers.remove(AUTHORIZATION), n_shown) {
        (Some(shown), 1) => Ok(shown),
        (Some(_), _) => Err(Problem::unauthenticated(
            "more than one Authorization header",
        )),
        (None, _) => Err(Problem::unauthenticated(
            "this needs an Authorization header",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{AuthError, BoxFuture, Health, QueueInfo};

    /// Lets nobody in.
    struct Closed;

    impl Control for Closed {
        fn health(&self) -> Health {
            Health {
                live: true,
                ready: Vec::new(),
            }
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn queues(&self) -> BoxFuture<'_, Vec<QueueInfo>> {
            Box::pin(async { Vec::new() })
        }

        fn authenticate<'a>(
            &'a self,
            _: &'a [u8],
            _: IpAddr,
        ) -> BoxFuture<'a, Result<Admin, AuthError>> {
            Box::pin(async { Err(AuthError::Refused) })
        }
    }

    #[tokio::test]
    async fn metrics_are_open_to_the_machine_itself_alone_and_only_if_wanted() {
        for (peer, open, passes) in [
            ("127.0.0.1", true, true),
            ("127.8.8.8", true, true),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("127.0.0.1", false, false),
            ("10.0.0.1", true, false),
            ("::ffff:10.0.0.1", true, false),
            ("2001:db8::1", true, false),
        ] {
            for (need, passes) in [
                (Need::Metrics, passes),
                (Need::Read, false),
                (Need::Credentials, false),
            ] {
                let peer = peer.parse().unwrap();
                let headers = &mut HeaderMap::new();
                let outcome = check(&Closed, need, headers, peer, open, Uuid::nil()).await;
                assert_eq!(outcome.is_ok(), passes, "{need:?} {peer} {open}");
            }
        }
    }
}
