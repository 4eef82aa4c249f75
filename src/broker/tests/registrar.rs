//! What administrators set: who may change what first, and what a crash leaves of it.

use super::*;
use crate::registry::{Document, DocumentId, DocumentKind, Realm, Role};

fn id(kind: DocumentKind, name: &str) -> DocumentId {
    DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    }
}

fn role(description: &str) -> Document {
    Document::Role(Role {
        description: description.to_owned(),
        ..Role::default()
    })
}

pub(super) async fn set_all(broker: &Broker, documents: Vec<(DocumentId, Option<Document>)>) {
    let change = Change {
        as_of: broker.registry().revision,
        documents,
        ..Change::default()
    };
    broker.change(change).await.unwrap();
}

async fn set(broker: &Broker, name: &str, document: Option<Document>) -> Result<u64, ChangeError> {
    let change = Change {
        as_of: broker.registry().revision,
        documents: vec![(id(DocumentKind::Role, name), document)],
        ..Change::default()
    };
    broker.change(change).await
}

/// Names and revisions of all roles.
fn roles(broker: &Broker) -> Vec<(String, u64)> {
    let registry = broker.registry();
    let roles = registry.of_kind(DocumentKind::Role);
    roles.map(|it| (it.id.name.clone(), it.revision)).collect()
}

#[tokio::test]
async fn of_two_changes_for_one_revision_one_is_made() {
    let house = house();
    let broker = &house.started.broker;
    let (one, two) = tokio::join!(
        set(broker, "a", Some(role("one"))),
        set(broker, "a", Some(role("two")))
    );
    assert!(one.is_ok());
    assert_eq!(two, Err(ChangeError::Outdated));
    let again = set(broker, "a", Some(role("two"))).await.unwrap();
    assert_eq!(roles(broker), [("a".to_owned(), again)]);
    assert!(again > one.unwrap());
}

#[tokio::test]
async fn many_who_change_different_things_all_succeed() {
    let house = house();
    let broker = &house.started.broker;
    // Each counts one up, and sets a role of its own.
    let change = |n: usize| {
        let decide = move |registry: &Registry| -> Result<_, ChangeError> {
            let counter = registry.get(DocumentKind::Role, "", "counter");
            let count = match counter.map(|it| &it.document) {
                Some(Document::Role(role)) => role.description.parse().unwrap(),
                _ => 0,
            };
            let counted = role(&format!("{}", count + 1));
            let own = id(DocumentKind::Role, &format!("own{n}"));
            let documents = vec![
                (id(DocumentKind::Role, "counter"), Some(counted)),
                (own, Some(role("own"))),
            ];
            let change = Change {
                documents,
                ..Change::default()
            };
            Ok((change, count))
        };
        broker.change_as_of_now(decide)
    };
    let made = futures_util::future::join_all((0..64).map(change)).await;
    let mut counts: Vec<usize> = made.into_iter().map(|it| it.unwrap().1).collect();
    counts.sort_unstable();
    assert!(counts.into_iter().eq(0..64), "each on what was in force");
    assert_eq!(roles(broker).len(), 64 + 1);
    // What breaks down while it is checked changes nothing, and the next is made.
    let broken = |_: &Registry| -> Result<(Change, ()), ChangeError> { panic!("on purpose") };
    let broken = broker.change_as_of_now(broken).await;
    assert_eq!(broken, Err(ChangeError::ShuttingDown));
    set(broker, "a", Some(role("one"))).await.unwrap();
}

#[tokio::test]
async fn what_was_set_is_there_after_a_restart() {
    let mut house = house();
    let broker = house.started.broker.clone();
    let revision = set(&broker, "a", Some(role("one"))).await.unwrap();
    set(&broker, "b", Some(role("two"))).await.unwrap();
    set(&broker, "b", None).await.unwrap();
    let realm = Change {
        as_of: broker.registry().revision,
        documents: vec![(
            id(DocumentKind::Realm, "shop"),
            Some(Document::Realm(Realm::default())),
        )],
        ..Change::default()
    };
    broker.change(realm).await.unwrap();
    drop(broker);
    house = house.restarted();
    let broker = &house.started.broker;
    assert_eq!(roles(broker), [("a".to_owned(), revision)]);
    assert!(
        broker
            .registry()
            .get(DocumentKind::Realm, "", "shop")
            .is_some()
    );
}

