//! Clients that make queues while an administrator removes their realm, and more at once than a realm may have.

use super::registrar::set_all;
use super::*;
use crate::registry::{Document, DocumentId, DocumentKind, Realm};

fn realm(there: bool, max_queues: Option<u64>) -> (DocumentId, Option<Document>) {
    let id = DocumentId {
        kind: DocumentKind::Realm,
        realm: String::new(),
        name: "shop".to_owned(),
    };
    let realm = Realm {
        max_queues,
        ..Realm::default()
    };
    (id, there.then_some(Document::Realm(realm)))
}

async fn shopper(broker: &Broker) -> Attachment {
    let wish = Attach {
        realm: "shop".into(),
        ..wish(None, 0)
    };
    broker.attach(wish).await.unwrap().0
}

fn queues(broker: &Broker) -> usize {
    broker.shared.n_queues("shop")
}

/// Whatever is first, the client's record or the administrator's: there is a queue and its realm, or neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_queue_is_left_behind_in_a_realm_that_goes() {
    let house = house();
    let broker = &house.started.broker;
    for round in 0..32 {
        set_all(broker, vec![realm(true, None)]).await;
        let mut it = shopper(broker).await;
        let removal = Change {
            as_of: broker.registry().revision,
            documents: vec![realm(false, None)],
            ..Change::default()
        };
        it.call(1, send("new", 1));
        let removed = match round % 2 {
            0 => {
                // The queue's record is in the log, and the snapshot does not know of it.
                it.flush();
                broker.change(removal).await
            }
            _ => {
                let removed = tokio::spawn({
                    let broker = broker.clone();
                    async move { broker.change(removal).await }
                });
                it.flush();
                removed.await.unwrap()
            }
        };
        let (refused, _) = until(&mut it, 1).await;
        match removed {
            Ok(_) => {
                assert_eq!(queues(broker), 0, "round {round}");
                assert_eq!(refused.len(), 1, "confirmed, and gone");
            }
            Err(error) => {
                assert_eq!((error, queues(broker)), (ChangeError::Outdated, 1));
                assert_eq!(refused, []);
                drop(it);
                broker
                    .remove_queue("shop", "new", restante_admin_api::How::default())
                    .await
                    .unwrap();
                set_all(broker, vec![realm(false, None)]).await;
            }
        }
    }
}

#[tokio::test]
async fn whoever_sends_to_a_realm_that_is_gone_is_told_that_nobody_takes_it() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![realm(true, None)]).await;
    let mut it = shopper(broker).await;
    set_all(broker, vec![realm(false, None)]).await;
    it.call(1, send("new", 1));
    assert_eq!(until(&mut it, 1).await.0, [(1, Refusal::NoRoute)]);
}

#[tokio::test]
async fn clients_at_once_make_no_more_queues_than_a_realm_may_have() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![realm(true, Some(5))]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(shopper(broker).await);
    }
    for (n, it) in clients.iter_mut().enumerate() {
        it.call(1, send(&format!("n/{n}"), 1));
    }
    let mut refused = 0;
    for it in &mut clients {
        let (failed, _) = until(it, 1).await;
        assert!(failed.iter().all(|(_, why)| *why == Refusal::TooMany));
        refused += failed.len();
    }
    assert_eq!((queues(broker), refused), (5, 15));
    // All that was reserved is free again: for each queue that goes there may be another.
    let how = restante_admin_api::How::default();
    broker.remove_queue("shop", "n/0", how).await.unwrap();
    clients[19].call(2, send("n/19", 1));
    assert_eq!(until(&mut clients[19], 2).await.0, []);
}
