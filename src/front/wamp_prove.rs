//! Who a WAMP client is, step by step: from its HELLO to WELCOME, CHALLENGE or ABORT.
//!
//! ```text
//! HELLO ─▶ begin ─┬─▶ Welcome                                (anonymous, or whom the connection shows)
//!                 ├─▶ Challenge   AUTHENTICATE ─▶ answer ─┬─▶ Welcome
//!                 └─▶ Refused                             └─▶ Refused
//! ```
//!
//! A client that offers nothing, or only to be anonymous, is who its connection shows: `Authorization` on the upgrade, or a client
//! certificate. Only without both is it anonymous.
//!
//! Always, each with a test of its name below:
//! - `a_challenge_is_good_for_one_answer`.
//! - `who_offers_nothing_is_whom_the_connection_shows`.
//!
//! Not here: credentials (access), deadlines (the driver), whether the realm is there and the principal may enter it (broker).

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Authenticate, NotBelieved, Proof};
use crate::access::wamp::{Begun, Challenge, Dict, Exchange, Hello, Method, Refusal, Welcome};
use crate::broker::Protocol;

/// What a connection shows of who the client is, before anything is said. Never logged.
#[derive(Clone, Default)]
pub struct Shown {
    /// The value of `Authorization` on the upgrade, as it came.
    pub header: Option<Vec<u8>>,
    /// A client certificate, in DER, from an authority that the configuration names.
    pub certificate: Option<Vec<u8>>,
}

/// What the client is to be told.
#[derive(Debug)]
pub enum Step {
    /// CHALLENGE: its AUTHENTICATE is for [`Prover::answer`].
    Challenge(Challenge),
    /// WELCOME, once the principal is attached.
    Welcome(Box<Welcome>),
    /// ABORT.
    Refused(Refusal),
}

/// One connection's authentications: each HELLO begins anew, whatever was before.
pub struct Prover {
    auth: Arc<dyn Authenticate>,
    peer: SocketAddr,
    protocol: Protocol,
    shown: Shown,
    exchange: Option<Box<Exchange>>,
}

impl Prover {
    /// For the client at `peer`.
    pub fn new(
        auth: Arc<dyn Authenticate>,
        peer: SocketAddr,
        protocol: Protocol,
        shown: Shown,
    ) -> Prover {
        Prover {
            auth,
            peer,
            protocol,
            shown,
            exchange: None,
        }
    }

    /// A client's HELLO. May be dropped half-way, and takes tens of milliseconds where the connection shows a password.
    pub async fn begin(&mut self, hello: &Hello) -> Step {
        self.exchange = None;
        if hello.offers_nothing()
            && let Some((proof, method)) = proof(&self.shown)
        {
            let principal = self.auth.verify(proof, self.peer, self.protocol).await;
            let welcome = principal.map_err(refusal).and_then(|principal| {
                let wish = hello.authrole.as_deref();
                Welcome::new(principal, method, wish)
            });
            return ended(welcome);
        }
        match self.auth.greet(hello, self.peer) {
            Ok(Begun::Challenge(exchange, challenge)) => {
                self.exchange = Some(exchange);
                Step::Challenge(challenge)
            }
            Ok(Begun::Welcome(welcome)) => Step::Welcome(welcome),
            Err(why) => Step::Refused(why),
        }
    }

    /// A client's AUTHENTICATE, as it is. May be dropped half-way: the challenge is spent even so. Whether one was asked for is the
    /// session's to know; without, it is refused.
    pub async fn answer(&mut self, signature: &str, extra: &Dict) -> Step {
        let Some(exchange) = self.exchange.take() else {
            return Step::Refused(Refusal::Denied);
        };
        let answer = self.auth.answer(exchange, signature, extra, self.peer);
        ended(answer.await)
    }
}

fn proof(shown: &Shown) -> Option<(Proof<'_>, Method)> {
    match shown {
        Shown {
            header: Some(value),
            ..
        } => Some((Proof::Header(value), Method::Http)),
        Shown {
            certificate: Some(der),
            ..
        } => Some((Proof::Certificate(der), Method::Tls)),
        _ => None,
    }
}

