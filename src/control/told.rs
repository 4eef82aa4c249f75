//! Documents and queues as the audit log tells of them: without anything that comes of a secret.

use restante_admin_api::document::{Document, Stored};
use restante_admin_api::queue::QueueInfo;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// How a document was. Of a secret, whether there is one.
pub(super) fn before(stored: &Stored) -> Value {
    told(&stored.document, None)
}

/// How a document is, or would be; `was`: what it was before. Of a secret, whether it is another one.
pub(super) fn after(document: &Document, was: Option<&Document>) -> Value {
    told(document, was)
}

/// What holds for a queue; how full it is, is no act of anybody.
pub(super) fn queue(queue: &QueueInfo) -> Value {
    json!({"spec": queue.spec, "paused": queue.paused})
}

fn told(document: &Document, was: Option<&Document>) -> Value {
    match (document, was) {
        (Document::User(user), was) => {
            let same = match was {
                Some(Document::User(was)) => was.password_secrets() == user.password_secrets(),
                _ => true,
            };
            let mut shown = user.clone();
            shown.clear_password();
            let fields = fields(&shown);
            with_secret(fields, "password", user.password_hash.is_some(), same)
        }
        (Document::Token(token), was) => {
            let same = match was {
                Some(Document::Token(was)) => was.hash == token.hash,
                _ => true,
            };
            let mut fields = fields(token);
            fields.remove("hash");
            fields.remove("previous");
            let previous = token.previous.as_ref();
            fields.insert(
                "previous_until".to_owned(),
                json!(previous.map(|it| it.until)),
            );
            with_secret(fields, "secret", !token.hash.is_empty(), same)
        }
        (Document::Realm(it), _) => Value::Object(fields(it)),
        (Document::Role(it), _) => Value::Object(fields(it)),
        (Document::Rule(it), _) => Value::Object(fields(it)),
        (Document::Route(it), _) => Value::Object(fields(it)),
    }
}

fn with_secret(mut fields: Map<String, Value>, name: &str, there: bool, same: bool) -> Value {
    let text = match (there, same) {
        (true, true) => "set",
        (true, false) => "changed",
        (false, _) => "none",
    };
    fields.insert(name.to_owned(), text.into());
    Value::Object(fields)
}

fn fields(document: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
