//! Keys of an issuer, from a file that may change while the broker runs.
//!
//! Whether the file changed is looked at when a token is to be checked, once a second at most. A file that cannot be used is
//! reported once, and the keys from before stay: an issuer's deploy that went wrong half-way must not lock everybody out.
//!
//! A key knows what kind it is, from the key itself and never from a token, and is checked when it is read: the size of RSA
//! keys, the curve, the length of a secret.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use parking_lot::Mutex;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

use super::super::settings::{JwtAlgorithm, KeyKind, KeySource};

const FILE_BYTES_MAX: u64 = 1 << 20;
const KEYS_MAX: usize = 256;
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// 2048 to 4096 bits: less can be broken, more costs every check too much.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Why a file's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system said no.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is in it is no key of the kind that the algorithms want.
    #[error("{path} {what}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its contents.
        what: &'static str,
    },
}

/// A key and what it is good for.
struct Key {
    kid: Option<String>,
    /// A JWKS may say that a key is for one algorithm only.
    only: Option<JwtAlgorithm>,
    kind: KeyKind,
    key: DecodingKey,
}

impl Key {
    /// Whether a signature can be checked with it at all; none is right for it here.
    fn is_usable(&self) -> bool {
        let algorithm = match self.kind {
            KeyKind::Secret => JwtAlgorithm::Hs256,
            KeyKind::Rsa => JwtAlgorithm::Rs256,
            KeyKind::P256 => JwtAlgorithm::Es256,
            KeyKind::P384 => JwtAlgorithm::Es384,
            KeyKind::Ed25519 => JwtAlgorithm::EdDsa,
        };
        jsonwebtoken::crypto::verify("", b"", &self.key, algorithm.get()).is_ok()
    }
}

/// What a file had.
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Whether tokens must name their key, as they must with a JWKS of several.
    by_kid: bool,
}

impl Keys {
    /// The key that a token names, if it is one for its algorithm. A token that names none can only mean the only one.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: JwtAlgorithm) -> Option<&DecodingKey> {
        let fits = |key: &&Key| {
            key.kind == algorithm.key_kind() && key.only.is_none_or(|only| only == algorithm)
        };
        let named = |key: &&Key| match (&key.kid, kid) {
            _ if !self.by_kid => true,
            (Some(has), Some(wanted)) => has == wanted,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        let mut keys = self.keys.iter().filter(fits).filter(named);
        let key = keys.next()?;
        keys.next().is_none().then_some(&key.key)
    }
}

/// A file's keys as they were when it was last good.
pub(super) struct KeyFile {
    source: KeySource,
    algorithms: Vec<JwtAlgorithm>,
    keys: ArcSwap<Keys>,
    seen: Mutex<Seen>,
}

struct Seen {
    stamp: Option<Stamp>,
    looked: Instant,
}

/// Changes when a file does, by being written or replaced.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

impl KeyFile {
    pub(super) fn load(
        source: &KeySource,
        algorithms: &[JwtAlgorithm],
    ) -> Result<KeyFile, KeyError> {
        let (keys, stamp) = read(source, algorithms)?;
        Ok(KeyFile {
            source: source.clone(),
            algorithms: algorithms.to_vec(),
            keys: ArcSwap::from_pointee(keys),
            seen: Mutex::new(Seen {
                stamp: Some(stamp),
                looked: Instant::now(),
            }),
        })
    }

    /// The keys that count, after a look at the file.
    pub(super) fn present(&self) -> Arc<Keys> {
        let mut seen = self.seen.lock();
        if seen.looked.elapsed() >= LOOKED_AT_EVERY {
            seen.looked = Instant::now();
            self.look(&mut seen);
        }
        drop(seen);
        self.keys.load_full()
    }

