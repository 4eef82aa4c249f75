//! From credentials to a principal, at a price that strangers cannot drive up.
//!
//! ```text
//! Bearer ─▶ hash, compare ─────────────────────────────────────────────▶ Principal
//! Basic ──▶ peer's bucket ─▶ cache ─▶ account's bucket ─▶ queue ─▶ Argon2, two at a time ─▶ Principal, cache
//!                                                                       └─ wrong: both buckets pay
//! ```
//!
//! A password costs tens of milliseconds and 19 MiB to check, so that few are checked at once, a bounded number waits, and
//! one that was right is known again for a minute. An API key is random and cheap to check: nobody has to wait.
//!
//! The peer's bucket comes before the cache, for the cache would otherwise answer guesses as fast as they are asked. A
//! user who does not exist, one who is disabled and a wrong password are the same answer after the same work.
//!
//! Always, each with a test of its name below:
//! - `an_unknown_user_is_refused_like_a_wrong_password`.
//! - `a_password_is_known_again_without_argon2`, until it or its user is changed.
//! - `guessing_has_to_wait`, by peer and by account, while API keys do not.
//!
//! Not here: what a refusal looks like in a protocol.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::SysError;
use tokio::sync::Semaphore;
use tracing::debug;

use super::hash::{self, ProcessHash};
use super::throttle::{Recent, Throttle};
use super::{CredentialStore, Credentials, Principal, Secret};

/// Argon2 runs at once: two keep two cores and 38 MiB busy, and leave the rest to messages.
const RUNNING_MAX: usize = 2;

/// Running and waiting: at 30 ms each, the last waits for about a second.
const QUEUED_MAX: usize = 64;

/// How long a right password is known without Argon2.
const KNOWN_FOR: Duration = Duration::from_mins(1);

/// An account may be tried from many addresses: its bucket is so many times a peer's.
const ACCOUNT_FACTOR: u32 = 10;

/// Why somebody is not let in. Nothing in it tells whether the user exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Wrong, unknown or disabled: 401, MBWS close 4401.
    #[error("these credentials are not valid")]
    Refused,
    /// Too many wrong passwords from this address or for this account: 429.
    #[error("too many wrong passwords; wait {} s", retry_after.as_secs() + 1)]
    TooManyAttempts {
        /// Earlier tries are refused unseen.
        retry_after: Duration,
    },
    /// Too many passwords are being checked: 503.
    #[error("too many log-ins at once; try again")]
    Busy,
}

/// Checks credentials. Cheap to clone; one for the whole process.
#[derive(Clone)]
pub struct Authenticator {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<CredentialStore>,
    peers: Throttle<IpAddr>,
    accounts: Throttle<String>,
    process_hash: ProcessHash,
    /// Hashes of (user, password, stored hash) that were right, and when.
    known: Mutex<Recent<[u8; 32], Instant>>,
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// How somebody was let in: the label `reason` of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Password,
    Cache,
    Key,
}

