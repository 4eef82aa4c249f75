//! "May they, and where would it land?", in words; `broker/explain.rs` knows.

use std::fmt::Write as _;

use restante_admin_api::document::Verb;
use restante_admin_api::queue::{ExplainRequest, Explanation, Landing, RouteStep};
use restante_admin_api::{Caller, ControlError};

use super::{Controller, invalid};
use crate::access::{Access, Principal, RuleRef, Verdict};
use crate::broker::{DEFAULT_REALM, Explained, Landed, now};
use crate::engine::address::{Address, Filter, Space};
use crate::message::NewMessage;
use crate::refusal::Refusal;

const DUPLICATE: &str =
    "the broker keeps no window of message ids yet, so nothing is taken for a duplicate";

impl Controller {
    pub(super) fn explained(
        &self,
        caller: &Caller,
        request: ExplainRequest,
    ) -> Result<Explanation, ControlError> {
        let realm = request.realm.unwrap_or_else(|| DEFAULT_REALM.to_owned());
        self.must_be_there(&realm)?;
        let access = self.broker.access().load_full();
        let mut who = match &request.principal {
            None => self.rights(caller)?.who,
            Some(name) => named(&access, name, request.roles.is_some())?,
        };
        if let Some(roles) = request.roles {
            who.roles = roles.into();
        }
        let verb = request.verb.unwrap_or(Verb::Send);
        if request.message.address.is_empty() {
            return Err(invalid("/message/address", "an address is needed"));
        }
        let message = self.message(request.message, "/message")?;
        let asked = Asked {
            client: request.client.as_deref(),
            verb,
            realm: &realm,
            message: &message,
        };
        let verdict = self.judge(&access, &who, &asked);
        let explained = match verb {
            Verb::Send => {
                let it = self.broker.explain(&who, asked.client, &realm, &message);
                Some(it)
            }
            _ => None,
        };
        Ok(tell(&who, &asked, &verdict, explained))
    }

    /// What the rules say; addresses in the special spaces have rules of their own.
    fn judge(&self, access: &Access, who: &Principal, asked: &Asked<'_>) -> Verdict {
        let limits = self.limits.address;
        let text = asked.message.address.as_str();
        let space = match (Address::parse(text, limits), Filter::parse(text, limits)) {
            (Ok(address), _) => Some(address.space()),
            (Err(_), Ok(_)) => Some(Space::Ordinary),
            (Err(_), Err(_)) => None,
        };
        let by_default = |allowed| Verdict {
            allowed,
            rule: RuleRef::Default,
        };
        match (space, asked.verb) {
            (Some(Space::Temporary), Verb::Send) => by_default(true),
            (Some(Space::Ordinary) | None, verb) => {
                access.decide_filter(who, asked.client, verb, asked.realm, text)
            }
            (Some(Space::Temporary | Space::Broker), _) => by_default(false),
        }
    }
}

struct Asked<'a> {
    client: Option<&'a str>,
    verb: Verb,
    realm: &'a str,
    message: &'a NewMessage,
}

/// A user or a token as they are; or one that is not known, where it is asked for them with given roles.
fn named(access: &Access, name: &str, has_roles: bool) -> Result<Principal, ControlError> {
    if let Some(who) = access.principal_named(name, now()) {
        return Ok(who);
    }
    if has_roles {
        return Ok(Principal {
            name: name.into(),
            roles: [].into(),
            identity: crate::access::Identity::User { password: None },
            expires: None,
        });
    }
    let text =
        "is no user and no `token:LABEL` that is let in; say `roles` to ask for somebody else";
    Err(invalid("/principal", text))
}

fn tell(
    who: &Principal,
    asked: &Asked<'_>,
    verdict: &Verdict,
    explained: Option<Explained>,
) -> Explanation {
    let outcome = match &explained {
        Some(it) => it.outcome.map_or_else(Refusal::as_str, Landed::as_str),
        None if verdict.allowed => "allowed",
        None => "denied",
    };
    let is_sent = verdict.allowed && explained.is_some();
    let duplicate = if is_sent { DUPLICATE } else { "" };
    let text = sentence(who, asked, verdict, explained.as_ref());
    let (steps, landings) = explained.map_or_else(Default::default, |it| (it.steps, it.landings));
    let route = |it: crate::routes::Step| RouteStep {
        route: it.route.to_string(),
        taken: it.taken,
        text: it.text,
        to: it.to,
    };
    Explanation {
        principal: who.name.to_string(),
        roles: who.roles.to_vec(),
        allowed: verdict.allowed,
        rule: match &verdict.rule {
            RuleRef::Rule(name) => Some(name.to_string()),
            RuleRef::Admin | RuleRef::Default => None,
        },
        text,
        outcome: outcome.to_owned(),
        routes: steps.into_iter().map(route).collect(),
        landings,
        duplicate: duplicate.to_owned(),
    }
}

fn sentence(
    who: &Principal,
    asked: &Asked<'_>,
    verdict: &Verdict,
    explained: Option<&Explained>,
) -> String {
    let (name, verb, address) = (&who.name, asked.verb.as_str(), &asked.message.address);
    let is_temporary = address.starts_with('~');
    let because = match &verdict.rule {
        RuleRef::Default if is_temporary => "it is a temporary address".to_owned(),
        rule => format!("{rule}"),
    };
    let may = if verdict.allowed { "may" } else { "may not" };
    let mut text = format!("{name} {may} {verb} {address} ({because})");
    match explained.map(|it| (&it.outcome, &it.landings)) {
        None | Some((Err(Refusal::Denied), _)) => {}
        Some((Ok(Landed::Dropped), _)) => text.push_str("; a route leads the message nowhere"),
        Some((Ok(_), landings)) => {
            write!(text, "; the message would go to {}", places(landings)).ok();
        }
        Some((Err(why), landings)) => {
            write!(text, "; the message would be refused: {why}").ok();
            let full = landings.iter().flat_map(|it| &it.queues);
            for queue in full.filter(|it| !it.takes) {
                write!(text, " (queue {}: {})", queue.queue, queue.overflow).ok();
            }
        }
    }
    text
}

fn places(landings: &[Landing]) -> String {
    let mut places = Vec::new();
    for landing in landings {
        for queue in &landing.queues {
            let made = if landing.makes_queue {
                ", which is made for it"
            } else {
                ""
            };
            places.push(format!("queue {}{made}", queue.queue));
        }
        match landing.listeners {
            0 => {}
            1 => places.push(format!("1 listener of {}", landing.address)),
            n => places.push(format!("{n} listeners of {}", landing.address)),
        }
    }
    places.join(" and ")
}