    fn look(&self, seen: &mut Seen) {
        let present = fs::metadata(path(&self.source)).ok().map(|it| stamp(&it));
        if present == seen.stamp {
            return;
        }
        match read(&self.source, &self.algorithms) {
            Ok((keys, stamp)) => {
                seen.stamp = Some(stamp);
                tracing::info!(file = %path(&self.source).display(), "an issuer's keys have changed");
                self.keys.store(Arc::new(keys));
            }
            Err(error) => {
                seen.stamp = present;
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, source, "an issuer's keys cannot be read again: those from before stay");
            }
        }
    }

    /// Looks at the file with the next token, however long ago the last look was.
    #[cfg(test)]
    pub(super) fn look_now(&self) {
        self.look(&mut self.seen.lock());
    }
}

fn path(source: &KeySource) -> &Path {
    match source {
        KeySource::Secret(path) | KeySource::PublicKey(path) | KeySource::Jwks(path) => path,
    }
}

fn read(source: &KeySource, algorithms: &[JwtAlgorithm]) -> Result<(Keys, Stamp), KeyError> {
    let path = path(source);
    let unreadable = |source| KeyError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let stamp = stamp(&file.metadata().map_err(unreadable)?);
    let mut bytes = Vec::new();
    let mut limited = file.take(FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    let keys = if bytes.len() as u64 > FILE_BYTES_MAX {
        Err("is larger than 1 MiB")
    } else {
        parse(source, &bytes, algorithms)
    };
    let unusable = |what| KeyError::Unusable {
        path: path.to_owned(),
        what,
    };
    Ok((keys.map_err(unusable)?, stamp))
}

fn parse(
    source: &KeySource,
    bytes: &[u8],
    algorithms: &[JwtAlgorithm],
) -> Result<Keys, &'static str> {
    let keys = match source {
        KeySource::Secret(_) => vec![secret(bytes, algorithms)?],
        KeySource::PublicKey(_) => vec![public_key(bytes)?],
        KeySource::Jwks(_) => jwks(bytes)?,
    };
    let fits = |algorithm: &JwtAlgorithm| {
        let fits = |key: &Key| {
            key.kind == algorithm.key_kind() && key.only.is_none_or(|only| only == *algorithm)
        };
        keys.iter().any(fits)
    };
    if keys.iter().any(|key| !key.is_usable()) {
        return Err("has a key that is broken");
    }
    // A JWKS may have keys for some of the algorithms at a time; the one key of a file must be good for all.
    let by_kid = matches!(source, KeySource::Jwks(_));
    let fine = if by_kid {
        algorithms.iter().any(fits)
    } else {
        algorithms.iter().all(fits)
    };
    if !fine {
        return Err("has no key of the kind that the algorithms need");
    }
    Ok(Keys { keys, by_kid })
}

/// All of the file but the line's end.
fn secret(bytes: &[u8], algorithms: &[JwtAlgorithm]) -> Result<Key, &'static str> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.starts_with(b"-----BEGIN ") {
        return Err("has a PEM in it, which is no shared secret");
    }
    let least = algorithms.iter().map(|it| it.secret_bytes_min()).max();
    if secret.len() < least.unwrap_or(32) {
        return Err(
            "has a secret that is too short: 32 bytes for HS256, 48 for HS384, 64 for HS512",
        );
    }
    Ok(Key {
        kid: None,
        only: None,
        kind: KeyKind::Secret,
        key: DecodingKey::from_secret(secret),
    })
}

fn public_key(pem: &[u8]) -> Result<Key, &'static str> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .map_err(|_| "has no PEM that begins with `-----BEGIN PUBLIC KEY-----`")?;
    let (_, info) =
        SubjectPublicKeyInfo::from_der(&der).map_err(|_| "has a public key that is broken")?;
    let raw = info.subject_public_key.data.as_ref();
    let (kind, key) = match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            check_rsa(rsa.modulus)?;
            (KeyKind::Rsa, DecodingKey::from_rsa_der(raw))
        }
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref();
            let curve = curve.and_then(|it| it.as_oid().ok());
            let curve = curve.map(|it| it.to_id_string()).unwrap_or_default();
            let kind = match curve.as_str() {
                "1.2.840.10045.3.1.7" => KeyKind::P256,
                "1.3.132.0.34" => KeyKind::P384,
                _ => return Err("has a key on another curve than P-256 and P-384"),
            };
            (kind, DecodingKey::from_ec_der(raw))
        }
        _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" && raw.len() == 32 => {
            (KeyKind::Ed25519, DecodingKey::from_ed_der(raw))
        }
        _ => return Err("has a public key that is none of RSA, P-256, P-384 and Ed25519"),
    };
    Ok(Key {
        kid: None,
        only: None,
        kind,
        key,
    })
}

