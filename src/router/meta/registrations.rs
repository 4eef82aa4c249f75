//! `wamp.registration.…` (wamp.md §9.2, §7.12).

use serde_json::Value;

use super::{Answer, Args, MetaAnswer, MetaError, by_match};
use crate::router::registrations::Registration;
use crate::router::{Refused, RegistrationId, Router, SessionId, Sink};

/// The reason of a revocation whose author gave none.
const REVOKED: &str = "wamp.error.unregistered";

impl<P: Clone> Router<P> {
    /// All, or those of one session.
    pub(super) fn registration_list(&self, args: Args<'_>) -> Answer {
        let session = args.optional_id(0, "session")?.map(SessionId::new);
        let table = &self.registrations.by_id;
        Ok(match session {
            None => by_match(table.iter().map(|(id, it)| (id.get(), it.how))),
            Some(session) => {
                let mine = self.sessions.get(&session);
                let mine = mine.into_iter().flat_map(|it| &it.registrations);
                by_match(mine.filter_map(|id| Some((id.get(), table.get(id)?.how))))
            }
        }
        .into())
    }

    pub(super) fn registration_lookup(&self, args: Args<'_>) -> Answer {
        let (uri, how) = (args.text(0, "procedure")?, args.how()?);
        Ok(id_or_null(self.registrations.index.get(uri, how)).into())
    }

    pub(super) fn registration_match(&self, args: Args<'_>) -> Answer {
        let uri = args.text(0, "procedure")?;
        Ok(id_or_null(self.registration_for(uri)).into())
    }

    pub(super) fn registration_get(&self, args: Args<'_>) -> Answer {
        let (id, registration) = self.registration_of(args)?;
        Ok(registration.to_value(id).into())
    }

    pub(super) fn registration_list_callees(&self, args: Args<'_>) -> Answer {
        let (_, registration) = self.registration_of(args)?;
        let callees = registration.callees.entries.iter();
        let ids: Vec<u64> = callees.map(|it| it.session.get()).collect();
        Ok(ids.into())
    }

    pub(super) fn registration_count_callees(&self, args: Args<'_>) -> Answer {
        let (_, registration) = self.registration_of(args)?;
        Ok(registration.callees.entries.len().into())
    }

    pub(super) fn registration_remove_callee(
        &mut self,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Answer {
        let (id, _) = self.registration_of(args)?;
        let callee = SessionId::new(args.id(1, "session")?);
        let reason = args.reason(2)?.unwrap_or(REVOKED);
        if self.session(callee).is_none() {
            return Err(Refused::NoSuchSession.into());
        }
        self.revoke_registration(callee, id, reason, sink)?;
        Ok(MetaAnswer::default())
    }

    fn registration_of(
        &self,
        args: Args<'_>,
    ) -> Result<(RegistrationId, &Registration), MetaError> {
        let id = RegistrationId::new(args.id(0, "registration")?);
        let registration = self.registrations.by_id.get(&id);
        let registration = registration.ok_or(Refused::NoSuchRegistration)?;
        Ok((id, registration))
    }
}

fn id_or_null(id: Option<RegistrationId>) -> Value {
    id.map_or(Value::Null, |id| id.get().into())
}
