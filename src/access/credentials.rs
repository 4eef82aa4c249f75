//! What somebody shows to say who they are, and how it is read from an `Authorization` header.
//!
//! Always, with tests of these names below: `no_debug_output_shows_a_secret`, `broken_headers_are_refused`.
//!
//! Rules: RFC 9110 §11.6.2 (the header), RFC 7617 (Basic; UTF-8), RFC 6750 §2.1 (Bearer).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{Secret, token};

/// Longer names and secrets are refused unread: hashing them would be work for a stranger.
pub(super) const NAME_BYTES_MAX: usize = 256;
pub(super) const SECRET_BYTES_MAX: usize = 1024;
/// The longest token, a JWT with many claims included.
pub(super) const TOKEN_BYTES_MAX: usize = 8192;

/// A claim to be somebody.
#[derive(Clone)]
pub enum Credentials {
    /// A user's name and password.
    Basic {
        /// Whose.
        user: String,
        /// In the clear.
        password: Secret,
    },
    /// An API token or a JWT.
    Bearer {
        /// The whole token.
        token: Secret,
    },
}

/// Why a header holds no credentials. Whoever sees it answers 400 or 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither `Basic` nor `Bearer`.
    #[error("the authorization scheme is neither Basic nor Bearer")]
    Scheme,
    /// Not base 64, not UTF-8, no colon, or control characters.
    #[error("the credentials in the authorization header are malformed")]
    Malformed,
    /// A name or secret beyond all reason.
    #[error("the credentials in the authorization header are too long")]
    TooLong,
}

impl Credentials {
    /// A user's name and password, as a frame or a form carries them.
    ///
    /// # Errors
    /// [`HeaderError::TooLong`] and [`HeaderError::Malformed`] (control characters).
    pub fn basic(user: &str, password: &str) -> Result<Credentials, HeaderError> {
        if user.len() > NAME_BYTES_MAX || password.len() > SECRET_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        if user.chars().chain(password.chars()).any(char::is_control) {
            return Err(HeaderError::Malformed);
        }
        Ok(Credentials::Basic {
            user: user.to_owned(),
            password: Secret::new(password),
        })
    }

    /// An API token or a JWT, as a frame carries it.
    ///
    /// # Errors
    /// [`HeaderError::TooLong`], and [`HeaderError::Malformed`] (empty, or not visible ASCII).
    pub fn bearer(token: &str) -> Result<Credentials, HeaderError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HeaderError::Malformed);
        }
        Ok(Credentials::Bearer {
            token: Secret::new(token),
        })
    }

    /// What a client shows in the place of a password, whose it says or not: by its form, a token of ours or a JWT is one, whoever is
    /// named beside it.
    ///
    /// # Errors
    /// [`HeaderError`], as [`Credentials::basic`] and [`Credentials::bearer`]; also [`HeaderError::Malformed`] for a password of nobody.
    pub fn of_secret(user: Option<&str>, secret: &str) -> Result<Credentials, HeaderError> {
        match user {
            _ if has_form_of_token(secret) => Credentials::bearer(secret),
            Some(user) => Credentials::basic(user, secret),
            None => Err(HeaderError::Malformed),
        }
    }

    /// Reads the value of an `Authorization` header.
    ///
    /// # Errors
    /// [`HeaderError`]: there are no credentials in it.
    pub fn from_header(value: &[u8]) -> Result<Credentials, HeaderError> {
        if value.len() > TOKEN_BYTES_MAX + 64 {
            return Err(HeaderError::TooLong);
        }
        let value = std::str::from_utf8(value).map_err(|_| HeaderError::Malformed)?;
        let (scheme, rest) = value.trim().split_once(' ').ok_or(HeaderError::Scheme)?;
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("basic") {
            let pair = STANDARD.decode(rest).map_err(|_| HeaderError::Malformed)?;
            let pair = std::str::from_utf8(&pair).map_err(|_| HeaderError::Malformed)?;
            let (user, password) = pair.split_once(':').ok_or(HeaderError::Malformed)?;
            Credentials::basic(user, password)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Credentials::bearer(rest)
        } else {
            Err(HeaderError::Scheme)
        }
    }
}

