//! What the query of an upgrade asks for: the only settings that an unmodified program can give.
//!
//! | option | of whom | value |
//! |---|---|---|
//! | `durable` | SUB | the name of a durable subscription: `A`–`Z` `a`–`z` `0`–`9` `.` `_` `~` `-`, 64 at most |
//! | `durable` | REQ | `1`: requests are kept on disk, and executed even if nobody waits any more |
//! | `prefix` | SUB | messages that begin otherwise are not sent; may be there several times, and one of them suffices |
//! | `settle` | PULL; SUB with `durable`; PAIR with `side` | `tcp` or `pong`: when a message counts as delivered |
//! | `side` | PAIR | `a` or `b`: which end of the pair, so that a client can come back to its own |
//! | `credit` | PULL; REP; SUB with `durable`; PAIR with `side` | how many messages may be out at a time: 1 to 1024; with `settle=pong` one more |
//!
//! `name=value` between `&`, values with percent-escapes; a `+` is a `+`. libnanomsg takes URLs of 127 bytes, so all is short.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::Role;
use super::escape::{decoded, is_unreserved};

/// Bytes of the longest name of a durable subscription.
pub const DURABLE_BYTES_MAX: usize = 64;
/// Bytes of the longest prefix.
pub const PREFIX_BYTES_MAX: usize = 256;
/// How many prefixes there may be.
pub const PREFIXES_MAX: usize = 16;
/// The largest credit.
pub const CREDIT_MAX: u16 = 1024;
/// Characters of a peer's text that an error quotes.
const QUOTED_MAX: usize = 32;

/// What a client asked for; what it did not mention is none or empty, and the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// SUB: the name of a durable subscription, which goes on when its client is away.
    pub durable: Option<String>,
    /// REQ: requests are kept.
    pub keeps_requests: bool,
    /// SUB: with what a message has to begin to be sent, one of these. None: all are.
    pub prefixes: Vec<Bytes>,
    /// When a message counts as delivered.
    pub settle: Option<Settle>,
    /// PAIR: which end it is.
    pub side: Option<Side>,
    /// How many messages may be out at a time; at most [`CREDIT_MAX`].
    pub credit: Option<NonZeroU16>,
}

/// When a message that nobody acknowledges counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settle {
    /// When the peer's kernel acknowledged its last byte.
    Tcp,
    /// When a ping behind it was answered: with nng, its application took the one before. Never for libnanomsg, which gives
    /// pings to the application.
    Pong,
}

/// An end of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one.
    A,
    /// The other.
    B,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

/// What is wrong with a query. The upgrade is answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// There is no such option.
    #[error("there is no option {name:?}")]
    Unknown {
        /// Its name; of a long one, what it begins with.
        name: String,
    },
    /// It is there a second time.
    #[error("the option `{name}` is there twice")]
    Repeated {
        /// Its name.
        name: &'static str,
    },
    /// It means nothing for this client.
    #[error("the option `{name}` is not for a client that is {client}")]
    NotForClient {
        /// Its name.
        name: &'static str,
        /// What the client is.
        client: Role,
    },
    /// It means something with another one only.
    #[error("the option `{name}` needs `{needs}`")]
    Needs {
        /// Its name.
        name: &'static str,
        /// The other one.
        needs: &'static str,
    },
    /// Its value is none that it can have.
    #[error("the option `{name}` should be {expected}")]
    BadValue {
        /// Its name.
        name: &'static str,
        /// What it can be.
        expected: &'static str,
    },
    /// More prefixes than [`PREFIXES_MAX`].
    #[error("there are more than {} prefixes", PREFIXES_MAX)]
    TooManyPrefixes,
}

/// Each option once, and for whom it is.
const ALL: [(&str, &[Role]); 5] = [
    ("durable", &[Role::Sub, Role::Req]),
    ("prefix", &[Role::Sub]),
    ("settle", &[Role::Pull, Role::Sub, Role::Pair, Role::Pair1]),
    ("side", &[Role::Pair, Role::Pair1]),
    (
        "credit",
        &[Role::Pull, Role::Rep, Role::Sub, Role::Pair, Role::Pair1],
    ),
];

