//! WAMP's authentication, under the rules that hold for everybody: who is asked what, and whether the answer was right.
//!
//! A user who does not exist, or has nothing for the method, is asked with what is made up for the name, as in SCRAM (`proof.rs`). A
//! password's proof is a try of the account. A signature is not: nobody guesses one, and what a wrong one costs is the peer's.

use std::net::IpAddr;
use std::time::Instant;

use rand::TryRng as _;
use rand::rngs::SysRng;
use tracing::debug;

use super::{AuthError, Authenticator, Inner, Known, Way, count, counted, network, now};
use crate::access::secret::random_letters;
use crate::access::wamp::{
    ArgonVerifier, Asked, Begun, Challenge, Choice, CraKey, Dict, Exchange, Fault, Hello, Method,
    Occasion, PublicKey, Refusal, Verifier, Welcome, choose,
};
use crate::access::{Access, Credentials, Identity, Principal, scram};
use crate::logs::seldom;

/// Of a nonce of ours: 160 bits.
const NONCE_LETTERS: usize = 32;
/// Of the name of somebody anonymous: 80 bits.
const ANONYMOUS_LETTERS: usize = 16;

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Refusal {
        match error {
            AuthError::Refused => Refusal::Denied,
            AuthError::TooManyAttempts { .. } => Refusal::Throttled,
            AuthError::Busy => Refusal::Busy,
        }
    }
}

impl Authenticator {
    /// Who it is that shows nothing, if such are let in.
    pub fn stranger(&self) -> Option<Principal> {
        self.inner.current.load().anonymous()
    }

    /// Begins with a client's HELLO: what it is to be asked, or who it is without.
    ///
    /// # Errors
    /// [`Refusal`]: not let in. It says nothing of any user.
    pub fn greet(&self, hello: &Hello, peer: IpAddr) -> Result<Begun, Refusal> {
        let access = self.inner.current.load();
        let anonymous = access.anonymous();
        let choice = choose(hello, anonymous.is_some())?;
        match (choice, anonymous) {
            (Choice::Anonymous, Some(principal)) => let_in_unknown(principal, hello),
            (choice, _) => {
                let asked = self.inner.ask(&access, hello, choice, network(peer));
                let (exchange, challenge) = asked.inspect_err(|why| count(&Err(*why)))?;
                Ok(Begun::Challenge(exchange, challenge))
            }
        }
    }

    /// Ends it with what AUTHENTICATE says. May be dropped half-way; what was wrong is counted even so.
    ///
    /// # Errors
    /// [`Refusal`]: not let in.
    pub async fn answer(
        &self,
        exchange: Box<Exchange>,
        signature: &str,
        extra: &Dict,
        peer: IpAddr,
    ) -> Result<Welcome, Refusal> {
        let mut says = Dict::new();
        let principal = match exchange.asked {
            Asked::Ticket => self.ticket(&exchange, signature, peer).await,
            _ => {
                let peer = network(peer);
                let judged = self
                    .inner
                    .judge(&exchange, signature, extra, peer, &mut says);
                counted(judged)
            }
        };
        let mut welcome = Welcome::new(principal?, exchange.method(), exchange.role())?;
        welcome.authextra = says;
        Ok(welcome)
    }

    async fn ticket(
        &self,
        exchange: &Exchange,
        ticket: &str,
        peer: IpAddr,
    ) -> Result<Principal, AuthError> {
        let in_time = exchange.check(Instant::now(), ticket).is_ok();
        let credentials = Credentials::of_secret(exchange.user(), ticket).ok();
        let credentials = credentials.filter(|_| in_time);
        self.verify(credentials.ok_or(AuthError::Refused)?, peer)
            .await
    }
}

fn let_in_unknown(principal: Principal, hello: &Hello) -> Result<Begun, Refusal> {
    let letters = random_letters(ANONYMOUS_LETTERS).map_err(no_random)?;
    count(&Ok(Way::Anonymous));
    let wish = hello.authrole.as_deref();
    let mut welcome = Welcome::new(principal, Method::Anonymous, wish)?;
    welcome.authid.push_str(&letters);
    Ok(Begun::Welcome(Box::new(welcome)))
}

fn no_random(error: rand::rngs::SysError) -> AuthError {
    tracing::error!(%error, "the system's random generator failed: nobody can log in over WAMP");
    AuthError::Busy
}

impl Inner {
    fn ask(
        &self,
        access: &Access,
        hello: &Hello,
        choice: Choice,
        peer: IpAddr,
    ) -> Result<(Box<Exchange>, Challenge), AuthError> {
        let nonce = random_letters(NONCE_LETTERS).map_err(no_random)?;
        let of = &Occasion {
            hello,
            nonce: &nonce,
            now: Instant::now(),
            date: now(),
        };
        // Who shows a token has to wait for nobody: a ticket is judged when it comes.
        if !matches!(choice, Choice::Ticket) {
            self.check_peer(peer)?;
        }
        let made_up = || self.made_up_key(access);
        Ok(match choice {
            Choice::Anonymous => return Err(AuthError::Refused),
            Choice::Ticket => Exchange::ticket(of),
            Choice::Cra { user } => {
                self.check_account(&user, peer)?;
                // Made up for everybody, here and below, so that it takes as long for each.
                let nobodys = CraKey::made_up(&made_up(), &user);
                Exchange::cra(of, cra_key_of(access, &user).unwrap_or(nobodys))
            }
            Choice::Scram { user, nonce } => {
                self.check_account(&user, peer)?;
                let nobodys = Verifier::Pbkdf2(scram::Verifier::made_up(&made_up(), &user));
                let verifier = verifier_of(access, &user, Method::WampScram);
                Exchange::scram(of, &nonce, verifier.unwrap_or(nobodys))
            }
            Choice::ArgonScram { user, nonce } => {
                self.check_account(&user, peer)?;
                let nobodys = Verifier::Argon(ArgonVerifier::made_up(&made_up(), &user));
                let verifier = verifier_of(access, &user, Method::Scram);
                Exchange::scram(of, &nonce, verifier.unwrap_or(nobodys))
            }
            Choice::Cryptosign { key } => {
                let mut challenge = [0; 32];
                SysRng.try_fill_bytes(&mut challenge).map_err(no_random)?;
                Exchange::cryptosign(of, key, challenge)
            }
        })
    }

