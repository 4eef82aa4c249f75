//! What a client may see of what there is, and say of it.

use restante_admin_api::document::Effect;
use serde_json::{Value as Json, json};

use super::*;
use crate::access::testing::{permanent, rule};
use crate::broker::tests::registrar::set_all;
use crate::registry::{Document, DocumentId, DocumentKind};
use crate::wamp::json;

/// Rules for `shop`, which calls, registers, publishes and subscribes at what begins with its verb.
async fn shop(house: &House) -> Client {
    let allow = |verb: Verb, filter: &str| {
        let id = DocumentId {
            kind: DocumentKind::Rule,
            realm: String::new(),
            name: format!("{} {}", verb.as_str(), filter.replace('/', " ")),
        };
        let rule = rule(Effect::Allow, "shop", &[verb], DEFAULT_REALM, filter);
        (id, Some(Document::Rule(rule)))
    };
    let mut rules = vec![
        allow(Verb::Call, "$wamp/reflect/#"),
        allow(Verb::Call, "$wamp/reflection/#"),
    ];
    for verb in [Verb::Call, Verb::Register, Verb::Send, Verb::Consume] {
        rules.push(allow(verb, &format!("{}/#", verb.as_str())));
    }
    set_all(&house.started.broker, rules).await;
    Client::of(house, permanent("jwt:ada", &["shop"])).await
}

/// What the router answers to `wamp.PROCEDURE`, or the error's URI.
async fn ask(client: &mut Client, procedure: &str, args: Json, kwargs: Json) -> Json {
    let args: Vec<Value> = args
        .as_array()
        .unwrap()
        .iter()
        .map(json::to_value)
        .collect();
    let kwargs = json::to_dict(kwargs.as_object().unwrap());
    client.ask(WampAsk::Call(Box::new(WampCall {
        request: 1,
        procedure: format!("wamp.{procedure}"),
        address: format!("$wamp/{}", procedure.replace('.', "/")),
        options: CallOptions::default(),
        disclose: DisclosePolicy::default(),
        continues_only: false,
        serializer: Serializer::Json,
        payload: Payload::from_values(Serializer::Json, &args, &kwargs).unwrap(),
    })));
    match client.told().await {
        WampTold::Result { payload, .. } => {
            json::of_value(payload.args().unwrap().into_iter().next().unwrap())
        }
        WampTold::Refused { uri, .. } => uri.into(),
        other => panic!("{other:?}"),
    }
}

async fn subscribe(client: &mut Client, topic: &str) {
    client.ask(WampAsk::Subscribe {
        request: 1,
        topic: topic.to_owned(),
        how: Match::Exact,
        filter: topic.replace('.', "/"),
    });
    assert!(matches!(client.told().await, WampTold::Subscribed { .. }));
}

#[tokio::test]
async fn a_client_sees_what_it_may_use() {
    let house = house();
    let mut shop = shop(&house).await;
    let mut admin = Client::new(&house).await;
    for name in ["call.b", "call.a", "register.a", "send.a", "other"] {
        admin.register(name).await;
    }
    for name in ["send.t", "consume.t", "call.t", "other"] {
        subscribe(&mut admin, name).await;
    }
    for (of, name) in [("error", "call.e"), ("error", "x.e"), ("topic", "send.u")] {
        let args = json!([name, {"type": of}]);
        assert_eq!(
            ask(&mut admin, "reflect.define", args, json!({})).await,
            true
        );
    }
    for (of, kwargs, expected) in [
        (
            "procedure",
            json!({}),
            json!(["call.a", "call.b", "register.a"]),
        ),
        (
            "procedure",
            json!({"limit": 2}),
            json!(["call.a", "call.b"]),
        ),
        (
            "procedure",
            json!({"after": "call.a", "limit": 1}),
            json!(["call.b"]),
        ),
        (
            "procedure",
            json!({"limit": 0}),
            json!("wamp.error.invalid_argument"),
        ),
        (
            "procedure",
            json!({"after": 0}),
            json!("wamp.error.invalid_argument"),
        ),
        ("topic", json!({}), json!(["consume.t", "send.t", "send.u"])),
        ("error", json!({}), json!(["call.e"])),
    ] {
        let procedure = format!("reflection.{of}.list");
        let found = ask(&mut shop, &procedure, json!([]), kwargs).await;
        assert_eq!(found, expected, "{of}");
    }
    let all = ask(
        &mut admin,
        "reflection.procedure.list",
        json!([]),
        json!({}),
    )
    .await;
    assert_eq!(all.as_array().unwrap().len(), 5);
    for (procedure, uri, expected) in [
        (
            "reflection.procedure.describe",
            "call.a",
            json!({"uri": "call.a", "match": "exact"}),
        ),
        ("reflection.procedure.describe", "other", Json::Null),
        ("reflection.procedure.describe", "call.t", Json::Null),
        (
            "reflection.topic.describe",
            "send.u",
            json!({"uri": "send.u", "match": "exact", "type": "topic"}),
        ),
        ("reflection.error.describe", "x.e", Json::Null),
        (
            "reflect.describe",
            "call.a",
            json!({"uri": "call.a", "match": "exact"}),
        ),
        (
            "reflect.describe",
            "call.e",
            json!({"uri": "call.e", "match": "exact", "type": "error"}),
        ),
        ("reflect.describe", "nothing", Json::Null),
    ] {
        let found = ask(&mut shop, procedure, json!([uri]), json!({})).await;
        assert_eq!(found, expected, "{procedure} {uri}");
    }
    let found = ask(&mut shop, "reflect.describe", json!([]), json!({})).await;
    assert_eq!(found, "wamp.error.invalid_argument");
    let found = ask(&mut shop, "reflection.nothing.list", json!([]), json!({})).await;
    assert_eq!(found, "wamp.error.no_such_procedure");
}

#[tokio::test]
async fn a_client_defines_what_it_may_offer() {
    let house = house();
    let mut shop = shop(&house).await;
    let mut admin = Client::new(&house).await;
    for (uri, of, expected) in [
        ("register.a", "procedure", json!(true)),
        ("register.a", "procedure", json!(false)),
        ("register.e", "error", json!(true)),
        ("send.t", "topic", json!(true)),
        ("call.a", "procedure", json!("wamp.error.not_authorized")),
        ("consume.t", "topic", json!("wamp.error.not_authorized")),
        ("wamp.a", "procedure", json!("wamp.error.not_authorized")),
        ("register.a", "thing", json!("wamp.error.invalid_argument")),
    ] {
        let args = json!([uri, {"type": of, "title": "x", "uri": "y"}]);
        let found = ask(&mut shop, "reflect.define", args, json!({})).await;
        assert_eq!(found, expected, "{uri} {of}");
    }
    let described = json!({"type": "topic", "title": "x", "uri": "send.t", "match": "exact"});
    let found = ask(&mut admin, "reflect.describe", json!(["send.t"]), json!({})).await;
    assert_eq!(found, described);
    // Only who has said it takes it back, or leaves.
    let nothing = json!(["send.t", null]);
    for (by_shop, expected) in [(false, false), (true, true), (true, false)] {
        let client = if by_shop { &mut shop } else { &mut admin };
        let found = ask(client, "reflect.define", nothing.clone(), json!({})).await;
        assert_eq!(found, expected);
    }
    drop(shop);
    let found = ask(
        &mut admin,
        "reflection.procedure.list",
        json!([]),
        json!({}),
    )
    .await;
    assert_eq!(found, json!([]));
}
