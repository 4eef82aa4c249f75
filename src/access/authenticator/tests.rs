//! What the header promises.

use super::*;
use crate::access::scram::Exchange;
use crate::access::scram::tests::Client;
use crate::access::testing::{House, user};
use crate::access::{NewToken, new_token};
use crate::registry::{Document, DocumentKind, Token, User};

mod wamp;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Fixture {
    house: House,
    authenticator: Authenticator,
}

/// `ada` (password `correct horse`, role `shop`) and an authenticator that allows two wrong passwords.
fn fixture() -> Fixture {
    let mut house = House::new().user("ada", user("correct horse", &["shop"]));
    house.settings.attempts_per_minute = 2;
    let current = Current::new(house.access());
    let authenticator = Authenticator::new(current, &house.settings).unwrap();
    Fixture {
        house,
        authenticator,
    }
}

impl Fixture {
    /// Puts a document in, for everybody who comes then.
    fn put(&mut self, name: &str, document: Document) {
        self.house.put(document.kind(), name, document);
        self.publish();
    }

    fn remove(&mut self, kind: DocumentKind, name: &str) {
        self.house.remove(kind, name);
        self.publish();
    }

    fn publish(&self) {
        self.authenticator.inner.current.store(self.house.access());
    }

    fn change_ada(&mut self, change: impl FnOnce(&mut User)) {
        let access = self.house.access();
        let (ada, _) = access.user("ada").unwrap();
        let mut ada = ada.clone();
        change(&mut ada);
        self.put("ada", Document::User(ada));
    }

    fn issue(&mut self, label: &str) -> NewToken {
        let new = new_token().unwrap();
        let token = Token {
            label: label.to_owned(),
            roles: vec!["shop".to_owned()],
            hash: new.hash.clone(),
            ..Token::default()
        };
        self.put(&new.id, Document::Token(token));
        new
    }

    async fn basic(&self, user: &str, password: &str, peer: IpAddr) -> Result<String, AuthError> {
        let credentials = Credentials::basic(user, password).unwrap();
        self.authenticator
            .verify(credentials, peer)
            .await
            .map(|principal| principal.name.to_string())
    }

    /// A whole SCRAM exchange.
    fn scram(&self, user: &str, password: &str, peer: IpAddr) -> Result<String, AuthError> {
        let client = Client::new(user, password);
        let (exchange, told) = self.challenge(&client, peer)?;
        self.answer(&client, &exchange, &told, peer)
    }

    fn challenge(&self, client: &Client, peer: IpAddr) -> Result<(Exchange, String), AuthError> {
        let first = client.first();
        self.authenticator.challenge(first.as_bytes(), |_| {}, peer)
    }

    fn answer(
        &self,
        client: &Client,
        exchange: &Exchange,
        told: &str,
        peer: IpAddr,
    ) -> Result<String, AuthError> {
        let (last, expected) = client.last(told);
        let proved = self.authenticator.prove(exchange, last.as_bytes(), peer);
        let (principal, says) = proved?;
        assert_eq!(says, expected);
        Ok(principal.name.to_string())
    }

    async fn bearer(&self, token: &str) -> Result<Principal, AuthError> {
        self.authenticator
            .verify(Credentials::bearer(token).unwrap(), PEER)
            .await
    }

    fn is_known(&self, password: &str) -> bool {
        self.authenticator
            .inner
            .known("ada", &Secret::new(password))
            .is_some()
    }
}

