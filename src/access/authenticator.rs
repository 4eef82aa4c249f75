//! From credentials to a principal, at a price that strangers cannot drive up.
//!
//! ```text
//! Bearer rst_… ─▶ hash, compare ───────────────────────────────────────────────────▶ Principal
//! Bearer a.b.c ─▶ peer's bucket ─▶ queue ─▶ signature, claims, two at a time ───────▶ Principal
//! Basic ────────▶ peer's bucket ─▶ cache ─▶ account's bucket ─▶ queue ─▶ Argon2, two at a time ─▶ Principal, cache
//! certificate ──▶ its names, among all users' ──────────────────────────────────────▶ Principal
//! SCRAM, WAMP ──▶ peer's and account's bucket ─▶ challenge ─▶ the same buckets, proof ─▶ Principal
//! ```
//!
//! A password costs tens of milliseconds and 19 MiB to check, so that few are checked at once, a bounded number waits, and
//! one that was right is known again for a minute. A token is random and cheap to check: nobody has to wait.
//!
//! The peer's bucket comes before the cache, for the cache would otherwise answer guesses as fast as they are asked. A
//! user who does not exist, one who is disabled and a wrong password are the same answer after the same work. An account's
//! bucket does not concern a peer that had its password right within the last day, or guessing from elsewhere would lock its owner out.
//!
//! Always, each with a test of its name below:
//! - `an_unknown_user_is_refused_like_a_wrong_password`.
//! - `a_password_is_known_again_without_argon2`, until anything in its user's document is changed.
//! - `guessing_has_to_wait`, by peer and by account, while tokens do not.
//! - `guessing_from_elsewhere_locks_nobody_out`.
//! - `a_proof_is_a_try_like_any_other` (SCRAM; `authenticator/proof.rs`).
//! - `an_answer_is_a_try_like_any_other` (WAMP; `authenticator/wamp.rs`).
//!
//! Not here: what a refusal looks like in a protocol.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::SysError;
use restante_storage::UnixMillis;
use tracing::{debug, warn};

use super::hash::{self, PasswordSecrets, ProcessHash};
use super::jwt::{Fault, IssuerError, Issuers};
use super::pool::{Busy, Pool};
use super::throttle::{Recent, Throttle};
use super::{Credentials, Current, Identity, Principal, Secret, Settings, certificate, token};

mod proof;
mod wamp;

/// Argon2 runs at once: two keep two cores and 38 MiB busy, and leave the rest to messages.
const RUNNING_MAX: usize = 2;

/// Running and waiting: at 30 ms each, the last waits for about a second.
const QUEUED_MAX: usize = 64;

/// Signatures that are checked or wait: at a millisecond each at most, the last waits for about a quarter of a second.
const SIGNATURES_QUEUED_MAX: usize = 512;

/// How long a right password is known without Argon2.
const KNOWN_FOR: Duration = Duration::from_mins(1);

/// How long a peer that had an account's password right may go on trying, whatever others do to the account.
const FAMILIAR_FOR: Duration = Duration::from_hours(24);

/// An account may be tried from many addresses: its bucket is so many times a peer's.
const ACCOUNT_FACTOR: u32 = 10;

/// The longest that wrong passwords close the door to a peer.
const PEER_WAIT_MAX: Duration = Duration::from_mins(5);

/// The longest that they close an account; short, because anybody can do it to anybody.
const ACCOUNT_WAIT_MAX: Duration = Duration::from_mins(1);

/// Why somebody is not let in. Nothing in it tells whether the user exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Wrong, unknown, expired or disabled: 401, MBWS close 4401.
    #[error("these credentials are not valid")]
    Refused,
    /// Too much that was wrong from this address or for this account: 429.
    #[error("too many wrong tries; wait {} s", retry_after.as_secs() + 1)]
    TooManyAttempts {
        /// Earlier tries are refused unseen.
        retry_after: Duration,
    },
    /// Too many passwords are being checked: 503.
    #[error("too many log-ins at once; try again")]
    Busy,
}

