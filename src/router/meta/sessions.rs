//! `wamp.session.…` (wamp.md §9.1, §9.4).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Answer, Args, MetaAnswer, MetaError};
use crate::router::testaments::Scope;
use crate::router::{Refused, Router, SessionDetails, SessionId, Sink, Testament};

impl<P: Clone> Router<P> {
    pub(super) fn session_count(&self, args: Args<'_>) -> Answer {
        Ok(self.sessions_of(args)?.len().into())
    }

    pub(super) fn session_list(&self, args: Args<'_>) -> Answer {
        Ok(ids(self.sessions_of(args)?).into())
    }

    pub(super) fn session_get(&self, args: Args<'_>) -> Answer {
        let id = SessionId::new(args.id(0, "session")?);
        let details = self.session(id).ok_or(Refused::NoSuchSession)?;
        Ok(details.to_value().into())
    }

    /// The caller itself is as one that is not there.
    pub(super) fn session_kill(
        &mut self,
        caller: SessionId,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Answer {
        let id = SessionId::new(args.id(0, "session")?);
        let farewell = Farewell::of(args)?;
        if id == caller {
            return Err(Refused::NoSuchSession.into());
        }
        self.kill(id, farewell.reason, farewell.message, sink)?;
        Ok(MetaAnswer::default())
    }

    pub(super) fn session_kill_by_authid(
        &mut self,
        caller: SessionId,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Answer {
        let authid = args.text(0, "authid")?;
        let is_meant = |details: &SessionDetails| &*details.authid == authid;
        Ok(ids(self.kill_meant(caller, is_meant, args, sink)?).into())
    }

    pub(super) fn session_kill_by_authrole(
        &mut self,
        caller: SessionId,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Answer {
        let authrole = args.text(0, "authrole")?;
        let is_meant = |details: &SessionDetails| &*details.authrole == authrole;
        Ok(self.kill_meant(caller, is_meant, args, sink)?.len().into())
    }

    pub(super) fn session_kill_all(
        &mut self,
        caller: SessionId,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Answer {
        let Farewell { reason, message } = Farewell::of(args)?;
        Ok(self.kill_all(Some(caller), reason, message, sink).into())
    }

    pub(super) fn session_add_testament(&mut self, caller: SessionId, args: Args<'_>) -> Answer {
        let details = self.session(caller).ok_or(Refused::NoSuchSession)?;
        let testament = Testament {
            author: details.disclosed(),
            topic: Arc::from(args.text(0, "topic")?),
            args: args.list(1, "args")?.to_vec(),
            kwargs: args.dict(2, "kwargs")?.cloned().unwrap_or_default(),
            options: publish_options(args)?,
        };
        self.add_testament(caller, scope(args)?, testament)?;
        Ok(MetaAnswer::default())
    }

    /// Answers how many there were.
    pub(super) fn session_flush_testaments(&mut self, caller: SessionId, args: Args<'_>) -> Answer {
        Ok(self.flush_testaments(caller, scope(args)?).into())
    }

    /// All, or those of some roles, ascending.
    fn sessions_of(&self, args: Args<'_>) -> Result<Vec<SessionId>, MetaError> {
        let roles = args.texts(0, "authroles")?;
        let is_in = |it: &SessionDetails| {
            (roles.as_ref()).is_none_or(|roles| roles.contains(&&*it.authrole))
        };
        let sessions = self.sessions.iter();
        let meant = sessions.filter(|(_, session)| is_in(&session.details));
        let mut found: Vec<_> = meant.map(|(id, _)| *id).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn kill_meant(
        &mut self,
        caller: SessionId,
        is_meant: impl Fn(&SessionDetails) -> bool,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Result<Vec<SessionId>, MetaError> {
        let Farewell { reason, message } = Farewell::of(args)?;
        Ok(self.kill_where(Some(caller), is_meant, reason, message, sink))
    }
}

/// What a session that is sent away is told.
struct Farewell<'a> {
    reason: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Farewell<'a> {
    /// Both are given by name only.
    fn of(args: Args<'a>) -> Result<Self, MetaError> {
        let message = match args.named("message") {
            None => None,
            Some(Value::String(message)) => Some(&**message),
            Some(_) => return Err(MetaError::argument("message: a string is expected")),
        };
        let reason = args.reason(usize::MAX)?;
        Ok(Self { reason, message })
    }
}

fn publish_options(args: Args<'_>) -> Result<Map<String, Value>, MetaError> {
    let options = args.dict(usize::MAX, "publish_options")?;
    Ok(options.cloned().unwrap_or_default())
}

fn scope(args: Args<'_>) -> Result<Scope, MetaError> {
    match args.named("scope") {
        None => Ok(Scope::default()),
        Some(scope) => {
            let scope = scope.as_str().and_then(Scope::named);
            scope.ok_or_else(|| MetaError::argument("scope: destroyed or detached is expected"))
        }
    }
}

fn ids(ids: Vec<SessionId>) -> Vec<u64> {
    ids.into_iter().map(SessionId::get).collect()
}
