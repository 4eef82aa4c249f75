//! The list of queues: what an item is, pages, filters.

use restante_admin_api::Options;

use crate::client::Client;
use crate::fake::{Fake, READER, Server};

/// All items of `/api/v1/queues?{query}`, as `realm/name`, page by page.
async fn list(client: &mut Client, query: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let request = format!("GET /api/v1/queues?{query}{after}\n{READER}");
        let page = client.ask(&request).await.json();
        let items = page["items"].as_array().unwrap().iter();
        let names = items.map(|item| {
            let [realm, name] = ["realm", "name"].map(|key| item[key].as_str().unwrap());
            format!("{realm}/{name}")
        });
        pages.push(names.collect());
        let Some(next) = page["next"].as_str() else {
            return pages;
        };
        after = format!("&after={next}");
    }
}

#[tokio::test]
async fn an_item_tells_all_about_a_queue() {
    let fake = Fake::with_queues(&[("default", "orders")]);
    let server = Server::start(&fake, Options::default()).await;
    let answer = server
        .client()
        .await
        .ask(&format!("GET /api/v1/queues\n{READER}"))
        .await;
    let expected = serde_json::json!({
        "items": [{
            "realm": "default", "name": "orders", "durable": true,
            "messages_ready": 3, "messages_unsettled": 2, "bytes": 1000, "consumers": 1,
            "next_offset": 7, "oldest_timestamp": 1_700_000_000_000_u64,
            "paused": null, "revision": 1,
            "spec": {
                "ttl_ms": 60_000, "max_messages": null, "max_bytes": null, "max_attempts": null,
                "dead_letter": null, "bindings": ["orders/#"],
            },
        }],
        "next": null,
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn pages_lead_through_all_queues_once() {
    let names: Vec<String> = (0..250).rev().map(|n| format!("q/{n:03} ä")).collect();
    let queues: Vec<(&str, &str)> = names
        .iter()
        .map(|name| ("default", name.as_str()))
        .collect();
    let server = Server::start(&Fake::with_queues(&queues), Options::default()).await;
    let mut client = server.client().await;
    let expected: Vec<String> = names
        .iter()
        .rev()
        .map(|name| format!("default/{name}"))
        .collect();
    for (query, sizes) in [
        ("", &[100, 100, 50][..]),
        ("limit=1000", &[250]),
        ("limit=125", &[125, 125]),
        ("limit=240&prefix=q%2F", &[240, 10]),
    ] {
        let pages = list(&mut client, query).await;
        assert_eq!(
            pages.iter().map(Vec::len).collect::<Vec<_>>(),
            sizes,
            "{query}"
        );
        assert_eq!(pages.concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_list_is_of_a_realm_and_of_names_that_begin_alike() {
    let queues = [
        ("b", "orders"),
        ("a", "orders/eu"),
        ("a", "orders"),
        ("a", "mail"),
        ("ab", "x+y"),
    ];
    let server = Server::start(&Fake::with_queues(&queues), Options::default()).await;
    let mut client = server.client().await;
    for (query, expected) in [
        ("realm=a", &["a/mail", "a/orders", "a/orders/eu"][..]),
        ("prefix=orders", &["a/orders", "a/orders/eu", "b/orders"]),
        ("prefix=orders/&realm=a", &["a/orders/eu"]),
        (
            "prefix=orders&limit=1",
            &["a/orders", "a/orders/eu", "b/orders"],
        ),
        ("prefix=x%2By", &["ab/x+y"]),
        (
            "prefix=",
            &["a/mail", "a/orders", "a/orders/eu", "ab/x+y", "b/orders"],
        ),
        ("realm=", &[]),
        ("realm=c", &[]),
    ] {
        assert_eq!(list(&mut client, query).await.concat(), expected, "{query}");
    }
}
