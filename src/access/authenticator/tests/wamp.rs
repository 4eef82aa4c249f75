//! WAMP's authentication: what `authenticator/wamp.rs` promises.

use super::*;
use crate::access::ANONYMOUS;
use crate::access::wamp::tests::{Client, PUBLIC};
use crate::access::wamp::{Begun, Dict, Exchange, Hello, Method, Refusal, Welcome};

const BY_PASSWORD: [&str; 4] = ["ticket", "wampcra", "wamp-scram", "scram"];

impl Fixture {
    fn greet(
        &self,
        client: &Client,
        peer: IpAddr,
    ) -> Result<(Box<Exchange>, String, Dict), Refusal> {
        match self.authenticator.greet(&client.hello, peer)? {
            Begun::Challenge(exchange, challenge) => {
                let answer = client.answer(&challenge);
                Ok((exchange, answer, challenge.extra))
            }
            Begun::Welcome(_) => panic!("no challenge"),
        }
    }

    /// A whole exchange.
    async fn wamp(&self, client: &Client, peer: IpAddr) -> Result<Welcome, Refusal> {
        let (exchange, answer, _) = self.greet(client, peer)?;
        self.reply(exchange, &answer, peer).await
    }

    async fn reply(
        &self,
        exchange: Box<Exchange>,
        answer: &str,
        peer: IpAddr,
    ) -> Result<Welcome, Refusal> {
        let extra = Dict::new();
        let replied = self.authenticator.answer(exchange, answer, &extra, peer);
        replied.await
    }

    async fn wamp_by(
        &self,
        method: &str,
        user: &str,
        password: &str,
        peer: IpAddr,
    ) -> Result<String, Refusal> {
        let client = Client::new(&[method], user, password);
        self.wamp(&client, peer).await.map(|it| it.authid)
    }

    fn with_key(mut self) -> Fixture {
        self.change_ada(|ada| ada.public_keys = vec![PUBLIC.to_owned()]);
        self
    }
}

#[tokio::test]
async fn who_knows_the_password_is_let_in_by_each_method_and_nobody_else() {
    let fixture = fixture();
    for (last, method) in (1..).zip(BY_PASSWORD) {
        let client = Client::new(&["x", method], "ada", "correct horse");
        let welcome = fixture.wamp(&client, peer(last)).await.unwrap();
        assert_eq!(&*welcome.principal.name, "ada");
        assert_eq!((&*welcome.authid, &*welcome.authrole), ("ada", "shop"));
        assert_eq!(welcome.authmethod.as_str(), method);
        let said = match method {
            "wamp-scram" => Some("verifier"),
            "scram" => Some("scram_server_signature"),
            _ => None,
        };
        let names: Vec<&String> = welcome.authextra.keys().collect();
        assert_eq!(names, said.as_slice(), "{method}");
        let renewed = fixture.house.access().renew(&welcome.principal, now());
        assert_eq!(renewed, Some(welcome.principal));
        let refused = fixture.wamp_by(method, "ada", "wrong horse", peer(last));
        assert_eq!(refused.await, Err(Refusal::Denied), "{method}");
    }
    let nobodys = fixture.wamp_by("ticket", "", "correct horse", peer(9));
    assert_eq!(nobodys.await, Err(Refusal::Denied));
}

#[tokio::test]
async fn who_cannot_be_let_in_is_asked_as_anybody_and_refused_at_the_end() {
    let mut fixture = fixture();
    let mut old = user("correct horse", &[]);
    (
        old.wampcra_key,
        old.scram_verifier,
        old.scram_argon2_verifier,
    ) = (None, None, None);
    fixture.put("old", Document::User(old));
    fixture.put("nopass", Document::User(User::default()));
    let mut off = user("correct horse", &[]);
    off.disabled = true;
    fixture.put("off", Document::User(off));
    let told = |fixture: &Fixture, method: &str, name: &str| {
        let client = Client::new(&[method, "ticket"], name, "correct horse");
        let (exchange, _, extra) = fixture.greet(&client, PEER).unwrap();
        assert_eq!(exchange.method().as_str(), method, "{name}");
        extra
    };
    let mut last = 0;
    for method in ["wampcra", "wamp-scram", "scram"] {
        let ada = told(&fixture, method, "ada");
        for name in ["eve", "old", "nopass", "off"] {
            last += 1;
            let one = told(&fixture, method, name);
            let names = |it: &Dict| it.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&one), names(&ada), "{method} {name}");
            for same in ["salt", "iterations", "memory", "keylen", "kdf"] {
                let again = told(&fixture, method, name);
                assert_eq!(one.get(same), again.get(same), "{method} {name} {same}");
            }
            for alike in ["iterations", "memory", "keylen", "kdf"] {
                assert_eq!(one.get(alike), ada.get(alike), "{method} {name} {alike}");
            }
            let refused = fixture.wamp_by(method, name, "correct horse", peer(last));
            assert_eq!(refused.await, Err(Refusal::Denied), "{method} {name}");
            assert!(fixture.authenticator.inner.peers.is_charged(&peer(last)));
        }
    }
}

