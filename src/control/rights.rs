//! What a caller may do with an address, as of now.

use std::sync::Arc;

use restante_admin_api::document::{Grant, Verb};
use restante_admin_api::{Caller, ControlError};

use super::Controller;
use crate::access::{Access, Principal, RuleRef};
use crate::broker::now;

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
        if self.operates && matches!(verb, Verb::Manage | Verb::Browse) {
            return Ok(());
        }
        let verdict = self
            .access
            .decide_filter(&self.who, None, verb, realm, filter);
        if verdict.allowed {
            return Ok(());
        }
        Err(ControlError::Denied {
            verb: Some(verb),
            rule: match verdict.rule {
                RuleRef::Rule(name) => Some(name.to_string()),
                RuleRef::Admin | RuleRef::Default => None,
            },
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
