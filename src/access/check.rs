//! Whether a document of access may be stored: everything that is wrong with it, each with its place.
//!
//! Places are JSON pointers (RFC 6901) into the document, `/roles/2`, for whoever answers with them. Nothing here looks at other
//! documents; a role that no document describes may be given to somebody, and have rules.
//!
//! Always, with a test of its name below: `everything_that_is_wrong_is_said_at_once`.

use super::authenticator::PasswordError;
use super::certificate;
use super::credentials::NAME_BYTES_MAX;
use super::hash::{self, Digest};
use super::index::ANY;
use super::pattern::Pattern;
use super::principal::{ADMIN, MONITOR};
use super::scram::Verifier;
use super::{token, wamp};
use crate::registry::{DocumentKind, Role, Rule, Token, User, Verb};
use restante_admin_api::document::{Effect, TRUSTLEVEL_MAX};

const DESCRIPTION_BYTES_MAX: usize = 4096;
const LIST_MAX: usize = 256;
const PUBLIC_KEYS_MAX: usize = 8;
const ALONE: &str = "stands beside a `password_hash`, of the same password, and there is none";
const NO_NAME: &str =
    "is no name: 1 to 256 bytes, not `*`, no colon, no control characters, no space at an end";

/// Where something is wrong, and what.
pub type DocumentFault = (String, String);

/// What a check found.
pub type Checked = Result<(), Vec<DocumentFault>>;

/// Whether a document of this kind may be called `name`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the name.
pub fn check_name(kind: DocumentKind, name: &str) -> Result<(), &'static str> {
    match kind {
        DocumentKind::Token if !token::is_id(name) => {
            Err("is no token's id: 1 to 64 letters and digits")
        }
        DocumentKind::Token => Ok(()),
        _ if !is_name(name) => Err(NO_NAME),
        DocumentKind::Role if [ADMIN, MONITOR].contains(&name) => {
            Err("is a built-in role, which cannot be changed")
        }
        _ => Ok(()),
    }
}

/// Whether a user, a token's label, a role or a rule may have this name. A colon would end a name in a Basic header, and marks
/// principals that are no users.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name != ANY
        && name.len() <= NAME_BYTES_MAX
        && name.trim() == name
        && !name.contains(|c: char| c == ':' || c.is_control())
}

/// Whether a user may be stored.
///
/// # Errors
/// Everything that is wrong.
pub fn check_user(user: &User) -> Checked {
    let mut faults = Faults::default();
    faults.description(&user.description);
    faults.roles(&user.roles);
    faults.list("/certificates", &user.certificates, |name| {
        certificate::complaint(name).map(str::to_owned)
    });
    if let Some(hash) = &user.password_hash
        && let Err(error) = hash::check_password_hash(hash)
    {
        faults.add("/password_hash", error.to_string());
    }
    faults.public_keys(&user.public_keys);
    let hash = user.password_hash.as_deref();
    let is = |secret: Option<&str>, read: fn(&str) -> Option<String>| match (secret, hash) {
        (Some(_), None) => Some(ALONE.to_owned()),
        (Some(secret), Some(_)) => read(secret),
        (None, _) => None,
    };
    let verifier = is(user.scram_verifier.as_deref(), |it| {
        Verifier::from_text(it).err().map(|it| it.to_string())
    });
    let cra = is(user.wampcra_key.as_deref(), |it| {
        wamp::CraKey::from_text(it).err().map(|it| it.to_string())
    });
    let argon = is(user.scram_argon2_verifier.as_deref(), |it| {
        let read = wamp::ArgonVerifier::from_text(it);
        read.err().map(|it| it.to_string())
    });
    for (pointer, detail) in [
        ("/scram_verifier", verifier),
        ("/wampcra_key", cra),
        ("/scram_argon2_verifier", argon),
    ] {
        if let Some(detail) = detail {
            faults.add(pointer, detail);
        }
    }
    faults.finish()
}

/// Whether a token may be stored. That no other has its label is for the caller to see.
///
/// # Errors
/// Everything that is wrong.
pub fn check_token(token: &Token) -> Checked {
    let mut faults = Faults::default();
    faults.name("/label", &token.label);
    faults.description(&token.description);
    faults.roles(&token.roles);
    faults.digest("/hash", &token.hash);
    if let Some(previous) = &token.previous {
        faults.digest("/previous/hash", &previous.hash);
    }
    faults.finish()
}