#[tokio::test]
async fn an_answer_is_a_try_like_any_other() {
    for method in ["wampcra", "wamp-scram", "scram"] {
        let fixture = fixture();
        let client = Client::new(&[method], "ada", "correct horse");
        // As many challenges as anybody likes; what counts is the answer, when it comes.
        let (open, answer, _) = fixture.greet(&client, peer(1)).unwrap();
        for _ in 0..2 {
            let refused = fixture.wamp_by(method, "ada", "wrong horse", peer(1));
            assert_eq!(refused.await, Err(Refusal::Denied), "{method}");
        }
        let late = fixture.reply(open, &answer, peer(1));
        assert_eq!(late.await, Err(Refusal::Throttled), "{method}");
        let refused = fixture.wamp_by(method, "bob", "whatever", peer(1));
        assert_eq!(refused.await, Err(Refusal::Throttled), "{method}");
        let accounts = &fixture.authenticator.inner.accounts;
        assert!(accounts.is_charged(&"ada".to_owned()), "{method}");
        for _ in 0..100 {
            accounts.charge(Instant::now(), "ada".to_owned());
        }
        let refused = fixture.wamp_by(method, "ada", "correct horse", peer(2));
        assert_eq!(refused.await, Err(Refusal::Throttled), "{method}");
    }
}

#[tokio::test]
async fn a_ticket_is_a_password_or_a_token_under_the_rules_of_each() {
    let mut fixture = fixture();
    let new = fixture.issue("ci");
    let token = new.secret.expose();
    for _ in 0..2 {
        let refused = fixture.wamp_by("ticket", "ada", "wrong horse", peer(1));
        assert_eq!(refused.await, Err(Refusal::Denied));
    }
    let waits = fixture.wamp_by("ticket", "ada", "correct horse", peer(1));
    assert_eq!(waits.await, Err(Refusal::Throttled));
    for user in ["", "ada", "whoever"] {
        let let_in = fixture.wamp_by("ticket", user, token, peer(1)).await;
        assert_eq!(let_in.as_deref(), Ok("token:ci"), "{user}");
    }
    let longer = format!("{token}x");
    let wrong = fixture.wamp_by("ticket", "ada", &longer, peer(2));
    assert_eq!(wrong.await, Err(Refusal::Denied));
    for bad in ["x".repeat(1 << 20), "a\nb".to_owned(), String::new()] {
        let refused = fixture.wamp_by("ticket", "ada", &bad, peer(3)).await;
        assert_eq!(refused, Err(Refusal::Denied));
    }
    let places = fixture.authenticator.inner.passwords.fill();
    let busy = fixture.wamp_by("ticket", "ada", "correct horse", peer(4));
    assert_eq!(busy.await, Err(Refusal::Busy));
    drop(places);
}

#[tokio::test]
async fn a_jwt_is_a_ticket() {
    let mut fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let (issuer, sign) = crate::access::jwt::tests::an_issuer(folder.path());
    fixture.house.settings.issuers.push(issuer);
    let current = Current::new(fixture.house.access());
    fixture.authenticator = Authenticator::new(current, &fixture.house.settings).unwrap();
    let let_in = fixture.wamp_by("ticket", "", &sign("ada"), peer(1)).await;
    assert_eq!(let_in.as_deref(), Ok("jwt:ada"));
}

