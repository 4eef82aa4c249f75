//! What a client sends: messages into the broker, and what becomes of those that it could not take.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use restante_proto::sp::{CloseCode, Hops, Role};

use super::sending::Kept;
use super::{Dropped, HOPS, Session, State, end_of_pair};
use crate::broker::Call;
use crate::message::{NewMessage, PRIORITY_DEFAULT, SpSend};
use crate::refusal::Refusal;

/// A body that is shorter is copied where it is kept: as a slice of what was read it would keep all that came with it, and as long
/// as it does the reader has no room for more than a frame at a time.
const COPIED_BELOW: usize = 16 * 1024;

impl Session {
    pub(super) fn message(&self, body: Bytes, sp: Option<SpSend>) -> Box<NewMessage> {
        Box::new(NewMessage {
            address: self.client.address.to_string(),
            priority: PRIORITY_DEFAULT,
            body,
            sp,
            ..NewMessage::default()
        })
    }

    pub(super) fn tell_peer(&mut self, now: Instant, message: Bytes) {
        let mut hops = None;
        let body = if self.client.role == Role::Pair1 {
            match Hops::split(&message, self.settings.hops_max) {
                Ok((count, body)) => {
                    hops = Some(count);
                    body
                }
                Err(error) => return self.is_no_header(error),
            }
        } else {
            message
        };
        let mut message = match self.client.options.side {
            Some(side) => {
                let address = end_of_pair(&self.client.address, side.other());
                let message = self.message(body, None);
                Box::new(NewMessage {
                    address,
                    ..*message
                })
            }
            None => self.message(body, Some(SpSend::ToPeer)),
        };
        if let Some(hops) = hops {
            let hops = hops.number().to_string();
            message.properties.insert(HOPS.to_owned(), hops);
        }
        self.publish_kept(now, message);
    }

    /// A message that waits where it cannot be taken yet: nothing more is read meanwhile.
    pub(super) fn publish_kept(&mut self, now: Instant, message: Box<NewMessage>) {
        if let Err(kept) = self.publish_within_rate(now, message) {
            let after = self.settings.retry_after;
            self.sending.put_back([kept].into(), now, after);
        }
    }

    /// Gives it back where the client has sent too many.
    pub(super) fn publish_within_rate(
        &mut self,
        now: Instant,
        message: Box<NewMessage>,
    ) -> Result<(), Kept> {
        let within_rate = self.publishing.as_mut().is_none_or(|it| it.take(now));
        let kept = self.kept(&message);
        if !within_rate {
            return Err(kept);
        }
        self.call(Call::Publish(message));
        self.sending.push(self.last, kept);
        Ok(())
    }

    pub(super) fn kept(&self, message: &NewMessage) -> Kept {
        let body = match message.body.len() < COPIED_BELOW {
            true => Bytes::copy_from_slice(&message.body),
            false => message.body.clone(),
        };
        match self.client.role {
            Role::Push => Kept::Body(body),
            _ => Kept::Whole(Box::new(NewMessage {
                body,
                ..message.clone()
            })),
        }
    }

    /// A message that nobody waits for.
    pub(super) fn publish(&mut self, now: Instant, message: Box<NewMessage>) {
        let within_rate = self.publishing.as_mut().is_none_or(|it| it.take(now));
        if within_rate {
            self.call(Call::Publish(message));
        } else {
            self.drop_message(Dropped::Refused);
        }
    }

    pub(super) fn handle_confirmed(&mut self, now: Instant, upto: u64, failed: &[(u64, Refusal)]) {
        self.confirmed = self.confirmed.max(upto);
        let why = |tag: u64| {
            let at = failed.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?;
            failed.get(at).map(|(_, why)| *why)
        };
        if let Some(tag) = self.beginning.filter(|tag| *tag <= upto) {
            self.beginning = None;
            if let Some(why) = why(tag) {
                return self.cannot(why);
            }
        }
        let mut refused = VecDeque::new();
        let confirmed = self.sending.confirmed(upto);
        let took_some = !confirmed.is_empty();
        for (tag, message) in confirmed {
            match why(tag) {
                None => {}
                Some(Refusal::Denied) => self.cannot(Refusal::Denied),
                Some(Refusal::TooLarge) => self.close(CloseCode::TooBig, "too long for the log"),
                Some(why) if why.is_for_now() => {
                    refused.push_back(message);
                }
                Some(_) => self.drop_message(Dropped::Refused),
            }
        }
        if !refused.is_empty() {
            let after = self.settings.retry_after;
            self.sending.put_back(refused, now, after);
        } else if took_some {
            self.sending.go_on(now);
        }
        self.look_whether_drained();
    }

    pub(super) fn try_again(&mut self, now: Instant) {
        if matches!(self.state, State::Over(_)) {
            return;
        }
        let mut due = self.sending.due(now);
        while let Some(kept) = due.pop_front() {
            let message = match kept {
                Kept::Body(body) => self.message(body, None),
                Kept::Whole(message) => message,
            };
            if let Err(kept) = self.publish_within_rate(now, message) {
                due.push_front(kept);
                let after = self.settings.retry_after;
                return self.sending.put_back(due, now, after);
            }
        }
    }
}