/// Such a checkpoint failed, and no segment was let go of any more.
#[tokio::test]
async fn a_checkpoint_takes_documents_with_the_longest_names() {
    use crate::registry::{Token, User};
    let house = house();
    let broker = house.started.broker.clone();
    let long = "n".repeat(256);
    let large = "d".repeat(40 << 10);
    let documents = vec![
        (
            id(DocumentKind::User, &long),
            Some(Document::User(User::default())),
        ),
        (
            id(DocumentKind::Token, &long),
            Some(Document::Token(Token::default())),
        ),
        (id(DocumentKind::Role, &long), Some(role(&large))),
    ];
    set_all(&broker, documents).await;
    let before = broker.registry().documents.clone();
    assert_eq!(before.len(), 3);
    drop(broker);
    // A stop makes a checkpoint, of which the next start begins.
    let house = house.restarted();
    assert_eq!(house.started.replayed, 0);
    assert!(house.started.broker.registry().documents == before);
}

#[tokio::test]
async fn after_the_log_has_lost_its_beginning() {
    let mut house = house();
    let broker = house.started.broker.clone();
    let revision = set(&broker, "a", Some(role("one"))).await.unwrap();
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    // Messages that nobody keeps waiting: each is taken and gone, and its segment may go.
    it.call(1, consume("a", false, u64::MAX));
    let (mut tag, mut got) = (1, Vec::new());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while broker.shared.log().oldest().get() <= revision {
        assert!(
            std::time::Instant::now() < deadline,
            "the log never lets go"
        );
        for _ in 0..8 {
            tag += 1;
            it.call(tag, send("a", 60_000));
        }
        it.flush();
        deliveries(&mut it, 8, &mut got).await;
        tag += 1;
        let settle = Settle {
            consumer: "c".to_owned(),
            accepted: got.drain(..).map(|it| it.offset).collect(),
            ..Settle::default()
        };
        it.call(tag, Call::Settle(settle));
        it.flush();
    }
    drop(it);
    drop(broker);
    house = house.without_state().restarted();
    assert_eq!(roles(&house.started.broker), [("a".to_owned(), revision)]);
}

/// Numbers of what is gone are let go of, and those of what is changed in the same record are not.
#[tokio::test]
async fn offsets_go_on_where_another_queue_goes() {
    use restante_admin_api::How;
    use restante_admin_api::queue::QueueSpec;
    let mut house = house();
    let broker = house.started.broker.clone();
    for name in ["a", "b", "c"] {
        let put = broker.put_queue(DEFAULT_REALM, name, QueueSpec::default(), How::default());
        put.await.unwrap();
    }
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, send("a", 1));
    it.call(2, send("b", 1));
    it.flush();
    until(&mut it, 2).await;
    let spec = QueueSpec {
        max_messages: Some(10),
        ..QueueSpec::default()
    };
    let both = Change {
        as_of: broker.registry().revision,
        queues: vec![broker.queue_definition(DEFAULT_REALM, "a", &spec).unwrap()],
        gone: vec![broker.queue_deletion(DEFAULT_REALM, "b").unwrap()],
        ..Change::default()
    };
    let alone = |revision| Change {
        as_of: revision,
        gone: vec![broker.queue_deletion(DEFAULT_REALM, "c").unwrap()],
        ..Change::default()
    };
    let revision = broker.change(both).await.unwrap();
    broker.change(alone(revision)).await.unwrap();
    it.call(3, send("a", 1));
    it.flush();
    until(&mut it, 3).await;
    drop((it, broker));
    for _ in 0..2 {
        house = house.restarted();
        let broker = &house.started.broker;
        let names: Vec<_> = broker.queues(&restante_admin_api::QueuesWanted {
            limit: 10,
            ..Default::default()
        });
        let names: Vec<_> = names.into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["a"]);
        let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
        it.call(1, consume("a", false, 10));
        it.flush();
        let (_, mut found) = until(&mut it, 1).await;
        deliveries(&mut it, 2, &mut found).await;
        assert_eq!(found.iter().map(|it| it.offset).collect::<Vec<_>>(), [1, 2]);
        drop(it);
        house = house.without_state();
    }
}
