//! Every route, walked: the OpenAPI document is written from the table of routes, so that whatever is in the table is here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use restante_admin_api::{ControlError, Invalid, Options, openapi};
use serde_json::Value;

use crate::client::Answer;
use crate::fake::{ADMIN, Fake, Server};

/// An operation of the document.
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) pattern: String,
    pub(crate) need: String,
    pub(crate) json: Value,
}

pub(crate) fn operations() -> Vec<Operation> {
    let document = openapi();
    let mut all = Vec::new();
    for (pattern, methods) in document["paths"].as_object().unwrap() {
        for (method, json) in methods.as_object().unwrap() {
            all.push(Operation {
                id: json["operationId"].as_str().unwrap().into(),
                method: method.to_uppercase(),
                pattern: pattern.clone(),
                need: json["x-restante-need"].as_str().unwrap().into(),
                json: json.clone(),
            });
        }
    }
    assert!(all.len() > 60, "{}", all.len());
    all
}

impl Operation {
    /// A path of things that [`Fake::furnished`] has.
    pub(crate) fn path(&self) -> String {
        let names = [
            ("realm", "default"),
            ("queue", "orders%2Feu"),
            ("filter", "orders%2F%23"),
            ("offset", "3"),
            ("user", "alice"),
            ("token", "t1"),
            ("role", "shop"),
            ("rule", "shop"),
            ("route", "copy"),
            ("session", "s1"),
            ("connection", "c1"),
            ("registration", "2"),
            ("subscription", "2"),
            ("file", "index.css"),
        ];
        let put = |path: String, (name, value)| path.replace(&format!("{{{name}}}"), value);
        let path = names.into_iter().fold(self.pattern.clone(), put);
        assert!(!path.contains('{'), "{path}");
        path
    }

    /// A request that makes sense, without credentials.
    pub(crate) fn request(&self, query: &str, headers: &str) -> String {
        let example = &self.json["requestBody"]["content"]["application/json"]["example"];
        self.request_with(
            query,
            headers,
            (!example.is_null()).then(|| example.to_string()),
        )
    }

    pub(crate) fn request_with(&self, query: &str, headers: &str, body: Option<String>) -> String {
        let body = body.map(|body| format!("\n\n{body}")).unwrap_or_default();
        format!("{} {}{query}\n{headers}{body}", self.method, self.path())
    }

    pub(crate) fn changes(&self) -> bool {
        self.has_parameter("dry_run")
    }

    /// Whether it is about a message on its way.
    pub(crate) fn is_traffic(&self) -> bool {
        self.json["operationId"] == "publish"
    }

    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        let none = Vec::new();
        let all = self.json["parameters"].as_array().unwrap_or(&none);
        all.iter().any(|it| it["name"] == name)
    }

    fn statuses(&self) -> BTreeSet<u16> {
        let all = self.json["responses"].as_object().unwrap();
        all.keys().map(|status| status.parse().unwrap()).collect()
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.pattern)
    }

    /// Whether it was done, or is done elsewhere.
    fn is_done(&self, status: u16) -> bool {
        (200..300).contains(&status) || (status == 308 && self.statuses().contains(&308))
    }
}

