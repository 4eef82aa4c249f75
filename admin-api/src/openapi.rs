//! The OpenAPI 3.1 document, written from the table of routes and the types behind it.
//!
//! What holds for every route is said once, in `info.description`; a route says what is its own. Statuses follow from what a
//! route needs and does, so that none is forgotten.
//!
//! Always, with a test of its name in `tests/http`:
//! - `the_document_is_up_to_date`.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::path;
use crate::problem::{Code, Members};
use crate::routes::{self, Method, Need, Param, ParamKind, Route};

const INTRODUCTION: &str = include_str!("introduction.md");

/// Tags, by the first part of a path that is one.
const TAGS: &[(&str, &str, &str)] = &[
    ("/livez", "Health", "For whoever watches the broker."),
    ("/readyz", "Health", ""),
    ("/metrics", "Health", ""),
    (
        "/api/docs/",
        "Documentation",
        "This document and a viewer for it.",
    ),
    ("/api/docs", "Documentation", ""),
    ("/api/v1/openapi.json", "Documentation", ""),
    ("/api/v1/overview", "Broker", "The broker itself."),
    ("/api/v1/whoami", "Broker", ""),
    ("/api/v1/config", "Broker", ""),
    ("/api/v1/log-level", "Broker", ""),
    ("/api/v1/audit", "Broker", ""),
    (
        "/api/v1/definitions",
        "Definitions",
        "All that administrators have set, as one document.",
    ),
    (
        "/api/v1/explain",
        "Access",
        "Who may do what: users, API tokens, roles and rules.",
    ),
    ("/api/v1/users", "Access", ""),
    ("/api/v1/tokens", "Access", ""),
    ("/api/v1/roles", "Access", ""),
    ("/api/v1/rules", "Access", ""),
    (
        "/api/v1/realms/{realm}/routes",
        "Routes",
        "Where messages go, besides where they were sent.",
    ),
    (
        "/api/v1/realms/{realm}/messages",
        "Messages",
        "Messages: publish, browse, move, delete.",
    ),
    (
        "/api/v1/realms/{realm}/queues/{queue}/messages",
        "Messages",
        "",
    ),
    (
        "/api/v1/realms/{realm}/queues/{queue}:purge",
        "Messages",
        "",
    ),
    (
        "/api/v1/realms/{realm}/queues/{queue}:delete",
        "Messages",
        "",
    ),
    ("/api/v1/realms/{realm}/queues/{queue}:move", "Messages", ""),
    (
        "/api/v1/realms/{realm}/queues/{queue}:redrive",
        "Messages",
        "",
    ),
    (
        "/api/v1/realms/{realm}/queues",
        "Queues",
        "Queues and their bindings.",
    ),
    (
        "/api/v1/realms/{realm}/addresses",
        "Clients",
        "Who is there: connections, sessions, consumers.",
    ),
    (
        "/api/v1/realms/{realm}/registrations",
        "WAMP",
        "What WAMP clients have registered and subscribed to, and their calls.",
    ),
    ("/api/v1/realms/{realm}/subscriptions", "WAMP", ""),
    ("/api/v1/realms", "Realms", "Name spaces."),
    ("/api/v1/queues", "Queues", ""),
    ("/api/v1/bindings", "Queues", ""),
    ("/api/v1/connections", "Clients", ""),
    ("/api/v1/sessions", "Clients", ""),
    ("/api/v1/consumers", "Clients", ""),
    ("/api/v1/registrations", "WAMP", ""),
    ("/api/v1/subscriptions", "WAMP", ""),
    ("/api/v1/calls", "WAMP", ""),
];

/// The document of this version of the API.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes::all() {
        let method = route.method.as_str().to_lowercase();
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.pattern).or_default();
        path.insert(method, operation);
    }
    let problem = generator.subschema_for::<Members>();
    let responses = problems(&serde_json::to_value(problem).unwrap_or_default());
    let schemas = generator.take_definitions(true);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Restante admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("{INTRODUCTION}\n{}", codes()),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "basic": [] }, { "bearer": [] }, { "certificate": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {
                    "type": "http", "scheme": "basic",
                    "description": "A user's name and password.",
                },
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API token's secret, or a JWT where the configuration trusts an issuer.",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate with a name that is a user's.",
                },
            },
            "responses": responses,
            "schemas": schemas,
        },
    });
    unlink(&mut document);
    document
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);
    put("operationId", json!(route.id));
    put("tags", json!([tag(route.pattern)]));
    put("summary", json!(route.summary));
    put("description", json!(description(route)));
    put("x-restante-need", json!(need(route.need)));
    if route.need == Need::Nothing {
        put("security", json!([]));
    }
    let parameters = parameters(route);
    if !parameters.is_empty() {
        put("parameters", json!(parameters));
    }
    if let Some(body) = &route.body {
        let example: Value = serde_json::from_str(body.example).unwrap_or_default();
        put(
            "requestBody",
            json!({
                "required": body.required,
                "content": { "application/json": {
                    "schema": (body.shape)(generator), "example": example,
                } },
            }),
        );
    }
    let responses: Map<String, Value> = route
        .statuses()
        .into_iter()
        .map(|status| (status.to_string(), response(route, status, generator)))
        .collect();
    put("responses", json!(responses));
    Value::Object(operation)
}

