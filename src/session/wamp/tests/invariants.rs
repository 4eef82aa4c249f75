//! What holds whatever comes.

use restante_proto::wamp::{Dict, Message};

use super::rig::{Rig, aborted, acknowledged, error, publish};
use crate::broker::{Call, Delivery, Event, Settle, Source};
use crate::message::Message as Stored;
use crate::refusal::Refusal;
use crate::session::wamp::Wish;

#[test]
fn every_request_is_answered_once_and_only_when_it_is_confirmed() {
    let mut rig = Rig::open();
    for request in 1..=4 {
        rig.client(publish(request, "a", acknowledged()));
    }
    rig.client(publish(5, "a", Dict::new()));
    assert!(rig.said.is_empty(), "nothing is confirmed");
    assert_eq!(rig.calls().len(), 5);
    rig.confirm(3, &[(2, Refusal::Denied), (3, Refusal::NoRoute)]);
    let said = rig.take_said();
    assert!(matches!(said[0], Message::Published { request: 1, .. }));
    assert_eq!(error(&said[1]), Some((16, 2, "wamp.error.not_authorized")));
    // Nobody listens: that is no fault of a publisher's.
    assert!(matches!(said[2], Message::Published { request: 3, .. }));
    assert_eq!(said.len(), 3);
    rig.confirm(5, &[(5, Refusal::Full)]);
    assert!(matches!(
        rig.take_said()[..],
        [Message::Published { request: 4, .. }]
    ));
    assert_eq!(rig.session.take_tally().refused_unheard, 1);
}

#[test]
fn nothing_is_taken_after_a_violation() {
    let mut rig = Rig::open();
    rig.client(publish(2, "a", Dict::new()));
    assert_eq!(
        aborted(&rig.take_said()[0]),
        Some("wamp.error.protocol_violation")
    );
    assert_eq!(rig.wishes, [Wish::Detach]);
    rig.client(publish(1, "a", Dict::new()));
    rig.confirm(1, &[]);
    assert_eq!(rig.wishes.len(), 1);
    assert!(rig.said.is_empty());
    assert!(!rig.session.wants_messages() && !rig.session.wants_deliveries());
}

fn delivery(offset: u64, publication: u64) -> Event {
    let part = restante_storage::payload::WampPart {
        publication,
        ..Default::default()
    };
    let message = Stored {
        address: "a/b".to_owned(),
        wamp: Some(Box::new(part)),
        ..Stored::default()
    };
    Event::Delivery(Box::new(Delivery {
        consumer: "9".into(),
        offset,
        attempt: 1,
        barred: false,
        message: std::sync::Arc::new(message.into()),
    }))
}

#[test]
fn no_more_of_a_durable_subscription_is_out_than_was_granted() {
    let mut rig = Rig::open();
    let options = Dict::new()
        .with("x_durable", "orders")
        .with("x_window", 100);
    rig.client(Message::Subscribe {
        request: 1,
        options,
        topic: "a.b".to_owned(),
    });
    rig.told(crate::broker::WampTold::Subscribed {
        request: 1,
        subscription: 9,
    });
    let (tag, Call::Consume(wish)) = rig.calls()[0] else {
        panic!("no consumer")
    };
    let source = Source::Durable {
        filter: "a/b".to_owned(),
    };
    // The settings' limit, whatever it asks for.
    assert_eq!(
        (&wish.source, wish.limit, wish.auto_settle),
        (&source, 4, false)
    );
    rig.confirm(tag, &[]);
    rig.wishes.clear();
    rig.said.clear();
    for n in 1..=4 {
        rig.broker(delivery(n, 100 + n));
    }
    let said = rig.take_said();
    let Message::Event {
        publication: 101,
        details,
        ..
    } = &said[0]
    else {
        panic!("{said:?}")
    };
    assert_eq!(details.flag("x_acknowledged_delivery"), Ok(Some(true)));
    assert_eq!(details.int("_offset"), Ok(Some(1)));
    assert!(rig.wishes.is_empty());
    rig.client(Message::EventReceived { publication: 102 });
    // Twice, and one that was never sent, mean nothing.
    rig.client(Message::EventReceived { publication: 102 });
    rig.client(Message::EventReceived { publication: 7 });
    let [
        Wish::Call {
            call: Call::Settle(Settle { accepted, .. }),
            ..
        },
        Wish::Credit { limit: 5, .. },
    ] = &rig.wishes[..]
    else {
        panic!("{:?}", rig.wishes)
    };
    assert!(accepted.contains(2) && accepted.count() == 1);
}

#[test]
fn the_same_subscription_again_is_the_same() {
    let mut rig = Rig::open();
    rig.subscribe(1, "a.b", Dict::new(), 9);
    rig.client(Message::Subscribe {
        request: 2,
        options: Dict::new(),
        topic: "a.b".to_owned(),
    });
    rig.told(crate::broker::WampTold::Subscribed {
        request: 2,
        subscription: 9,
    });
    let again = Message::Subscribed {
        request: 2,
        subscription: 9,
    };
    assert_eq!(rig.take_said(), [again]);
    assert!(rig.calls().is_empty());
    rig.broker(delivery(1, 5));
    assert!(matches!(
        rig.take_said()[..],
        [Message::Event {
            subscription: 9,
            publication: 5,
            ..
        }]
    ));
    rig.client(Message::Unsubscribe {
        request: 3,
        subscription: 9,
    });
    rig.broker(delivery(2, 6));
    assert!(rig.said.is_empty(), "nothing comes behind UNSUBSCRIBE");
    let tag = rig.calls()[0].0;
    rig.confirm(tag, &[]);
    assert!(matches!(
        rig.take_said()[..],
        [Message::Unsubscribed { request: 3, .. }]
    ));
}
