//! How far the log may be cut, and what is to be written again so that more of it may go.

use restante_storage::Lsn;

use super::Errand;
use crate::engine::Engine;

impl Engine {
    /// Below this LSN the log holds nothing that is needed, where the state store holds the checkpoint of
    /// `checkpointed`: neither to go on from that, nor to begin without it.
    pub fn needed_from(&self, checkpointed: Lsn) -> Lsn {
        // What was needed at that time, because a power cut may take what came after it.
        let then = self.dirty.needed_at(checkpointed);
        then.unwrap_or_else(|| self.needed_now().min(checkpointed))
    }

    /// Below this LSN the log holds nothing of what is true now.
    pub(in crate::engine) fn needed_now(&self) -> Lsn {
        let queues = self.queues.values().filter(|queue| queue.def.is_some());
        let homes = queues
            .map(|queue| queue.home)
            .chain(self.sessions.values().map(|session| session.home));
        homes
            .chain(self.config.values().map(|it| it.home))
            .chain(self.segments.first_live())
            .chain(self.retained.needed())
            .fold(self.applied, Lsn::min)
    }

    /// Definitions and kept messages that alone keep the log from letting go of its oldest segments, which begin at `oldest`: to be
    /// written again. Each is given once, and must get to the log.
    pub fn take_rewrites(&mut self, oldest: Lsn, checkpointed: Lsn, limit: usize) -> Vec<Errand> {
        let first_live = self.segments.first_live();
        let retained = self.retained.could_go_to(self.applied);
        let holds = first_live.into_iter().chain(retained);
        let could_go_to = holds.fold(checkpointed, Lsn::min);
        let boundary = self.segments.floor(could_go_to);
        if boundary <= oldest {
            return Vec::new();
        }
        let as_of = self.applied.get();
        let mut rewrites = Vec::new();
        let documents = self.config_below(boundary, limit);
        if !documents.is_empty() {
            rewrites.push(Errand::Config(documents));
        }
        for queue in self.queues.values_mut() {
            if rewrites.len() == limit {
                return rewrites;
            }
            if queue.home < boundary
                && !queue.live.rewriting
                && let Some(def) = &queue.def
            {
                queue.live.rewriting = true;
                let mut def = restante_storage::payload::DefineQueue::clone(def);
                def.as_of = as_of;
                rewrites.push(Errand::Queue(def));
            }
        }
        for session in self.sessions.values_mut() {
            if rewrites.len() == limit {
                return rewrites;
            }
            if session.home < boundary
                && !session.rewriting
                && let Some(mut def) = session.whole()
            {
                session.rewriting = true;
                def.as_of = as_of;
                rewrites.push(Errand::Session(Box::new(def)));
            }
        }
        let left = limit.saturating_sub(rewrites.len());
        let old = self.retained.sweep(boundary, self.applied, left);
        rewrites.extend(old.into_iter().map(Errand::Retain));
        rewrites
    }
}
