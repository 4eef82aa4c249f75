//! Who a client is, and what follows from it.
//!
//! | client | offers | sends | gets | header |
//! |---|---|---|---|---|
//! | PUSH | `pull.sp.nanomsg.org` | messages | | |
//! | PULL | `push.sp.nanomsg.org` | | messages | |
//! | PUB | `sub.sp.nanomsg.org` | messages | | |
//! | SUB | `pub.sp.nanomsg.org` | | messages | |
//! | REQ | `rep.sp.nanomsg.org` | requests | replies | stack |
//! | REP | `req.sp.nanomsg.org` | replies | requests | stack |
//! | SURVEYOR | `respondent.sp.nanomsg.org` | surveys | responses | stack |
//! | RESPONDENT | `surveyor.sp.nanomsg.org` | responses | surveys | stack |
//! | BUS | `bus.sp.nanomsg.org` | messages | messages | |
//! | PAIR | `pair.sp.nanomsg.org` | messages | messages | |
//! | PAIR v1 | `pair1.sp.nanomsg.org` | messages | messages | hops |
//!
//! The first ten tokens are the mapping's; `pair1` is nng's. A SUB sends no subscription: it gets all that there is and
//! drops what it does not want.

use std::fmt;

use super::{CloseCode, Verdict};

/// One end of a scalability protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Gives each message to one PULL.
    Push,
    /// Takes messages of PUSHes.
    Pull,
    /// Tells every SUB.
    Pub,
    /// Hears what PUBs tell.
    Sub,
    /// Asks one REP.
    Req,
    /// Answers REQs.
    Rep,
    /// Asks every RESPONDENT.
    Surveyor,
    /// Answers SURVEYORs.
    Respondent,
    /// Tells all the others.
    Bus,
    /// Talks with one other, version 0.
    Pair,
    /// The same, version 1, which counts hops. Versions do not understand each other.
    Pair1,
}