fn check_rsa(modulus: &[u8]) -> Result<(), &'static str> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    if RSA_BYTES.contains(&(modulus.len() - zeros)) {
        Ok(())
    } else {
        Err("has an RSA key of fewer than 2048 or more than 4096 bits")
    }
}

/// A set of keys (RFC 7517 §5). Members that are not known are left alone.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// What of a key is looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that can check signatures. Those of other kinds or for other purposes are passed over, as RFC 7517 §5
/// asks for; one that is of our kinds and broken makes the whole set unusable.
fn jwks(bytes: &[u8]) -> Result<Vec<Key>, &'static str> {
    let set: KeySet = serde_json::from_slice(bytes).map_err(|_| "is no JWKS")?;
    if set.keys.len() > KEYS_MAX {
        return Err("has more than 256 keys");
    }
    let mut keys: Vec<Key> = Vec::new();
    for value in set.keys {
        let jwk: Jwk = serde_json::from_value(value).map_err(|_| "has a key that is broken")?;
        let Some(key) = jwk.key()? else {
            continue;
        };
        let taken = |other: &Key| other.kid.is_some() && other.kid == key.kid;
        if keys.iter().any(taken) {
            return Err("has two keys of one id");
        }
        keys.push(key);
    }
    Ok(keys)
}

impl Jwk {
    /// None: it is not for us.
    fn key(self) -> Result<Option<Key>, &'static str> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        let only = self.alg.as_deref().map(JwtAlgorithm::from_name);
        if only == Some(None) {
            return Ok(None);
        }
        let kind = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => KeyKind::Rsa,
            ("EC", Some("P-256")) => KeyKind::P256,
            ("EC", Some("P-384")) => KeyKind::P384,
            ("OKP", Some("Ed25519")) => KeyKind::Ed25519,
            // Shared secrets among them: they have no place in a published set.
            _ => return Ok(None),
        };
        let key = match kind {
            KeyKind::Rsa => self.rsa()?,
            KeyKind::P256 => self.ec(32)?,
            KeyKind::P384 => self.ec(48)?,
            KeyKind::Ed25519 => DecodingKey::from_ed_der(&number(&self.x, Some(32))?),
            KeyKind::Secret => return Ok(None),
        };
        Ok(Some(Key {
            kid: self.kid,
            only: only.flatten(),
            kind,
            key,
        }))
    }

    fn rsa(&self) -> Result<DecodingKey, &'static str> {
        let (modulus, exponent) = (number(&self.n, None)?, number(&self.e, None)?);
        check_rsa(&modulus)?;
        Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
    }

    fn ec(&self, bytes: usize) -> Result<DecodingKey, &'static str> {
        let (x, y) = (number(&self.x, Some(bytes))?, number(&self.y, Some(bytes))?);
        // An uncompressed point (SEC 1 §2.3.3).
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        Ok(DecodingKey::from_ec_der(&point))
    }
}

fn number(text: &Option<String>, bytes: Option<usize>) -> Result<Vec<u8>, &'static str> {
    let broken = "has a key that is broken";
    let number = URL_SAFE_NO_PAD.decode(text.as_deref().ok_or(broken)?);
    let number = number.map_err(|_| broken)?;
    if bytes.is_some_and(|bytes| number.len() != bytes) {
        return Err(broken);
    }
    Ok(number)
}
