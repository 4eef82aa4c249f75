//! What the configuration says of access: who may issue JWTs, what bounds guessing, and what those are who show nothing.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;

/// What the configuration says of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose JWTs are taken.
    pub issuers: Vec<IssuerSettings>,
    /// Wrong passwords a minute from one peer address, before it has to wait.
    pub attempts_per_minute: u32,
    /// A file with the password of the first administrator.
    pub admin_password_file: Option<PathBuf>,
    /// What those who show nothing are. None: they are not let in.
    pub anonymous_role: Option<String>,
}

impl Default for Settings {
    /// No JWTs, ten attempts, a random first password, nobody unknown.
    fn default() -> Settings {
        Settings {
            issuers: Vec::new(),
            attempts_per_minute: 10,
            admin_password_file: None,
            anonymous_role: None,
        }
    }
}

/// Whose JWTs are taken, and how they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The claim `iss`, to the letter.
    pub issuer: String,
    /// What `aud` must have, to the letter.
    pub audience: String,
    /// What a signature may be made with; at least one.
    pub algorithms: Vec<JwtAlgorithm>,
    /// What it is checked with.
    pub keys: KeySource,
    /// The claim that names the user.
    pub user_claim: String,
    /// Put in front of that name, so that two issuers' users cannot be taken for each other.
    pub user_prefix: String,
    /// The claim that lists roles; with dots, a path.
    pub roles_claim: String,
    /// Only roles that begin so count, without it.
    pub roles_prefix: String,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// Whether its JWTs may have the role `admin`.
    pub allow_admin: bool,
}

/// Where an issuer's keys are. Read again whenever the file changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A secret that the issuer shares with the broker.
    Secret(PathBuf),
    /// One public key, as PEM.
    PublicKey(PathBuf),
    /// A JWKS, as issuers publish it.
    Jwks(PathBuf),
}

/// An algorithm that a JWT may be signed with. There is none for "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// What kind of key an algorithm wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl JwtAlgorithm {
    /// As they are written.
    pub const NAMES: &'static [&'static str] = &[
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];

    /// The algorithm of this name, in exactly these letters.
    pub fn from_name(name: &str) -> Option<JwtAlgorithm> {
        Some(match name {
            "HS256" => JwtAlgorithm::Hs256,
            "HS384" => JwtAlgorithm::Hs384,
            "HS512" => JwtAlgorithm::Hs512,
            "RS256" => JwtAlgorithm::Rs256,
            "RS384" => JwtAlgorithm::Rs384,
            "RS512" => JwtAlgorithm::Rs512,
            "PS256" => JwtAlgorithm::Ps256,
            "PS384" => JwtAlgorithm::Ps384,
            "PS512" => JwtAlgorithm::Ps512,
            "ES256" => JwtAlgorithm::Es256,
            "ES384" => JwtAlgorithm::Es384,
            "EdDSA" => JwtAlgorithm::EdDsa,
            _ => return None,
        })
    }

    pub(super) fn get(self) -> Algorithm {
        match self {
            JwtAlgorithm::Hs256 => Algorithm::HS256,
            JwtAlgorithm::Hs384 => Algorithm::HS384,
            JwtAlgorithm::Hs512 => Algorithm::HS512,
            JwtAlgorithm::Rs256 => Algorithm::RS256,
            JwtAlgorithm::Rs384 => Algorithm::RS384,
            JwtAlgorithm::Rs512 => Algorithm::RS512,
            JwtAlgorithm::Ps256 => Algorithm::PS256,
            JwtAlgorithm::Ps384 => Algorithm::PS384,
            JwtAlgorithm::Ps512 => Algorithm::PS512,
            JwtAlgorithm::Es256 => Algorithm::ES256,
            JwtAlgorithm::Es384 => Algorithm::ES384,
            JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        }
    }

    pub(super) fn key_kind(self) -> KeyKind {
        match self {
            JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512 => KeyKind::Secret,
            JwtAlgorithm::Es256 => KeyKind::P256,
            JwtAlgorithm::Es384 => KeyKind::P384,
            JwtAlgorithm::EdDsa => KeyKind::Ed25519,
            JwtAlgorithm::Rs256
            | JwtAlgorithm::Rs384
            | JwtAlgorithm::Rs512
            | JwtAlgorithm::Ps256
            | JwtAlgorithm::Ps384
            | JwtAlgorithm::Ps512 => KeyKind::Rsa,
        }
    }

    /// The least bytes of a secret: as many as the hash has (RFC 7518 §3.2).
    pub(super) fn secret_bytes_min(self) -> usize {
        match self {
            JwtAlgorithm::Hs384 => 48,
            JwtAlgorithm::Hs512 => 64,
            _ => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_a_name_and_none_has_none() {
        for name in JwtAlgorithm::NAMES {
            let algorithm = JwtAlgorithm::from_name(name).unwrap();
            assert_eq!(format!("{:?}", algorithm.get()), *name);
        }
        for name in ["none", "None", "hs256", "ES512", ""] {
            assert_eq!(JwtAlgorithm::from_name(name), None, "{name}");
        }
    }
}