impl Options {
    /// Reads the query of a client of this role: [`Target::query`](super::Target::query).
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn parse(query: &[u8], client: Role) -> Result<Options, OptionsError> {
        let mut options = Options::default();
        let mut seen: Vec<&'static str> = Vec::new();
        let items = query.split(|byte| *byte == b'&');
        for item in items.filter(|item| !item.is_empty()) {
            let mut halves = item.splitn(2, |byte| *byte == b'=');
            let name = known(halves.next().unwrap_or_default(), client)?;
            if seen.contains(&name) && name != "prefix" {
                return Err(OptionsError::Repeated { name });
            }
            seen.push(name);
            options.set(name, client, halves.next().unwrap_or_default())?;
        }
        options.check(client)?;
        Ok(options)
    }

    /// Whether a message with this body is for the client, by its prefixes.
    pub fn wants(&self, body: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| body.starts_with(prefix))
    }

    fn set(&mut self, name: &'static str, client: Role, value: &[u8]) -> Result<(), OptionsError> {
        let bad = |expected| OptionsError::BadValue { name, expected };
        let value = decoded(value).map_err(|_| bad("with two hex digits behind each `%`"))?;
        match (name, &*value) {
            ("durable", value) if client == Role::Sub => {
                self.durable = Some(durable(value).ok_or(bad(
                    "a name of 1 to 64 letters, digits, `.`, `_`, `~` and `-`",
                ))?);
            }
            ("durable", b"1") => self.keeps_requests = true,
            ("durable", _) => return Err(bad("`1`")),
            ("settle", b"tcp") => self.settle = Some(Settle::Tcp),
            ("settle", b"pong") => self.settle = Some(Settle::Pong),
            ("settle", _) => return Err(bad("`tcp` or `pong`")),
            ("side", b"a") => self.side = Some(Side::A),
            ("side", b"b") => self.side = Some(Side::B),
            ("side", _) => return Err(bad("`a` or `b`")),
            ("credit", value) => {
                self.credit = Some(credit(value).ok_or(bad("a number from 1 to 1024"))?);
            }
            _ if self.prefixes.len() == PREFIXES_MAX => return Err(OptionsError::TooManyPrefixes),
            (_, value) if value.len() > PREFIX_BYTES_MAX => {
                return Err(bad("of 256 bytes at most"));
            }
            _ => self.prefixes.push(value.into()),
        }
        Ok(())
    }

    /// What means something only with something else.
    fn check(&self, client: Role) -> Result<(), OptionsError> {
        let (needs, is_there) = match client {
            Role::Sub => ("durable", self.durable.is_some()),
            Role::Pair | Role::Pair1 => ("side", self.side.is_some()),
            _ => return Ok(()),
        };
        let name = match self {
            _ if is_there => return Ok(()),
            Options {
                settle: Some(_), ..
            } => "settle",
            Options {
                credit: Some(_), ..
            } => "credit",
            _ => return Ok(()),
        };
        Err(OptionsError::Needs { name, needs })
    }
}

/// The option of this name, if a client of this role may have it.
fn known(name: &[u8], client: Role) -> Result<&'static str, OptionsError> {
    let of_that_name = |(known, _): &(&str, &[Role])| known.as_bytes() == name;
    let Some((name, roles)) = ALL.into_iter().find(of_that_name) else {
        let name = String::from_utf8_lossy(name);
        return Err(OptionsError::Unknown {
            name: name.chars().take(QUOTED_MAX).collect(),
        });
    };
    if roles.contains(&client) {
        Ok(name)
    } else {
        Err(OptionsError::NotForClient { name, client })
    }
}

fn durable(value: &[u8]) -> Option<String> {
    let holds =
        (1..=DURABLE_BYTES_MAX).contains(&value.len()) && value.iter().copied().all(is_unreserved);
    holds.then(|| value.iter().copied().map(char::from).collect())
}

