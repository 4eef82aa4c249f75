//! Passwords that are proved and not shown (SCRAM), under the rules that hold for those that are shown.
//!
//! A challenge costs some HMACs, and gives nothing to guess at but a salt; only the answer to it is a try. So many challenges may be
//! open, and each answer is judged by the buckets as they are when it comes.
//!
//! A user who does not exist, or has no verifier, gets one made up: always the same for the same name, across restarts too, or
//! asking twice would tell. The rest of the exchange is as for anybody, and no proof is right.

use std::net::IpAddr;
use std::time::Instant;

use tracing::debug;

use super::{AuthError, Authenticator, Inner, Known, Way, count, counted, network};
use crate::access::hash::Digest;
use crate::access::scram::{ClientFirst, Exchange, SCRAM_SHA_256, Verifier};
use crate::access::secret::random_letters;
use crate::access::{Access, bootstrap};
use crate::logs::seldom;

/// Of a server's nonce: 160 bits.
const NONCE_LETTERS: usize = 32;

impl Authenticator {
    /// Begins an exchange with a client's first message: what the client is to be told. `name` may change whose name it is, as
    /// where a realm's is in front of it.
    ///
    /// # Errors
    /// [`AuthError`]: not let in. It is `Refused` only for what is no such message, and says nothing of any user.
    pub fn challenge(
        &self,
        first: &[u8],
        name: impl FnOnce(&mut String),
        peer: IpAddr,
    ) -> Result<(Exchange, String), AuthError> {
        let challenged = self.inner.challenge(first, name, network(peer));
        // What goes well is counted once it is over.
        if let Err(why) = &challenged {
            count(&Err(*why));
        }
        challenged
    }

    /// Ends an exchange with a client's last message: who it is, and what it is to be told.
    ///
    /// # Errors
    /// [`AuthError`]: not let in.
    pub fn prove(
        &self,
        exchange: &Exchange,
        last: &[u8],
        peer: IpAddr,
    ) -> Result<(crate::access::Principal, String), AuthError> {
        let mut told = String::new();
        let proved = self.inner.prove(exchange, last, network(peer), &mut told);
        Ok((counted(proved)?, told))
    }
}

impl Inner {
    fn challenge(
        &self,
        first: &[u8],
        name: impl FnOnce(&mut String),
        peer: IpAddr,
    ) -> Result<(Exchange, String), AuthError> {
        self.check_peer(peer)?;
        let mut first = ClientFirst::read(first).map_err(|error| {
            debug!(%peer, %error, "a SCRAM exchange was refused");
            AuthError::Refused
        })?;
        name(&mut first.user);
        self.check_account(&first.user, peer)?;
        let nonce = random_letters(NONCE_LETTERS).map_err(|error| {
            tracing::error!(%error, "the system's random generator failed: nobody can log in by SCRAM");
            AuthError::Busy
        })?;
        let access = self.current.load();
        // Made up for everybody, so that it takes as long for each.
        let made_up = Verifier::made_up(&self.made_up_key(&access), &first.user);
        let verifier = verifier_of(&access, &first.user).unwrap_or(made_up);
        Ok(Exchange::begin(first, verifier, &nonce))
    }

    fn prove(&self, exchange: &Exchange, last: &[u8], peer: IpAddr, told: &mut String) -> Known {
        self.check_peer(peer)?;
        self.check_account(exchange.user(), peer)?;
        let access = self.current.load();
        let user = exchange.user();
        let finished = exchange.finish(last);
        // The password may have been changed since the exchange began.
        let is_present = verifier_of(&access, user).as_ref() == Some(exchange.verifier());
        let principal = access.password_principal(user).filter(|_| is_present);
        let now = Instant::now();
        match (finished, principal) {
            (Ok(says), Some(principal)) => {
                self.is_right(now, user, peer);
                *told = says;
                Ok((principal, Way::Scram))
            }
            (finished, principal) => {
                let known = tell_hint(&access, user, peer);
                // A name that nobody has may be a password in the wrong place.
                let name = if known { user } else { "(unknown)" };
                let (enabled, error) = (principal.is_some(), finished.err());
                debug!(user = name, %peer, enabled, ?error, "a SCRAM exchange was refused");
                self.is_wrong(now, user.to_owned(), peer);
                Err(AuthError::Refused)
            }
        }
    }

    /// What verifiers are made up with. The hash of the command line's token is random, is shown to nobody, and stays what it is over
    /// restarts, as the salts of those who exist do. Where there is no such token, it is as good as this process is old.
    pub(super) fn made_up_key(&self, access: &Access) -> [u8; 32] {
        let cli = access.token_labelled(bootstrap::CLI_LABEL);
        let hash = cli.and_then(|id| access.token(id)).map(|it| &it.hash);
        match hash {
            Some(hash) => Digest::of(&format!("{SCRAM_SHA_256} made up {hash}")).bytes(),
            None => self.process_hash.of(&[SCRAM_SHA_256, "made up"]),
        }
    }
}

pub(super) fn verifier_of(access: &Access, user: &str) -> Option<Verifier> {
    let (user, _) = access.user(user)?;
    user.password_hash.as_ref()?;
    let verifier = Verifier::from_text(user.scram_verifier.as_deref()?);
    verifier
        .inspect_err(|error| tracing::error!(%error, "a stored SCRAM verifier cannot be read"))
        .ok()
}

/// Tells the operator what the client must not hear: that a password would do, were it set again. Whether there is such a user.
fn tell_hint(access: &Access, user: &str, peer: IpAddr) -> bool {
    let Some((stored, _)) = access.user(user) else {
        return false;
    };
    if stored.password_hash.is_some() && stored.scram_verifier.is_none() {
        seldom!(10, info, user, %peer, "the user cannot log in by SCRAM: the password was set before there was SCRAM, or as a ready-made hash; set it again");
    }
    true
}
