//! The whole control, against a whole broker.

mod doors;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::future::join_all;
use restante_admin_api::document::{Effect, Grant, Role, Rule, User, Verb};
use restante_admin_api::{Precondition, StepAct};
use restante_storage::{LogOptions, RealDisk};

use super::*;
use crate::access::testing::rule;
use crate::audit::{self, Denied};
use crate::broker::{Change, Settings, Started};
use crate::registry::Route;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const DRY: How = How {
    dry_run: true,
    only: Precondition::None,
};

struct House {
    control: Controller,
    _started: Started,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    house_with(|_| {})
}

fn house_with(change: impl FnOnce(&mut Settings)) -> House {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::default();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    let mut settings = Settings::new(&config);
    change(&mut settings);
    let access = settings.access.clone();
    let started = Broker::start(folder.path(), Arc::new(RealDisk), options, settings).unwrap();
    let audit = audit::Settings::default();
    let audit = Audit::open(&folder.path().join("audit"), audit, audit::system_clock()).unwrap();
    let control = Controller::new(Parts {
        broker: started.broker.clone(),
        auth: Authenticator::new(started.broker.access().clone(), &access).unwrap(),
        meters: Meters::detached(),
        certificates: None,
        audit,
        logs: Logs::detached(&config.log),
        config: Arc::new(ArcSwap::from_pointee(config)),
    });
    House {
        control,
        _started: started,
        _folder: folder,
    }
}

impl House {
    fn caller(&self, principal: Principal) -> Caller {
        Caller {
            admin: self.control.admin(principal),
            peer: Peer {
                address: PEER,
                certificate: None,
                tls: false,
            },
            request_id: Uuid::now_v7(),
            trace: None,
        }
    }

    /// A user who is there, logged in.
    fn user(&self, name: &str) -> Caller {
        let access = self.control.broker.access().load();
        let principal = access.principal_named(name, broker::now()).unwrap();
        drop(access);
        self.caller(principal)
    }

    fn admin(&self) -> Caller {
        self.user("root")
    }

    async fn put(
        &self,
        id: DocumentId,
        document: Document,
    ) -> Result<Changed<Stored>, ControlError> {
        self.control
            .put_document(id, document, None, How::default())
            .await
    }

    /// The user `root`, who is administrator; the others have their roles alone.
    async fn with_users(self, users: &[(&str, &[&str])]) -> House {
        self.put_user("root", &[access::ADMIN]).await;
        for (name, roles) in users {
            for role in roles.iter().filter(|it| **it != access::ADMIN) {
                let id = id(DocumentKind::Role, role);
                let grants = if *role == "operator" {
                    vec![Grant::Operate]
                } else {
                    vec![]
                };
                let role = Role {
                    grants,
                    ..Role::default()
                };
                self.put(id, Document::Role(role)).await.unwrap();
            }
            self.put_user(name, roles).await;
        }
        self
    }

    async fn put_user(&self, name: &str, roles: &[&str]) {
        let put = self.control.put_document(
            id(DocumentKind::User, name),
            user(roles),
            Some(Secret::new("correct horse".to_owned())),
            How::default(),
        );
        put.await.unwrap();
    }

    async fn rule(&self, name: &str, rule: Rule) {
        let put = self.put(id(DocumentKind::Rule, name), Document::Rule(rule));
        put.await.unwrap();
    }

    async fn queue(&self, name: &str, spec: QueueSpec) {
        let admin = self.admin();
        let (realm, name) = ("default".to_owned(), name.to_owned());
        let put = self
            .control
            .put_queue(&admin, realm, name, spec, How::default());
        put.await.unwrap();
    }

    fn messages(&self, queue: &str) -> u64 {
        self.control
            .broker
            .queue("default", queue)
            .unwrap()
            .messages_ready
    }

    async fn publish(
        &self,
        caller: &Caller,
        message: PublishRequest,
    ) -> Result<Published, ControlError> {
        let realm = "default".to_owned();
        self.control
            .publish(caller, realm, message, How::default())
            .await
    }
}

fn id(kind: DocumentKind, name: &str) -> DocumentId {
    documents::id(kind, name)
}

fn user(roles: &[&str]) -> Document {
    Document::User(User {
        roles: roles.iter().map(|it| (*it).to_owned()).collect(),
        ..User::default()
    })
}

