//! What a client says in SCRAM, read to the letter of the grammar (RFC 5802 §7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Key;
use crate::access::credentials::NAME_BYTES_MAX;

/// Longer messages are refused unread. A name of 256 bytes may take three times as many, a nonce rarely has 50.
const MESSAGE_BYTES_MAX: usize = 2048;

/// A client's nonce.
const NONCE_BYTES_MAX: usize = 512;

/// Why an exchange is over. For those who log: a client hears only that it is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not of the grammar, too long, or not UTF-8.
    #[error("the message is malformed")]
    Malformed,
    /// The client insists on channel binding (`p=`), which is for methods that end in `-PLUS`.
    #[error("channel binding is not spoken")]
    ChannelBinding,
    /// The client wants to act as somebody else than who it authenticates as.
    #[error("an authorization identity of its own is not taken")]
    Authzid,
    /// An extension that the client insists on (`m=`).
    #[error("a mandatory extension is not known")]
    Extension,
    /// Not the header that the client began with, or another nonce.
    #[error("the message does not belong to this exchange")]
    Mismatch,
    /// The password is another.
    #[error("the proof is wrong")]
    Proof,
}

/// A client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// The user's name.
    pub user: String,
    /// `n,,` or the like: comes back, encoded, in the last message.
    pub(super) gs2_header: String,
    /// All behind that: a part of what is signed.
    pub(super) bare: String,
    pub(super) nonce: String,
}

impl ClientFirst {
    /// Reads it.
    ///
    /// # Errors
    /// [`ScramError`]: the exchange is over.
    pub fn read(message: &[u8]) -> Result<ClientFirst, ScramError> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',').ok_or(ScramError::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        match flag {
            // `y`: it could bind, and believes that we cannot; it is right.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        }
        let mut attributes = bare.split(',');
        let name = attribute(&mut attributes, "n=")?;
        let nonce = attribute(&mut attributes, "r=")?;
        for extension in attributes {
            check_extension(extension)?;
        }
        let user = unescaped(name)?;
        match authzid.strip_prefix("a=") {
            Some(other) if unescaped(other)? == user => {}
            Some(_) => return Err(ScramError::Authzid),
            None if authzid.is_empty() => {}
            None => return Err(ScramError::Malformed),
        }
        if !is_nonce(nonce) {
            return Err(ScramError::Malformed);
        }
        Ok(ClientFirst {
            user,
            gs2_header: format!("{flag},{authzid},"),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }
}

/// A client's last message.
pub(super) struct ClientFinal<'a> {
    /// The header of the first, encoded.
    pub(super) binding: &'a str,
    pub(super) nonce: &'a str,
    /// All before the proof: a part of what is signed.
    pub(super) without_proof: &'a str,
    pub(super) proof: Key,
}

impl ClientFinal<'_> {
    pub(super) fn read(message: &[u8]) -> Result<ClientFinal<'_>, ScramError> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attribute(&mut attributes, "c=")?;
        let nonce = attribute(&mut attributes, "r=")?;
        for extension in attributes {
            check_extension(extension)?;
        }
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?;
        Ok(ClientFinal {
            binding,
            nonce,
            without_proof,
            proof: Key::try_from(proof).map_err(|_| ScramError::Malformed)?,
        })
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed);
    }
    let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
    match text.contains('\0') {
        true => Err(ScramError::Malformed),
        false => Ok(text),
    }
}

/// The value of the next attribute, which must have this name. `m=` in its place is an extension that must not be ignored.
fn attribute<'a>(
    attributes: &mut impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<&'a str, ScramError> {
    let attribute = attributes.next().ok_or(ScramError::Malformed)?;
    if attribute.starts_with("m=") {
        return Err(ScramError::Extension);
    }
    attribute.strip_prefix(name).ok_or(ScramError::Malformed)
}

/// What may follow is a letter and a value, and is ignored: whoever insists on it says `m=`.
fn check_extension(attribute: &str) -> Result<(), ScramError> {
    let mut characters = attribute.chars();
    let letter = characters.next().is_some_and(|it| it.is_ascii_alphabetic());
    match letter && characters.next() == Some('=') {
        true if attribute.starts_with("m=") => Err(ScramError::Extension),
        true => Ok(()),
        false => Err(ScramError::Malformed),
    }
}

/// Whether it may be a client's part of a nonce.
pub(in crate::access) fn is_nonce(text: &str) -> bool {
    (1..=NONCE_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// A `saslname`: `=2C` is a comma, `=3D` an equals sign, and no other `=` may be there.
fn unescaped(name: &str) -> Result<String, ScramError> {
    let mut parts = name.split('=');
    let mut user = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(ScramError::Malformed),
        };
        user.push(character);
        user.push_str(rest);
    }
    let fine =
        !user.is_empty() && user.len() <= NAME_BYTES_MAX && !user.chars().any(char::is_control);
    fine.then_some(user).ok_or(ScramError::Malformed)
}
