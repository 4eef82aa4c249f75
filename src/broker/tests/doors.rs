//! The matrix of access, through the broker as every session uses it.

use super::registrar::set_all;
use super::*;
use crate::access::matrix::{Door, run};
use crate::registry::{Document, DocumentId, DocumentKind, Realm};

struct Attached {
    runtime: tokio::runtime::Runtime,
    house: House,
    /// The last client, and the tag of its last call.
    client: Option<(Principal, String, Attachment, u64)>,
}

impl Door for Attached {
    fn verbs(&self) -> Vec<Verb> {
        vec![Verb::Send, Verb::Consume]
    }

    fn set(&mut self, documents: &access::testing::House) {
        self.client = None;
        let broker = &self.house.started.broker;
        let present = broker.registry();
        let gone = present.of_kind(DocumentKind::Rule);
        let mut changes: Vec<_> = gone.map(|it| (it.id.clone(), None)).collect();
        let wanted = documents.registry.documents.values();
        changes.extend(wanted.map(|it| (it.id.clone(), Some(it.document.clone()))));
        self.runtime.block_on(set_all(broker, changes));
    }

    fn attempt(&mut self, who: &Principal, verb: Verb, realm: &str, address: &str) -> bool {
        let Attached {
            runtime,
            house,
            client,
        } = self;
        runtime.block_on(async {
            let same = |it: &(Principal, String, Attachment, u64)| it.0 == *who && it.1 == realm;
            if !client.as_ref().is_some_and(same) {
                let (it, _) = house
                    .started
                    .broker
                    .attach(as_is(who, realm))
                    .await
                    .unwrap();
                *client = Some((who.clone(), realm.to_owned(), it, 0));
            }
            let (.., it, tag) = client.as_mut().unwrap();
            *tag += 1;
            it.call(*tag, harmless(verb, address));
            it.flush();
            let (refused, _) = until(it, *tag).await;
            match refused.as_slice() {
                [(_, Refusal::Denied)] => false,
                [(_, Refusal::Expired | Refusal::NoRoute)] => true,
                other => panic!("{verb:?} {address}: {other:?}"),
            }
        })
    }
}

/// The principal as the matrix has it, whether or not there is a document of it.
fn as_is(who: &Principal, realm: &str) -> Attach {
    let roles: Vec<&str> = who.roles.iter().map(String::as_str).collect();
    Attach {
        principal: access::testing::permanent(&who.name, &roles),
        realm: realm.into(),
        ..wish(None, 0)
    }
}

/// Comes to nothing even if it is allowed: a message that has expired, a queue that is not there.
fn harmless(verb: Verb, address: &str) -> Call {
    match verb {
        Verb::Consume => consume(address, false, 1),
        _ => Call::Publish(Box::new(NewMessage {
            address: address.to_owned(),
            ttl_ms: Some(0),
            ..NewMessage::default()
        })),
    }
}

#[test]
fn attached_clients_keep_to_the_matrix() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, options, |it| it.create_on_consume = false);
    let other = DocumentId {
        kind: DocumentKind::Realm,
        realm: String::new(),
        name: "other".to_owned(),
    };
    let realm = Some(Document::Realm(Realm::default()));
    runtime.block_on(set_all(&house.started.broker, vec![(other, realm)]));
    let mut door = Attached {
        runtime,
        house,
        client: None,
    };
    let (asked, through) = run(&mut door);
    assert!(asked > 10_000, "{asked}");
    assert!(
        through > asked / 10 && through < asked / 2,
        "{through} of {asked}"
    );
}