fn peer(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[tokio::test]
async fn a_right_password_is_a_principal_with_roles() {
    let fixture = fixture();
    let credentials = Credentials::basic("ada", "correct horse").unwrap();
    let ada = fixture
        .authenticator
        .verify(credentials, PEER)
        .await
        .unwrap();
    assert_eq!(&*ada.name, "ada");
    assert!(ada.has_role("shop") && !ada.has_role("admin"));
}

#[tokio::test]
async fn an_unknown_user_is_refused_like_a_wrong_password() {
    let mut fixture = fixture();
    fixture.put("nopass", Document::User(User::default()));
    assert_eq!(
        fixture.basic("ada", "wrong horse", peer(1)).await,
        Err(AuthError::Refused)
    );
    assert_eq!(
        fixture.basic("eve", "correct horse", peer(2)).await,
        Err(AuthError::Refused)
    );
    assert_eq!(
        fixture.basic("nopass", "", peer(3)).await,
        Err(AuthError::Refused)
    );
    fixture.change_ada(|ada| ada.disabled = true);
    assert_eq!(
        fixture.basic("ada", "correct horse", peer(4)).await,
        Err(AuthError::Refused)
    );
    // All paid, so all went through Argon2.
    for last in 1..=4 {
        assert!(fixture.authenticator.inner.peers.is_charged(&peer(last)));
    }
}

#[tokio::test]
async fn a_password_is_known_again_without_argon2() {
    let mut fixture = fixture();
    assert!(!fixture.is_known("correct horse"));
    fixture.basic("ada", "correct horse", PEER).await.unwrap();
    assert!(fixture.is_known("correct horse") && !fixture.is_known("wrong horse"));
    // No Argon2 can run now: whoever is let in, is let in by the cache.
    let all = fixture.authenticator.inner.passwords.fill();
    assert_eq!(
        fixture.basic("ada", "correct horse", PEER).await.as_deref(),
        Ok("ada")
    );
    assert_eq!(
        fixture.basic("ada", "wrong horse", PEER).await,
        Err(AuthError::Busy)
    );
    drop(all);

    fixture.change_ada(|ada| ada.description = "any change".to_owned());
    assert!(!fixture.is_known("correct horse"), "changed");
    fixture.basic("ada", "correct horse", PEER).await.unwrap();
    assert!(fixture.is_known("correct horse"));
    fixture.change_ada(|ada| ada.disabled = true);
    assert!(!fixture.is_known("correct horse"), "disabled");
    fixture.remove(DocumentKind::User, "ada");
    assert!(!fixture.is_known("correct horse"), "removed");
    fixture.put("ada", Document::User(user("another horse", &[])));
    assert!(!fixture.is_known("correct horse"), "another of that name");
}

#[tokio::test]
async fn guessing_has_to_wait() {
    let mut fixture = fixture();
    let token = fixture.issue("ci").secret;
    for _ in 0..2 {
        assert_eq!(
            fixture.basic("ada", "wrong horse", peer(1)).await,
            Err(AuthError::Refused)
        );
    }
    let waits = |result| matches!(result, Err(AuthError::TooManyAttempts { retry_after }) if retry_after <= Duration::from_mins(1));
    assert!(
        waits(fixture.basic("ada", "correct horse", peer(1)).await),
        "even if it is right"
    );
    assert!(
        waits(fixture.basic("bob", "whatever", peer(1)).await),
        "and for all accounts"
    );
    assert_eq!(
        fixture
            .basic("ada", "correct horse", peer(2))
            .await
            .as_deref(),
        Ok("ada")
    );
    assert!(fixture.bearer(token.expose()).await.is_ok());

    for _ in 0..20 {
        fixture
            .authenticator
            .inner
            .accounts
            .charge(Instant::now(), "bob".to_owned());
    }
    assert!(
        waits(fixture.basic("bob", "whatever", peer(3)).await),
        "the account, from anywhere"
    );
}

#[tokio::test]
async fn a_cached_password_does_not_let_a_throttled_peer_guess() {
    let fixture = fixture();
    fixture
        .basic("ada", "correct horse", peer(1))
        .await
        .unwrap();
    for _ in 0..2 {
        fixture
            .authenticator
            .inner
            .peers
            .charge(Instant::now(), peer(2));
    }
    assert!(matches!(
        fixture.basic("ada", "correct horse", peer(2)).await,
        Err(AuthError::TooManyAttempts { .. })
    ));
}

#[tokio::test]
async fn guessing_from_elsewhere_locks_nobody_out() {
    let mut fixture = fixture();
    fixture
        .basic("ada", "correct horse", peer(1))
        .await
        .unwrap();
    for _ in 0..100 {
        let accounts = &fixture.authenticator.inner.accounts;
        accounts.charge(Instant::now(), "ada".to_owned());
    }
    fixture.change_ada(|ada| ada.description = "so that nothing is cached".to_owned());
    let waits = |result| matches!(result, Err(AuthError::TooManyAttempts { retry_after }) if retry_after <= ACCOUNT_WAIT_MAX);
    assert!(waits(fixture.basic("ada", "correct horse", peer(2)).await));
    let home = fixture.basic("ada", "correct horse", peer(1)).await;
    assert_eq!(home.as_deref(), Ok("ada"));
    assert_eq!(
        fixture.basic("ada", "wrong horse", peer(1)).await,
        Err(AuthError::Refused),
        "at home too only the password is right"
    );
}

#[tokio::test]
async fn tokens_are_recognised() {
    let mut fixture = fixture();
    let new = fixture.issue("ci");
    let principal = fixture.bearer(new.secret.expose()).await.unwrap();
    assert_eq!(&*principal.name, "token:ci");
    assert!(principal.has_role("shop"));
    for wrong in [
        "x",
        "rst__",
        "rst_a_b",
        "a.b.c",
        &format!("{}0", new.secret.expose()),
    ] {
        assert_eq!(
            fixture.bearer(wrong).await,
            Err(AuthError::Refused),
            "{wrong}"
        );
    }
    fixture.remove(DocumentKind::Token, &new.id);
    assert_eq!(
        fixture.bearer(new.secret.expose()).await,
        Err(AuthError::Refused)
    );
}

#[tokio::test]
async fn jwts_are_recognised_and_forging_them_has_to_wait() {
    let mut fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let (issuer, sign) = crate::access::jwt::tests::an_issuer(folder.path());
    fixture.house.settings.issuers.push(issuer);
    let current = Current::new(fixture.house.access());
    fixture.authenticator = Authenticator::new(current, &fixture.house.settings).unwrap();
    let ada = fixture.bearer(&sign("ada")).await.unwrap();
    assert_eq!(&*ada.name, "jwt:ada");
    assert!(fixture.house.access().renew(&ada, now()).is_some());
    let mut forged = sign("ada");
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    for _ in 0..2 {
        assert_eq!(fixture.bearer(&forged).await, Err(AuthError::Refused));
    }
    let after = fixture.bearer(&sign("ada")).await;
    assert!(
        matches!(after, Err(AuthError::TooManyAttempts { .. })),
        "{after:?}"
    );
}

#[test]
fn a_certificate_is_its_users() {
    let mut fixture = fixture();
    let der = crate::access::certificate::tests::certificate("ada");
    let shown = |fixture: &Fixture| fixture.authenticator.certificate(&der, PEER);
    assert_eq!(shown(&fixture), Err(AuthError::Refused), "nobody's");
    fixture.change_ada(|ada| ada.certificates = vec!["cn:ada".to_owned()]);
    let ada = shown(&fixture).unwrap();
    assert_eq!((&*ada.name, ada.has_role("shop")), ("ada", true));
    assert!(ada.expires.is_some());
    assert_eq!(fixture.house.access().renew(&ada, now()), Some(ada));
    let other = |name: &str| User {
        certificates: vec![name.to_owned()],
        ..User::default()
    };
    for name in ["dns:ada.example", "cn:ada"] {
        fixture.put("eve", Document::User(other(name)));
        assert_eq!(shown(&fixture), Err(AuthError::Refused), "eve has {name}");
    }
    fixture.put("eve", Document::User(other("cn:Ada")));
    assert!(shown(&fixture).is_ok(), "another letter is another name");
    fixture.change_ada(|ada| ada.disabled = true);
    assert_eq!(shown(&fixture), Err(AuthError::Refused), "disabled");
    assert_eq!(
        fixture.authenticator.certificate(b"x", PEER),
        Err(AuthError::Refused)
    );
}

#[tokio::test]
async fn a_password_is_hashed_for_a_document() {
    let mut fixture = fixture();
    let hash = fixture
        .authenticator
        .hash_password(Secret::new("another horse"));
    let secrets = hash.await.unwrap();
    fixture.change_ada(|ada| secrets.put_into(ada));
    let let_in = fixture.basic("ada", "another horse", PEER).await;
    assert_eq!(let_in.as_deref(), Ok("ada"));
    assert_eq!(
        fixture.scram("ada", "another horse", PEER).as_deref(),
        Ok("ada")
    );
    for bad in ["short", "a\nlong one", &"x".repeat(1025)] {
        let refused = fixture.authenticator.hash_password(Secret::new(bad)).await;
        assert!(matches!(refused, Err(PasswordError::Rules)), "{bad}");
    }
}

#[test]
fn a_proof_is_a_try_like_any_other() {
    let fixture = fixture();
    assert_eq!(
        fixture.scram("ada", "correct horse", peer(1)).as_deref(),
        Ok("ada")
    );
    // As many challenges as anybody likes; what counts is the answer, when it comes.
    let client = Client::new("ada", "correct horse");
    let open = fixture.challenge(&client, peer(1)).unwrap();
    for _ in 0..2 {
        let refused = fixture.scram("ada", "wrong horse", peer(1));
        assert_eq!(refused, Err(AuthError::Refused));
    }
    let waits = |result: Result<String, AuthError>| {
        matches!(result, Err(AuthError::TooManyAttempts { .. }))
    };
    assert!(waits(fixture.answer(&client, &open.0, &open.1, peer(1))));
    assert!(waits(fixture.scram("bob", "whatever", peer(1))));
    assert!(
        fixture
            .authenticator
            .inner
            .accounts
            .is_charged(&"ada".to_owned())
    );
    for _ in 0..100 {
        let accounts = &fixture.authenticator.inner.accounts;
        accounts.charge(Instant::now(), "ada".to_owned());
    }
    assert!(waits(fixture.scram("ada", "correct horse", peer(2))));
}

#[tokio::test]
async fn a_proof_makes_a_peer_familiar_as_a_password_does() {
    let mut fixture = fixture();
    fixture.scram("ada", "correct horse", peer(1)).unwrap();
    for _ in 0..100 {
        let accounts = &fixture.authenticator.inner.accounts;
        accounts.charge(Instant::now(), "ada".to_owned());
    }
    assert_eq!(
        fixture.scram("ada", "correct horse", peer(1)).as_deref(),
        Ok("ada")
    );
    fixture.change_ada(|ada| ada.description = "so that nothing is cached".to_owned());
    let home = fixture.basic("ada", "correct horse", peer(1)).await;
    assert_eq!(home.as_deref(), Ok("ada"));
}

#[test]
fn who_cannot_be_let_in_is_challenged_as_anybody_and_refused_at_the_end() {
    let mut fixture = fixture();
    let cli = Token {
        label: "cli".to_owned(),
        hash: "0".repeat(64),
        ..Token::default()
    };
    fixture.put("cliid", Document::Token(cli));
    let mut old = user("correct horse", &[]);
    old.scram_verifier = None;
    fixture.put("old", Document::User(old));
    fixture.put("nopass", Document::User(User::default()));
    let mut off = user("correct horse", &[]);
    off.disabled = true;
    fixture.put("off", Document::User(off));
    let cost = |fixture: &Fixture, name: &str| {
        let client = Client::new(name, "correct horse");
        let (_, told) = fixture.challenge(&client, PEER).unwrap();
        told.split_once(",s=").unwrap().1.to_owned()
    };
    for (last, name) in (1..).zip(["eve", "old", "nopass", "off"]) {
        let told = cost(&fixture, name);
        assert_eq!(told, cost(&fixture, name), "{name}");
        assert_eq!(told.len(), cost(&fixture, "ada").len(), "{name}");
        let refused = fixture.scram(name, "correct horse", peer(last));
        assert_eq!(refused, Err(AuthError::Refused), "{name}");
        assert!(fixture.authenticator.inner.peers.is_charged(&peer(last)));
    }
    assert_ne!(cost(&fixture, "eve"), cost(&fixture, "mallory"));
    // Nor does a restart tell who is made up.
    let before = ["eve", "ada"].map(|name| cost(&fixture, name));
    let current = Current::new(fixture.house.access());
    fixture.authenticator = Authenticator::new(current, &fixture.house.settings).unwrap();
    assert_eq!(before, ["eve", "ada"].map(|name| cost(&fixture, name)));
}

#[test]
fn a_password_that_is_changed_during_an_exchange_is_not_proved() {
    let mut fixture = fixture();
    let client = Client::new("ada", "correct horse");
    let (exchange, told) = fixture.challenge(&client, PEER).unwrap();
    let secrets = PasswordSecrets::of("another horse").unwrap();
    fixture.change_ada(|ada| secrets.put_into(ada));
    let refused = fixture.answer(&client, &exchange, &told, PEER);
    assert_eq!(refused, Err(AuthError::Refused));
}

#[test]
fn who_has_proved_it_is_renewed_until_the_password_changes() {
    let mut fixture = fixture();
    let client = Client::new("ada", "correct horse");
    let (exchange, told) = fixture.challenge(&client, PEER).unwrap();
    let (last, _) = client.last(&told);
    let proved = fixture
        .authenticator
        .prove(&exchange, last.as_bytes(), PEER);
    let (ada, _) = proved.unwrap();
    let renewed = |fixture: &Fixture| fixture.house.access().renew(&ada, now());
    assert_eq!(renewed(&fixture).as_ref(), Some(&ada));
    let verifier = PasswordSecrets::of("correct horse").unwrap().verifier;
    fixture.change_ada(|ada| ada.scram_verifier = Some(verifier));
    assert_eq!(renewed(&fixture), None);
}

#[test]
fn a_name_may_be_changed_before_anybody_looks_for_it() {
    let fixture = fixture();
    let client = Client::new("eu:ada", "correct horse");
    let rename = |name: &mut String| *name = name.replace("eu:", "");
    let first = client.first();
    let challenged = fixture
        .authenticator
        .challenge(first.as_bytes(), rename, PEER);
    let (exchange, told) = challenged.unwrap();
    assert_eq!(exchange.user(), "ada");
    let let_in = fixture.answer(&client, &exchange, &told, PEER);
    assert_eq!(let_in.as_deref(), Ok("ada"));
}

#[test]
fn a_peer_is_an_address_or_a_v6_network() {
    let of = |text: &str| network(text.parse().unwrap()).to_string();
    assert_eq!(of("192.0.2.1"), "192.0.2.1");
    assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
}

#[test]
fn no_log_line_and_no_error_shows_a_secret() {
    let fixture = fixture();
    let inner = &fixture.authenticator.inner;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let secret = Secret::new("rst_canary_canary");
    let refuse = || {
        let password = inner.argon2("ada\n".to_owned(), &secret, PEER).unwrap_err();
        let token = inner.token(&secret, PEER).unwrap_err();
        let jwt = inner.jwt(&Secret::new("canary.canary.canary"), peer(9));
        let jwt = jwt.unwrap_err();
        let certificate = inner.certificate(b"canary", PEER).unwrap_err();
        let malformed = fixture
            .authenticator
            .challenge(b"n,,n=canary", |_| {}, peer(10));
        let malformed = malformed.unwrap_err();
        let client = Client::new("canary", "canary");
        let (exchange, told) = fixture.challenge(&client, peer(11)).unwrap();
        let scram = fixture.answer(&client, &exchange, &told, peer(11));
        format!(
            "{password:?} {password} {token:?} {token} {jwt:?} {jwt} {certificate:?} {malformed:?} {scram:?}"
        )
    };
    let errors = tracing::subscriber::with_default(subscriber, || {
        // A line that another test's thread comes to first stays off until all are looked at again.
        refuse();
        tracing::callsite::rebuild_interest_cache();
        log.0.lock().clear();
        refuse()
    });
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    // One for each, and two that an address has to wait after its second wrong password.
    assert_eq!(log.lines().count(), 7, "{log}");
    assert!(log.contains("too many wrong passwords"), "{log}");
    assert!(
        !log.contains("canary") && !errors.contains("canary"),
        "{log}{errors}"
    );
}

#[test]
fn attempts_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let fixture = fixture();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            fixture.basic("ada", "correct horse", PEER).await.unwrap();
            fixture.basic("ada", "correct horse", PEER).await.unwrap();
            fixture.bearer("x").await.unwrap_err();
            fixture.scram("ada", "correct horse", PEER).unwrap();
            fixture.scram("ada", "wrong horse", PEER).unwrap_err();
            let malformed = fixture.authenticator.challenge(b"x", |_| {}, PEER);
            malformed.unwrap_err();
        });
    });
    let page = recorder.handle().render();
    for line in [
        r#"{result="accepted",reason="password"} 1"#,
        r#"{result="accepted",reason="cache"} 1"#,
        r#"{result="accepted",reason="scram"} 1"#,
        r#"{result="refused",reason="credentials"} 3"#,
    ] {
        assert!(
            page.contains(&format!("restante_auth_attempts_total{line}")),
            "{page}"
        );
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
