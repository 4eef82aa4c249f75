//! JWTs: what an issuer that the configuration names says of somebody, signed.
//!
//! ```text
//! HEADER.CLAIMS.SIGNATURE ─▶ header: algorithm among the issuer's? ─▶ key by kid ─▶ signature ─▶ claims ─▶ Principal
//! ```
//!
//! Nothing in a token chooses how it is checked: the algorithms and keys are the configuration's, and a key is good only for
//! algorithms of its own kind, so that a public key is never taken for a shared secret. Claims are looked at once the signature is right, save
//! for the issuer's name, which says whose keys to try. What is not exactly as it should be is refused: a time that is no
//! integer, a header that must be understood and is not, roles in another shape.
//!
//! Always, each with a test of its name in `jwt::tests`:
//! - `every_way_a_token_can_be_wrong`.
//! - `the_role_admin_needs_the_configurations_leave`.
//! - `keys_are_read_again_when_their_file_changes`, and `a_broken_file_leaves_the_keys_as_they_are`.
//!
//! Rules: RFC 7515, 7517, 7518, 7519; RFC 8725 (what goes wrong with them).

mod keys;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use restante_storage::UnixMillis;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::check::is_name;
use super::credentials::NAME_BYTES_MAX;
use super::principal::{ADMIN, Identity, JWT_PREFIX, Principal};
use super::settings::{IssuerSettings, JwtAlgorithm};
pub use keys::KeyError;
use keys::KeyFile;

/// Longer key ids are refused unread.
const KID_BYTES_MAX: usize = 256;
/// More roles in one token are a mistake.
const ROLES_MAX: usize = 256;
/// 9999-12-31: later times are a mistake, milliseconds for seconds among them.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Why an issuer of the configuration cannot be used. The broker must not start.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// Its keys cannot be read.
    #[error("the keys of the issuer {issuer} cannot be used")]
    Keys {
        /// Whose.
        issuer: String,
        /// Why not.
        source: KeyError,
    },
    /// Two issuers whose users could be taken for each other.
    #[error(
        "users of {one} and {other} could have the same name: give both a user-prefix, neither the beginning of the other's"
    )]
    SameUsers {
        /// An issuer.
        one: String,
        /// Another.
        other: String,
    },
    /// The same issuer twice.
    #[error("the issuer {issuer} is there twice")]
    Twice {
        /// Which.
        issuer: String,
    },
}

/// Why a token was refused: for the log at level debug, never for whoever showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not three parts of base 64, or not the JSON that it should be.
    Form,
    /// A header that must be understood, or a type that is another kind of token.
    Header,
    /// Not one of the issuer's algorithms.
    Algorithm,
    /// Nobody that the configuration names.
    Issuer,
    /// No key of that id for that algorithm.
    Key,
    Signature,
    Audience,
    /// `exp` is missing or no integer, or another time is no integer.
    Time,
    Expired,
    /// `nbf` or `iat` is still to come.
    TooEarly,
    /// The user's claim is missing, or no name.
    User,
    /// The roles' claim has another shape.
    Roles,
}

/// Looks whether JWTs of these issuers could be checked, as a start would.
///
/// # Errors
/// [`IssuerError`]: keys that cannot be used, or issuers that cannot be told apart. The first that is found.
pub fn check_issuers(settings: &[IssuerSettings]) -> Result<(), IssuerError> {
    Issuers::load(settings).map(drop)
}

/// All issuers of the configuration, with their keys.
pub(super) struct Issuers(Vec<Issuer>);

struct Issuer {
    settings: IssuerSettings,
    name: Arc<str>,
    keys: KeyFile,
}

/// What of the header is looked at. Duplicates are an error of serde's.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl Issuers {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`IssuerError`]: keys that cannot be used, or issuers that cannot be told apart.
    pub(super) fn load(settings: &[IssuerSettings]) -> Result<Issuers, IssuerError> {
        for (index, one) in settings.iter().enumerate() {
            for other in settings.iter().skip(index + 1) {
                can_be_told_apart(one, other)?;
            }
        }
        let issuers = settings.iter().map(|settings| {
            let keys = KeyFile::load(&settings.keys, &settings.algorithms);
            let keys = keys.map_err(|source| IssuerError::Keys {
                issuer: settings.issuer.clone(),
                source,
            })?;
            Ok(Issuer {
                name: settings.issuer.as_str().into(),
                settings: settings.clone(),
                keys,
            })
        });
        issuers.collect::<Result<_, _>>().map(Issuers)
    }

    /// Whether nobody may issue any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who `token` says it is, at `now`. Reads files that changed, and computes: not on a worker of the runtime.
    pub(super) fn verify(&self, token: &str, now: UnixMillis) -> Result<Principal, Fault> {
        let (message, signature) = token.rsplit_once('.').ok_or(Fault::Form)?;
        let (header, claims) = message.split_once('.').ok_or(Fault::Form)?;
        if claims.contains('.') {
            return Err(Fault::Form);
        }
        let header: Header = json(header)?;
        let algorithm = header.check()?;
        let claims: Map<String, Value> = json(claims)?;
        let issuer = claims.get("iss").and_then(Value::as_str);
        let issuer = issuer.ok_or(Fault::Issuer)?;
        let known = |known: &&Issuer| known.settings.issuer == issuer;
        let issuer = self.0.iter().find(known).ok_or(Fault::Issuer)?;
        if !issuer.settings.algorithms.contains(&algorithm) {
            return Err(Fault::Algorithm);
        }
        let keys = issuer.keys.present();
        let key = keys.find(header.kid.as_deref(), algorithm);
        let key = key.ok_or(Fault::Key)?;
        let verified =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm.get());
        if !verified.unwrap_or(false) {
            return Err(Fault::Signature);
        }
        issuer.principal(&claims, now)
    }
}