    /// Whether the answer is right, and to what counts now: a secret may have been changed since it was asked for.
    fn judge(
        &self,
        exchange: &Exchange,
        signature: &str,
        extra: &Dict,
        peer: IpAddr,
        says: &mut Dict,
    ) -> Known {
        self.check_peer(peer)?;
        let access = self.current.load();
        let user = exchange.user().unwrap_or_default();
        let is_key = matches!(exchange.asked, Asked::Cryptosign(_));
        if !is_key {
            self.check_account(user, peer)?;
        }
        let in_time = exchange.check(Instant::now(), signature);
        let finished = in_time.and_then(|()| exchange.finish(signature, extra));
        let (principal, way) = match &exchange.asked {
            Asked::Ticket => (None, Way::Password),
            Asked::Cra(asked) => {
                let is_present = cra_key_of(&access, user).as_ref() == Some(asked.key());
                let principal = access.password_principal(user);
                (principal.filter(|_| is_present), Way::Cra)
            }
            Asked::Scram(asked) => {
                let present = verifier_of(&access, user, exchange.method());
                let is_present = present.as_ref() == Some(asked.verifier());
                let principal = access.password_principal(user);
                (principal.filter(|_| is_present), Way::Scram)
            }
            Asked::Cryptosign(asked) => {
                let owner = key_principal(&access, asked.key(), exchange.user());
                (owner, Way::Key)
            }
        };
        match (finished, principal) {
            (Ok(finished), Some(principal)) => {
                if !is_key {
                    self.is_right(Instant::now(), user, peer);
                }
                *says = finished;
                Ok((principal, way))
            }
            (finished, principal) => {
                self.refuse(&access, exchange, peer, finished.err(), principal.is_some());
                Err(AuthError::Refused)
            }
        }
    }

    fn refuse(
        &self,
        access: &Access,
        exchange: &Exchange,
        peer: IpAddr,
        error: Option<Fault>,
        enabled: bool,
    ) {
        let (now, method) = (Instant::now(), exchange.method());
        let user = exchange.user().unwrap_or_default();
        let known = access.user(user).is_some();
        // A name that nobody has may be a password in the wrong place.
        let name = if known { user } else { "(unknown)" };
        debug!(user = name, %peer, enabled, ?error, method = method.as_str(), "a WAMP log-in was refused");
        if method == Method::Cryptosign {
            return self.charge_peer(now, peer);
        }
        tell_hint(access, user, method, peer);
        self.is_wrong(now, user.to_owned(), peer);
    }
}

/// Tells the operator what the client must not hear: that a password would do, were it set again.
fn tell_hint(access: &Access, user: &str, method: Method, peer: IpAddr) {
    let Some((stored, _)) = access.user(user) else {
        return;
    };
    let has_it = match method {
        Method::Cra => stored.wampcra_key.is_some(),
        Method::WampScram => stored.scram_verifier.is_some(),
        Method::Scram => stored.scram_argon2_verifier.is_some(),
        _ => true,
    };
    if stored.password_hash.is_some() && !has_it {
        let method = method.as_str();
        seldom!(10, info, user, %peer, method, "the user cannot log in by this method: the password was set before it was there, or as a ready-made hash; set it again");
    }
}

fn cra_key_of(access: &Access, user: &str) -> Option<CraKey> {
    let (user, _) = access.user(user)?;
    user.password_hash.as_ref()?;
    readable(CraKey::from_text(user.wampcra_key.as_deref()?))
}

fn verifier_of(access: &Access, user: &str, method: Method) -> Option<Verifier> {
    if method == Method::WampScram {
        return super::proof::verifier_of(access, user).map(Verifier::Pbkdf2);
    }
    let (user, _) = access.user(user)?;
    user.password_hash.as_ref()?;
    let verifier = ArgonVerifier::from_text(user.scram_argon2_verifier.as_deref()?);
    readable(verifier).map(Verifier::Argon)
}

fn readable<T, E: std::fmt::Display>(read: Result<T, E>) -> Option<T> {
    let unreadable =
        |error: &E| tracing::error!(%error, "what is stored of a password for WAMP cannot be read");
    read.inspect_err(unreadable).ok()
}

/// The one user that has `key`, if it is who the client says.
fn key_principal(access: &Access, key: PublicKey, authid: Option<&str>) -> Option<Principal> {
    let shown = key.to_hex();
    let user = access.user_of_public_key(&shown)?;
    if authid.is_some_and(|authid| authid != &**user) {
        return None;
    }
    let identity = Identity::PublicKey {
        shown: shown.into(),
    };
    access.user_principal(user, identity, None)
}