fn credit(value: &[u8]) -> Option<NonZeroU16> {
    // `parse` would take a sign.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let credit = str::from_utf8(value).ok()?.parse().ok()?;
    (credit <= CREDIT_MAX).then(|| NonZeroU16::new(credit))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str, client: Role) -> Result<Options, OptionsError> {
        Options::parse(query.as_bytes(), client)
    }

    #[test]
    fn each_option_is_read_for_whom_it_is() {
        let none = Options::default();
        for (query, client, options) in [
            ("", Role::Push, none.clone()),
            ("&&", Role::Bus, none.clone()),
            (
                "durable=audit.1~x&settle=tcp&credit=1024&",
                Role::Sub,
                Options {
                    durable: Some("audit.1~x".to_owned()),
                    settle: Some(Settle::Tcp),
                    credit: NonZeroU16::new(1024),
                    ..none.clone()
                },
            ),
            (
                "prefix=a%00+&prefix=",
                Role::Sub,
                Options {
                    prefixes: vec![Bytes::from_static(b"a\0+"), Bytes::new()],
                    ..none.clone()
                },
            ),
            (
                "durable=1",
                Role::Req,
                Options {
                    keeps_requests: true,
                    ..none.clone()
                },
            ),
            (
                "settle=%70ong&credit=8",
                Role::Pull,
                Options {
                    settle: Some(Settle::Pong),
                    credit: NonZeroU16::new(8),
                    ..none.clone()
                },
            ),
            (
                "credit=01",
                Role::Rep,
                Options {
                    credit: NonZeroU16::new(1),
                    ..none.clone()
                },
            ),
            (
                "settle=pong&side=b",
                Role::Pair1,
                Options {
                    settle: Some(Settle::Pong),
                    side: Some(Side::B),
                    ..none.clone()
                },
            ),
        ] {
            assert_eq!(parsed(query, client), Ok(options), "{query}");
        }
    }

    #[test]
    fn an_option_that_is_wrong_is_named() {
        let says = |query: &str, client| parsed(query, client).unwrap_err().to_string();
        let long = "x".repeat(100);
        let many = "prefix=a&".repeat(PREFIXES_MAX + 1);
        for (query, client, error) in [
            ("ack=ping", Role::Pull, r#"there is no option "ack""#),
            ("Settle=tcp", Role::Pull, r#"there is no option "Settle""#),
            ("=x", Role::Pull, r#"there is no option """#),
            ("%73ide=a", Role::Pair, r#"there is no option "%73ide""#),
            (
                "a\n\u{1b}=1",
                Role::Pair,
                r#"there is no option "a\n\u{1b}""#,
            ),
            (
                &long,
                Role::Pull,
                &format!("there is no option {:?}", "x".repeat(32)),
            ),
            (
                "durable=1&durable=1",
                Role::Sub,
                "the option `durable` is there twice",
            ),
            (
                "durable=x",
                Role::Pull,
                "the option `durable` is not for a client that is pull",
            ),
            (
                "credit=1",
                Role::Push,
                "the option `credit` is not for a client that is push",
            ),
            (
                "settle=tcp",
                Role::Sub,
                "the option `settle` needs `durable`",
            ),
            ("credit=2", Role::Pair, "the option `credit` needs `side`"),
            ("side", Role::Pair, "the option `side` should be `a` or `b`"),
            (
                "side=A",
                Role::Pair,
                "the option `side` should be `a` or `b`",
            ),
            (
                "settle=write",
                Role::Pull,
                "the option `settle` should be `tcp` or `pong`",
            ),
            ("durable=0", Role::Req, "the option `durable` should be `1`"),
            ("last=1", Role::Sub, r#"there is no option "last""#),
            (
                "credit=0",
                Role::Pull,
                "the option `credit` should be a number from 1 to 1024",
            ),
            (
                "credit=1025",
                Role::Pull,
                "the option `credit` should be a number from 1 to 1024",
            ),
            (
                "credit=+1",
                Role::Pull,
                "the option `credit` should be a number from 1 to 1024",
            ),
            (
                "credit=",
                Role::Rep,
                "the option `credit` should be a number from 1 to 1024",
            ),
            (
                "prefix=%4",
                Role::Sub,
                "the option `prefix` should be with two hex digits behind each `%`",
            ),
            (&many, Role::Sub, "there are more than 16 prefixes"),
            (
                &format!("prefix={}", "x".repeat(PREFIX_BYTES_MAX + 1)),
                Role::Sub,
                "the option `prefix` should be of 256 bytes at most",
            ),
        ] {
            assert_eq!(says(query, client), error, "{query}");
        }
        for name in ["", "a%2Fb", "a!b", "é", &"x".repeat(DURABLE_BYTES_MAX + 1)] {
            let error = says(&format!("durable={name}"), Role::Sub);
            assert!(
                error.starts_with("the option `durable` should be a name"),
                "{name}"
            );
        }
    }

    #[test]
    fn one_prefix_suffices_and_none_is_all() {
        let options = parsed("prefix=a&prefix=bc", Role::Sub).unwrap();
        assert!(options.wants(b"ax") && options.wants(b"bc"));
        assert!(!options.wants(b"b") && !options.wants(b""));
        assert!(Options::default().wants(b""));
        assert!(parsed("prefix=", Role::Sub).unwrap().wants(b""));
    }
}
