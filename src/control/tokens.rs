//! API tokens: made and rotated. The secret is told once, and is nowhere afterwards.

use std::time::Duration;

use restante_admin_api::document::{Document, DocumentKind, PreviousSecret, Stored, Token};
use restante_admin_api::{Changed, ControlError, How, Precondition, Secret};

use super::documents::{id, not_found};
use super::{Controller, invalid};
use crate::access::{NewToken, new_secret, new_token};
use crate::broker::now;
use crate::definitions::CLI_LABEL;

impl Controller {
    pub(super) async fn make_token(
        &self,
        token: Token,
        how: How,
    ) -> Result<Changed<(Stored, Secret)>, ControlError> {
        let now = now().get();
        if token.expires_at.is_some_and(|until| until <= now) {
            return Err(invalid("/expires_at", "is over already"));
        }
        if token.label == CLI_LABEL {
            let text = "the broker makes this token itself; choose another label";
            return Err(invalid("/label", text));
        }
        let new = random(new_token())?;
        let token = Token {
            hash: new.hash.clone(),
            created_at: now,
            previous: None,
            ..token
        };
        let how = How {
            only: Precondition::Absent,
            ..how
        };
        let id = id(DocumentKind::Token, &new.id);
        let changed = self.set(id, how, move |_| Ok(Document::Token(token.clone())));
        Ok(told(changed.await?, &new))
    }

    pub(super) async fn renew_token(
        &self,
        token: String,
        grace: Duration,
        how: How,
    ) -> Result<Changed<(Stored, Secret)>, ControlError> {
        let id = id(DocumentKind::Token, &token);
        let new = random(new_secret(token))?;
        let now = now().get();
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let (hash, of) = (new.hash.clone(), id.clone());
        let rotated = move |stored: Option<&Stored>| match stored.map(|it| &it.document) {
            Some(Document::Token(token)) if token.label == CLI_LABEL => {
                let text = "the command line of the broker's machine uses this token; it gets another one when cli.key is removed from the data folder and the broker is restarted";
                Err(ControlError::Conflict(text.to_owned()))
            }
            Some(Document::Token(token)) => {
                let has_old = grace > 0 && !token.hash.is_empty();
                Ok(Document::Token(Token {
                    previous: has_old.then(|| PreviousSecret {
                        hash: token.hash.clone(),
                        until: now.saturating_add(grace),
                    }),
                    hash: hash.clone(),
                    created_at: now,
                    ..token.clone()
                }))
            }
            _ => Err(not_found(&of)),
        };
        let changed = self.set(id, how, rotated).await?;
        Ok(told(changed, &new))
    }
}

fn told(changed: Changed<Stored>, new: &NewToken) -> Changed<(Stored, Secret)> {
    Changed {
        now: (changed.now, Secret::new(new.secret.expose().to_owned())),
        created: changed.created,
        revision: changed.revision,
        before: changed.before,
        after: changed.after,
    }
}

fn random<E: std::fmt::Display>(new: Result<NewToken, E>) -> Result<NewToken, ControlError> {
    new.map_err(|error| {
        tracing::error!(%error, "the system's random generator failed");
        ControlError::Internal
    })
}