/// What stands in front of the body in messages of a role, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeaderKind {
    /// Nothing.
    None,
    /// A [`Stack`](super::Stack) of words, the last of which is an id.
    Stack,
    /// One word: [`Hops`](super::Hops).
    Hops,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 11] = [
        Role::Push,
        Role::Pull,
        Role::Pub,
        Role::Sub,
        Role::Req,
        Role::Rep,
        Role::Surveyor,
        Role::Respondent,
        Role::Bus,
        Role::Pair,
        Role::Pair1,
    ];

    /// The one that this one talks with: a broker's own, if this is the client's, and the other way round.
    pub const fn peer(self) -> Role {
        match self {
            Role::Push => Role::Pull,
            Role::Pull => Role::Push,
            Role::Pub => Role::Sub,
            Role::Sub => Role::Pub,
            Role::Req => Role::Rep,
            Role::Rep => Role::Req,
            Role::Surveyor => Role::Respondent,
            Role::Respondent => Role::Surveyor,
            Role::Bus | Role::Pair | Role::Pair1 => self,
        }
    }

    /// In lower case, as tokens begin, in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Push => "push",
            Role::Pull => "pull",
            Role::Pub => "pub",
            Role::Sub => "sub",
            Role::Req => "req",
            Role::Rep => "rep",
            Role::Surveyor => "surveyor",
            Role::Respondent => "respondent",
            Role::Bus => "bus",
            Role::Pair => "pair",
            Role::Pair1 => "pair1",
        }
    }

    /// The scalability protocol that it is a part of, as nanomsg's manual calls them.
    pub const fn pattern(self) -> &'static str {
        match self {
            Role::Push | Role::Pull => "pipeline",
            Role::Pub | Role::Sub => "pubsub",
            Role::Req | Role::Rep => "reqrep",
            Role::Surveyor | Role::Respondent => "survey",
            Role::Bus => "bus",
            Role::Pair => "pair",
            Role::Pair1 => "pair1",
        }
    }

    /// The subprotocol that a client of this role offers: it names the peer (`sp-websocket-mapping-01` §2).
    pub const fn token(self) -> &'static str {
        match self {
            Role::Push => "pull.sp.nanomsg.org",
            Role::Pull => "push.sp.nanomsg.org",
            Role::Pub => "sub.sp.nanomsg.org",
            Role::Sub => "pub.sp.nanomsg.org",
            Role::Req => "rep.sp.nanomsg.org",
            Role::Rep => "req.sp.nanomsg.org",
            Role::Surveyor => "respondent.sp.nanomsg.org",
            Role::Respondent => "surveyor.sp.nanomsg.org",
            Role::Bus => "bus.sp.nanomsg.org",
            Role::Pair => "pair.sp.nanomsg.org",
            Role::Pair1 => "pair1.sp.nanomsg.org",
        }
    }

    /// The role of the client that offers a token, in whatever case it is written.
    pub fn of_client(token: &str) -> Option<Role> {
        let offers_it = |role: &Role| role.token().eq_ignore_ascii_case(token);
        Role::ALL.into_iter().find(offers_it)
    }

    /// The number that other transports know it by: 16 times the protocol's, plus the role's. Not on the wire here.
    pub const fn number(self) -> u16 {
        match self {
            Role::Pair => 0x10,
            Role::Pair1 => 0x11,
            Role::Pub => 0x20,
            Role::Sub => 0x21,
            Role::Req => 0x30,
            Role::Rep => 0x31,
            Role::Push => 0x50,
            Role::Pull => 0x51,
            Role::Surveyor => 0x62,
            Role::Respondent => 0x63,
            Role::Bus => 0x70,
        }
    }

    /// Whether it sends messages.
    pub const fn sends(self) -> bool {
        !matches!(self, Role::Pull | Role::Sub)
    }

    /// Whether it is sent messages. What is not gets nothing at all but a Close: a PUB of libnanomsg aborts its process.
    pub const fn receives(self) -> bool {
        self.peer().sends()
    }

    /// What stands in front of the body in its messages.
    pub const fn header(self) -> HeaderKind {
        match self {
            Role::Req | Role::Rep | Role::Surveyor | Role::Respondent => HeaderKind::Stack,
            Role::Pair1 => HeaderKind::Hops,
            Role::Push | Role::Pull | Role::Pub | Role::Sub | Role::Bus | Role::Pair => {
                HeaderKind::None
            }
        }
    }

    /// What becomes of a message from a client that does not send any. None: it does.
    ///
    /// As in the libraries: PUSH ignores what comes from a PULL, PUB closes.
    pub const fn unasked(self) -> Option<Verdict> {
        match self {
            Role::Pull => Some(Verdict::Drop),
            Role::Sub => Some(Verdict::Close(CloseCode::Protocol)),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_peer_s_name() {
        for role in Role::ALL {
            let token = format!("{}.sp.nanomsg.org", role.peer().name());
            assert_eq!(role.token(), token);
            assert_eq!(Role::of_client(&token.to_uppercase()), Some(role));
            assert_eq!(role.peer().peer(), role);
            assert_eq!(role.peer().header(), role.header());
        }
        // `sp-websocket-mapping-01` §2, server's role and client's.
        for (token, client) in [
            ("pair.sp.nanomsg.org", Role::Pair),
            ("req.sp.nanomsg.org", Role::Rep),
            ("rep.sp.nanomsg.org", Role::Req),
            ("pub.sp.nanomsg.org", Role::Sub),
            ("sub.sp.nanomsg.org", Role::Pub),
            ("surveyor.sp.nanomsg.org", Role::Respondent),
            ("respondent.sp.nanomsg.org", Role::Surveyor),
            ("push.sp.nanomsg.org", Role::Pull),
            ("pull.sp.nanomsg.org", Role::Push),
            ("bus.sp.nanomsg.org", Role::Bus),
        ] {
            assert_eq!(Role::of_client(token), Some(client));
        }
        assert_eq!(Role::of_client("pair0.sp.nanomsg.org"), None);
    }

    #[test]
    fn numbers_are_the_protocol_s_and_the_role_s() {
        let numbers = Role::ALL.map(Role::number);
        assert_eq!(numbers, [80, 81, 32, 33, 48, 49, 98, 99, 112, 16, 17]);
        for role in Role::ALL {
            // One protocol, two roles of it.
            assert_eq!(role.number() / 16, role.peer().number() / 16);
        }
    }

    #[test]
    fn who_sends_nothing_has_a_verdict_for_it() {
        for role in Role::ALL {
            assert_eq!(role.unasked().is_none(), role.sends(), "{role}");
            assert!(role.sends() || role.receives(), "{role}");
        }
        assert!(!Role::Push.receives() && !Role::Pub.receives());
    }
}
