//! API tokens: `rst_ID_SECRET`, a random secret that stands for nobody but itself.
//!
//! The id is no secret and names the document; what is stored is a hash of the whole. There is nothing to guess in 260 random
//! bits, so that a fast hash is enough. After a rotation the secret before may be taken for a while.
//!
//! Always, with a test of its name below: `only_the_whole_token_is_the_token`.

use rand::rngs::SysError;
use restante_storage::UnixMillis;

use super::hash::Digest;
use super::principal::Principal;
use super::secret::{Secret, random_letters};
use super::snapshot::Access;

const MARK: &str = "rst_";
const ID_LETTERS: usize = 10;
/// 52 letters of 5 bits: 260 bits.
const SECRET_LETTERS: usize = 52;

/// A secret that was just made. It is kept nowhere.
pub struct NewToken {
    /// The part that may be shown: the name of the token's document.
    pub id: String,
    /// The whole token, to be handed to its owner.
    pub secret: Secret,
    /// What goes into the document.
    pub hash: String,
}

/// Makes a token.
///
/// # Errors
/// The system has no random numbers.
pub fn new_token() -> Result<NewToken, SysError> {
    new_secret(random_letters(ID_LETTERS)?)
}

/// Makes another secret for the token with this id: a rotation.
///
/// # Errors
/// The system has no random numbers.
pub fn new_secret(id: String) -> Result<NewToken, SysError> {
    let secret = Secret::new(format!("{MARK}{id}_{}", random_letters(SECRET_LETTERS)?));
    let hash = Digest::of(secret.expose()).to_hex();
    Ok(NewToken { id, secret, hash })
}

/// Whether a text has the form of a token; a JWT never has.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Whether `id` may be a token's: letters and digits.
pub(super) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

pub(super) fn id_of(text: &str) -> Option<&str> {
    let (id, _) = text.strip_prefix(MARK)?.split_once('_')?;
    is_id(id).then_some(id)
}

/// Who shows `text`, if it is an enabled token that has not expired. Takes as long for an id that is not known.
pub(super) fn verify(access: &Access, text: &str, now: UnixMillis) -> Option<Principal> {
    let shown = Digest::of(text);
    let id = id_of(text).unwrap_or_default();
    let token = access.token(id);
    let matches = |hash: Option<&str>| {
        let stored = hash.and_then(Digest::from_hex);
        shown.matches(stored.unwrap_or(Digest::of(""))) && stored.is_some()
    };
    let present = matches(token.map(|token| token.hash.as_str()));
    let previous = token.and_then(|token| token.previous.as_ref());
    let before = matches(previous.map(|previous| previous.hash.as_str()));
    if !present && !before {
        return None;
    }
    access.token_principal(id, shown.mark(), now)
}

#[cfg(test)]
mod tests {
    use super::super::testing::House;
    use super::*;
    use crate::registry::Token;
    use restante_admin_api::document::PreviousSecret;

    const NOW: UnixMillis = UnixMillis::new(1_000);

    fn house(change: impl FnOnce(&mut Token)) -> (House, NewToken) {
        let new = new_token().unwrap();
        let mut token = Token {
            label: "ci".to_owned(),
            roles: vec!["shop".to_owned()],
            hash: new.hash.clone(),
            ..Token::default()
        };
        change(&mut token);
        (House::new().token(&new.id, token), new)
    }

    fn name(house: &House, text: &str) -> Option<String> {
        verify(&house.access(), text, NOW).map(|principal| principal.name.to_string())
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let (house, new) = house(|_| {});
        let text = new.secret.expose();
        assert_eq!(name(&house, text).as_deref(), Some("token:ci"));
        let id = &new.id;
        for wrong in [
            "",
            "rst_",
            "rst__",
            "rst_a_b",
            &format!("rst_{id}_"),
            &format!("{text}0"),
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &format!("rst_{id}_{}", new.hash),
        ] {
            assert_eq!(name(&house, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_may_be_disabled_or_expire() {
        let (disabled, new) = house(|token| token.disabled = true);
        assert_eq!(name(&disabled, new.secret.expose()), None);
        let (expired, new) = house(|token| token.expires_at = Some(1_000));
        assert_eq!(name(&expired, new.secret.expose()), None);
        let (fresh, new) = house(|token| token.expires_at = Some(1_001));
        let principal = verify(&fresh.access(), new.secret.expose(), NOW).unwrap();
        assert_eq!(principal.expires, Some(UnixMillis::new(1_001)));
    }

    #[test]
    fn the_secret_before_a_rotation_is_taken_until_its_time() {
        let (old_house, old) = house(|_| {});
        let new = new_secret(old.id.clone()).unwrap();
        let rotated = |until| {
            let previous = PreviousSecret {
                hash: old.hash.clone(),
                until,
            };
            House::new().token(
                &old.id,
                Token {
                    label: "ci".to_owned(),
                    hash: new.hash.clone(),
                    previous: Some(previous),
                    ..Token::default()
                },
            )
        };
        let session = verify(&old_house.access(), old.secret.expose(), NOW).unwrap();
        let during = rotated(1_001);
        assert!(name(&during, new.secret.expose()).is_some());
        assert!(name(&during, old.secret.expose()).is_some());
        let renewed = during.access().renew(&session, NOW).unwrap();
        assert_eq!(renewed.expires, Some(UnixMillis::new(1_001)));
        let after = rotated(1_000);
        assert!(name(&after, new.secret.expose()).is_some());
        assert_eq!(name(&after, old.secret.expose()), None);
        assert_eq!(after.access().renew(&session, NOW), None);
    }
}