fn refusal(why: NotBelieved) -> Refusal {
    match why {
        NotBelieved::Wrong => Refusal::Denied,
        NotBelieved::Throttled => Refusal::Throttled,
        NotBelieved::Busy => Refusal::Busy,
    }
}

fn ended(welcome: Result<Welcome, Refusal>) -> Step {
    match welcome {
        Ok(welcome) => Step::Welcome(Box::new(welcome)),
        Err(why) => Step::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::wamp::tests::Client;
    use crate::front::tests::broker::FakeAuth;

    fn prover(shown: Shown) -> Prover {
        let peer = SocketAddr::from(([127, 0, 0, 1], 7));
        Prover::new(Arc::new(FakeAuth), peer, Protocol::Mbws, shown)
    }

    fn welcome(step: Step) -> Option<(String, &'static str)> {
        match step {
            Step::Welcome(welcome) => Some((welcome.authid, welcome.authmethod.as_str())),
            Step::Challenge(_) | Step::Refused(_) => None,
        }
    }

    #[tokio::test]
    async fn a_challenge_is_good_for_one_answer() {
        let client = Client::new(&["wampcra"], "ann", "correct horse");
        let mut prover = prover(Shown::default());
        let extra = Dict::new();
        let early = prover.answer("x", &extra).await;
        assert!(matches!(early, Step::Refused(Refusal::Denied)));
        for _ in 0..2 {
            let Step::Challenge(challenge) = prover.begin(&client.hello).await else {
                panic!("no challenge")
            };
            let answer = client.answer(&challenge);
            let let_in = welcome(prover.answer(&answer, &extra).await);
            assert_eq!(let_in, Some(("ann".to_owned(), "wampcra")));
            let again = prover.answer(&answer, &extra).await;
            assert!(matches!(again, Step::Refused(Refusal::Denied)));
        }
        // Neither is one that another HELLO has come after.
        let Step::Challenge(challenge) = prover.begin(&client.hello).await else {
            panic!("no challenge")
        };
        let unknown = Client::new(&["x"], "ann", "").hello;
        let refused = prover.begin(&unknown).await;
        assert!(matches!(refused, Step::Refused(Refusal::NoMatchingMethod)));
        let late = prover.answer(&client.answer(&challenge), &extra).await;
        assert!(matches!(late, Step::Refused(Refusal::Denied)));
    }

    #[tokio::test]
    async fn who_offers_nothing_is_whom_the_connection_shows() {
        let header = |value: &str| Shown {
            header: Some(value.as_bytes().to_vec()),
            certificate: Some(b"press-7".to_vec()),
        };
        let certificate = Shown {
            certificate: Some(b"press-7".to_vec()),
            ..Shown::default()
        };
        for methods in [&[][..], &["anonymous"]] {
            let hello = Client::new(methods, "", "").hello;
            let by_header = prover(header("Basic YW5uOnB3")).begin(&hello).await;
            assert_eq!(welcome(by_header), Some(("ann".to_owned(), "http")));
            let by_certificate = prover(certificate.clone()).begin(&hello).await;
            let press = Some(("press-7".to_owned(), "tls"));
            assert_eq!(welcome(by_certificate), press);
            for (shown, why) in [
                ("Basic !", Refusal::Denied),
                ("Bearer often", Refusal::Throttled),
                ("Bearer busy", Refusal::Busy),
            ] {
                let refused = prover(header(shown)).begin(&hello).await;
                assert!(matches!(refused, Step::Refused(it) if it == why), "{shown}");
            }
            let unknown = prover(Shown::default()).begin(&hello).await;
            let (authid, method) = welcome(unknown).unwrap();
            assert!(authid.starts_with("anonymous:") && method == "anonymous");
        }
        // Who offers something is judged by that.
        let hello = Client::new(&["ticket"], "ann", "").hello;
        let asked = prover(certificate).begin(&hello).await;
        assert!(matches!(asked, Step::Challenge(it) if it.method == Method::Ticket));
    }
}
