//! What a realm is still to hear of those who are gone: made into events a few at a time.
//!
//! A session that ends takes thousands of subscriptions with it, and each end is an event for every subscription that matches its
//! topic. All of them at once would be megabytes for each who listens, while the realm stands still.
//!
//! Always, with a test of this name in `src/router/tests/sessions.rs`: `an_end_is_told_a_few_events_at_a_time`.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;

use super::output::Sink;
use super::{RegistrationId, Router, SessionId, SubscriptionId};

/// Messages after which the rest waits for the next time.
const MESSAGES_MAX: usize = 1024;

/// One thing that has happened.
#[derive(Debug)]
pub(super) enum News {
    /// A subscriber is gone, the last one if so said.
    Unsubscribed(SessionId, SubscriptionId, bool),
    /// A callee is gone, the last one if so said.
    Unregistered(SessionId, RegistrationId, bool),
    /// Nothing is said of a URI any more.
    Undefined(Arc<str>),
    /// A session is gone: its user, and that one's role.
    Left(SessionId, Arc<str>, Arc<str>),
}

impl<P: Clone> Router<P> {
    /// Makes up to `n_max` of what is still to be told into events, in its order; false once there is no more. To be called, and what
    /// is in `sink` to be handed out, until then: after sessions have left, or were killed, and after subscriptions were withdrawn.
    pub fn tell_news(&mut self, n_max: usize, sink: &mut Sink<P>) -> bool {
        for _ in 0..n_max {
            if sink.messages.len() >= MESSAGES_MAX {
                break;
            }
            match self.news.pop_front() {
                None => break,
                Some(News::Unsubscribed(session, id, is_over)) => {
                    self.announce_unsubscribed(session, id, is_over, sink);
                }
                Some(News::Unregistered(session, id, is_over)) => {
                    self.announce_unregistered(session, id, is_over, sink);
                }
                Some(News::Undefined(uri)) => self.announce_undefined(&uri, sink),
                Some(News::Left(id, authid, authrole)) => {
                    let args = || vec![json!(id.get()), json!(&*authid), json!(&*authrole)];
                    self.announce("wamp.session.on_leave", args, sink);
                }
            }
        }
        if self.news.is_empty() {
            self.news = VecDeque::new();
        }
        self.has_news()
    }

    /// Whether there is more for [`tell_news`](Self::tell_news).
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// To be told when its time comes; dropped where nobody listens.
    pub(super) fn add_news(&mut self, news: News) {
        if self.has_listeners() {
            self.news.push_back(news);
        }
    }
}
