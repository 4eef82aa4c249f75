//! Which features a peer has: what a client announces, as far as it changes what we do, and what we announce.
//!
//! Rules: the WAMP specification, "Feature Announcement" and "Features". Announced is what is there; `what_is_announced_is_what_the_table_says` compares
//! this list with `proto/src/wamp/CONFORMANCE.md`.

use restante_proto::wamp::{Dict, Value};

use crate::router::{CalleeFeatures, CallerFeatures, Features, SubscriberFeatures};

/// What we announce as a broker.
const BROKER: &[&str] = &[
    "event_history",
    "event_retention",
    "pattern_based_subscription",
    "payload_passthru_mode",
    "publication_trustlevels",
    "publisher_exclusion",
    "publisher_identification",
    "session_meta_api",
    "sharded_subscription",
    // The specification's own spelling, in one place.
    "shareded_subscriptions",
    "subscriber_blackwhite_listing",
    "subscription_meta_api",
    "subscription_revocation",
    // Not the specification's: what makes one client library acknowledge events of durable subscriptions.
    "x_acknowledged_event_delivery",
];

/// What we announce as a dealer.
const DEALER: &[&str] = &[
    "call_canceling",
    "call_reroute",
    "call_timeout",
    "call_trustlevels",
    "caller_identification",
    "pattern_based_registration",
    "payload_passthru_mode",
    "progressive_call_invocations",
    "progressive_call_results",
    "registration_meta_api",
    "registration_revocation",
    "session_meta_api",
    "sharded_registration",
    "shared_registration",
    "testament_meta_api",
];

/// `roles` of WELCOME: every feature that is there, and no other. The specification has reflection beside the features.
pub fn announced() -> Dict {
    let role = |features: &[&str]| {
        let features: Dict = features.iter().map(|it| (*it, true)).collect();
        Dict::new()
            .with("features", features)
            .with("reflection", true)
    };
    Dict::new()
        .with("broker", role(BROKER))
        .with("dealer", role(DEALER))
}

/// What a client announces in `roles` of HELLO. None: it has no role. Roles and features that are not known mean nothing.
pub(super) fn of_client(roles: &Dict) -> Option<Features> {
    const ROLES: [&str; 4] = ["publisher", "subscriber", "caller", "callee"];
    if !ROLES.iter().any(|role| roles.get(role).is_some()) {
        return None;
    }
    let has = |role: &str, feature: &str| {
        let features = roles
            .get(role)
            .and_then(Value::as_dict)
            .and_then(|role| role.get("features"))
            .and_then(Value::as_dict);
        features.is_some_and(|it| it.get(feature).and_then(Value::as_bool) == Some(true))
    };
    let callee = |feature| has("callee", feature);
    Some(Features {
        caller: CallerFeatures {
            progressive_call_invocations: has("caller", "progressive_call_invocations"),
            payload_passthru_mode: has("caller", "payload_passthru_mode"),
        },
        callee: CalleeFeatures {
            progressive_call_results: callee("progressive_call_results"),
            progressive_call_invocations: callee("progressive_call_invocations"),
            // The specification has both spellings.
            call_canceling: callee("call_canceling") || callee("call_cancelling"),
            call_timeout: callee("call_timeout"),
            call_reroute: callee("call_reroute"),
            payload_passthru_mode: callee("payload_passthru_mode"),
            registration_revocation: callee("registration_revocation"),
        },
        subscriber: SubscriberFeatures {
            subscription_revocation: has("subscriber", "subscription_revocation"),
        },
    })
}

/// Whether a client has announced as a publisher that it sends payloads that we do not look into.
pub(super) fn publishes_opaque(roles: &Dict) -> bool {
    let features = roles
        .get("publisher")
        .and_then(Value::as_dict)
        .and_then(|role| role.get("features"))
        .and_then(Value::as_dict);
    features
        .is_some_and(|it| it.get("payload_passthru_mode").and_then(Value::as_bool) == Some(true))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_announced_is_what_the_table_says() {
        let table = include_str!("../../../proto/src/wamp/CONFORMANCE.md");
        let rows = table.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|line| line.split(" | ").nth(2));
        let said = cells.flat_map(|cell| cell.split(", "));
        let said: BTreeSet<String> = said
            .filter(|it| it.starts_with('`'))
            .map(|it| it.trim_matches('`').to_owned())
            .collect();
        let mut announced_ones = BTreeSet::new();
        for (role, details) in announced().iter() {
            let details = details.as_dict().unwrap();
            let features = details.dict("features").unwrap().unwrap();
            let beside = details.iter().filter(|(name, _)| *name != "features");
            for (feature, value) in features.iter().chain(beside) {
                assert_eq!(
                    value,
                    &Value::Bool(true),
                    "one library takes nothing but bools"
                );
                announced_ones.insert(format!("{role}.{feature}"));
            }
        }
        assert_eq!(announced_ones, said);
    }
}
