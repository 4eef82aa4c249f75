//! "May they, and where would it land?", in words; `broker/explain.rs` knows.

use std::fmt::Write as _;

use restante_admin_api::document::Verb;
use restante_admin_api::queue::{ExplainRequest, Explanation, Landing, RouteStep};
use restante_admin_api::{Caller, ControlError};

use super::rights::{Judged, judge};
use super::{Controller, invalid};
use crate::access::{Access, Principal};
use crate::broker::{DEFAULT_REALM, Explained, Landed, now};
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
            message: &message,
        };
        let address = message.address.as_str();
        let verdict = judge(&access, &who, asked.client, verb, &realm, address);
        let explained = match verb {
            Verb::Send => {
                let it = self.broker.explain(&who, asked.client, &realm, &message);
                Some(it)
            }
            _ => None,
        };
        Ok(tell(&who, &asked, &verdict, explained))
    }
}

struct Asked<'a> {
    client: Option<&'a str>,
    verb: Verb,
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
    verdict: &Judged,
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
        rule: verdict.because.rule(),
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
    verdict: &Judged,
    explained: Option<&Explained>,
) -> String {
    let (name, verb, address) = (&who.name, asked.verb.as_str(), &asked.message.address);
    let because = &verdict.because;
    let may = if verdict.allowed { "may" } else { "may not" };
    let trusted = match (asked.verb, verdict.trustlevel) {
        (Verb::Send | Verb::Call, Some(level)) => format!(", trust level {level}"),
        _ => String::new(),
    };
    let mut text = format!("{name} {may} {verb} {address} ({because}{trusted})");
    match explained.map(|it| (&it.outcome, &it.landings)) {
        None | Some((Err(Refusal::Denied), _)) => {}
        Some((Ok(Landed::Dropped), landings)) if landings.is_empty() => {
            text.push_str("; a route leads the message nowhere");
        }
        Some((Ok(Landed::Dropped), landings)) => {
            text.push_str("; the message would be dropped");
            full(&mut text, landings);
        }
        Some((Ok(Landed::Nowhere), landings)) => {
            text.push_str("; nobody would take the message");
            full(&mut text, landings);
        }
        Some((Ok(_), landings)) => {
            write!(text, "; the message would go to {}", places(landings)).ok();
            if landings
                .iter()
                .flat_map(|it| &it.queues)
                .any(|it| !it.takes)
            {
                text.push_str(", and be dropped elsewhere");
                full(&mut text, landings);
            }
        }
        Some((Err(why), landings)) => {
            write!(text, "; the message would be refused: {why}").ok();
            full(&mut text, landings);
        }
    }
    text
}

/// The queues that take nothing, and why.
fn full(text: &mut String, landings: &[Landing]) {
    let full = landings.iter().flat_map(|it| &it.queues);
    for queue in full.filter(|it| !it.takes) {
        write!(text, " (queue {}: {})", queue.queue, queue.overflow).ok();
    }
}

fn places(landings: &[Landing]) -> String {
    let mut places = Vec::new();
    for landing in landings {
        for queue in landing.queues.iter().filter(|it| it.takes) {
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