#[tokio::test]
async fn a_key_lets_its_user_in_and_nobody_else() {
    let mut fixture = fixture().with_key();
    for user in ["ada", ""] {
        let client = Client::new(&["cryptosign"], user, "");
        let welcome = fixture.wamp(&client, PEER).await.unwrap();
        assert_eq!(&*welcome.authid, "ada");
        let shown = Identity::PublicKey {
            shown: PUBLIC.into(),
        };
        assert_eq!(welcome.principal.identity, shown);
        let renewed = fixture.house.access().renew(&welcome.principal, now());
        assert_eq!(renewed, Some(welcome.principal));
    }
    let other = fixture.wamp_by("cryptosign", "eve", "", peer(1));
    assert_eq!(other.await, Err(Refusal::Denied), "not that user's");
    assert!(fixture.authenticator.inner.peers.is_charged(&peer(1)));
    let accounts = &fixture.authenticator.inner.accounts;
    assert!(!accounts.is_charged(&"eve".to_owned()));
    // Taken away between the challenge and its answer.
    let client = Client::new(&["cryptosign"], "ada", "");
    let (open, answer, _) = fixture.greet(&client, peer(2)).unwrap();
    fixture.change_ada(|ada| ada.public_keys.clear());
    let late = fixture.reply(open, &answer, peer(2));
    assert_eq!(late.await, Err(Refusal::Denied));
    let unknown = fixture.wamp_by("cryptosign", "", "", peer(3));
    assert_eq!(unknown.await, Err(Refusal::Denied));
    fixture.change_ada(|ada| {
        ada.public_keys = vec![PUBLIC.to_owned()];
        ada.disabled = true;
    });
    let disabled = fixture.wamp_by("cryptosign", "", "", peer(4));
    assert_eq!(disabled.await, Err(Refusal::Denied));
}

#[tokio::test]
async fn a_password_that_is_changed_during_an_exchange_does_not_do() {
    for method in ["wampcra", "wamp-scram", "scram"] {
        let mut fixture = fixture();
        let client = Client::new(&[method], "ada", "correct horse");
        let (open, answer, _) = fixture.greet(&client, PEER).unwrap();
        let secrets = PasswordSecrets::of("another horse").unwrap();
        fixture.change_ada(|ada| secrets.put_into(ada));
        let refused = fixture.reply(open, &answer, PEER);
        assert_eq!(refused.await, Err(Refusal::Denied), "{method}");
    }
}

#[tokio::test]
async fn a_role_that_is_not_theirs_is_told_only_to_who_proved_who_they_are() {
    let fixture = fixture();
    let mut client = Client::new(&["wampcra"], "ada", "correct horse");
    client.hello.authrole = Some("admin".to_owned());
    let refused = fixture.wamp(&client, PEER).await;
    assert_eq!(refused, Err(Refusal::NoSuchRole));
    client.password = "wrong horse".to_owned();
    let refused = fixture.wamp(&client, PEER).await;
    assert_eq!(refused, Err(Refusal::Denied));
    client.password = "correct horse".to_owned();
    client.hello.authrole = Some("shop".to_owned());
    assert_eq!(fixture.wamp(&client, PEER).await.unwrap().authrole, "shop");
}

#[test]
fn nobody_is_let_in_unknown_unless_it_is_configured() {
    let mut fixture = fixture();
    let greet = |fixture: &Fixture, role: Option<&str>| {
        let hello = Hello {
            authrole: role.map(str::to_owned),
            ..Hello::default()
        };
        fixture.authenticator.greet(&hello, PEER)
    };
    assert_eq!(greet(&fixture, None).unwrap_err(), Refusal::Required);
    fixture.house.settings.anonymous_role = Some("guest".to_owned());
    fixture.publish();
    let let_in = |role| match greet(&fixture, role).unwrap() {
        Begun::Welcome(welcome) => *welcome,
        Begun::Challenge(..) => panic!("a challenge"),
    };
    let (one, other) = (let_in(None), let_in(Some("guest")));
    assert_eq!(one.authmethod, Method::Anonymous);
    assert_eq!((&*one.principal.name, &*one.authrole), (ANONYMOUS, "guest"));
    assert!(one.authid.starts_with(ANONYMOUS) && one.authid != other.authid);
    let refused = greet(&fixture, Some("shop")).unwrap_err();
    assert_eq!(refused, Refusal::NoSuchRole);
}
