//! Whose turn it is among the callees of a registration (wamp.md §7.5, §7.10, §7.11).
//!
//! A callee that has as many calls as it takes, or has said of this call that it is unavailable, is passed over as if it
//! had not registered.

use std::num::NonZeroU32;

use super::chance::Chance;
use super::{Refused, SessionId, ShardKey};

/// How a registration is shared (the option `invoke`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Invoke {
    /// It is not.
    #[default]
    Single,
    /// The callee that registered first.
    First,
    /// The callee that registered last.
    Last,
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
}

impl Invoke {
    /// By its name in options; none for any other text.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "single" => Some(Self::Single),
            "first" => Some(Self::First),
            "last" => Some(Self::Last),
            "roundrobin" => Some(Self::RoundRobin),
            "random" => Some(Self::Random),
            _ => None,
        }
    }

    /// Its name in options and meta events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::First => "first",
            Self::Last => "last",
            Self::RoundRobin => "roundrobin",
            Self::Random => "random",
        }
    }
}

/// A callee of a registration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) session: SessionId,
    /// Names this entry: a session that registers again is another.
    pub(super) ticket: Ticket,
    /// How many calls it takes at a time; none: any number.
    pub(super) concurrency: Option<NonZeroU32>,
    /// Counted only if there is a `concurrency`.
    pub(super) n_running: u32,
    pub(super) disclose_caller: bool,
    pub(super) forward_timeout: bool,
}

/// Names an [`Entry`] of a realm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ticket(pub(super) u64);

impl Entry {
    fn is_free(&self) -> bool {
        (self.concurrency).is_none_or(|concurrency| self.n_running < concurrency.get())
    }
}

/// The callees of a registration, in the order in which they registered; never empty.
#[derive(Debug)]
pub(super) struct Callees {
    pub(super) policy: Invoke,
    pub(super) entries: Vec<Entry>,
    /// Whose turn it is under [`Invoke::RoundRobin`].
    next: usize,
}

impl Callees {
    pub(super) fn new(policy: Invoke, first: Entry) -> Self {
        Self {
            policy,
            entries: vec![first],
            next: 0,
        }
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.entries.iter().any(|entry| entry.session == session)
    }

    /// Takes a callee out; the others keep their turns.
    pub(super) fn remove(&mut self, session: SessionId) {
        let is_meant = |entry: &Entry| entry.session == session;
        let Some(at) = self.entries.iter().position(is_meant) else {
            return;
        };
        self.entries.remove(at);
        if at < self.next {
            self.next -= 1;
        }
    }

    /// One more, or one less, is running with this entry, if it is still there.
    pub(super) fn count(&mut self, ticket: Ticket, is_more: bool) {
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.ticket == ticket) {
            entry.n_running = match is_more {
                true => entry.n_running.saturating_add(1),
                false => entry.n_running.saturating_sub(1),
            };
        }
    }

    /// Whose turn it is, those left out of whom `is_out` says so. With a `shard` key, the one that this key belongs to, whatever the policy.
    ///
    /// # Errors
    /// [`Refused::MaxConcurrencyReached`].
    pub(super) fn choose(
        &mut self,
        shard: Option<&str>,
        chance: &mut Chance,
        is_out: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, Refused> {
        let is_in = |entry: &Entry| entry.is_free() && !is_out(entry);
        let chosen = match (shard, self.policy) {
            (Some(key), _) => self.owner(key, is_out),
            (None, Invoke::Single | Invoke::First) => {
                self.entries.iter().copied().find(|entry| is_in(entry))
            }
            (None, Invoke::Last) => self.entries.iter().copied().rfind(|entry| is_in(entry)),
            (None, Invoke::RoundRobin) => self.in_turn(is_in),
            (None, Invoke::Random) => self.any(chance, is_in),
        };
        chosen.ok_or(Refused::MaxConcurrencyReached)
    }

    fn in_turn(&mut self, is_in: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let begin = if self.next < self.entries.len() {
            self.next
        } else {
            0
        };
        let (before, after) = self.entries.split_at(begin);
        let mut turns = (begin..).zip(after).chain((0..).zip(before));
        let (at, entry) = turns.find(|(_, entry)| is_in(entry))?;
        self.next = at + 1;
        Some(*entry)
    }

    /// The first guess is right unless somebody is busy.
    fn any(&self, chance: &mut Chance, is_in: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let guess = self.entries.get(chance.below(self.entries.len()));
        if let Some(entry) = guess.filter(|entry| is_in(entry)) {
            return Some(*entry);
        }
        let fit = || self.entries.iter().filter(|entry| is_in(entry));
        let at = chance.below(fit().count());
        fit().nth(at).copied()
    }

    /// Rendezvous: of all callees the one that fits the key best, so that a callee that comes or goes moves only its own keys.
    /// Whoever is busy keeps its keys: another callee would not have what belongs to them.
    fn owner(&self, key: &str, is_out: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let key = ShardKey::of(key);
        let fit = |entry: &&Entry| key.fit_number(entry.session.get());
        let candidates = self.entries.iter().filter(|entry| !is_out(entry));
        candidates.max_by_key(fit).copied().filter(Entry::is_free)
    }
}