/// Whether a role may be stored.
///
/// # Errors
/// Everything that is wrong.
pub fn check_role(role: &Role) -> Checked {
    let mut faults = Faults::default();
    faults.description(&role.description);
    for (index, grant) in role.grants.iter().enumerate() {
        if role.grants.iter().take(index).any(|other| other == grant) {
            faults.add(&format!("/grants/{index}"), "is there twice".to_owned());
        }
    }
    faults.finish()
}

/// Whether a rule may be stored.
///
/// # Errors
/// Everything that is wrong.
pub fn check_rule(rule: &Rule) -> Checked {
    let mut faults = Faults::default();
    faults.description(&rule.description);
    for (pointer, name) in [("/role", &rule.role), ("/realm", &rule.realm)] {
        if name != ANY {
            faults.name(pointer, name);
        }
    }
    if rule.verbs.is_empty() {
        faults.add(
            "/verbs",
            "is empty: the rule would be about nothing".to_owned(),
        );
    }
    for (index, verb) in rule.verbs.iter().enumerate() {
        if rule.verbs.iter().take(index).any(|other| other == verb) {
            faults.add(&format!("/verbs/{index}"), "is there twice".to_owned());
        }
    }
    if let Err(error) = Pattern::parse(&rule.filter) {
        faults.add("/filter", error.to_string());
    }
    if let Some(trustlevel) = rule.trustlevel {
        let is_told = |verb: &Verb| matches!(verb, Verb::Send | Verb::Call);
        if trustlevel > TRUSTLEVEL_MAX {
            faults.add("/trustlevel", "is 9 at most".to_owned());
        } else if rule.effect == Effect::Deny || !rule.verbs.iter().any(is_told) {
            let detail = "is of rules that allow `send` or `call`";
            faults.add("/trustlevel", detail.to_owned());
        }
    }
    faults.finish()
}

/// Whether a password may be anybody's: 8 characters or more, 1024 bytes at most, no control characters.
///
/// # Errors
/// [`PasswordError::Rules`].
pub fn check_password(password: &super::Secret) -> Result<(), PasswordError> {
    super::authenticator::check_password(password)
}

#[derive(Default)]
struct Faults(Vec<DocumentFault>);

impl Faults {
    fn add(&mut self, pointer: &str, detail: String) {
        self.0.push((pointer.to_owned(), detail));
    }

    fn finish(self) -> Checked {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }

    fn description(&mut self, text: &str) {
        if text.len() > DESCRIPTION_BYTES_MAX {
            self.add("/description", "is longer than 4096 bytes".to_owned());
        }
    }

    fn name(&mut self, pointer: &str, name: &str) {
        if !is_name(name) {
            self.add(pointer, NO_NAME.to_owned());
        }
    }

    fn roles(&mut self, roles: &[String]) {
        self.list("/roles", roles, |role| {
            (!is_name(role)).then(|| NO_NAME.to_owned())
        });
    }

    fn public_keys(&mut self, keys: &[String]) {
        if keys.len() > PUBLIC_KEYS_MAX {
            self.add("/public_keys", "has more than 8 items".to_owned());
            return;
        }
        self.list("/public_keys", keys, |key| {
            wamp::complaint(key).map(str::to_owned)
        });
    }

    /// Complains of each item that `complaint` does, and of those that are there twice.
    fn list(
        &mut self,
        pointer: &str,
        items: &[String],
        complaint: impl Fn(&str) -> Option<String>,
    ) {
        if items.len() > LIST_MAX {
            self.add(pointer, "has more than 256 items".to_owned());
            return;
        }
        for (index, item) in items.iter().enumerate() {
            let twice = items.iter().take(index).any(|other| other == item);
            let twice = twice.then(|| "is there twice".to_owned());
            if let Some(detail) = complaint(item).or(twice) {
                self.add(&format!("{pointer}/{index}"), detail);
            }
        }
    }