impl From<Busy> for AuthError {
    fn from(Busy: Busy) -> Self {
        AuthError::Busy
    }
}

/// Why nobody could be let in. The broker must not start.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticatorError {
    /// The system has no random numbers.
    #[error("the system's random generator failed")]
    Random(#[from] SysError),
    /// An issuer of JWTs cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too short, too long, or with control characters.
    #[error("a password has 8 characters or more, 1024 bytes at most, and no control characters")]
    Rules,
    /// The hash itself failed, or the program is ending.
    #[error("the password could not be hashed")]
    Failed,
}

/// Checks credentials. Cheap to clone; one for the whole process.
#[derive(Clone)]
pub struct Authenticator {
    inner: Arc<Inner>,
}

struct Inner {
    current: Current,
    issuers: Issuers,
    peers: Throttle<IpAddr>,
    accounts: Throttle<String>,
    process_hash: ProcessHash,
    /// Hashes of (user, password, revision) that were right, and when.
    known: Mutex<Recent<[u8; 32], Instant>>,
    /// Hashes of (user, peer) that were right, and when.
    familiar: Mutex<Recent<[u8; 32], Instant>>,
    passwords: Pool,
    signatures: Pool,
}

/// How somebody was let in: the label `reason` of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Password,
    Cache,
    Token,
    Jwt,
    Certificate,
    Scram,
    Cra,
    Key,
    Anonymous,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Password => "password",
            Way::Cache => "cache",
            Way::Token => "token",
            Way::Jwt => "jwt",
            Way::Certificate => "certificate",
            Way::Scram => "scram",
            Way::Cra => "wampcra",
            Way::Key => "cryptosign",
            Way::Anonymous => "anonymous",
        }
    }
}

type Known = Result<(Principal, Way), AuthError>;

impl Authenticator {
    /// Checks against what `current` holds at the time. Reads the keys of all issuers of JWTs.
    ///
    /// # Errors
    /// [`AuthenticatorError`]: the broker must not start.
    pub fn new(current: Current, settings: &Settings) -> Result<Authenticator, AuthenticatorError> {
        let now = Instant::now();
        let attempts = settings.attempts_per_minute;
        let of_account = attempts.saturating_mul(ACCOUNT_FACTOR);
        let inner = Inner {
            current,
            issuers: Issuers::load(&settings.issuers)?,
            peers: Throttle::new(now, attempts, PEER_WAIT_MAX),
            accounts: Throttle::new(now, of_account, ACCOUNT_WAIT_MAX),
            process_hash: ProcessHash::new()?,
            known: Mutex::new(Recent::new(now, KNOWN_FOR)),
            familiar: Mutex::new(Recent::new(now, FAMILIAR_FOR)),
            passwords: Pool::new(QUEUED_MAX, RUNNING_MAX),
            signatures: Pool::new(SIGNATURES_QUEUED_MAX, RUNNING_MAX),
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
        let peer = network(peer);
        counted(match credentials {
            Credentials::Bearer { token } if token::is_token(token.expose()) => {
                self.inner.token(&token, peer)
            }
            Credentials::Bearer { token } => self.jwt(token, peer).await,
            Credentials::Basic { user, password } => self.password(user, password, peer).await,
        })
    }

    /// Who shows the certificate `der`, whose chain TLS has verified.
    ///
    /// # Errors
    /// [`AuthError::Refused`]: it is nobody's, or more than one user's.
    pub fn certificate(&self, der: &[u8], peer: IpAddr) -> Result<Principal, AuthError> {
        counted(self.inner.certificate(der, network(peer)))
    }

    /// Hashes a password that somebody is to have from now on: what goes into a user's document. Takes its turn with those
    /// who log in.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash_password(&self, password: Secret) -> Result<PasswordSecrets, PasswordError> {
        check_password(&password)?;
        let hashed = self
            .inner
            .passwords
            .run_patiently(move || PasswordSecrets::of(password.expose()));
        match hashed.await {
            Ok(Ok(secrets)) => Ok(secrets),
            Ok(Err(_)) | Err(Busy) => Err(PasswordError::Failed),
        }
    }