/// A JWT is three parts in base64url, the first of which begins as JSON does.
fn has_form_of_token(text: &str) -> bool {
    let is_part = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok();
    let is_jwt =
        || text.starts_with("ey") && text.split('.').count() == 3 && text.split('.').all(is_part);
    text.len() <= TOKEN_BYTES_MAX && (token::is_token(text) || is_jwt())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Basic { user, .. } => f
                .debug_struct("Basic")
                .field("user", user)
                .finish_non_exhaustive(),
            Credentials::Bearer { .. } => f.debug_struct("Bearer").finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Credentials::from_header`] finds: user and secret.
    fn read(header: &str) -> Result<(Option<String>, String), HeaderError> {
        Credentials::from_header(header.as_bytes()).map(|credentials| match credentials {
            Credentials::Basic { user, password } => (Some(user), password.expose().to_owned()),
            Credentials::Bearer { token } => (None, token.expose().to_owned()),
        })
    }

    fn basic(pair: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn headers_are_read() {
        let ada = Ok((Some("ada".to_owned()), "pass:wörd".to_owned()));
        assert_eq!(read(&basic("ada:pass:wörd".as_bytes())), ada);
        assert_eq!(
            read("bAsIc  YWRhOg=="),
            Ok((Some("ada".to_owned()), String::new()))
        );
        assert_eq!(read("Bearer rst_a_b"), Ok((None, "rst_a_b".to_owned())));
    }

    #[test]
    fn a_secret_is_a_token_by_its_form_and_a_password_otherwise() {
        let of = |user: Option<&str>, secret: &str| match Credentials::of_secret(user, secret) {
            Ok(Credentials::Basic { user, password }) => format!("{user}:{}", password.expose()),
            Ok(Credentials::Bearer { token }) => token.expose().to_owned(),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(of(Some("ada"), "pw.pw.pw"), "ada:pw.pw.pw");
        assert_eq!(of(Some("ada"), "eye.bye"), "ada:eye.bye");
        assert_eq!(of(Some("ada"), "rst_a_b"), "rst_a_b");
        assert_eq!(of(None, "eyJh.eyJz.c2ln"), "eyJh.eyJz.c2ln");
        assert_eq!(of(None, "pw"), "Malformed");
        assert_eq!(of(Some("ada"), &"eyJh".repeat(3000)), "TooLong");
        assert_eq!(of(Some("ada"), "a\nb"), "Malformed");
    }

    #[test]
    fn broken_headers_are_refused() {
        for header in ["", "Basic", "Digest x", "Basic\tYTpi"] {
            assert_eq!(read(header), Err(HeaderError::Scheme), "{header:?}");
        }
        let latin = basic(b"a:\xff");
        for header in [
            "Basic !!!",
            "Basic YWRh",
            "Basic YTpi=",
            "Bearer a b",
            "Bearer \u{e9}",
            &latin,
            &basic(b"a\n:b"),
            &basic(b"a:\0"),
        ] {
            assert_eq!(read(header), Err(HeaderError::Malformed), "{header:?}");
        }
        for header in [
            basic(format!("a:{}", "x".repeat(1025)).as_bytes()),
            format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1)),
            "x".repeat(1 << 20),
        ] {
            assert_eq!(read(&header), Err(HeaderError::TooLong));
        }
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let canary = "canary-bird";
        let basic = Credentials::basic("ada", canary).unwrap();
        let bearer = Credentials::bearer(canary).unwrap();
        let shown = format!("{basic:?} {bearer:#?} {:?}", HeaderError::Malformed);
        assert!(
            shown.contains("ada") && !shown.contains("canary"),
            "{shown}"
        );
    }
}