    fn digest(&mut self, pointer: &str, hash: &str) {
        if Digest::from_hex(hash).is_none() {
            self.add(
                pointer,
                "is no hash: 64 hexadecimal digits in lower case".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, rule};
    use super::*;
    use crate::registry::Grant;
    use restante_admin_api::document::PreviousSecret;

    /// The places that are complained of.
    fn places(checked: Checked) -> Vec<String> {
        let faults = checked.err().unwrap_or_default();
        assert!(faults.iter().all(|(_, detail)| !detail.is_empty()));
        faults.into_iter().map(|(pointer, _)| pointer).collect()
    }

    const KEY: &str = "1adfc8bfe1d35616e64dffbd900096f23b066f914c8c2ffbb66f6075b96e116d";

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let user = User {
            description: "x".repeat(5000),
            roles: texts(&["shop", "*", "a:b", "shop"]),
            certificates: texts(&["cn:ada", "ada"]),
            public_keys: texts(&[KEY, "a1", KEY, &"0".repeat(64), &KEY.to_uppercase()]),
            password_hash: Some("plain".to_owned()),
            scram_verifier: Some("plain".to_owned()),
            wampcra_key: Some("plain".to_owned()),
            scram_argon2_verifier: Some("plain".to_owned()),
            ..User::default()
        };
        assert_eq!(
            places(check_user(&user)),
            [
                "/description",
                "/roles/1",
                "/roles/2",
                "/roles/3",
                "/certificates/1",
                "/password_hash",
                "/public_keys/1",
                "/public_keys/2",
                "/public_keys/3",
                "/public_keys/4",
                "/scram_verifier",
                "/wampcra_key",
                "/scram_argon2_verifier",
            ]
        );
        let alone = User {
            scram_verifier: Some(Verifier::new("correct horse").unwrap().to_text()),
            wampcra_key: Some(wamp::CraKey::new("correct horse").unwrap().to_text()),
            ..User::default()
        };
        assert_eq!(
            places(check_user(&alone)),
            ["/scram_verifier", "/wampcra_key"]
        );
        let many = User {
            public_keys: (0..9)
                .map(|it| KEY.replace("1adf", &format!("{it:04}")))
                .collect(),
            ..User::default()
        };
        assert_eq!(places(check_user(&many)), ["/public_keys"]);
        let token = Token {
            label: " ci".to_owned(),
            hash: "x".to_owned(),
            previous: Some(PreviousSecret {
                hash: String::new(),
                until: 1,
            }),
            ..Token::default()
        };
        assert_eq!(
            places(check_token(&token)),
            ["/label", "/hash", "/previous/hash"]
        );
        let role = Role {
            grants: vec![Grant::Read, Grant::Read],
            ..Role::default()
        };
        assert_eq!(places(check_role(&role)), ["/grants/1"]);
        let rule = rule(Effect::Allow, "", &[], "a:b", "a/${usr}");
        assert_eq!(
            places(check_rule(&rule)),
            ["/role", "/realm", "/verbs", "/filter"]
        );
    }

    #[test]
    fn a_trust_level_is_of_rules_by_which_somebody_is_heard() {
        let places = |effect, verbs: &[Verb], trustlevel| {
            let rule = Rule {
                trustlevel: Some(trustlevel),
                ..rule(effect, "shop", verbs, "*", "a")
            };
            places(check_rule(&rule))
        };
        assert!(places(Effect::Allow, &[Verb::Send], 0).is_empty());
        assert!(places(Effect::Allow, &[Verb::Consume, Verb::Call], 9).is_empty());
        for (effect, verbs, trustlevel) in [
            (Effect::Allow, &[Verb::Send][..], 10),
            (Effect::Allow, &[Verb::Consume, Verb::Register], 1),
            (Effect::Deny, &[Verb::Send], 1),
        ] {
            assert_eq!(places(effect, verbs, trustlevel), ["/trustlevel"]);
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        let user = User {
            certificates: texts(&["cn:ada", "dns:ada.example"]),
            public_keys: texts(&[KEY]),
            ..testing::user("correct horse", &["shop", "admin"])
        };
        assert_eq!(check_user(&user), Ok(()));
        assert_eq!(check_user(&User::default()), Ok(()));
        let token = Token {
            label: "ci".to_owned(),
            hash: "0".repeat(64),
            ..Token::default()
        };
        assert_eq!(check_token(&token), Ok(()));
        let everything = rule(
            Effect::Deny,
            "*",
            &Verb::ALL,
            "*",
            "a/${user}/+/${client}/#",
        );
        assert_eq!(check_rule(&everything), Ok(()));
    }

    #[test]
    fn names_have_their_kinds_forms() {
        for name in ["ada", "Ada Lovelace", "ä", "a/b", "+", &"x".repeat(256)] {
            assert_eq!(check_name(DocumentKind::User, name), Ok(()), "{name}");
        }
        for name in ["", "*", "token:x", "a\n", " a", "a ", &"x".repeat(257)] {
            assert!(check_name(DocumentKind::User, name).is_err(), "{name}");
        }
        assert!(check_name(DocumentKind::Role, "admin").is_err());
        assert!(check_name(DocumentKind::Role, "monitor").is_err());
        assert_eq!(check_name(DocumentKind::User, "admin"), Ok(()));
        assert!(check_name(DocumentKind::Token, "a_b").is_err());
        assert_eq!(check_name(DocumentKind::Token, "abc123"), Ok(()));
    }
}
