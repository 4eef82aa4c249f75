//! Telling new listeners of what is retained, page by page, as their client takes it: for those whose subscriptions have a listener each.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outbox::Subscriber;
use crate::engine::address::Filter;

/// Who is to be told of what.
#[derive(Debug, Default)]
pub(super) struct Telling {
    waiting: VecDeque<Told>,
    /// Whether the core was asked for the first one's next page.
    asked: bool,
}

/// How far a listener has been told.
#[derive(Debug)]
struct Told {
    listener: Arc<Subscriber>,
    filter: Filter,
    after: Option<Arc<str>>,
}

impl Telling {
    /// One more is to be told.
    pub(super) fn push(&mut self, listener: Arc<Subscriber>, filter: Filter) {
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

    /// Whom to ask for now, and from where on; none: nobody, or that was done.
    pub(super) fn next(&mut self) -> Option<(Arc<Subscriber>, Filter, Option<Arc<str>>)> {
        if self.asked {
            return None;
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