    async fn password(&self, user: String, password: Secret, peer: IpAddr) -> Known {
        let inner = &self.inner;
        inner.check_peer(peer)?;
        if let Some(principal) = inner.known(&user, &password) {
            return Ok((principal, Way::Cache));
        }
        inner.check_account(&user, peer)?;
        let task = Arc::clone(inner);
        let run = inner.passwords.run(move || {
            // Others from there may have been wrong while this one waited.
            task.check_peer(peer)?;
            task.argon2(user, &password, peer)
        });
        Ok((run.await??, Way::Password))
    }

    async fn jwt(&self, token: Secret, peer: IpAddr) -> Known {
        let inner = &self.inner;
        if inner.issuers.is_empty() {
            debug!(%peer, "what was shown is no token of ours, and no issuer of JWTs is configured");
            return Err(AuthError::Refused);
        }
        inner.check_peer(peer)?;
        let task = Arc::clone(inner);
        let run = inner.signatures.run(move || task.jwt(&token, peer));
        Ok((run.await??, Way::Jwt))
    }
}

/// Whether a password may be anybody's.
pub(super) fn check_password(password: &Secret) -> Result<(), PasswordError> {
    const CHARS_MIN: usize = 8;
    let password = password.expose();
    let fine = password.chars().count() >= CHARS_MIN
        && password.len() <= super::credentials::SECRET_BYTES_MAX
        && !password.chars().any(char::is_control);
    fine.then_some(()).ok_or(PasswordError::Rules)
}

/// Counts how it went.
fn counted(result: Known) -> Result<Principal, AuthError> {
    count(&result.as_ref().map(|(_, way)| *way).map_err(|why| *why));
    result.map(|(principal, _)| principal)
}

fn count(result: &Result<Way, AuthError>) {
    let (label, reason) = match result {
        Ok(way) => ("accepted", way.name()),
        Err(AuthError::Refused) => ("refused", "credentials"),
        Err(AuthError::TooManyAttempts { .. }) => ("refused", "attempts"),
        Err(AuthError::Busy) => ("refused", "busy"),
    };
    metrics::counter!("restante_auth_attempts_total", "result" => label, "reason" => reason)
        .increment(1);
}

impl Inner {
    fn token(&self, shown: &Secret, peer: IpAddr) -> Known {
        match token::verify(&self.current.load(), shown.expose(), now()) {
            Some(principal) => Ok((principal, Way::Token)),
            None => {
                debug!(%peer, "a token is unknown, wrong, expired or disabled");
                Err(AuthError::Refused)
            }
        }
    }

    fn jwt(&self, token: &Secret, peer: IpAddr) -> Result<Principal, AuthError> {
        self.check_peer(peer)?;
        self.issuers.verify(token.expose(), now()).map_err(|fault| {
            debug!(%peer, ?fault, "a JWT was refused");
            // Only this has cost what is worth bounding; clocks and deploys make honest clients fail in the other ways.
            if fault == Fault::Signature {
                self.charge_peer(Instant::now(), peer);
            }
            AuthError::Refused
        })
    }