#[tokio::test]
async fn every_route_asks_for_its_grant() {
    let callers = [
        "nobody",
        "monitor",
        "read",
        "operate",
        "configure",
        "secure",
        "keeper",
    ];
    for operation in operations() {
        let name = operation.name();
        for caller in callers {
            let fake = Fake::furnished();
            let server = Server::start(&fake, Options::default()).await;
            let mut client = server.client().await;
            let before = fake.state().clone();
            let headers = format!("authorization: Bearer {caller}");
            let answer = client.ask(&operation.request("", &headers)).await;
            let may = match operation.need.as_str() {
                "nothing" | "credentials" => true,
                "address" if operation.id == "publish" => ["keeper", "secure"].contains(&caller),
                "address" => ["keeper", "operate"].contains(&caller),
                grant => caller == grant,
            };
            if may {
                assert!(
                    operation.is_done(answer.status),
                    "{name} {caller}: {answer:?}"
                );
                continue;
            }
            assert_eq!(answer.status, 403, "{name} {caller}: {answer:?}");
            assert_eq!(answer.json()["detail"], "not allowed", "{name} {caller}");
            assert_eq!(answer.json()["errors"], Value::Null, "{name} {caller}");
            assert_eq!(*fake.state(), before, "{name} {caller}");
            let audited = fake.take_audited();
            assert_eq!(audited.len(), 1, "{name} {caller}");
            assert_eq!(
                (&*audited[0].result, &*audited[0].principal, &audited[0].act),
                ("denied", caller, &name)
            );
        }
        for headers in ["x-none: 1", "authorization: Basic wrong"] {
            let fake = Fake::furnished();
            let server = Server::start(&fake, Options::default()).await;
            let answer = server
                .client()
                .await
                .ask(&operation.request("", headers))
                .await;
            let open = operation.need == "nothing";
            assert_eq!(answer.status == 401, !open, "{name} {headers}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn every_example_does_what_it_says() {
    for operation in operations() {
        let fake = Fake::furnished();
        let server = Server::start(&fake, Options::default()).await;
        let before = fake.state().clone();
        let answer = server
            .client()
            .await
            .ask(&operation.request("", ADMIN))
            .await;
        let name = operation.name();
        assert!(operation.is_done(answer.status), "{name}: {answer:?}");
        assert_eq!(*fake.state() != before, operation.changes(), "{name}");
        let response = &operation.json["responses"][answer.status.to_string()];
        let kinds = response["content"].as_object();
        match kinds.and_then(|kinds| kinds.keys().next()) {
            Some(kind) if kind == "*/*" => {}
            Some(kind) => assert!(
                answer.header("content-type").starts_with(kind.as_str()),
                "{name}"
            ),
            None => assert!([204, 308].contains(&answer.status), "{name}"),
        }
        let tagged = response["headers"]["ETag"].is_object();
        assert_eq!(answer.has("etag"), tagged, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    for operation in operations().iter().filter(|it| it.changes()) {
        let fake = Fake::furnished();
        let server = Server::start(&fake, Options::default()).await;
        let mut client = server.client().await;
        let before = fake.state().clone();
        let name = operation.name();
        let answer = client.ask(&operation.request("?dry_run=true", ADMIN)).await;
        assert!([200, 204].contains(&answer.status), "{name}: {answer:?}");
        assert_eq!(*fake.state(), before, "{name}");
        assert!(!answer.has("etag"), "{name}: {answer:?}");
        let audited = fake.take_audited();
        let results: Vec<&str> = audited.iter().map(|it| &*it.result).collect();
        let wanted: &[&str] = if operation.is_traffic() {
            &[]
        } else {
            &["dry-run"]
        };
        assert_eq!(results, wanted, "{name}");
        let answer = client
            .ask(&operation.request("?dry_run=maybe", ADMIN))
            .await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        assert_eq!(*fake.state(), before, "{name}");
    }
}

/// Requests that are each wrong in another way, and the statuses that they get.
async fn provoke(operation: &Operation) -> BTreeMap<u16, String> {
    let fake = Fake::furnished();
    let options = Options {
        read_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let server = Server::start(&fake, options).await;
    let mut seen = BTreeMap::new();
    let mut note = |answer: Answer, what: &str| {
        seen.entry(answer.status)
            .or_insert_with(|| format!("{what}: {answer:?}"));
    };
    let bodied = operation.json["requestBody"].is_object();
    let mut requests = vec![
        operation.request("", ADMIN),
        operation.request("?nope=1", ADMIN),
        operation.request("", "x-none: 1"),
        operation.request("", "authorization: Bearer nobody"),
        operation.request("", "authorization: Bearer panic"),
        operation.request("", "authorization: Basic many"),
        operation.request("", "authorization: Basic busy"),
        operation
            .request("", ADMIN)
            .replace("alice", "new")
            .replace("shop\n", "new\n"),
        operation
            .request("", ADMIN)
            .replace("orders%2Feu", "new%2Feu"),
        operation.request("", ADMIN).replace("%23", "new"),
        operation
            .request("", ADMIN)
            .replace("copy", "new")
            .replace("/default\n", "/new\n"),
        operation
            .request("", ADMIN)
            .replace("index.css", "nope.css"),
        operation.request_with("", &format!("{ADMIN}\ncontent-length: 9000000"), None),
        operation.request_with(
            "",
            &format!("{ADMIN}\ncontent-type: application/json\ncontent-length: 9000000"),
            None,
        ),
        operation.request_with(
            "",
            &format!("{ADMIN}\ncontent-type: application/json\ncontent-length: 5"),
            None,
        ),
    ];
    if operation.method == "GET" {
        requests.push(operation.request("", &format!("{ADMIN}\nif-none-match: *")));
    }
    if operation.changes() {
        requests.push(operation.request("?dry_run", ADMIN));
    }
    if bodied {
        let plain = format!("{ADMIN}\ncontent-type: text/plain");
        requests.push(operation.request("", &plain));
        for body in ["{\"nope\": 1}", "{", "[]", ""] {
            requests.push(operation.request_with("", ADMIN, Some(body.into())));
        }
    }
    if operation.has_parameter("If-Match") {
        requests.push(operation.request("", &format!("{ADMIN}\nif-match: \"999\"")));
        requests.push(operation.request("", &format!("{ADMIN}\nif-match: 7")));
    }
    for request in &requests {
        let what: String = request.chars().take(200).collect();
        note(server.client().await.ask(request).await, &what);
    }
    let pointer = Invalid {
        pointer: "/x".into(),
        detail: "is bad".into(),
    };
    let mut errors = vec![
        ControlError::NotFound("x".into()),
        ControlError::Internal,
        ControlError::ShuttingDown,
        ControlError::TooLarge("x".into()),
        ControlError::Denied {
            verb: None,
            rule: None,
        },
    ];
    // What the broker says of a change, or of what is told to say more.
    let documented = operation.statuses();
    if operation.changes() || documented.contains(&409) {
        errors.push(ControlError::Conflict("x".into()));
        errors.push(ControlError::Invalid(vec![pointer]));
    }
    if operation.changes() {
        errors.push(ControlError::Full("x".into()));
    }
    if documented.contains(&507) {
        errors.push(ControlError::Full("x".into()));
    }
    if operation.has_parameter("If-Match") {
        errors.push(ControlError::Changed { revision: Some(9) });
    }
    for error in errors {
        let is_told = match error {
            // Lists of a kind have no name that could be unknown.
            ControlError::NotFound(_) => documented.contains(&404),
            _ => true,
        };
        if is_told {
            fake.failing(Some(error.clone()));
            let answer = server
                .client()
                .await
                .ask(&operation.request("", ADMIN))
                .await;
            note(answer, &format!("{error:?}"));
        }
    }
    fake.sicken();
    note(
        server
            .client()
            .await
            .ask(&operation.request("", ADMIN))
            .await,
        "unhealthy",
    );
    seen
}

#[tokio::test]
async fn every_answer_is_documented() {
    for operation in operations() {
        let name = operation.name();
        let documented = operation.statuses();
        let seen = provoke(&operation).await;
        for (status, what) in &seen {
            assert!(documented.contains(status), "{name}: {status} by {what}");
        }
        for status in documented {
            // Nothing that is open to all asks the broker for anything that could fail: what is left is no slot at all.
            let unseen = operation.need == "nothing" && [500, 503].contains(&status);
            assert!(
                unseen || seen.contains_key(&status),
                "{name}: never {status}"
            );
        }
    }
}

#[tokio::test]
async fn head_and_other_methods_are_as_the_table_says() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut methods: BTreeMap<String, (Operation, BTreeSet<String>)> = BTreeMap::new();
    for operation in operations() {
        let method = operation.method.clone();
        let entry = methods
            .entry(operation.pattern.clone())
            .or_insert_with(|| (operation, BTreeSet::new()));
        entry.1.insert(method);
    }
    for (pattern, (operation, mut allowed)) in methods {
        if allowed.contains("GET") {
            allowed.insert("HEAD".into());
        }
        let before = fake.state().clone();
        for method in [
            "OPTIONS", "PATCH", "TRACE", "HEAD", "GET", "PUT", "POST", "DELETE", "get", "MKCOL",
        ] {
            if allowed.contains(method) {
                continue;
            }
            let mut client = server.client().await;
            let answer = client
                .ask(&format!("{method} {}\n{ADMIN}", operation.path()))
                .await;
            assert_eq!(answer.status, 405, "{method} {pattern}: {answer:?}");
            let allow = answer.header("allow").split(", ").map(str::to_owned);
            assert_eq!(
                allow.collect::<BTreeSet<_>>(),
                allowed,
                "{method} {pattern}"
            );
            assert!(
                !answer
                    .headers
                    .iter()
                    .any(|it| it.starts_with("access-control"))
            );
        }
        assert_eq!(*fake.state(), before, "{pattern}");
        if allowed.contains("HEAD") {
            let mut client = server.client().await;
            let head = client
                .ask(&format!("HEAD {}\n{ADMIN}", operation.path()))
                .await;
            let get = client
                .ask(&format!("GET {}\n{ADMIN}", operation.path()))
                .await;
            assert_eq!(head.status, get.status, "{pattern}");
            for name in ["content-type", "etag", "content-security-policy"] {
                assert_eq!(head.has(name), get.has(name), "{pattern}");
            }
            if get.status == 200 && !pattern.starts_with("/api/v1/audit") {
                assert_eq!(
                    head.header("content-length"),
                    get.header("content-length"),
                    "{pattern}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_body_is_taken_where_none_is_expected() {
    for operation in operations().iter().filter(|it| it.changes()) {
        if operation.json["requestBody"].is_object() {
            continue;
        }
        let fake = Fake::furnished();
        let server = Server::start(&fake, Options::default()).await;
        let before = fake.state().clone();
        let request = operation.request_with("", ADMIN, Some("{\"limit\": 1}".into()));
        let answer = server.client().await.ask(&request).await;
        assert_eq!((answer.status, &*answer.code()), (400, "malformed-body"));
        assert_eq!(*fake.state(), before, "{}", operation.name());
    }
}

#[tokio::test]
async fn a_condition_is_kept_or_refused() {
    for operation in operations().iter().filter(|it| it.changes()) {
        let name = operation.name();
        let fake = Fake::furnished();
        let server = Server::start(&fake, Options::default()).await;
        let before = fake.state().clone();
        let taken = operation.has_parameter("If-Match");
        for condition in ["if-match: \"999\"", "if-match: W/\"1\"", "if-match: \"x\""] {
            // Refused before its body was read: the connection ends.
            let mut client = server.client().await;
            let answer = client
                .ask(&operation.request("", &format!("{ADMIN}\n{condition}")))
                .await;
            let code = if taken { "changed" } else { "invalid-header" };
            assert_eq!(answer.code(), code, "{name} {condition}: {answer:?}");
            assert_eq!(*fake.state(), before, "{name} {condition}");
        }
        for condition in [
            "if-match: 1",
            "if-match: \"1\", \"2\"",
            "if-none-match: \"1\"",
        ] {
            // Refused before its body was read: the connection ends.
            let mut client = server.client().await;
            let answer = client
                .ask(&operation.request("", &format!("{ADMIN}\n{condition}")))
                .await;
            assert_eq!(
                answer.code(),
                "invalid-header",
                "{name} {condition}: {answer:?}"
            );
            assert_eq!(*fake.state(), before, "{name} {condition}");
        }
        let mut client = server.client().await;
        if taken {
            let present = operation.request("", &format!("{ADMIN}\nif-match: *"));
            let answer = client.ask(&present).await;
            assert!((200..300).contains(&answer.status), "{name}: {answer:?}");
        }
    }
}

/// A list that is asked for with every parameter that it has.
#[tokio::test]
async fn every_parameter_is_taken() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    for operation in operations().iter().filter(|it| it.method == "GET") {
        let mut query = Vec::new();
        let none = Vec::new();
        let parameters = operation.json["parameters"].as_array().unwrap_or(&none);
        for parameter in parameters
            .iter()
            .filter(|it| it["in"] == "query" && it["name"] != "after")
        {
            let name = parameter["name"].as_str().unwrap();
            let schema = &parameter["schema"];
            let pair = match schema["type"].as_str().unwrap_or("boolean") {
                "boolean" => format!("{name}=true"),
                "integer" => format!("{name}={}", schema["maximum"]),
                "array" => format!("{name}=1,2"),
                "object" => format!("{name}[a]=b&{name}[c/d]=e"),
                _ => match schema["enum"].as_array() {
                    Some(values) => format!("{name}={}", values[1].as_str().unwrap()),
                    None => format!("{name}=x"),
                },
            };
            query.push(pair);
        }
        let query = format!("?{}", query.join("&"));
        let mut client = server.client().await;
        let answer = client.ask(&operation.request(&query, ADMIN)).await;
        assert!(
            [200, 308].contains(&answer.status) && operation.is_done(answer.status),
            "{} {query}: {answer:?}",
            operation.name()
        );
    }
}
