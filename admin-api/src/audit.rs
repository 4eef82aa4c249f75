//! What the audit log has, and how it is asked for: the entry is both a line on disk and an answer of the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuditEntry {
    /// Its number, ascending over restarts; 0 before it is written.
    pub number: u64,
    /// When: milliseconds since 1970 UTC; 0 before it is written.
    pub time: u64,
    /// Who: a principal's name; empty where nobody was let in.
    pub principal: String,
    /// From where.
    pub peer: String,
    /// `rest`, `mbws`, `cli` …: through which door.
    pub door: String,
    /// What: the route's method and pattern, or the verb.
    pub act: String,
    /// To what: the path, or realm and address.
    pub target: String,
    /// `done`, `denied`, `failed` or `dry-run`; `in-part`: it failed after a part was done, as `after` says; `unchanged`: it was so already, or a replay gave the first answer again; `unknown`: it
    /// may still come into force; `recovered`: it is in force, and its line was lost in a crash.
    pub result: String,
    /// Why not, or by which rule. May be empty.
    pub detail: String,
    /// The request's id, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The revision that it made of a document, where it made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// How often, where equal ones were put together, or (`act` is `*`) more of one principal than have lines of their own.
    #[serde(skip_serializing_if = "is_one")]
    pub times: u64,
    /// How it was, without secrets. Only where something was changed, and where that is not too much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

fn is_one(times: &u64) -> bool {
    *times <= 1
}

/// Which lines of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Before this number. None: from the newest.
    pub before: Option<u64>,
    /// So many at most.
    pub limit: usize,
    /// By this principal.
    pub principal: Option<String>,
    /// With this result.
    pub result: Option<String>,
    /// Whose target begins so.
    pub target: Option<String>,
    /// At or after: milliseconds since 1970 UTC.
    pub since: Option<u64>,
}