    fn certificate(&self, der: &[u8], peer: IpAddr) -> Known {
        let access = self.current.load();
        let shown = certificate::read(der).ok_or(AuthError::Refused)?;
        let names = || shown.names.iter();
        let mut found = names().filter_map(|name| Some((name, access.user_of_certificate(name)?)));
        let owner = found.next();
        let others = found.any(|(_, other)| owner.is_some_and(|(_, user)| user != other));
        if others || names().any(|name| access.is_ambiguous(name)) {
            debug!(%peer, "a certificate has the names of two users");
            return Err(AuthError::Refused);
        }
        let principal = owner.and_then(|(name, user)| {
            let identity = Identity::Certificate {
                shown: name.as_str().into(),
            };
            access.user_principal(user, identity, Some(shown.expires))
        });
        match principal {
            Some(principal) => Ok((principal, Way::Certificate)),
            None => {
                debug!(%peer, "a certificate is nobody's, or a disabled user's");
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

    /// Whether that account may be tried from there. A try that is not even looked at is the peer's all the same.
    fn check_account(&self, user: &str, peer: IpAddr) -> Result<(), AuthError> {
        match self.accounts.wait(Instant::now(), user) {
            Some(retry_after) if !self.is_familiar(user, peer) => {
                self.charge_peer(Instant::now(), peer);
                Err(AuthError::TooManyAttempts { retry_after })
            }
            _ => Ok(()),
        }
    }

    /// The principal, if the password was right within the last minute and nothing has changed since.
    fn known(&self, user: &str, password: &Secret) -> Option<Principal> {
        let access = self.current.load();
        let (_, revision) = access.user(user)?;
        let hash = self.known_hash(user, password, revision);
        let since = *self.known.lock().get(&hash)?;
        (since.elapsed() < KNOWN_FOR).then_some(())?;
        access.password_principal(user)
    }

    fn known_hash(&self, user: &str, password: &Secret, revision: u64) -> [u8; 32] {
        let parts = ["known", user, password.expose(), &revision.to_string()];
        self.process_hash.of(&parts)
    }

    /// Notes that a peer was wrong; the log says so when it has to wait.
    fn charge_peer(&self, now: Instant, peer: IpAddr) {
        if self.peers.charge(now, peer) {
            warn!(%peer, "too many wrong passwords: whoever shows one from this address has to wait");
        }
    }

    fn familiar_hash(&self, user: &str, peer: IpAddr) -> [u8; 32] {
        self.process_hash.of(&["familiar", user, &peer.to_string()])
    }

    fn is_familiar(&self, user: &str, peer: IpAddr) -> bool {
        let since = self
            .familiar
            .lock()
            .get(&self.familiar_hash(user, peer))
            .copied();
        since.is_some_and(|since| since.elapsed() < FAMILIAR_FOR)
    }

    fn argon2(
        &self,
        user: String,
        password: &Secret,
        peer: IpAddr,
    ) -> Result<Principal, AuthError> {
        let access = self.current.load_full();
        let stored = access.user(&user);
        let stored_hash = stored.and_then(|(stored, _)| stored.password_hash.as_deref());
        let right = hash::is_password(password.expose(), stored_hash.unwrap_or(hash::NOBODY));
        let now = Instant::now();
        let principal = access.password_principal(&user);
        match (principal, stored) {
            (Some(principal), Some((_, revision))) if right => {
                let known = self.known_hash(&user, password, revision);
                self.known.lock().insert(now, known, now);
                self.is_right(now, &user, peer);
                Ok(principal)
            }
            (principal, stored) => {
                let (known, enabled) = (stored.is_some(), principal.is_some());
                // A name that nobody has may be a password in the wrong place.
                let name = if known { user.as_str() } else { "(unknown)" };
                debug!(user = name, %peer, enabled, "a log-in was refused");
                self.is_wrong(now, user, peer);
                Err(AuthError::Refused)
            }
        }
    }

    /// Notes that a peer had an account's password right.
    fn is_right(&self, now: Instant, user: &str, peer: IpAddr) {
        let familiar = self.familiar_hash(user, peer);
        self.familiar.lock().insert(now, familiar, now);
    }

    /// Notes that it had not.
    fn is_wrong(&self, now: Instant, user: String, peer: IpAddr) {
        self.charge_peer(now, peer);
        self.accounts.charge(now, user);
    }
}

fn now() -> UnixMillis {
    crate::broker::now()
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