fn message(address: &str) -> PublishRequest {
    PublishRequest {
        address: address.to_owned(),
        body: Some("hello".to_owned()),
        ..PublishRequest::default()
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T, ControlError>) -> String {
    match result {
        Err(ControlError::Conflict(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn pointers<T: std::fmt::Debug>(result: Result<T, ControlError>) -> Vec<String> {
    match result {
        Err(ControlError::Invalid(faults)) => faults.into_iter().map(|it| it.pointer).collect(),
        other => panic!("{other:?}"),
    }
}

fn only(only: Precondition) -> How {
    How {
        dry_run: false,
        only,
    }
}

#[tokio::test]
async fn of_two_who_change_the_same_one_hears_of_it() {
    let house = house();
    let role = |text: &str| {
        Document::Role(Role {
            description: text.to_owned(),
            ..Role::default()
        })
    };
    let id = id(DocumentKind::Role, "shop");
    let put = |text, how| {
        house
            .control
            .put_document(id.clone(), role(text), None, how)
    };
    let made = put("one", only(Precondition::Absent)).await.unwrap();
    assert!(made.created && made.before.is_none());
    let revision = made.now.revision;
    let again = put("one", only(Precondition::Absent)).await;
    let now = Some(revision);
    assert_eq!(again.unwrap_err(), ControlError::Changed { revision: now });
    let how = only(Precondition::Revision(revision));
    let (a, b) = tokio::join!(put("a", how), put("b", how));
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    let revision = Some(won.unwrap().now.revision);
    assert_eq!(lost.unwrap_err(), ControlError::Changed { revision });
    // Without a condition nobody is refused for another's sake.
    let all = join_all((0..8).map(|_| put("c", How::default())));
    assert!(all.await.iter().all(Result::is_ok));
    let same = put("c", How::default()).await.unwrap();
    let stored = house.control.document_of(&id).unwrap();
    assert_eq!(
        stored.revision, same.now.revision,
        "nothing was to be written"
    );
    let gone = house
        .control
        .remove_document(id.clone(), only(Precondition::Revision(1)));
    let revision = Some(stored.revision);
    assert_eq!(gone.await.unwrap_err(), ControlError::Changed { revision });
}

#[tokio::test]
async fn who_changes_other_things_is_in_nobodys_way() {
    let house = house().with_users(&[]).await;
    let role = |name: &str| id(DocumentKind::Role, name);
    let old = |n: usize| role(&format!("old{n}"));
    for n in 0..16 {
        let put = house.put(old(n), Document::Role(Role::default())).await;
        put.unwrap();
    }
    let puts = (0..64).map(|n| {
        let how = only(Precondition::Absent);
        let document = Document::Role(Role::default());
        let id = role(&format!("new{n}"));
        house.control.put_document(id, document, None, how)
    });
    let removes = (0..16).map(|n| {
        let how = only(Precondition::Present);
        house.control.remove_document(old(n), how)
    });
    let admin = house.admin();
    let applies = (0..4).map(|n| {
        let mut wanted = Definitions {
            version: 1,
            ..Definitions::default()
        };
        let roles = &mut wanted.roles;
        roles.insert(format!("applied{n}"), Role::default());
        house.control.apply(&admin, wanted, false, How::default())
    });
    let (puts, removes, applies) =
        tokio::join!(join_all(puts), join_all(removes), join_all(applies));
    assert!(puts.iter().all(Result::is_ok), "{puts:?}");
    assert!(removes.iter().all(Result::is_ok), "{removes:?}");
    assert!(applies.iter().all(Result::is_ok), "{applies:?}");
    let roles = house.control.documents_of(DocumentKind::Role, None);
    assert_eq!(roles.unwrap().len(), 64 + 4);
}

#[tokio::test]
async fn a_scrape_does_not_wait_for_the_checksum() {
    use futures_util::FutureExt;
    let house = house().with_users(&[]).await;
    let definer = &house.control.definer;
    let n_made = || definer.n_made.load(std::sync::atomic::Ordering::Relaxed);
    let first = definer.last_checksum().await.unwrap();
    assert_eq!(definer.checksum().await.unwrap(), first);
    assert_eq!(n_made(), 1);
    // Somebody else plans, and the definitions change.
    let (begins, begun) = tokio::sync::oneshot::channel();
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let this = Arc::clone(definer);
    let busy = tokio::spawn(async move {
        let work = move |_: &Definer| {
            begins.send(()).unwrap();
            waits.recv().ok()
        };
        this.in_turn(work).await
    });
    begun.await.unwrap();
    let role = Document::Role(Role::default());
    let put = house.put(id(DocumentKind::Role, "new"), role).await;
    put.unwrap();
    let scraped = definer.last_checksum().now_or_never();
    assert_eq!(scraped, Some(Some(Arc::clone(&first))));
    assert!(definer.checksum().now_or_never().is_none());
    let all = join_all((0..8).map(|_| definer.checksum()));
    drop(go_on);
    let all: Result<Vec<_>, _> = all.await.into_iter().collect();
    let exported = house.control.definitions(false).await.unwrap().checksum;
    assert!(all.unwrap().iter().all(|it| **it == *exported));
    assert_ne!(*first, *exported);
    assert_eq!(definer.last_checksum().await.as_deref(), Some(&*exported));
    assert_eq!(n_made(), 2, "once for all who wanted it");
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_locks_everybody_out() {
    let house = house().with_users(&[("ada", &["shop"])]).await;
    let root = id(DocumentKind::User, "root");
    let disabled = Document::User(User {
        roles: vec!["admin".to_owned()],
        disabled: true,
        ..User::default()
    });
    let control = &house.control;
    for text in [
        conflict(house.put(root.clone(), user(&["shop"])).await),
        conflict(house.put(root.clone(), disabled.clone()).await),
        conflict(control.remove_document(root.clone(), How::default()).await),
        conflict(control.remove_document(root.clone(), DRY).await),
        conflict(
            control
                .apply(&house.admin(), prune_all(), true, How::default())
                .await,
        ),
    ] {
        assert!(text.contains("give it first to another user"), "{text}");
    }
    // One without a password cannot log in, and does not count.
    let other = id(DocumentKind::User, "other");
    house.put(other.clone(), user(&["admin"])).await.unwrap();
    conflict(control.remove_document(root.clone(), How::default()).await);
    house.put_user("other", &["admin"]).await;
    control.remove_document(root, How::default()).await.unwrap();
    conflict(control.remove_document(other, How::default()).await);
}

fn prune_all() -> Definitions {
    Definitions {
        version: 1,
        ..Definitions::default()
    }
}

#[tokio::test]
async fn no_secret_is_told_of_a_change() {
    let house = house().with_users(&[]).await;
    let control = &house.control;
    let canary = "canary-canary-canary";
    let alice = id(DocumentKind::User, "alice");
    let password = || Some(Secret::new(canary.to_owned()));
    let made = control.put_document(alice.clone(), user(&[]), password(), How::default());
    let made = made.await.unwrap();
    let again = control.put_document(alice.clone(), user(&[]), password(), How::default());
    let again = again.await.unwrap();
    let hash = |stored: &Stored| match &stored.document {
        Document::User(user) => user.password_hash.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    let verifier = |stored: &Stored| match &stored.document {
        Document::User(user) => user.scram_verifier.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    let token = Token {
        label: "ci".to_owned(),
        ..Token::default()
    };
    let issued = control.make_token(token, How::default()).await.unwrap();
    let token = issued.now.0.id.name.clone();
    let rotated = control.renew_token(token.clone(), Duration::from_hours(1), How::default());
    let rotated = rotated.await.unwrap();
    let hashes = |stored: &Stored| match &stored.document {
        Document::Token(token) => token.hash.clone(),
        other => panic!("{other:?}"),
    };
    let secrets = [
        canary.to_owned(),
        hash(&made.now),
        hash(&again.now),
        verifier(&made.now),
        verifier(&again.now),
        hashes(&issued.now.0),
        hashes(&rotated.now.0),
        issued.now.1.expose().to_owned(),
        rotated.now.1.expose().to_owned(),
    ];
    let gone = control.remove_document(id(DocumentKind::Token, &token), How::default());
    let gone = gone.await.unwrap();
    let told = [
        (&made.before, &made.after),
        (&again.before, &again.after),
        (&issued.before, &issued.after),
        (&rotated.before, &rotated.after),
        (&gone.before, &gone.after),
    ];
    let text = format!("{told:?}{:?}{:?}", issued.now.1, rotated.now.1);
    for secret in &secrets {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let said =
        |value: &Option<serde_json::Value>, field: &str| value.as_ref().unwrap()[field].clone();
    assert_eq!(said(&again.after, "password"), "changed");
    assert_eq!(said(&rotated.after, "secret"), "changed");
    assert_eq!(said(&rotated.before, "secret"), "set");
    let exported = control.definitions(false).await.unwrap();
    let text = format!("{exported:?}");
    assert!(!secrets.iter().any(|secret| text.contains(secret)));
    let refused = control.put_document(
        alice,
        user(&[]),
        Some(Secret::new("short".to_owned())),
        How::default(),
    );
    assert_eq!(pointers(refused.await), ["/password"]);
}

#[tokio::test]
async fn a_token_keeps_its_secret_until_it_is_rotated() {
    let house = house().with_users(&[]).await;
    let control = &house.control;
    let token = |label: &str| Token {
        label: label.to_owned(),
        ..Token::default()
    };
    let issued = control
        .make_token(token("ci"), How::default())
        .await
        .unwrap();
    let (stored, secret) = issued.now;
    let lets_in = async |secret: &str| {
        let peer = house.admin().peer;
        let header = format!("Bearer {secret}");
        let admin = control.authenticate(Some(header.as_bytes()), &peer).await;
        admin.map(|it| it.name)
    };
    assert_eq!(lets_in(secret.expose()).await.unwrap(), "token:ci");
    let forged = Document::Token(Token {
        hash: "0".repeat(64),
        created_at: 1,
        ..token("renamed")
    });
    let put = house.put(stored.id.clone(), forged).await.unwrap();
    assert_eq!(lets_in(secret.expose()).await.unwrap(), "token:renamed");
    let created = |stored: &Stored| match &stored.document {
        Document::Token(token) => token.created_at,
        other => panic!("{other:?}"),
    };
    assert_eq!(created(&put.now), created(&stored));
    assert_eq!(
        pointers(control.make_token(token("renamed"), How::default()).await),
        ["/label"]
    );
    let nobody = house.put(id(DocumentKind::Token, "abc"), Document::Token(token("x")));
    assert!(matches!(nobody.await, Err(ControlError::NotFound(_))));

    let name = stored.id.name.clone();
    let hour = Duration::from_hours(1);
    let dry = control.renew_token(name.clone(), hour, DRY).await.unwrap();
    assert!(lets_in(dry.now.1.expose()).await.is_err());
    let first = control
        .renew_token(name.clone(), hour, How::default())
        .await
        .unwrap();
    for secret in [secret.expose(), first.now.1.expose()] {
        assert_eq!(lets_in(secret).await.unwrap(), "token:renamed");
    }
    let last = control
        .renew_token(name, Duration::ZERO, How::default())
        .await
        .unwrap();
    assert!(lets_in(last.now.1.expose()).await.is_ok());
    for secret in [secret.expose(), first.now.1.expose()] {
        assert_eq!(lets_in(secret).await, Err(AuthError::Refused));
    }
}

#[tokio::test]
async fn what_is_named_stays_and_what_is_named_must_be_there() {
    let house = house().with_users(&[("ada", &["shop"])]).await;
    let control = &house.control;
    let remove = |kind, name: &str| control.remove_document(id(kind, name), How::default());
    let text = conflict(remove(DocumentKind::Role, "shop").await);
    assert!(text.contains("user ada"), "{text}");
    let nobody = house
        .put(id(DocumentKind::User, "eve"), user(&["nonsense"]))
        .await;
    assert_eq!(pointers(nobody), ["/roles/0"]);
    let built_in = Document::Role(Role::default());
    for name in ["admin", "monitor"] {
        conflict(
            house
                .put(id(DocumentKind::Role, name), built_in.clone())
                .await,
        );
    }
    conflict(remove(DocumentKind::Realm, "default").await);
    assert!(matches!(
        remove(DocumentKind::Realm, "x").await,
        Err(ControlError::NotFound(_))
    ));
    let realm = Document::Realm(Default::default());
    house
        .put(id(DocumentKind::Realm, "x"), realm)
        .await
        .unwrap();
    let admin = house.admin();
    let queue = || ("x".to_owned(), "q".to_owned());
    let ((realm, name), spec) = (queue(), QueueSpec::default());
    let put = control.put_queue(&admin, realm, name, spec, How::default());
    put.await.unwrap();
    let text = conflict(remove(DocumentKind::Realm, "x").await);
    assert!(text.contains("queues"), "{text}");
    // All that is in the way is told at once.
    house
        .rule("inside", rule(Effect::Allow, "*", &Verb::ALL, "x", "#"))
        .await;
    let text = conflict(remove(DocumentKind::Realm, "x").await);
    assert!(
        text.contains("rule inside") && text.contains("has queues (1)"),
        "{text}"
    );
    remove(DocumentKind::Rule, "inside").await.unwrap();
    let (realm, name) = queue();
    control
        .remove_queue(&admin, realm, name, How::default())
        .await
        .unwrap();
    remove(DocumentKind::Realm, "x").await.unwrap();
    let realms = control.documents_of(DocumentKind::Realm, None).unwrap();
    assert_eq!(realms.len(), 1, "default is always listed");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let house = house().with_users(&[]).await;
    let control = &house.control;
    let before = (
        control.broker.registry().revision,
        control.definitions(true).await.unwrap(),
    );
    let role = Document::Role(Role::default());
    let put = control.put_document(id(DocumentKind::Role, "x"), role, None, DRY);
    assert!(put.await.unwrap().created);
    let token = Token {
        label: "ci".to_owned(),
        ..Token::default()
    };
    control.make_token(token, DRY).await.unwrap();
    let admin = house.admin();
    let (realm, name) = ("default".to_owned(), "q".to_owned());
    let spec = QueueSpec::default();
    control
        .put_queue(&admin, realm.clone(), name, spec, DRY)
        .await
        .unwrap();
    let checked = control
        .publish(&admin, realm, message("new"), DRY)
        .await
        .unwrap();
    assert_eq!(checked.outcome, "checked");
    let definitions = Definitions {
        roles: BTreeMap::from([("r".to_owned(), Role::default())]),
        ..prune_all()
    };
    let planned = control
        .apply(&admin, definitions, false, DRY)
        .await
        .unwrap();
    assert_eq!(planned.now.steps.len(), 1);
    control
        .set_log_level(&admin, "debug".to_owned(), DRY)
        .await
        .unwrap();
    assert_eq!(control.log_level(), "info");
    // A word that is no level would be taken for a part of the program, and silence the rest.
    for how in [DRY, How::default()] {
        let loud = control.set_log_level(&admin, "loud".to_owned(), how).await;
        let Err(ControlError::Invalid(faults)) = loud else {
            panic!("it is no level")
        };
        assert_eq!(faults[0].pointer, "/level");
        assert!(
            faults[0]
                .detail
                .contains("off, error, warn, info, debug or trace")
        );
        assert!(faults[0].detail.contains("target=level"), "{faults:?}");
    }
    assert_eq!(control.log_level(), "info");
    let after = (
        control.broker.registry().revision,
        control.definitions(true).await.unwrap(),
    );
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_depends_on_an_address_is_decided_by_the_rules() {
    let users: [(&str, &[&str]); 3] = [("ada", &["shop"]), ("eve", &[]), ("olga", &["operator"])];
    let house = house().with_users(&users).await;
    house
        .rule(
            "a",
            rule(Effect::Allow, "shop", &Verb::ALL, "default", "shop/#"),
        )
        .await;
    house
        .rule(
            "b",
            rule(
                Effect::Deny,
                "shop",
                &[Verb::Browse, Verb::Send],
                "default",
                "shop/secret",
            ),
        )
        .await;
    for name in ["shop/a", "shop/secret", "other"] {
        house.queue(name, QueueSpec::default()).await;
    }
    let (ada, eve, olga) = (house.user("ada"), house.user("eve"), house.user("olga"));
    let control = &house.control;
    let here = || "default".to_owned();
    let spec = |filters: &[&str]| QueueSpec {
        bindings: Some(filters.iter().map(|it| (*it).to_owned()).collect()),
        ..QueueSpec::default()
    };
    let denied = |verb, rule: Option<&str>| ControlError::Denied {
        verb: Some(verb),
        rule: rule.map(str::to_owned),
    };
    let browse = async |caller: &Caller, name: &str| {
        let all = Selection::default();
        let browsed = control
            .browse(caller, here(), name.to_owned(), all, 1, 1)
            .await;
        browsed.map(drop)
    };
    assert_eq!(browse(&ada, "shop/a").await, Ok(()));
    let by_rule = Err(denied(Verb::Browse, Some("b")));
    assert_eq!(browse(&ada, "shop/secret").await, by_rule);
    assert_eq!(browse(&ada, "other").await, Err(denied(Verb::Browse, None)));
    assert_eq!(
        browse(&eve, "shop/a").await,
        Err(denied(Verb::Browse, None))
    );
    assert_eq!(
        browse(&olga, "shop/secret").await,
        Ok(()),
        "operate stands for browse"
    );

    let put = async |caller: &Caller, name: &str, filters: &[&str]| {
        let put = control.put_queue(caller, here(), name.to_owned(), spec(filters), DRY);
        put.await.map(drop)
    };
    let manage = Err(denied(Verb::Manage, None));
    assert_eq!(put(&ada, "shop/b", &["shop/b", "shop/b/#"]).await, Ok(()));
    assert_eq!(put(&ada, "shop/b", &["shop/b", "#"]).await, manage);
    assert_eq!(put(&ada, "other", &["other"]).await, manage);
    assert_eq!(put(&olga, "other", &["#"]).await, Ok(()));
    let bind = async |caller: &Caller, filter: &str| {
        let binding = Binding {
            realm: here(),
            filter: filter.to_owned(),
            queue: "shop/a".to_owned(),
        };
        control.bind(caller, binding, true, DRY).await.map(drop)
    };
    assert_eq!(bind(&ada, "shop/+").await, Ok(()));
    assert_eq!(bind(&ada, "+/a").await, manage);
    for (caller, wanted) in [(&ada, Ok(())), (&eve, manage.clone())] {
        let (realm, name) = (here(), "shop/a".to_owned());
        let paused = control
            .pause(caller, realm, name, Some(String::new()), DRY)
            .await;
        assert_eq!(paused.map(drop), wanted);
        let gone = control
            .remove_queue(caller, here(), "shop/a".to_owned(), DRY)
            .await;
        assert_eq!(gone.map(drop), wanted);
    }
    let move_to = async |caller: &Caller, to: &str| {
        let fate = Fate::Move {
            address: to.to_owned(),
        };
        let all = Selection::default();
        let moved = control.dispose(caller, here(), "shop/a".to_owned(), all, None, fate, DRY);
        moved.await.map(drop)
    };
    assert_eq!(move_to(&ada, "shop/b").await, Ok(()));
    assert_eq!(
        move_to(&ada, "shop/secret").await,
        Err(denied(Verb::Send, Some("b")))
    );
    assert_eq!(
        move_to(&olga, "shop/b").await,
        Err(denied(Verb::Send, None)),
        "operate is no send"
    );
    let sent = house.publish(&ada, message("shop/secret")).await;
    assert_eq!(sent, Err(denied(Verb::Send, Some("b"))));

    // What somebody has lost is lost in the middle of what they do.
    house
        .put(id(DocumentKind::User, "ada"), user(&[]))
        .await
        .unwrap();
    assert_eq!(
        browse(&ada, "shop/a").await,
        Err(denied(Verb::Browse, None))
    );
    control
        .remove_document(id(DocumentKind::User, "ada"), How::default())
        .await
        .unwrap();
    let nobody = ControlError::Denied {
        verb: None,
        rule: None,
    };
    assert_eq!(browse(&ada, "shop/a").await, Err(nobody));
}

#[tokio::test]
async fn a_message_is_published_under_the_same_rules_as_anywhere() {
    let house = house().with_users(&[]).await;
    let admin = Caller {
        trace: Some((
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            Some("a=1".to_owned()),
        )),
        ..house.admin()
    };
    house
        .queue(
            "full",
            QueueSpec {
                max_messages: Some(1),
                ..QueueSpec::default()
            },
        )
        .await;
    let route = Route {
        description: String::new(),
        disabled: false,
        order: 0,
        filter: "drop".to_owned(),
        when: Vec::new(),
        unrouted: false,
        to: Vec::new(),
        choose: Default::default(),
        shard_by: None,
        keep: false,
        last: false,
    };
    let route_id = DocumentId {
        realm: "default".to_owned(),
        ..id(DocumentKind::Route, "drop")
    };
    house.put(route_id, Document::Route(route)).await.unwrap();
    let published = house.publish(&admin, message("full")).await.unwrap();
    assert_eq!(published.outcome, "stored");
    assert_eq!(house.messages("full"), 1);
    let browsed = house
        .control
        .browse(
            &admin,
            "default".to_owned(),
            "full".to_owned(),
            Selection::default(),
            9,
            99,
        )
        .await
        .unwrap();
    let [stored] = &browsed.messages[..] else {
        panic!("{browsed:?}")
    };
    assert_eq!(stored.message_id, published.message_id.unwrap());
    assert_eq!(stored.body.as_deref(), Some("hello"));
    assert_eq!(
        stored.properties.get("tracestate").map(String::as_str),
        Some("a=1")
    );
    assert!(stored.properties.contains_key("traceparent"));

    assert!(matches!(
        house.publish(&admin, message("full")).await,
        Err(ControlError::Full(_))
    ));
    let dropped = house.publish(&admin, message("drop")).await.unwrap();
    assert_eq!(dropped.outcome, "dropped");
    let made = house
        .publish(&admin, message("made/by/sending"))
        .await
        .unwrap();
    assert_eq!(
        (&*made.outcome, house.messages("made/by/sending")),
        ("stored", 1)
    );
    for (wrong, pointer) in [
        (message("a//b"), "/address"),
        (
            PublishRequest {
                ttl_ms: Some(0),
                ..message("a")
            },
            "/ttl_ms",
        ),
        (
            PublishRequest {
                priority: Some(10),
                ..message("a")
            },
            "/priority",
        ),
        (
            PublishRequest {
                body_base64: Some("aGk=".to_owned()),
                ..message("a")
            },
            "/body_base64",
        ),
        (
            PublishRequest {
                body: None,
                body_base64: Some("?".to_owned()),
                ..message("a")
            },
            "/body_base64",
        ),
    ] {
        assert_eq!(pointers(house.publish(&admin, wrong).await), [pointer]);
    }
    let nobody = house.publish(&admin, message("~nobody/x")).await;
    assert!(conflict(nobody).contains("nothing takes messages for ~nobody/x"));
    assert_eq!(house.control.broker.n_attached(), 0, "nobody stays");
}

#[tokio::test]
async fn a_sentence_says_who_may_and_where_it_would_land() {
    let house = house().with_users(&[("ada", &["shop"])]).await;
    house
        .rule(
            "a",
            rule(
                Effect::Allow,
                "shop",
                &[Verb::Send],
                "default",
                "shop/${client}",
            ),
        )
        .await;
    house.queue("shop/c", QueueSpec::default()).await;
    let admin = house.admin();
    let ask = |request| house.control.explain(&admin, request);
    let of_ada = |client: Option<&str>| ExplainRequest {
        principal: Some("ada".to_owned()),
        client: client.map(str::to_owned),
        message: message("shop/c"),
        ..ExplainRequest::default()
    };
    let said = ask(of_ada(Some("c"))).await.unwrap();
    assert_eq!(
        said.text,
        "ada may send shop/c (the rule a); the message would go to queue shop/c"
    );
    assert_eq!(
        (said.allowed, said.rule.as_deref(), &*said.outcome),
        (true, Some("a"), "stored")
    );
    let said = ask(of_ada(None)).await.unwrap();
    assert_eq!(said.text, "ada may not send shop/c (no rule allows it)");
    assert_eq!(said.duplicate, "", "nothing would be sent");
    assert_eq!(
        (said.allowed, &*said.outcome, said.landings.len()),
        (false, "denied", 0)
    );
    let said = ask(ExplainRequest {
        verb: Some(Verb::Consume),
        ..of_ada(Some("c"))
    })
    .await
    .unwrap();
    assert_eq!((said.allowed, &*said.outcome), (false, "denied"));
    let consumes = ExplainRequest {
        principal: None,
        verb: Some(Verb::Consume),
        ..of_ada(None)
    };
    let said = ask(consumes).await.unwrap();
    assert_eq!((said.allowed, &*said.duplicate), (true, ""));
    let roles = Some(vec!["admin".to_owned()]);
    let said = ask(ExplainRequest {
        roles,
        ..of_ada(None)
    })
    .await
    .unwrap();
    assert_eq!(
        said.text,
        "ada may send shop/c (the role admin); the message would go to queue shop/c"
    );
    assert!(said.duplicate.contains("no window"), "{}", said.duplicate);
    assert!(!said.duplicate.starts_with("no:"), "{}", said.duplicate);
    let nowhere = ExplainRequest {
        message: message(""),
        ..of_ada(None)
    };
    assert_eq!(pointers(ask(nowhere).await), ["/message/address"]);
    let nobody = ExplainRequest {
        principal: Some("nobody".to_owned()),
        ..of_ada(None)
    };
    assert_eq!(pointers(ask(nobody).await), ["/principal"]);
}

#[tokio::test]
async fn what_is_said_of_a_right_is_what_each_door_does() {
    let users: &[(&str, &[&str])] = &[("olga", &["operator"]), ("ada", &["shop"])];
    let house = house().with_users(users).await;
    let admin = house.admin();
    for (who, verb, address, wanted) in [
        (
            "olga",
            Verb::Manage,
            "q",
            "olga may manage q (the grant operate)",
        ),
        (
            "olga",
            Verb::Browse,
            "$mqtt/c",
            "olga may browse $mqtt/c (the grant operate)",
        ),
        (
            "olga",
            Verb::Consume,
            "q",
            "olga may not consume q (no rule allows it)",
        ),
        (
            "ada",
            Verb::Manage,
            "q",
            "ada may not manage q (no rule allows it)",
        ),
        (
            "root",
            Verb::Browse,
            "$mqtt/c",
            "root may browse $mqtt/c (the role admin)",
        ),
        (
            "root",
            Verb::Consume,
            "$x/#",
            "root may not consume $x/# (it is the broker's own)",
        ),
        (
            "root",
            Verb::Consume,
            "~x/#",
            "root may not consume ~x/# (it is a temporary address)",
        ),
    ] {
        let said = house.control.explain(
            &admin,
            ExplainRequest {
                principal: Some(who.to_owned()),
                verb: Some(verb),
                message: message(address),
                ..ExplainRequest::default()
            },
        );
        let said = said.await.unwrap();
        assert_eq!(said.text, wanted);
        if matches!(verb, Verb::Manage | Verb::Browse) {
            let rights = house.control.rights(&house.user(who)).unwrap();
            let may = rights.need(verb, "default", address).is_ok();
            assert_eq!(said.allowed, may, "{wanted}");
        }
    }
}

/// Some of everything.
async fn furnish(house: &House) {
    house
        .rule(
            "a",
            rule(Effect::Allow, "shop", &Verb::ALL, "*", "shop/${user}/#"),
        )
        .await;
    let token = Token {
        label: "ci".to_owned(),
        roles: vec!["shop".to_owned()],
        ..Token::default()
    };
    house
        .control
        .make_token(token, How::default())
        .await
        .unwrap();
    let realm = Document::Realm(Default::default());
    house
        .put(id(DocumentKind::Realm, "x"), realm)
        .await
        .unwrap();
    house
        .queue(
            "orders",
            QueueSpec {
                dead_letter: Some("dead".to_owned()),
                max_attempts: Some(3),
                ..QueueSpec::default()
            },
        )
        .await;
    let bindings = Some(vec!["b".to_owned(), "a/#".to_owned()]);
    house
        .queue(
            "wide",
            QueueSpec {
                bindings,
                ..QueueSpec::default()
            },
        )
        .await;
}

#[tokio::test]
async fn an_export_applied_to_an_empty_broker_has_the_same_checksum() {
    let one = house().with_users(&[("ada", &["shop"])]).await;
    furnish(&one).await;
    let exported = one.control.definitions(true).await.unwrap();
    let two = house().with_users(&[]).await;
    let admin = two.admin();
    let all = || exported.definitions.clone();
    let applied = two
        .control
        .apply(&admin, all(), true, How::default())
        .await
        .unwrap();
    assert_eq!(applied.now.checksum, exported.checksum);
    assert!(applied.now.steps.iter().any(|it| it.act == StepAct::Create));
    let there = two.control.definitions(true).await.unwrap();
    assert_eq!(there.checksum, exported.checksum);
    assert_eq!(there.definitions, exported.definitions);
    assert_eq!(there.revision, exported.revision);
    let overview = two.control.overview().await.unwrap();
    assert_eq!(
        (
            overview.definitions_checksum,
            overview.queues,
            overview.realms
        ),
        (there.checksum, 2, 2)
    );
    let again = two
        .control
        .apply(&admin, all(), true, How::default())
        .await
        .unwrap();
    assert_eq!(again.now.steps, []);
    // Without hashes nobody loses their secret.
    let without = one.control.definitions(false).await.unwrap();
    assert_eq!(without.checksum, exported.checksum);
    let again = two
        .control
        .apply(&admin, without.definitions, true, How::default())
        .await
        .unwrap();
    assert_eq!(
        (again.now.steps.len(), again.now.checksum),
        (0, exported.checksum)
    );
}

#[tokio::test]
async fn definitions_are_applied_whole_or_not_at_all() {
    let house = house().with_users(&[("ada", &["shop"])]).await;
    furnish(&house).await;
    let admin = house.admin();
    let control = &house.control;
    let before = control.definitions(true).await.unwrap();
    let apply = |it: &Definitions, prune, how| control.apply(&admin, it.clone(), prune, how);

    let mut broken = before.definitions.clone();
    broken.roles.insert("new".to_owned(), Role::default());
    broken
        .users
        .get_mut("ada")
        .unwrap()
        .roles
        .push("nonsense".to_owned());
    broken.users.get_mut("root").unwrap().password_hash = Some("plain".to_owned());
    broken
        .realms
        .get_mut("default")
        .unwrap()
        .queues
        .get_mut("wide")
        .unwrap()
        .max_attempts = Some(0);
    assert_eq!(
        pointers(apply(&broken, false, How::default()).await),
        [
            "/realms/default/queues/wide/max_attempts",
            "/users/ada/roles/1",
            "/users/root/password_hash"
        ]
    );
    assert_eq!(control.definitions(true).await.unwrap(), before);

    // A queue that is changed keeps what waits in it, and one that is not named goes.
    house.publish(&admin, message("b")).await.unwrap();
    let mut changed = before.definitions.clone();
    let queues = &mut changed.realms.get_mut("default").unwrap().queues;
    queues.get_mut("wide").unwrap().ttl_ms = Some(3_600_000);
    queues.remove("orders");
    queues.insert("own".to_owned(), QueueSpec::default());
    let only_then = only(Precondition::Revision(before.revision));
    let first = apply(&changed, true, only_then).await.unwrap();
    assert_eq!(first.now.steps.len(), 3, "{:?}", first.now.steps);
    let late = apply(&changed, true, only_then).await;
    assert!(matches!(
        late,
        Err(ControlError::Changed { revision: Some(_) })
    ));
    let again = apply(&changed, true, How::default()).await.unwrap();
    assert_eq!(again.now.steps, [], "no bindings are those to its own name");
    assert_eq!(house.messages("wide"), 1);
    assert!(control.broker.queue("default", "orders").is_err());
}

#[tokio::test]
async fn the_token_of_the_command_line_is_this_brokers_own() {
    let house = house().with_users(&[]).await;
    let control = &house.control;
    let cli = id(DocumentKind::Token, "abc");
    let own = Token {
        label: "cli".to_owned(),
        hash: "0".repeat(64),
        roles: vec!["admin".to_owned()],
        ..Token::default()
    };
    let change = Change {
        as_of: control.broker.registry().revision,
        documents: vec![(cli.clone(), Some(Document::Token(own.clone())))],
        ..Change::default()
    };
    control.broker.change(change).await.unwrap();
    let exported = control.definitions(true).await.unwrap();
    assert_eq!(exported.definitions.tokens.len(), 0);
    let mut posing = exported.definitions.clone();
    let other = Token {
        label: "other".to_owned(),
        ..own
    };
    posing.tokens.insert("abc".to_owned(), other);
    let applied = control
        .apply(&house.admin(), posing, false, How::default())
        .await;
    assert_eq!(pointers(applied), ["/tokens/abc"]);
    let applied = control
        .apply(&house.admin(), exported.definitions, true, How::default())
        .await;
    applied.unwrap();
    control.document_of(&cli).unwrap();
    conflict(
        control
            .renew_token("abc".to_owned(), Duration::ZERO, How::default())
            .await,
    );
}

#[tokio::test]
async fn a_broken_file_says_where_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("defs.yaml");
    std::fs::write(&path, "version: 1\nroles:\n  shop: {grant: []}\n").unwrap();
    let error = read_definitions(&path).unwrap_err().to_string();
    assert!(
        error.contains("line 3") && error.contains("/roles/shop"),
        "{error}"
    );
    std::fs::write(&path, "version: 1\nusers:\n  ada: {roles: [shop]}\n").unwrap();
    let house = house();
    let (broker, limits) = (&house.control.broker, &house.control.limits);
    let wanted = read_definitions(&path).unwrap();
    let error = import(broker, limits, &wanted, false)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/users/ada/roles/0: there is no role"),
        "{error}"
    );
    std::fs::write(
        &path,
        "version: 1\nroles: {shop: {}}\nusers:\n  ada: {roles: [shop]}\n",
    )
    .unwrap();
    let wanted = read_definitions(&path).unwrap();
    let steps = async || {
        import(broker, limits, &wanted, false)
            .await
            .unwrap()
            .now
            .steps
            .len()
    };
    assert_eq!((steps().await, steps().await), (2, 0));
}

#[tokio::test]
async fn what_was_done_is_in_the_audit_log() {
    let house = house().with_users(&[]).await;
    let entry = AuditEntry {
        principal: "root".to_owned(),
        act: "PUT /x".to_owned(),
        result: "done".to_owned(),
        ..AuditEntry::default()
    };
    house.control.audit(entry);
    house.control.audit.denials().denied(&Denied {
        principal: "eve",
        peer: PEER,
        door: "mbws",
        verb: "send",
        realm: "default",
        address: "x",
        rule: "",
    });
    let query = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let found = house.control.audited(query).await.unwrap();
    let who: Vec<&str> = found.iter().map(|it| it.principal.as_str()).collect();
    assert_eq!(who, ["eve", "root"]);
}

#[tokio::test]
async fn a_realm_has_as_many_queues_as_it_may() {
    let house = house().with_users(&[]).await;
    let realm = restante_admin_api::document::Realm {
        max_queues: Some(1),
        ..Default::default()
    };
    house
        .put(id(DocumentKind::Realm, "x"), Document::Realm(realm))
        .await
        .unwrap();
    let admin = house.admin();
    let control = &house.control;
    let send = |address| control.publish(&admin, "x".to_owned(), message(address), How::default());
    assert_eq!(send("a").await.unwrap().outcome, "stored");
    assert!(matches!(send("b").await, Err(ControlError::Full(_))));
    let (realm, name) = ("x".to_owned(), "c".to_owned());
    let put = control.put_queue(&admin, realm, name, QueueSpec::default(), How::default());
    assert!(matches!(put.await, Err(ControlError::Full(_))));
    // Who has too many already may still set everything else, and is only refused more.
    let fewer = restante_admin_api::document::Realm {
        max_queues: Some(0),
        ..Default::default()
    };
    let fewer = house.put(id(DocumentKind::Realm, "x"), Document::Realm(fewer));
    fewer.await.unwrap();
    let apply = |text: &str| {
        let wanted = crate::definitions::parse(&format!("version: 1\n{text}\n")).unwrap();
        control.apply(&admin, wanted, false, How::default())
    };
    apply("roles: {other: {}}").await.unwrap();
    let more = apply("realms: {x: {max_queues: 1, queues: {b: {}}}}").await;
    let Err(ControlError::Invalid(faults)) = more else {
        panic!("there is no room: {more:?}");
    };
    assert_eq!(faults[0].pointer, "/realms/x/queues");
}

#[tokio::test]
async fn there_are_as_many_documents_as_there_may_be() {
    let mut house = house().with_users(&[]).await;
    house.control.limits.documents = 2;
    house.control.limits.routes_per_realm = 1;
    let (broker, limits) = (house.control.broker.clone(), house.control.limits);
    house.control.definer = Arc::new(Definer::new(broker, limits));
    let role = || Document::Role(Role::default());
    let full = |outcome: Result<Changed<Stored>, ControlError>| match outcome {
        Err(ControlError::Full(text)) => text,
        other => panic!("it is full: {other:?}"),
    };
    for name in ["a", "b", "a"] {
        let put = house.put(id(DocumentKind::Role, name), role());
        put.await.unwrap();
    }
    let text = full(house.put(id(DocumentKind::Role, "c"), role()).await);
    assert_eq!(text, "no more than 2 roles are allowed");
    let dry = house
        .control
        .put_document(id(DocumentKind::Role, "c"), role(), None, DRY);
    full(dry.await);
    // Each kind, and each realm with its routes, has a limit of its own.
    let realm = || Document::Realm(restante_admin_api::document::Realm::default());
    house
        .put(id(DocumentKind::Realm, "x"), realm())
        .await
        .unwrap();
    let route = |realm: &str, name: &str| {
        let id = DocumentId {
            kind: DocumentKind::Route,
            realm: realm.to_owned(),
            name: name.to_owned(),
        };
        let json = json!({"filter": "a", "to": [{"address": "b"}]});
        (id, Document::Route(serde_json::from_value(json).unwrap()))
    };
    for realm in ["default", "x"] {
        let (id, document) = route(realm, "a");
        house.put(id, document).await.unwrap();
    }
    let (of_x, document) = route("x", "b");
    let text = full(house.put(of_x, document).await);
    assert_eq!(text, "no more than 1 routes are allowed in realm x");
    // Likewise all at once; one for another is no more than before.
    let admin = house.admin();
    let now = house.control.definitions(true).await.unwrap().definitions;
    let roles = |names: &[&str]| Definitions {
        roles: names
            .iter()
            .map(|name| ((*name).to_owned(), Role::default()))
            .collect(),
        ..now.clone()
    };
    let apply = |it| house.control.apply(&admin, it, true, How::default());
    let three = apply(roles(&["a", "b", "c"])).await;
    assert!(matches!(three, Err(ControlError::Full(_))), "{three:?}");
    apply(roles(&["b", "c"])).await.unwrap();
}

#[tokio::test]
async fn a_realm_has_as_many_connections_as_it_may_and_none_once_it_is_gone() {
    let house = house().with_users(&[]).await;
    let realm = restante_admin_api::document::Realm {
        max_connections: Some(1),
        ..Default::default()
    };
    let x = id(DocumentKind::Realm, "x");
    house.put(x.clone(), Document::Realm(realm)).await.unwrap();
    let attach = || {
        house.control.broker.attach(broker::Attach {
            principal: access::testing::principal("root", &["admin"]),
            realm: "x".into(),
            protocol: broker::Protocol::Mbws,
            peer: PEER,
            tls: false,
            session: broker::SessionWish {
                id: None,
                expiry: Duration::ZERO,
                fresh: false,
            },
            name: None,
            client: None,
            will: None,
            wamp: None,
            sp: None,
            asked: std::time::Instant::now(),
        })
    };
    let (first, _) = attach().await.unwrap();
    assert_eq!(attach().await.err(), Some(broker::AttachError::TooMany));
    drop(first);
    let (mut other, _) = attach().await.unwrap();
    house
        .control
        .remove_document(x, How::default())
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(10), other.ready())
        .await
        .unwrap();
    let ended = broker::Event::Ended(broker::End::Revoked);
    assert_eq!(other.drain(0), [ended]);
}

#[tokio::test]
async fn routes_are_among_the_addresses() {
    let house = house().with_users(&[]).await;
    house.queue("orders", QueueSpec::default()).await;
    let json = serde_json::json!({"filter": "in/+", "to": [{"address": "orders"}]});
    let route: Route = serde_json::from_value(json).unwrap();
    let route_id = DocumentId {
        realm: "default".to_owned(),
        ..id(DocumentKind::Route, "r")
    };
    house.put(route_id, Document::Route(route)).await.unwrap();
    let found = house.control.addresses("default".to_owned()).await.unwrap();
    let found: Vec<_> = found
        .into_iter()
        .map(|it| (it.address, it.queues, it.routes))
        .collect();
    let text = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            ("in/+".to_owned(), text(&[]), text(&["r"])),
            ("orders".to_owned(), text(&["orders"]), text(&[])),
        ]
    );
}
