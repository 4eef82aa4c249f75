//! What a client offers in `Sec-WebSocket-Protocol`.

use super::Role;

/// What every name of SP ends with.
const SUFFIX: &str = ".sp.nanomsg.org";

/// Bytes of the longest token that is taken for one of SP's: with it, the answer stays within the 511 bytes that
/// libnanomsg can read.
pub const TOKEN_BYTES_MAX: usize = 128;

/// What a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer<'a> {
    /// It is one of us: answer 101 with `token`, in the client's spelling, which nng insists on.
    Spoken {
        /// What the client is.
        client: Role,
        /// What is echoed.
        token: &'a str,
    },
    /// One of SP's names, and none that is spoken: answer 101 with `token`, and close with
    /// [`Protocol`](super::CloseCode::Protocol) (`sp-websocket-mapping-01` §2). It has nothing but characters that a header's
    /// token may have.
    Unknown {
        /// What is echoed.
        token: &'a str,
    },
    /// None of SP's, or nothing: answer 400.
    Nothing,
}

/// Reads the values of all headers of this name. Each may be a list between commas; of the tokens that are spoken the first
/// counts, in whatever case it is written.
pub fn offered<'a>(values: impl IntoIterator<Item = &'a str>) -> Offer<'a> {
    let mut offer = Offer::Nothing;
    let lists = values.into_iter().flat_map(|value| value.split(','));
    for token in lists.map(str::trim) {
        if let Some(client) = Role::of_client(token) {
            return Offer::Spoken { client, token };
        }
        if offer == Offer::Nothing && is_of_sp(token) {
            offer = Offer::Unknown { token };
        }
    }
    offer
}

/// Whether it is a name of SP and can be echoed.
fn is_of_sp(token: &str) -> bool {
    let name = token.len().checked_sub(SUFFIX.len());
    let (name, suffix) = name
        .and_then(|at| token.split_at_checked(at))
        .unwrap_or_default();
    token.len() <= TOKEN_BYTES_MAX
        && !name.is_empty()
        && suffix.eq_ignore_ascii_case(SUFFIX)
        && token.bytes().all(may_be_in_a_token)
}

/// RFC 9110 §5.6.2.
fn may_be_in_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(client: Role, token: &str) -> Offer<'_> {
        Offer::Spoken { client, token }
    }

    #[test]
    fn the_first_token_that_is_spoken_counts_as_the_client_spells_it() {
        for (values, offer) in [
            (
                vec!["pull.sp.nanomsg.org"],
                spoken(Role::Push, "pull.sp.nanomsg.org"),
            ),
            (
                vec!["  PULL.sp.NanoMsg.org\t"],
                spoken(Role::Push, "PULL.sp.NanoMsg.org"),
            ),
            (
                vec!["mqtt,rep.sp.nanomsg.org , pub.sp.nanomsg.org"],
                spoken(Role::Req, "rep.sp.nanomsg.org"),
            ),
            (
                vec!["mqtt", "star.sp.nanomsg.org", "pair1.sp.nanomsg.org"],
                spoken(Role::Pair1, "pair1.sp.nanomsg.org"),
            ),
        ] {
            assert_eq!(offered(values.iter().copied()), offer, "{values:?}");
        }
    }

    #[test]
    fn a_name_of_sp_that_nobody_speaks_is_told_from_none() {
        let unknown = |token| Offer::Unknown { token };
        let too_long = format!("{}{SUFFIX}", "x".repeat(TOKEN_BYTES_MAX));
        for (value, offer) in [
            ("star.sp.nanomsg.org", unknown("star.sp.nanomsg.org")),
            (
                "mqtt, STAR.SP.nanomsg.org, pair2.sp.nanomsg.org",
                unknown("STAR.SP.nanomsg.org"),
            ),
            ("", Offer::Nothing),
            (",,", Offer::Nothing),
            ("mqtt", Offer::Nothing),
            (".sp.nanomsg.org", Offer::Nothing),
            ("sp.nanomsg.org", Offer::Nothing),
            ("pull.sp.nanomsg.org.example", Offer::Nothing),
            ("a b.sp.nanomsg.org", Offer::Nothing),
            ("é.sp.nanomsg.org", Offer::Nothing),
            ("pull.sp.nanomsg.orgé", Offer::Nothing),
            (&too_long, Offer::Nothing),
        ] {
            assert_eq!(offered([value]), offer, "{value:?}");
        }
        assert_eq!(offered([]), Offer::Nothing);
    }
}