fn can_be_told_apart(one: &IssuerSettings, other: &IssuerSettings) -> Result<(), IssuerError> {
    if one.issuer == other.issuer {
        return Err(IssuerError::Twice {
            issuer: one.issuer.clone(),
        });
    }
    let (prefix, other_prefix) = (&one.user_prefix, &other.user_prefix);
    if prefix.starts_with(other_prefix.as_str()) || other_prefix.starts_with(prefix.as_str()) {
        return Err(IssuerError::SameUsers {
            one: one.issuer.clone(),
            other: other.issuer.clone(),
        });
    }
    Ok(())
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Fault> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Form)?;
    serde_json::from_slice(&text).map_err(|_| Fault::Form)
}

impl Header {
    fn check(&self) -> Result<JwtAlgorithm, Fault> {
        if self.crit.is_some() {
            return Err(Fault::Header);
        }
        // Other kinds of tokens are signed with the same keys, and mean something else (RFC 8725 §3.11).
        let typ = self.typ.as_deref().unwrap_or("JWT");
        if !["JWT", "at+jwt", "application/at+jwt"]
            .iter()
            .any(|taken| typ.eq_ignore_ascii_case(taken))
        {
            return Err(Fault::Header);
        }
        if self
            .kid
            .as_ref()
            .is_some_and(|kid| kid.len() > KID_BYTES_MAX)
        {
            return Err(Fault::Key);
        }
        JwtAlgorithm::from_name(&self.alg).ok_or(Fault::Algorithm)
    }
}

impl Issuer {
    /// What claims whose signature is right make of somebody.
    fn principal(&self, claims: &Map<String, Value>, now: UnixMillis) -> Result<Principal, Fault> {
        if !has_audience(claims.get("aud"), &self.settings.audience) {
            return Err(Fault::Audience);
        }
        let expires = self.times(claims, now)?;
        let user = claims.get(&self.settings.user_claim);
        let user = user.and_then(Value::as_str).ok_or(Fault::User)?;
        let fine =
            !user.is_empty() && user.len() <= NAME_BYTES_MAX && !user.chars().any(char::is_control);
        if !fine {
            return Err(Fault::User);
        }
        let prefix = &self.settings.user_prefix;
        Ok(Principal {
            name: format!("{JWT_PREFIX}{prefix}{user}").into(),
            roles: self.roles(claims)?.into(),
            identity: Identity::Jwt {
                issuer: Arc::clone(&self.name),
            },
            expires: Some(expires),
        })
    }

    /// When the token ends, by our clock.
    fn times(&self, claims: &Map<String, Value>, now: UnixMillis) -> Result<UnixMillis, Fault> {
        let leeway = u64::try_from(self.settings.leeway.as_millis()).unwrap_or(u64::MAX);
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(seconds) if seconds <= SECONDS_MAX => Ok(Some(seconds * 1000)),
                _ => Err(Fault::Time),
            },
        };
        let expires = time("exp")?.ok_or(Fault::Time)?.saturating_add(leeway);
        if expires <= now.get() {
            return Err(Fault::Expired);
        }
        let latest = now.get().saturating_add(leeway);
        for begins in [time("nbf")?, time("iat")?].into_iter().flatten() {
            if begins > latest {
                return Err(Fault::TooEarly);
            }
        }
        Ok(UnixMillis::new(expires))
    }

    /// A list of names, or names between spaces. What is no role's name, or lacks the prefix, is not for us.
    fn roles(&self, claims: &Map<String, Value>) -> Result<Vec<String>, Fault> {
        let given: Vec<&str> = match at_path(claims, &self.settings.roles_claim)? {
            None => Vec::new(),
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(items)) => {
                let names: Option<_> = items.iter().map(Value::as_str).collect();
                names.ok_or(Fault::Roles)?
            }
            Some(_) => return Err(Fault::Roles),
        };
        if given.len() > ROLES_MAX {
            return Err(Fault::Roles);
        }
        let prefix = self.settings.roles_prefix.as_str();
        let ours = given.iter().filter_map(|role| role.strip_prefix(prefix));
        let allowed = ours.filter(|role| *role != ADMIN || self.settings.allow_admin);
        Ok(allowed
            .filter(|role| is_name(role))
            .map(str::to_owned)
            .collect())
    }
}

fn has_audience(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => {
            all.iter().all(Value::is_string) && all.iter().any(|one| one == audience)
        }
        _ => false,
    }
}

/// A claim by its name or, if there is none of that name, by a path with dots.
fn at_path<'a>(claims: &'a Map<String, Value>, path: &str) -> Result<Option<&'a Value>, Fault> {
    if let Some(value) = claims.get(path) {
        return Ok(Some(value));
    }
    let mut names = path.split('.');
    let mut value = names.next().and_then(|name| claims.get(name));
    for name in names {
        value = match value {
            None => return Ok(None),
            Some(Value::Object(inner)) => inner.get(name),
            Some(_) => return Err(Fault::Roles),
        };
    }
    Ok(value)
}

#[cfg(test)]
pub(super) mod tests;
