//! Telling new listeners of what is retained, page by page, as their client takes it: for those whose subscriptions have a listener each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outbox::Subscriber;
use crate::engine::address::Filter;

/// Who is to be told of what.
#[derive(Debug)]
pub(super) struct Telling {
    waiting: VecDeque<Told>,
    /// Whether the core was asked for the first one's next page.
    asked: bool,
    /// How many may wait before those are left out who do not listen any more.
    tidy_at: usize,
}

/// See [`Telling::push`].
const TIDY_MIN: usize = 64;

impl Default for Telling {
    fn default() -> Self {
        Telling {
            waiting: VecDeque::new(),
            asked: false,
            tidy_at: TIDY_MIN,
        }
    }
}

/// How far a listener has been told.
#[derive(Debug)]
struct Told {
    listener: Arc<Subscriber>,
    filter: Filter,
    after: Option<Arc<str>>,
}

impl Telling {
    /// One more is to be told. Those who do not listen any more are left out once they are many, else when it is their turn.
    pub(super) fn push(
        &mut self,
        listener: Arc<Subscriber>,
        filter: Filter,
        listens: impl Fn(&Subscriber) -> bool,
    ) {
        if self.waiting.len() >= self.tidy_at {
            // What was asked for the first one is still to come.
            let mut is_asked = self.asked;
            self.waiting
                .retain(|it| std::mem::take(&mut is_asked) || listens(&it.listener));
            self.tidy_at = TIDY_MIN.max(2 * self.waiting.len());
        }
        self.waiting.push_back(Told {
            listener,
            filter,
            after: None,
        });
    }

    /// The first one was told of a page, behind which the next one begins, if there is one.
    pub(super) fn has_told(&mut self, next: Option<Arc<str>>) {
        self.asked = false;
        match (next, self.waiting.front_mut()) {
            (Some(next), Some(told)) => told.after = Some(next),
            _ => drop(self.waiting.pop_front()),
        }
    }

    /// Whom to ask for now, and from where on; none: nobody, or that was done. Who does not listen any more is not told.
    pub(super) fn next(
        &mut self,
        listens: impl Fn(&Subscriber) -> bool,
    ) -> Option<(Arc<Subscriber>, Filter, Option<Arc<str>>)> {
        if self.asked {
            return None;
        }
        while let Some(first) = self.waiting.front()
            && !listens(&first.listener)
        {
            self.waiting.pop_front();
        }
        let told = self.waiting.front()?;
        self.asked = true;
        Some((
            Arc::clone(&told.listener),
            told.filter.clone(),
            told.after.clone(),
        ))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked || self.waiting.is_empty()
    }
}

#[cfg(test)]
impl Telling {
    pub(in crate::broker) fn n_waiting(&self) -> usize {
        self.waiting.len()
    }
}