/// What a request needs, for programs.
fn need(need: Need) -> &'static str {
    match need {
        Need::Nothing => "nothing",
        Need::Credentials => "credentials",
        Need::Metrics => "monitor",
        Need::Grant(grant) => grant.as_str(),
        Need::Address => "address",
    }
}

fn description(route: &Route) -> String {
    let need = match route.need {
        Need::Nothing => "Needs no credentials.".to_owned(),
        Need::Credentials => "Needs credentials, and nothing else.".to_owned(),
        Need::Metrics => "Needs the grant `monitor`; none from the broker's own machine, if the configuration says so.".to_owned(),
        Need::Grant(grant) => format!("Needs the grant `{}`.", grant.as_str()),
        Need::Address => match route.id {
            "publish" => "Needs a rule that allows `send` for the address.".to_owned(),
            "browse" | "getMessage" => {
                "Needs the grant `operate`, or a rule that allows `browse` for the address.".to_owned()
            }
            _ => "Needs the grant `operate`, or a rule that allows `manage` for the address.".to_owned(),
        },
    };
    let gap = if route.details.is_empty() { "" } else { " " };
    format!("{}{gap}{need}", route.details)
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut all: Vec<Value> = path::names(route.pattern).map(in_path).collect();
    all.extend(route.params.iter().map(in_query));
    if route.changes() {
        all.push(in_query(&Param {
            name: "dry_run",
            kind: ParamKind::Flag,
            what: "Check everything, and change nothing.",
        }));
    }
    if route.conditional {
        all.push(header(
            "If-Match",
            "Only if it has this ETag, such as `\"7\"`; `*`: only if it is there. Else 412.",
            "^(\\*|\"[0-9]+\")$",
        ));
        all.push(header(
            "If-None-Match",
            "`*`: only if it is not there. Else 412. Not together with `If-Match`.",
            "^\\*$",
        ));
    }
    if route.steady {
        all.push(header(
            "If-None-Match",
            "ETags between commas, or `*`: if one of them is what it has, 304 without a body.",
            "^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$",
        ));
    }
    if route.method == Method::Post {
        all.push(header(
            "Idempotency-Key",
            "Makes it safe to ask again: see the introduction. Any text of 1 to 128 characters, best a UUID.",
            "^[!-~]{1,128}$",
        ));
    }
    all
}

fn in_path(name: &str) -> Value {
    let (what, schema) = match name {
        "offset" => (
            "The message's offset in its queue.",
            json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
        ),
        "file" => (
            "A file's name.",
            json!({ "type": "string", "minLength": 1 }),
        ),
        _ => (
            "A name, percent-encoded: `/` is `%2F`, `:` is `%3A`, `#` is `%23`.",
            json!({ "type": "string", "minLength": 1 }),
        ),
    };
    json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema })
}

fn in_query(param: &Param) -> Value {
    let schema = match param.kind {
        ParamKind::Text => json!({ "type": "string" }),
        // `?dry_run` is `?dry_run=true`.
        ParamKind::Flag => {
            json!({ "type": ["boolean", "string"], "enum": [true, false, ""] })
        }
        ParamKind::Word(words) => json!({ "type": "string", "enum": words }),
        ParamKind::Cursor => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }),
        ParamKind::Number { low, high } => {
            json!({ "type": "integer", "minimum": low, "maximum": high })
        }
        ParamKind::Numbers => json!({
            "type": "array", "minItems": 1,
            "items": { "type": "integer", "format": "uint64", "minimum": 0 },
        }),
        ParamKind::Sort(fields) => {
            let both = fields
                .iter()
                .flat_map(|it| [(*it).to_owned(), format!("-{it}")]);
            json!({ "type": "string", "enum": both.collect::<Vec<_>>() })
        }
        ParamKind::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    };
    let mut json = json!({
        "name": param.name, "in": "query", "required": false,
        "description": param.what, "schema": schema,
    });
    if let Some((style, explode)) = param.kind.style() {
        set(&mut json, "style", json!(style));
        set(&mut json, "explode", json!(explode));
    }
    json
}

impl ParamKind {
    fn style(&self) -> Option<(&'static str, bool)> {
        match self {
            ParamKind::Numbers => Some(("form", false)),
            ParamKind::Map => Some(("deepObject", true)),
            ParamKind::Text
            | ParamKind::Word(_)
            | ParamKind::Cursor
            | ParamKind::Flag
            | ParamKind::Number { .. }
            | ParamKind::Sort(_) => None,
        }
    }
}

/// Gives an object another member.
fn set(json: &mut Value, name: &str, value: Value) {
    if let Some(members) = json.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn header(name: &str, what: &str, pattern: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": false, "description": what,
        "schema": { "type": "string", "pattern": pattern },
    })
}

