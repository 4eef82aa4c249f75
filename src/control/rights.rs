//! What a caller may do with an address, as of now.

use std::fmt;
use std::sync::Arc;

use restante_admin_api::document::{Grant, Verb};
use restante_admin_api::{Caller, ControlError};

use super::Controller;
use crate::access::{Access, Principal, RuleRef, Verdict};
use crate::broker::{decided_by_space, is_told, now};

/// A caller as they are now, with the rules that count now.
pub(super) struct Rights {
    pub(super) who: Principal,
    access: Arc<Access>,
    operates: bool,
}

impl Controller {
    /// Who the caller is now.
    ///
    /// # Errors
    /// They are nobody any more.
    pub(super) fn rights(&self, caller: &Caller) -> Result<Rights, ControlError> {
        let access = self.broker.access().load_full();
        let shown = caller.admin.access.downcast_ref::<Principal>();
        let who = shown.and_then(|who| access.renew(who, now()));
        let who = who.ok_or(ControlError::Denied {
            verb: None,
            rule: None,
        })?;
        let operates = access.grants(&who.roles).has(Grant::Operate);
        Ok(Rights {
            who,
            access,
            operates,
        })
    }
}

impl Rights {
    /// They may do `verb` with all that `filter`, or an address, stands for.
    ///
    /// # Errors
    /// [`ControlError::Denied`], with the rule.
    pub(super) fn need(&self, verb: Verb, realm: &str, filter: &str) -> Result<(), ControlError> {
        let judged = administers(&self.access, &self.who, self.operates, verb, realm, filter);
        if judged.allowed {
            return Ok(());
        }
        Err(ControlError::Denied {
            verb: Some(verb),
            rule: judged.because.rule(),
        })
    }

    /// Which rule forbids them to do `verb` with an address, if one does.
    pub(super) fn denied(&self, verb: Verb, realm: &str, address: &str) -> ControlError {
        let nothing = ControlError::Denied {
            verb: Some(verb),
            rule: None,
        };
        self.need(verb, realm, address).err().unwrap_or(nothing)
    }
}

/// Whether somebody may, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) allowed: bool,
    pub(super) because: Because,
    /// The trust level of who may, if rules say so.
    pub(super) trustlevel: Option<u8>,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Because {
    /// A rule, or that none allows it.
    Rule(RuleRef),
    /// The grant `operate`: whoever has it manages and browses everything.
    Operates,
    /// The address is a temporary one.
    Temporary,
    /// The address is the broker's own.
    Brokers,
}

impl Because {
    /// The name of the rule, where one decided.
    pub(super) fn rule(&self) -> Option<String> {
        match self {
            Because::Rule(RuleRef::Rule(name)) => Some(name.to_string()),
            _ => None,
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Rule(rule) => write!(f, "{rule}"),
            Because::Operates => f.write_str("the grant operate"),
            Because::Temporary => f.write_str("it is a temporary address"),
            Because::Brokers => f.write_str("it is the broker's own"),
        }
    }
}

/// Whether `who` may, over the door that has that verb: clients send and consume (as `client`, where it is MQTT's), callers of
/// the API manage and browse.
pub(super) fn judge(
    access: &Access,
    who: &Principal,
    client: Option<&str>,
    verb: Verb,
    realm: &str,
    asked: &str,
) -> Judged {
    if matches!(verb, Verb::Manage | Verb::Browse) {
        let operates = access.grants(&who.roles).has(Grant::Operate);
        return administers(access, who, operates, verb, realm, asked);
    }
    let is_heard = verb == Verb::Consume && is_told(asked);
    match decided_by_space(verb, asked).filter(|_| !is_heard) {
        Some(allowed) => Judged {
            allowed,
            because: match asked.starts_with('~') {
                true => Because::Temporary,
                false => Because::Brokers,
            },
            trustlevel: None,
        },
        None => {
            let verdict = access.decide_filter(who, client, verb, realm, asked);
            judged(verdict)
        }
    }
}

fn judged(verdict: Verdict) -> Judged {
    Judged {
        allowed: verdict.allowed,
        because: Because::Rule(verdict.rule),
        trustlevel: verdict.trustlevel,
    }
}

/// Whether a caller of the API may, who has the grant `operate` or not.
fn administers(
    access: &Access,
    who: &Principal,
    operates: bool,
    verb: Verb,
    realm: &str,
    filter: &str,
) -> Judged {
    let verdict = access.decide_filter(who, None, verb, realm, filter);
    // The role `admin` has all grants, and says more.
    let by_grant = operates && matches!(verb, Verb::Manage | Verb::Browse);
    if by_grant && verdict.rule != RuleRef::Admin {
        return Judged {
            allowed: true,
            because: Because::Operates,
            trustlevel: None,
        };
    }
    judged(verdict)
}
