//! What a new socket begins with: what is dropped, what is said of what is in hand, what is sent again.

use std::collections::BTreeMap;

use restante_proto::mbws::{Consume, Frame, From as Start, Mode, Ranges};

use super::{Closing, Conversation, Member, hold_frame, reply_to, set_seq};
use crate::client::error::ClientError;
use crate::client::opening::Opening;

impl Conversation {
    /// A socket is open again.
    ///
    /// # Errors
    /// The session is lost, or the broker has less or more than it can have.
    pub(in crate::client) fn handle_opened(&mut self, opened: &Opening) -> Result<(), ClientError> {
        self.session = opened.session;
        self.holds.clear();
        for member in self.members.values_mut() {
            member.n_delivered = 0;
            member.limit = 0;
            member.live = false;
        }
        if self.close == Closing::Said {
            self.close = Closing::Wanted;
        }
        if opened.resumed {
            self.resume(opened.confirmed)?;
        } else {
            self.begin_anew()?;
        }
        for name in self.members.keys().cloned().collect::<Vec<_>>() {
            self.list_credit(&name);
        }
        Ok(())
    }

    fn resume(&mut self, confirmed: u64) -> Result<(), ClientError> {
        let first = self.next_seq - self.unconfirmed.len() as u64;
        if confirmed + 1 < first {
            return Err(ClientError::Forgotten {
                has: confirmed,
                confirmed: first - 1,
            });
        }
        if confirmed >= self.next_seq {
            return Err(ClientError::Protocol(
                "it confirmed frames that were never sent",
            ));
        }
        // Right behind `opened` comes a `confirm` of these, with what of them failed: until then they are kept.
        let n_applied = (confirmed + 1 - first) as usize;
        self.n_sent = n_applied;
        self.n_resend = self
            .unconfirmed
            .iter()
            .skip(n_applied)
            .filter(|entry| entry.seq <= self.ever_sent)
            .count();
        self.hold(n_applied);
        Ok(())
    }

    /// Says what is in hand, for each consumer that the broker still has.
    fn hold(&mut self, n_applied: usize) {
        let mut applied: BTreeMap<&str, Ranges> = BTreeMap::new();
        for entry in self.unconfirmed.iter().take(n_applied) {
            if let Frame::Settle(settle) = &entry.frame {
                let ranges = applied.entry(&settle.consumer).or_default();
                for (first, last) in settle.accepted.iter() {
                    ranges.insert_range(first, last);
                }
                for (first, last) in settle.released.iter().chain(settle.rejected.iter()) {
                    ranges.insert_range(first, last);
                }
            }
        }
        let unknown: Vec<&str> = self
            .unconfirmed
            .iter()
            .skip(n_applied)
            .filter_map(|entry| match &entry.frame {
                Frame::Consume(consume) => Some(consume.consumer.as_str()),
                _ => None,
            })
            .collect();
        for (name, member) in &mut self.members {
            if unknown.contains(&&**name) {
                continue;
            }
            member.live = true;
            let none = Ranges::new();
            if let Some(offsets) = member.shelf.holding(applied.get(&**name).unwrap_or(&none)) {
                self.holds.push_back(hold_frame(name, offsets));
            }
        }
    }

    /// The broker has a new, empty session for us.
    fn begin_anew(&mut self) -> Result<(), ClientError> {
        let first = self.next_seq - self.unconfirmed.len() as u64;
        let unconfirmed = (self.ever_sent + 1).saturating_sub(first);
        if !self.at_least_once && (unconfirmed > 0 || !self.members.is_empty()) {
            return Err(ClientError::SessionLost { unconfirmed });
        }
        let old = std::mem::take(&mut self.unconfirmed);
        self.next_seq = 1;
        self.n_sent = 0;
        self.n_resend = 0;
        self.ever_sent = 0;
        self.inherited = 0;
        let waiting: Vec<String> = old
            .iter()
            .filter_map(|entry| match &entry.frame {
                Frame::Consume(consume) => Some(consume.consumer.clone()),
                _ => None,
            })
            .collect();
        for (name, member) in std::mem::take(&mut self.members) {
            member.shelf.lose_session();
            if !waiting.iter().any(|consumer| **consumer == *name) {
                self.push_entry(Frame::Consume(member.consume_again()), None, None);
            }
            self.members.insert(name, member);
        }
        for entry in old {
            match entry.frame {
                Frame::Settle(_) => {}
                Frame::Cancel(cancel) => {
                    self.members.remove(cancel.consumer.as_str());
                    reply_to(entry.reply, Ok(()));
                }
                frame => self.push_entry(frame, entry.ticket, entry.reply),
            }
        }
        // A consumer whose cancel was under way must not be started again for nothing: its entry says so itself.
        let members = &self.members;
        self.unconfirmed.retain(|entry| match &entry.frame {
            Frame::Consume(consume) => members.contains_key(consume.consumer.as_str()),
            _ => true,
        });
        self.number_again();
        Ok(())
    }

    fn number_again(&mut self) {
        let mut seq = 0;
        for entry in &mut self.unconfirmed {
            seq += 1;
            entry.seq = seq;
            set_seq(&mut entry.frame, seq);
        }
        self.next_seq = seq + 1;
    }
}

impl Member {
    fn consume_again(&self) -> Consume {
        let mut consume = self.consume.clone();
        if matches!(consume.mode, Mode::Browse | Mode::Replay)
            && let Some(offset) = self.shelf.next_offset()
        {
            consume.from = Some(Start::Offset(offset));
        }
        consume
    }
}
