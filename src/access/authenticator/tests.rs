//! What the header promises.

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Fixture {
    _folder: tempfile::TempDir,
    store: Arc<CredentialStore>,
    authenticator: Authenticator,
}

/// A store with `ada` (password `correct horse`, role `shop`) and an authenticator that allows two wrong passwords.
fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(CredentialStore::empty(folder.path()));
    store
        .put_user(
            "ada",
            Some(&Secret::new("correct horse")),
            &["shop".to_owned()],
            false,
        )
        .unwrap();
    let authenticator = Authenticator::new(store.clone(), 2).unwrap();
    Fixture {
        _folder: folder,
        store,
        authenticator,
    }
}

impl Fixture {
    async fn basic(&self, user: &str, password: &str, peer: IpAddr) -> Result<String, AuthError> {
        let credentials = Credentials::basic(user, password).unwrap();
        self.authenticator
            .verify(credentials, peer)
            .await
            .map(|principal| principal.name.to_string())
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
    let fixture = fixture();
    assert_eq!(
        fixture.basic("ada", "wrong horse", peer(1)).await,
        Err(AuthError::Refused)
    );
    assert_eq!(
        fixture.basic("eve", "correct horse", peer(2)).await,
        Err(AuthError::Refused)
    );
    fixture.store.put_user("ada", None, &[], true).unwrap();
    assert_eq!(
        fixture.basic("ada", "correct horse", peer(3)).await,
        Err(AuthError::Refused)
    );
    // All three paid, so all three went through Argon2.
    for last in 1..=3 {
        assert!(fixture.authenticator.inner.peers.is_charged(&peer(last)));
    }
}

#[tokio::test]
async fn a_password_is_known_again_without_argon2() {
    let fixture = fixture();
    assert!(!fixture.is_known("correct horse"));
    fixture.basic("ada", "correct horse", PEER).await.unwrap();
    assert!(fixture.is_known("correct horse") && !fixture.is_known("wrong horse"));
    // No Argon2 can run now: whoever is let in, is let in by the cache.
    let _all = fixture
        .authenticator
        .inner
        .queue
        .clone()
        .acquire_many_owned(QUEUED_MAX as u32)
        .await
        .unwrap();
    assert_eq!(
        fixture.basic("ada", "correct horse", PEER).await.as_deref(),
        Ok("ada")
    );
    assert_eq!(
        fixture.basic("ada", "wrong horse", PEER).await,
        Err(AuthError::Busy)
    );

    fixture.store.put_user("ada", None, &[], true).unwrap();
    assert!(!fixture.is_known("correct horse"), "disabled");
    fixture
        .store
        .put_user("ada", Some(&Secret::new("another horse")), &[], false)
        .unwrap();
    assert!(!fixture.is_known("correct horse"), "changed");
    fixture.store.remove_user("ada").unwrap();
    assert!(!fixture.is_known("another horse"), "removed");
}

#[tokio::test]
async fn guessing_has_to_wait() {
    let fixture = fixture();
    let token = fixture.store.issue_key("ci", &[]).unwrap();
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
async fn api_keys_are_recognised() {
    let fixture = fixture();
    let token = fixture.store.issue_key("ci", &["shop".to_owned()]).unwrap();
    let principal = fixture.bearer(token.expose()).await.unwrap();
    assert_eq!(&*principal.name, "key:ci");
    assert!(principal.has_role("shop"));
    for wrong in [
        "x",
        "rst__",
        "rst_a_b",
        &format!("{}0", token.expose()),
        &token.expose()[..token.expose().len() - 1],
    ] {
        assert_eq!(
            fixture.bearer(wrong).await,
            Err(AuthError::Refused),
            "{wrong}"
        );
    }
    fixture.store.disable_key("ci", true).unwrap();
    assert_eq!(
        fixture.bearer(token.expose()).await,
        Err(AuthError::Refused)
    );
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
        let key = inner.key(&secret, PEER).unwrap_err();
        let store = fixture
            .store
            .put_user(":", Some(&secret), &[], false)
            .unwrap_err();
        format!("{password:?} {password} {key:?} {key} {store:?} {store}")
    };
    let errors = tracing::subscriber::with_default(subscriber, || {
        // A line that another test's thread comes to first stays off until all are looked at again.
        refuse();
        tracing::callsite::rebuild_interest_cache();
        log.0.lock().clear();
        refuse()
    });
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
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
        });
    });
    let page = recorder.handle().render();
    for line in [
        r#"{result="accepted",reason="password"} 1"#,
        r#"{result="accepted",reason="cache"} 1"#,
        r#"{result="refused",reason="credentials"} 1"#,
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
