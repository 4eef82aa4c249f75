//! What is set is what is shown, under its name and with its revision.

use restante_admin_api::Options;
use serde_json::{Value, json};

use crate::client::Client;
use crate::fake::{ADMIN, Fake, READER, SECRET, Server};

async fn start() -> (std::sync::Arc<Fake>, Server, Client) {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let client = server.client().await;
    (fake, server, client)
}

#[tokio::test]
async fn what_is_set_is_shown() {
    let (_fake, _server, mut client) = start().await;
    for (path, body) in [
        (
            "/api/v1/realms/shop",
            json!({"description": "x", "max_queues": 7}),
        ),
        (
            "/api/v1/roles/on%2Fcall",
            json!({"grants": ["read", "operate"]}),
        ),
        (
            "/api/v1/rules/a%3Ab",
            json!({"role": "shop", "verbs": ["send"], "filter": "a/#", "effect": "deny"}),
        ),
        (
            "/api/v1/realms/default/routes/r",
            json!({"filter": "a/+", "to": [{"address": "b/{1}", "weight": 3}], "choose": "weight"}),
        ),
        (
            "/api/v1/users/bob",
            json!({"roles": ["shop"], "certificates": ["cn:bob"]}),
        ),
    ] {
        let put = client.ask(&format!("PUT {path}\n{ADMIN}\n\n{body}")).await;
        assert_eq!(put.status, 201, "{path}: {put:?}");
        let get = client.ask(&format!("GET {path}\n{READER}")).await;
        assert_eq!((get.status, get.json()), (200, put.json()), "{path}");
        assert_eq!(get.header("etag"), put.header("etag"));
        assert_eq!(
            get.header("etag"),
            format!("\"{}\"", get.json()["revision"])
        );
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(get.json()[field], *value, "{path}");
        }
        let again = client.ask(&format!("PUT {path}\n{ADMIN}\n\n{body}")).await;
        assert_eq!(again.status, 200, "{path}: {again:?}");
        assert_ne!(again.header("etag"), put.header("etag"));
        let gone = client.ask(&format!("DELETE {path}\n{ADMIN}")).await;
        assert_eq!((gone.status, &*gone.body), (204, ""), "{path}: {gone:?}");
        let get = client.ask(&format!("GET {path}\n{READER}")).await;
        assert_eq!((get.status, &*get.code()), (404, "not-found"), "{path}");
    }
    let get = client
        .ask(&format!("GET /api/v1/roles/shop\n{READER}"))
        .await;
    assert_eq!(get.json()["name"], "shop");
    let route = client
        .ask(&format!("GET /api/v1/realms/default/routes/copy\n{READER}"))
        .await;
    assert_eq!(route.json()["realm"], "default");
}

#[tokio::test]
async fn a_stale_etag_changes_nothing() {
    let (_fake, _server, mut client) = start().await;
    const ROLE: &str = "/api/v1/roles/shop";
    let etag = client.ask(&format!("GET {ROLE}\n{READER}")).await;
    let etag = etag.header("etag").to_owned();
    let request = format!("PUT {ROLE}\n{ADMIN}\nif-match: {etag}\n\n{{\"description\": \"1\"}}");
    let first = client.ask(&request).await;
    assert_eq!(first.status, 200);
    let second = client.ask(&request).await;
    assert_eq!((second.status, &*second.code()), (412, "changed"));
    assert_eq!(
        second.header("etag"),
        first.header("etag"),
        "what it is now"
    );
    let absent = format!("PUT {ROLE}\n{ADMIN}\nif-none-match: *\n\n{{}}");
    assert_eq!(client.ask(&absent).await.status, 412);
    let absent = absent.replace("shop", "fresh");
    assert_eq!(client.ask(&absent).await.status, 201);
    let there = client.ask(&absent).await;
    assert_eq!((there.status, &*there.code()), (412, "changed"));
    assert_eq!(there.json()["detail"], "it is there already");
    for (tag, text) in [
        ("*", "it is not there"),
        ("\"7\"", "it is not there any more"),
    ] {
        let present = format!("PUT /api/v1/roles/nope\n{ADMIN}\nif-match: {tag}\n\n{{}}");
        let nowhere = client.ask(&present).await;
        assert_eq!(nowhere.status, 412);
        assert_eq!(nowhere.json()["detail"], text);
    }
}

