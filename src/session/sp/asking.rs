//! Requests and surveys, of those who ask and of those who answer: who waits for what, and who has what in hand.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use restante_proto::sp::{Role, Stack};

use super::{Dropped, InHand, REPLIES, Session, Wish};
use crate::broker::Delivery;
use crate::message::SpSend;

/// After how many times a client may not ask the same thing any less often.
const REPEATS_MAX: u32 = 10;

impl Session {
    /// A request or a survey.
    pub(super) fn question(&mut self, now: Instant, message: &Bytes) {
        let (stack, body) = match Stack::split(message, self.settings.hops_max) {
            Ok(split) => split,
            Err(error) => return self.is_no_header(error),
        };
        let surveys = self.client.role == Role::Surveyor;
        let (since, n_times) = (self.asked.since(&stack), self.asked.get(&stack));
        let n_times = n_times.copied().unwrap_or(0);
        // A client asks again after a while of its own (60 s). What nobody has answered yet waits still: each further copy has to wait
        // twice as long as the one before.
        let within = n_times.saturating_sub(1).min(REPEATS_MAX);
        let within = self.settings.reply_within * 2_u32.pow(within);
        if !surveys && since.is_some_and(|since| now - since < within) {
            return;
        }
        let sp = match (surveys, self.client.options.keeps_requests) {
            (true, _) => Some(SpSend::Told),
            (false, false) => Some(SpSend::Asked),
            (false, true) => Some(SpSend::AskedDurably),
        };
        let mut message = self.message(body, sp);
        message.reply_to = Some(format!("~{REPLIES}"));
        message.correlation_id = Some(spelled(&stack));
        self.asked.insert(stack, now, n_times.saturating_add(1));
        if surveys {
            self.publish(now, message);
        } else {
            self.publish_kept(now, message);
        }
    }

    /// Somebody has answered what the client has asked.
    pub(super) fn answered(&mut self, delivery: &Delivery) {
        self.replies_credit += 1;
        self.wishes.push_back(Wish::Credit {
            consumer: REPLIES,
            limit: self.replies_credit,
        });
        let message = &delivery.message;
        let stack = message.correlation_id.as_deref().and_then(read_stack);
        let is_waited_for = stack.as_ref().is_some_and(|stack| match self.client.role {
            // Each of those who are asked answers.
            Role::Surveyor => self.asked.get(stack).is_some(),
            _ => self.asked.remove(stack).is_some(),
        });
        match stack.filter(|_| is_waited_for) {
            Some(stack) => self.put_out(stack.to_bytes(), message.body.clone(), None),
            None => self.drop_message(Dropped::NotAsked),
        }
    }

    /// The client is to answer something.
    pub(super) fn is_asked(&mut self, now: Instant, delivery: &Delivery, offset: Option<u64>) {
        let id = Stack::of(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let in_hand = InHand {
            offset,
            reply_to: delivery.message.reply_to.clone(),
            correlation_id: delivery.message.correlation_id.clone(),
        };
        if let Some(displaced) = self.in_hand.insert(id.id(), now, in_hand) {
            self.give_back(&displaced);
        }
        self.put_out(id.to_bytes(), delivery.message.body.clone(), None);
    }

    /// The client answers.
    pub(super) fn answer(&mut self, now: Instant, message: &Bytes) {
        let (stack, body) = match Stack::split(message, self.settings.hops_max) {
            Ok(split) => split,
            Err(error) => return self.is_no_header(error),
        };
        let known = match stack.words() {
            [id] => self.in_hand.remove(id),
            _ => None,
        };
        let Some(asked) = known else {
            return self.drop_message(Dropped::NotAsked);
        };
        if let Some(reply_to) = asked.reply_to {
            let mut message = self.message(body, Some(SpSend::Told));
            message.address = reply_to;
            message.correlation_id = asked.correlation_id;
            self.publish(now, message);
        }
        if let Some(offset) = asked.offset {
            self.pass_over(offset);
        }
    }

    /// Requests that the client does not answer go to somebody else; surveys are forgotten.
    pub(super) fn give_back_old(&mut self, now: Instant) {
        let within = self.settings.reply_within;
        while self
            .in_hand
            .oldest()
            .is_some_and(|since| since + within <= now)
            && let Some(old) = self.in_hand.pop_oldest()
        {
            self.give_back(&old);
        }
    }

    pub(super) fn give_back(&mut self, asked: &InHand) {
        if let Some(offset) = asked.offset {
            self.release([offset].into_iter().collect());
            self.raise_credit(1);
        }
    }
}

/// A stack as a correlation id: its words in hexadecimal.
fn spelled(stack: &Stack) -> String {
    let words = stack.words();
    let mut text = String::with_capacity(words.len() * 8);
    for word in words {
        // Writing to a string does not fail.
        write!(text, "{word:08x}").ok();
    }
    text
}

fn read_stack(text: &str) -> Option<Stack> {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    if !rest.is_empty() || words.len() > usize::from(u8::MAX) {
        return None;
    }
    let mut bytes = Vec::with_capacity(words.len() * 4);
    for word in words {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    let (stack, body) = Stack::split(&Bytes::from(bytes), u8::MAX).ok()?;
    body.is_empty().then_some(stack)
}