impl Authenticator {
    /// Checks against `store`; `attempts_per_minute` is how many wrong passwords a peer address may send.
    ///
    /// # Errors
    /// The system has no random numbers: the broker must not start.
    pub fn new(
        store: Arc<CredentialStore>,
        attempts_per_minute: u32,
    ) -> Result<Authenticator, SysError> {
        let now = Instant::now();
        let inner = Inner {
            store,
            peers: Throttle::new(now, attempts_per_minute),
            accounts: Throttle::new(now, attempts_per_minute.saturating_mul(ACCOUNT_FACTOR)),
            process_hash: ProcessHash::new()?,
            known: Mutex::new(Recent::new(now)),
            queue: Arc::new(Semaphore::new(QUEUED_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
        };
        Ok(Authenticator {
            inner: Arc::new(inner),
        })
    }

    /// Who `credentials` are, shown by somebody at `peer`. May be dropped half-way; what was wrong is counted even so.
    ///
    /// # Errors
    /// [`AuthError`]: not let in.
    pub async fn verify(
        &self,
        credentials: Credentials,
        peer: IpAddr,
    ) -> Result<Principal, AuthError> {
        let result = match credentials {
            Credentials::Bearer { token } => self.inner.key(&token, peer),
            Credentials::Basic { user, password } => self.password(user, password, peer).await,
        };
        let (label, reason) = match &result {
            Ok((_, Way::Password)) => ("accepted", "password"),
            Ok((_, Way::Cache)) => ("accepted", "cache"),
            Ok((_, Way::Key)) => ("accepted", "key"),
            Err(AuthError::Refused) => ("refused", "credentials"),
            Err(AuthError::TooManyAttempts { .. }) => ("refused", "attempts"),
            Err(AuthError::Busy) => ("refused", "busy"),
        };
        metrics::counter!("restante_auth_attempts_total", "result" => label, "reason" => reason)
            .increment(1);
        result.map(|(principal, _)| principal)
    }

    async fn password(
        &self,
        user: String,
        password: Secret,
        peer: IpAddr,
    ) -> Result<(Principal, Way), AuthError> {
        let (inner, peer) = (&self.inner, network(peer));
        inner.check_peer(peer)?;
        if let Some(principal) = inner.known(&user, &password) {
            return Ok((principal, Way::Cache));
        }
        if let Some(retry_after) = inner.accounts.wait(Instant::now(), &user) {
            inner.peers.charge(Instant::now(), peer);
            return Err(AuthError::TooManyAttempts { retry_after });
        }
        let queued = inner
            .queue
            .clone()
            .try_acquire_owned()
            .map_err(|_| AuthError::Busy)?;
        let running = inner
            .running
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| AuthError::Busy)?;
        // Others from there may have been wrong while this one waited.
        inner.check_peer(peer)?;
        let task = self.inner.clone();
        // The permits go along: a caller who leaves does not make room for another run.
        let run = tokio::task::spawn_blocking(move || {
            let _permits = (queued, running);
            task.argon2(user, &password, peer)
        });
        let principal = run.await.map_err(|_| AuthError::Busy)??;
        Ok((principal, Way::Password))
    }
}

impl Inner {
    fn key(&self, token: &Secret, peer: IpAddr) -> Result<(Principal, Way), AuthError> {
        let snapshot = self.store.snapshot();
        match snapshot.key(token.expose()).filter(|key| !key.disabled) {
            Some(key) => {
                let name = format!("key:{}", key.label).into();
                Ok((
                    Principal {
                        name,
                        roles: key.roles.clone().into(),
                    },
                    Way::Key,
                ))
            }
            None => {
                debug!(%peer, "an API key is unknown, wrong or disabled");
                Err(AuthError::Refused)
            }
        }
    }

    fn check_peer(&self, peer: IpAddr) -> Result<(), AuthError> {
        match self.peers.wait(Instant::now(), &peer) {
            Some(retry_after) => Err(AuthError::TooManyAttempts { retry_after }),
            None => Ok(()),
        }
    }

    /// The principal, if the password was right within the last minute and nothing has changed since.
    fn known(&self, user: &str, password: &Secret) -> Option<Principal> {
        let snapshot = self.store.snapshot();
        let stored = snapshot.user(user).filter(|stored| !stored.disabled)?;
        let hash = self
            .process_hash
            .of(&[user, password.expose(), &stored.password_hash]);
        let since = *self.known.lock().get(&hash)?;
        (since.elapsed() < KNOWN_FOR).then(|| Principal {
            name: user.into(),
            roles: stored.roles.clone().into(),
        })
    }

    fn argon2(
        &self,
        user: String,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<Principal, AuthError> {
        let snapshot = self.store.snapshot();
        let stored = snapshot.user(&user);
        let stored_hash = stored.map_or(hash::NOBODY, |stored| &stored.password_hash);
        let right = hash::is_password(password.expose(), stored_hash);
        let now = Instant::now();
        match stored.filter(|stored| right && !stored.disabled) {
            Some(stored) => {
                let hash = self
                    .process_hash
                    .of(&[&user, password.expose(), stored_hash]);
                self.known.lock().insert(now, hash, now);
                Ok(Principal {
                    name: user.into(),
                    roles: stored.roles.clone().into(),
                })
            }
            None => {
                let (known, disabled) = (
                    stored.is_some(),
                    stored.is_some_and(|stored| stored.disabled),
                );
                debug!(?user, %peer, known, disabled, "a log-in was refused");
                self.peers.charge(now, peer);
                self.accounts.charge(now, user);
                Err(AuthError::Refused)
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or the /64 that a single IPv6 machine has to itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