fn response(route: &Route, status: u16, generator: &mut SchemaGenerator) -> Value {
    let watched = route.need == Need::Nothing && route.gives.is_some();
    let unready = status == 503 && watched && !route.pattern.starts_with("/api/");
    if status >= 400 && !unready {
        return json!({ "$ref": format!("#/components/responses/Problem{status}") });
    }
    let what = match status {
        _ if unready => "It is not.",
        201 => "It was made.",
        204 => "It is done.",
        304 => "The client has it already, by its ETag.",
        308 => "It is elsewhere.",
        _ => "What was asked for.",
    };
    let mut response = json!({ "description": what });
    let schema = match route.gives {
        _ if status == 304 => None,
        Some(shape) => Some(shape(generator).to_value()),
        None if status == 200 => Some(json!({ "type": "string" })),
        None => None,
    };
    if let Some(schema) = schema {
        let mut content = Map::new();
        content.insert(route.kind.to_owned(), json!({ "schema": schema }));
        set(&mut response, "content", Value::Object(content));
    }
    let mut headers = Map::new();
    if route.tagged {
        headers.insert(
            "ETag".into(),
            json!({
                "description": "The revision in quotes, for `If-Match`. Not in a dry run.",
                "schema": { "type": "string" },
            }),
        );
    }
    if route.method == Method::Post {
        headers.insert(
            "Idempotency-Replayed".into(),
            json!({
                "description": "`true`: this is the answer to an earlier request with the same `Idempotency-Key`.",
                "schema": { "type": "string", "const": "true" },
            }),
        );
    }
    if status == 201 && route.method == Method::Post {
        headers.insert(
            "Location".into(),
            json!({ "description": "The path of what was made.", "schema": { "type": "string" } }),
        );
    }
    if let Some(to) = route.moved {
        headers.insert(
            "Location".into(),
            json!({ "description": "Where.", "schema": { "type": "string", "const": to } }),
        );
    }
    if !headers.is_empty() {
        set(&mut response, "headers", Value::Object(headers));
    }
    response
}

/// A problem for each status, with the codes that it may have.
fn problems(schema: &Value) -> Value {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL {
        by_status.entry(code.status()).or_default().push(code);
    }
    let problem = |(status, codes): (u16, Vec<Code>)| {
        let lines: Vec<String> = codes
            .iter()
            .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
            .collect();
        let mut response = json!({
            "description": lines.join(" "),
            "content": { "application/problem+json": { "schema": schema } },
        });
        let text = |what: &str| json!({ "description": what, "schema": { "type": "string" } });
        let header = match status {
            401 => Some(("WWW-Authenticate", "The ways to log in.")),
            412 => Some(("ETag", "What it has now, if it is there.")),
            429 | 503 => Some(("Retry-After", "Seconds to wait.")),
            _ => None,
        };
        if let Some((name, what)) = header {
            set(&mut response, "headers", json!({ name: text(what) }));
        }
        (format!("Problem{status}"), response)
    };
    Value::Object(by_status.into_iter().map(problem).collect())
}

/// The table of codes, as text.
fn codes() -> String {
    let mut text = "| code | status | meaning |\n|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let (name, status, title) = (code.as_str(), code.status(), code.title());
        text.push_str(&format!("| `{name}` | {status} | {title} |\n"));
    }
    text
}

fn tag(pattern: &str) -> &'static str {
    if pattern == "/" {
        return "Documentation";
    }
    let prefix = |(prefix, _, _): &&(&str, &str, &str)| pattern.starts_with(prefix);
    TAGS.iter().find(prefix).map_or("Broker", |(_, tag, _)| tag)
}

fn tags() -> Vec<Value> {
    let described = TAGS.iter().filter(|(_, _, what)| !what.is_empty());
    described
        .map(|(_, name, what)| json!({ "name": name, "description": what }))
        .collect()
}

/// Links of our own documentation mean nothing in this one: of `[Realm]` and `[Realm](path)`, with backquotes inside, what
/// is inside is left.
fn unlink(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("[`") => *text = without_links(text),
        Value::Array(items) => items.iter_mut().for_each(unlink),
        Value::Object(members) => members.values_mut().for_each(unlink),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        plain.push_str(before);
        let Some((name, after)) = link.split_once("`]") else {
            plain.push_str("[`");
            rest = link;
            continue;
        };
        plain.push_str(&format!("`{name}`"));
        let target = after.strip_prefix('(').and_then(|it| it.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_words() {
        assert_eq!(
            without_links("As in [`Realm`], [`Grant`](crate::x) and `[`."),
            "As in `Realm`, `Grant` and `[`."
        );
    }

    #[test]
    fn every_route_has_a_tag_of_its_own_kind() {
        for route in routes::all() {
            let known = TAGS
                .iter()
                .any(|(prefix, _, _)| route.pattern.starts_with(prefix));
            assert!(known || route.pattern == "/", "{route:?}");
        }
    }

    #[test]
    fn every_example_is_json() {
        for route in routes::all() {
            if let Some(body) = &route.body {
                let json: Result<Value, _> = serde_json::from_str(body.example);
                assert!(json.is_ok(), "{route:?}");
            }
        }
    }
}