#[tokio::test]
async fn what_a_client_has_already_is_not_told_again() {
    let (_fake, _server, mut client) = start().await;
    for path in [
        "/api/v1/roles/shop",
        "/api/v1/users/alice",
        "/api/v1/tokens/t1",
        "/api/v1/rules/shop",
        "/api/v1/realms/default",
        "/api/v1/realms/default/routes/copy",
        "/api/v1/definitions",
    ] {
        let got = client.ask(&format!("GET {path}\n{READER}")).await;
        let etag = got.header("etag").to_owned();
        for (known, status) in [
            (etag.clone(), 304),
            (format!("\"x\", W/{etag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
            ("x".to_owned(), 400),
        ] {
            for method in ["GET", "HEAD"] {
                let request = format!("{method} {path}\n{READER}\nif-none-match: {known}");
                let answer = client.ask(&request).await;
                assert_eq!(answer.status, status, "{request}");
                if status == 304 {
                    assert_eq!(answer.header("etag"), etag, "{request}");
                    assert!(!answer.has("content-type"), "{request}");
                    assert_eq!(answer.body, "", "{request}");
                }
            }
        }
    }
    let role = "/api/v1/roles/shop";
    let before = client.ask(&format!("GET {role}\n{READER}")).await;
    let put = format!("PUT {role}\n{ADMIN}\n\n{{\"description\": \"new\"}}");
    assert_eq!(client.ask(&put).await.status, 200);
    let known = before.header("etag");
    let now = client
        .ask(&format!("GET {role}\n{READER}\nif-none-match: {known}"))
        .await;
    assert_eq!(
        (now.status, &now.json()["description"]),
        (200, &json!("new"))
    );
    // Who may not see it is not told that it is as it was.
    let nobody = client
        .ask(&format!("GET {role}\nif-none-match: {known}"))
        .await;
    assert_eq!(nobody.status, 401);
    // A queue's ETag says nothing of how many messages wait.
    let queue = "GET /api/v1/realms/default/queues/orders%2Feu";
    let got = client.ask(&format!("{queue}\n{READER}")).await;
    let known = got.header("etag");
    let again = format!("{queue}\n{READER}\nif-none-match: {known}");
    assert_eq!(client.ask(&again).await.status, 200);
}

#[tokio::test]
async fn of_those_who_race_with_one_etag_one_wins() {
    let (fake, server, mut client) = start().await;
    let etag = client
        .ask(&format!("GET /api/v1/roles/shop\n{READER}"))
        .await;
    let etag = etag.header("etag").to_owned();
    fake.gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = server.client().await;
        let body = json!({"description": n.to_string()});
        let head = format!("PUT /api/v1/roles/shop\n{ADMIN}\nif-match: {etag}");
        client.send(&format!("{head}\n\n{body}")).await;
        fake.at_gate.acquire().await.unwrap().forget();
        clients.push(client);
    }
    fake.gate.add_permits(100);
    let mut statuses = Vec::new();
    for client in &mut clients {
        statuses.push(client.answer().await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [[200].as_slice(), &[412; 9]].concat());
}

#[tokio::test]
async fn a_token_is_made_changed_and_rotated() {
    let (_fake, _server, mut client) = start().await;
    let body = json!({"label": "new one", "roles": ["shop"]});
    let made = client
        .ask(&format!("POST /api/v1/tokens\n{ADMIN}\n\n{body}"))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = made.header("location").to_owned();
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with(SECRET));
    let got = client.ask(&format!("GET {path}\n{READER}")).await;
    assert_eq!(got.json()["label"], "new one");
    assert_eq!(got.json()["secret"], Value::Null);
    let body = json!({"label": "renamed", "disabled": true});
    let put = client.ask(&format!("PUT {path}\n{ADMIN}\n\n{body}")).await;
    assert_eq!((put.status, &put.json()["label"]), (200, &json!("renamed")));
    let stale = format!(
        "PUT {path}\n{ADMIN}\nif-match: {}\n\n{body}",
        made.header("etag")
    );
    assert_eq!(client.ask(&stale).await.status, 412);
    let absent = format!("PUT {path}\n{ADMIN}\nif-none-match: *\n\n{body}");
    assert_eq!(client.ask(&absent).await.status, 412);
    let rotate = format!("POST {path}:rotate\n{ADMIN}\n\n{{\"grace_seconds\": 60}}");
    let rotated = client.ask(&rotate).await.json();
    assert_ne!(rotated["secret"], json!(secret));
    assert_eq!(rotated["previous_until"], 60_000);
    let long = client.ask(&rotate.replace("60", "99999999")).await;
    assert_eq!((long.status, &*long.code()), (422, "invalid-body"));
    assert_eq!(long.json()["errors"][0]["pointer"], "/grace_seconds");
    let unknown = format!("PUT /api/v1/tokens/nope\n{ADMIN}\n\n{body}");
    assert_eq!(client.ask(&unknown).await.status, 404);
    let dry = client
        .ask(&format!(
            "POST /api/v1/tokens?dry_run=true\n{ADMIN}\n\n{body}"
        ))
        .await;
    assert_eq!((dry.status, &dry.json()["secret"]), (200, &Value::Null));
    assert!(!dry.has("location"));
}

#[tokio::test]
async fn a_tokens_hash_outlives_every_change_of_it() {
    use restante_admin_api::document::Document;
    let (fake, _server, mut client) = start().await;
    let token = |fake: &Fake| {
        let state = fake.state();
        let mut all = state.documents.iter();
        let (_, (document, _)) = all.find(|(id, _)| id.name == "t1").unwrap();
        match document {
            Document::Token(token) => token.clone(),
            _ => panic!("t1 is a token"),
        }
    };
    let before = token(&fake);
    let put = format!("PUT /api/v1/tokens/t1\n{ADMIN}\n\n{{\"label\": \"x\"}}");
    assert_eq!(client.ask(&put).await.status, 200);
    let after = token(&fake);
    assert_eq!(after.label, "x");
    assert_eq!((after.hash, after.previous), (before.hash, before.previous));
    for field in ["hash", "previous", "created_at", "secret"] {
        let put = format!("PUT /api/v1/tokens/t1\n{ADMIN}\n\n{{\"{field}\": \"x\"}}");
        assert_eq!(client.ask(&put).await.status, 422, "{field}");
    }
}

#[tokio::test]
async fn a_queue_is_made_paused_and_deleted() {
    let (_fake, _server, mut client) = start().await;
    const QUEUE: &str = "/api/v1/realms/default/queues/a%2Fb%3Ac%23";
    let put = format!("PUT {QUEUE}\n{ADMIN}\n\n{{\"max_messages\": 3}}");
    let made = client.ask(&put).await;
    assert_eq!((made.status, &made.json()["name"]), (201, &json!("a/b:c#")));
    let paused = client
        .ask(&format!(
            "POST {QUEUE}:pause\n{ADMIN}\n\n{{\"reason\": \"lunch\"}}"
        ))
        .await;
    assert_eq!(paused.json()["paused"]["reason"], "lunch");
    let stale = format!(
        "POST {QUEUE}:resume\n{ADMIN}\nif-match: {}",
        made.header("etag")
    );
    assert_eq!(client.ask(&stale).await.status, 412);
    let resumed = client.ask(&format!("POST {QUEUE}:resume\n{ADMIN}")).await;
    assert_eq!(resumed.json()["paused"], Value::Null);
    let paused = client.ask(&format!("POST {QUEUE}:pause\n{ADMIN}")).await;
    assert_eq!(paused.json()["paused"]["reason"], "");
    let bound = client
        .ask(&format!("PUT {QUEUE}/bindings/x%2F%2B\n{ADMIN}"))
        .await;
    assert_eq!(bound.status, 201, "{bound:?}");
    let bound = client
        .ask(&format!("PUT {QUEUE}/bindings/x%2F%2B\n{ADMIN}"))
        .await;
    assert_eq!(bound.status, 200, "{bound:?}");
    let list = client
        .ask(&format!("GET {QUEUE}/bindings\n{READER}"))
        .await
        .json();
    assert_eq!(list["items"][0]["filter"], "x/+");
    let unbound = client
        .ask(&format!("DELETE {QUEUE}/bindings/x%2F%2B\n{ADMIN}"))
        .await;
    assert_eq!(unbound.status, 204);
    let unbound = client
        .ask(&format!("DELETE {QUEUE}/bindings/x%2F%2B\n{ADMIN}"))
        .await;
    assert_eq!(unbound.status, 404);
    assert_eq!(
        client.ask(&format!("DELETE {QUEUE}\n{ADMIN}")).await.status,
        204
    );
    assert_eq!(
        client.ask(&format!("GET {QUEUE}\n{ADMIN}")).await.status,
        404
    );
    let other = client.ask(&format!("POST {QUEUE}:explode\n{ADMIN}")).await;
    assert_eq!(other.status, 404);
}

const MESSAGES: &str = "/api/v1/realms/default/queues/orders%2Feu/messages";

#[tokio::test]
async fn messages_are_browsed_page_by_page() {
    let (_fake, _server, mut client) = start().await;
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let request = format!("GET {MESSAGES}?limit=2&from=1&body_bytes=3{after}\n{ADMIN}");
        let page = client.ask(&request).await.json();
        for item in page["items"].as_array().unwrap() {
            assert_eq!(
                (&item["body"], &item["truncated"]),
                (&json!("hel"), &json!(true))
            );
            seen.push(item["offset"].as_u64().unwrap());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    for (query, offsets) in [
        ("offsets=3,1", &[1, 3][..]),
        ("message_id=m2", &[2]),
        ("upto=1", &[0, 1]),
        ("properties[x]=y", &[]),
    ] {
        let page = client
            .ask(&format!("GET {MESSAGES}?{query}\n{ADMIN}"))
            .await
            .json();
        let found: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["offset"].as_u64().unwrap())
            .collect();
        assert_eq!(found, offsets, "{query}");
    }
    for bad in [
        "offsets=",
        "offsets=a",
        "from=-1",
        "body_bytes=16385",
        "limit=501",
        "select=x",
    ] {
        let answer = client.ask(&format!("GET {MESSAGES}?{bad}\n{ADMIN}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn messages_are_disposed_of_as_selected() {
    let (fake, _server, mut client) = start().await;
    let act = |act: &str, body: &str| {
        let queue = MESSAGES.trim_end_matches("/messages");
        format!(
            "POST {queue}:{act}\n{ADMIN}{}{body}",
            if body.is_empty() { "" } else { "\n\n" }
        )
    };
    let left = || fake.state().messages.keys().copied().collect::<Vec<_>>();
    for body in ["{}", r#"{"select": {}}"#, r#"{"limit": 3}"#] {
        let answer = client.ask(&act("delete", body)).await;
        assert_eq!(
            (answer.status, left().len()),
            (422, 5),
            "{body}: {answer:?}"
        );
        assert_eq!(answer.json()["errors"][0]["pointer"], "/select");
    }
    let answer = client
        .ask(&act("delete", r#"{"select": {"from": 0}, "limit": 0}"#))
        .await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/limit");
    let answer = client
        .ask(&act("delete", r#"{"select": {"from": 0}, "limit": 1}"#))
        .await;
    assert_eq!(
        answer.json(),
        json!({"matched": 1, "done": 1, "left": 0, "next": 1})
    );
    let answer = client
        .ask(&act(
            "move?dry_run",
            r#"{"to": "b", "select": {"offsets": [1, 4]}}"#,
        ))
        .await;
    assert_eq!(
        answer.json(),
        json!({"matched": 2, "done": 0, "left": 1, "next": null})
    );
    assert_eq!(left(), [1, 2, 3, 4]);
    let answer = client
        .ask(&act("move", r#"{"to": "", "select": {"offsets": [1]}}"#))
        .await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/to");
    client.ask(&act("redrive", "")).await;
    assert_eq!(left(), [4]);
    for (request, status) in [("DELETE", 409), ("GET", 200)] {
        let answer = client
            .ask(&format!("{request} {MESSAGES}/4\n{ADMIN}"))
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for offset in ["0", "99", "x", "-1", "18446744073709551616", "4.0"] {
        for request in ["GET", "DELETE"] {
            let answer = client
                .ask(&format!("{request} {MESSAGES}/{offset}\n{ADMIN}"))
                .await;
            assert_eq!(answer.status, 404, "{request} {offset}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn lists_are_sorted_and_filtered() {
    let (fake, _server, mut client) = start().await;
    {
        let mut state = fake.state();
        let mut queue = state.queues.values().next().unwrap().clone();
        for (n, name) in ["b", "c", "d"].into_iter().enumerate() {
            queue.name = name.into();
            queue.bytes = [5, 5000, 5][n];
            queue.durable = name != "d";
            state
                .queues
                .insert(("default".into(), name.into()), queue.clone());
        }
    }
    for (path, field, expected) in [
        (
            "queues?sort=-bytes",
            "name",
            &["c", "orders/eu", "b", "d"][..],
        ),
        ("queues?sort=bytes", "name", &["b", "d", "orders/eu", "c"]),
        ("queues?durable=false", "name", &["d"]),
        ("queues?paused", "name", &[]),
        ("realms/default/queues?prefix=c", "name", &["c"]),
        ("realms/nope/queues", "name", &[]),
        ("consumers?sort=-unsettled", "name", &["b", "a", "c"]),
        ("consumers?queue=other", "name", &[]),
        ("sessions?sort=-unsettled", "id", &["s1", "s2"]),
        ("sessions?connected=false", "id", &["s2"]),
        ("sessions?limit=1", "id", &["s1"]),
        (
            "registrations?sort=calls",
            "uri",
            &["other", "app.sub", "app.add"],
        ),
        ("registrations?limit=2", "uri", &["app.add", "app.sub"]),
        (
            "registrations?prefix=app.&sort=-uri",
            "uri",
            &["app.sub", "app.add"],
        ),
        ("registrations?realm=nope", "uri", &[]),
        ("subscriptions?sort=-subscribers", "uri", &["other", "app."]),
        ("subscriptions?prefix=other", "uri", &["other"]),
        ("calls", "procedure", &["b", "a"]),
        ("calls?sort=procedure", "procedure", &["a", "b"]),
        ("connections?prefix=app-c2", "id", &["c2"]),
        ("connections?principal=bob", "id", &[]),
        ("users?role=shop", "name", &["alice"]),
        ("users?disabled=true", "name", &[]),
        ("rules?role=other", "name", &[]),
        ("tokens?prefix=back", "id", &["t1"]),
        (
            "realms/default/addresses?prefix=orders",
            "address",
            &["orders/#", "orders/eu"],
        ),
        ("bindings?queue=orders/eu", "filter", &["orders/#"]),
    ] {
        let answer = client.ask(&format!("GET /api/v1/{path}\n{READER}")).await;
        let json = answer.json();
        let items = json["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let names: Vec<_> = items.iter().map(|it| it[field].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{path}");
    }
    let sorted = client
        .ask(&format!("GET /api/v1/queues?sort=-bytes&limit=1\n{READER}"))
        .await;
    let cursor = sorted.json()["next"].as_str().unwrap().to_owned();
    for (query, status) in [
        (format!("queues?sort=-bytes&after={cursor}"), 200),
        (
            format!("realms/default/queues?sort=-bytes&after={cursor}"),
            200,
        ),
        (format!("queues?sort=bytes&after={cursor}"), 400),
        (format!("queues?after={cursor}"), 400),
        (format!("users?after={cursor}"), 400),
        (format!("sessions?sort=-unsettled&after={cursor}"), 400),
        (
            format!("queues?sort=-bytes&after={}", cursor.to_lowercase()),
            400,
        ),
    ] {
        let answer = client.ask(&format!("GET /api/v1/{query}\n{READER}")).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn what_has_a_number_is_paged_in_its_order() {
    let (_fake, _server, mut client) = start().await;
    let (mut after, mut ids) = (String::new(), Vec::new());
    loop {
        let page = client
            .ask(&format!(
                "GET /api/v1/registrations?limit=1{after}\n{READER}"
            ))
            .await
            .json();
        ids.push(page["items"][0]["id"].as_u64().unwrap());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!(ids, [2, 9, 10]);
}

#[tokio::test]
async fn what_wamp_clients_share_is_taken_back() {
    let (_fake, _server, mut client) = start().await;
    for path in ["registrations/9", "subscriptions/10"] {
        let path = format!("/api/v1/realms/default/{path}");
        for (request, status) in [
            (format!("GET {path}\n{READER}"), 200),
            (format!("DELETE {path}\n{READER}"), 403),
            (format!("DELETE {path}?dry_run=true\n{ADMIN}"), 204),
            (format!("DELETE {path}\n{ADMIN}"), 204),
            (format!("DELETE {path}\n{ADMIN}"), 404),
            (format!("GET {path}\n{READER}"), 404),
            (format!("GET {path}x\n{READER}"), 404),
        ] {
            let answer = client.ask(&request).await;
            assert_eq!(answer.status, status, "{request}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_broker_is_asked_for_a_page_and_no_more() {
    let names: Vec<String> = (0..1500).map(|n| format!("{n:04}")).collect();
    let queues: Vec<_> = names.iter().map(|name| ("default", &**name)).collect();
    let fake = Fake::with_queues(&queues);
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let page = client
        .ask(&format!("GET /api/v1/queues?limit=1000\n{READER}"))
        .await
        .json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1000);
    let next = page["next"].as_str().unwrap();
    let page = client
        .ask(&format!(
            "GET /api/v1/queues?limit=1000&after={next}\n{READER}"
        ))
        .await
        .json();
    assert_eq!(page["items"][0]["name"], "1000");
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["next"]),
        (500, &Value::Null)
    );
}

#[tokio::test]
async fn definitions_are_exported_planned_and_applied() {
    let (fake, _server, mut client) = start().await;
    let exported = client
        .ask(&format!("GET /api/v1/definitions\n{READER}"))
        .await;
    let etag = exported.header("etag").to_owned();
    let definitions = exported.json()["definitions"].clone();
    let ask = |act: &str, headers: &str| {
        format!("POST /api/v1/definitions:{act}\n{ADMIN}{headers}\n\n{definitions}")
    };
    let before = fake.state().clone();
    let plan = client.ask(&ask("plan?prune=true", "")).await;
    assert_eq!(
        (plan.status, &plan.json()["steps"][0]["act"]),
        (200, &json!("remove"))
    );
    assert_eq!(*fake.state(), before);
    assert!(fake.take_audited().is_empty(), "a plan changes nothing");
    let applied = client
        .ask(&ask("apply", &format!("\nif-match: {etag}")))
        .await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let again = client
        .ask(&ask("apply", &format!("\nif-match: {etag}")))
        .await;
    assert_eq!(again.status, 412);
    let large = format!(
        "{{\"version\": 1, \"realms\": {{\"a\": {{\"description\": \"{}\"}}}}}}",
        "x".repeat(2_000_000)
    );
    let answer = client
        .ask(&format!(
            "POST /api/v1/definitions:plan\n{ADMIN}\n\n{large}"
        ))
        .await;
    assert_eq!(
        answer.status, 200,
        "definitions may be larger than a megabyte"
    );
    let answer = client
        .ask(&format!("PUT /api/v1/roles/x\n{ADMIN}\n\n{large}"))
        .await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn the_rest_answers() {
    let (_fake, _server, mut client) = start().await;
    let who = client
        .ask(&format!("GET /api/v1/whoami\n{READER}"))
        .await
        .json();
    assert_eq!(
        who,
        json!({"name": "reader", "roles": ["some"], "grants": ["monitor", "read"]})
    );
    let level = client
        .ask(&format!(
            "PUT /api/v1/log-level\n{ADMIN}\n\n{{\"level\": \"debug\"}}"
        ))
        .await;
    assert_eq!(level.json(), json!({"level": "debug"}));
    let level = client
        .ask(&format!("GET /api/v1/log-level\n{READER}"))
        .await;
    assert_eq!(level.json(), json!({"level": "debug"}));
    let level = client
        .ask(&format!(
            "PUT /api/v1/log-level\n{ADMIN}\n\n{{\"level\": \"loud\"}}"
        ))
        .await;
    assert_eq!(
        (level.status, &level.json()["errors"][0]["pointer"]),
        (422, &json!("/level"))
    );
    let gone = client
        .ask(&format!("DELETE /api/v1/connections/c1\n{ADMIN}"))
        .await;
    assert_eq!(gone.status, 204);
    for request in [
        "DELETE /api/v1/connections/c1",
        "GET /api/v1/connections/c1",
        "GET /api/v1/sessions/no",
    ] {
        assert_eq!(
            client.ask(&format!("{request}\n{ADMIN}")).await.status,
            404,
            "{request}"
        );
    }
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let publish = "POST /api/v1/realms/default/messages";
    client
        .ask(&format!(
            "{publish}\n{ADMIN}\ntraceparent: {trace}\n\n{{\"address\": \"a\"}}"
        ))
        .await;
    let traced = _fake.traces.lock().unwrap().last().unwrap().clone();
    assert_eq!(traced, Some((trace.to_owned(), None)));
    let unknown = client
        .ask(&format!("{publish}\n{ADMIN}\n\n{{\"address\": \"\"}}"))
        .await;
    assert_eq!(unknown.json()["errors"][0]["pointer"], "/address");
}

#[tokio::test]
async fn of_two_who_change_a_token_without_a_condition_both_do() {
    let (fake, server, _) = start().await;
    fake.gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut clients = [server.client().await, server.client().await];
    for (n, client) in clients.iter_mut().enumerate() {
        let put = format!("PUT /api/v1/tokens/t1\n{ADMIN}\n\n{{\"label\": \"{n}\"}}");
        client.send(&put).await;
        // Both have got the token as it was.
        fake.at_gate.acquire().await.unwrap().forget();
    }
    fake.gate.add_permits(100);
    let mut revisions = Vec::new();
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        revisions.push(answer.header("etag").to_owned());
    }
    assert_ne!(revisions[0], revisions[1]);
}
