//! The dynamic authorizer: a procedure of the realm that is asked whether a session may do what rules let it do.
//!
//! It can only narrow what rules allow. While it is asked, nothing else of the session is taken, so that order is kept; its answers are
//! remembered for a while. Whoever answers it is not asked about, nor is who registers it, nor what concerns the router's own space: there
//! rules alone decide. But the events of a history are told to those only who are subscribed to it, and so were let in.
//!
//! The procedure gets `(session's details, URI, action, {match})`, where the action is `publish`, `subscribe`, `register` or `call`, and answers
//! with a bool, or a dict with `allow` and, if that is not to be remembered, `cache: false`. Any other answer, an error, or none in
//! time: `wamp.error.authorization_failed`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use restante_proto::wamp::Message;

use super::requests::Turn;
use super::rpc::RECEIVED;
use super::{Session, Wish};
use crate::broker::{Authorized, WampAsk};
use crate::router::{Match, is_reserved};
use crate::wamp::code;
use crate::wamp::history::{GET_EVENTS, Wanted};

/// How long the authorizer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Answers that are remembered of one session.
const CACHED_MAX: usize = 1024;

/// What is known of what a session may do.
#[derive(Debug, Default)]
pub(super) struct Authorizing {
    asked: Option<Box<Asked>>,
    /// The number of the last question: an answer to one before it comes too late.
    last: u64,
    known: HashMap<Question, (bool, Instant)>,
    /// The request by which this session offers to be the authorizer.
    pub(super) offers: Option<u64>,
    /// It is the authorizer, or one of them.
    pub(super) is_it: bool,
}

/// What the authorizer is asked just now.
#[derive(Debug)]
struct Asked {
    message: Message,
    question: Question,
    deadline: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    action: &'static str,
    uri: String,
    how: Match,
}

impl Authorizing {
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.as_ref().map(|it| it.deadline)
    }
}

impl Session {
    /// Takes a message if the client may do what it asks for, as far as the authorizer is concerned. Or asks.
    pub(super) fn take_if_authorized(&mut self, now: Instant, message: Message) {
        let Some(authorizer) = self.settings.authorizer.as_deref() else {
            return self.dispatch(now, message);
        };
        if let Message::Register {
            request, procedure, ..
        } = &message
            && procedure == authorizer
        {
            self.authorizing.offers = Some(*request);
            return self.dispatch(now, message);
        }
        if !self.authorizing.is_it && self.asks_for_others_history(&message) {
            return self.deny(&message, NOT_SUBSCRIBED);
        }
        let question = question(&message).filter(|_| !self.authorizing.is_it);
        let Some(question) = question else {
            return self.dispatch(now, message);
        };
        let known = self.authorizing.known.get(&question);
        match known.filter(|(_, until)| now < *until) {
            Some((true, _)) => self.dispatch(now, message),
            Some((false, _)) => self.deny(&message, NOT_AUTHORIZED),
            None => {
                self.authorizing.last += 1;
                let ask = WampAsk::Authorize {
                    question: self.authorizing.last,
                    authorizer: authorizer.to_owned(),
                    action: question.action,
                    uri: question.uri.clone(),
                    how: question.how,
                };
                self.wishes.push_back(Wish::Ask(Box::new(ask)));
                self.authorizing.asked = Some(Box::new(Asked {
                    message,
                    question,
                    deadline: now + ANSWER_WITHIN,
                }));
            }
        }
    }

    /// Whether it is about a history that the client has not been let subscribe to. Which topic that is the session cannot know, so
    /// that there is nothing to ask the authorizer about.
    fn asks_for_others_history(&self, message: &Message) -> bool {
        let Message::Call {
            procedure, payload, ..
        } = message
        else {
            return false;
        };
        if procedure != GET_EVENTS {
            return false;
        }
        let (args, kwargs) = (payload.args(), payload.kwargs());
        let read = args.and_then(|args| Ok(Wanted::read(&args, &kwargs?)));
        // What is not read is refused where it is looked at.
        matches!(read, Ok(Ok((subscription, _))) if !self.topics.has(subscription))
    }

    /// The authorizer has answered the question of that number.
    pub(super) fn authorized(&mut self, now: Instant, question: u64, said: Authorized) {
        if question != self.authorizing.last {
            return;
        }
        let Some(asked) = self.authorizing.asked.take() else {
            return;
        };
        let Asked {
            message, question, ..
        } = *asked;
        match said {
            Authorized::Failed => self.deny(&message, FAILED),
            Authorized::Says { allow, cache } => {
                let until = now + self.settings.authorizer_cache;
                if cache && until > now {
                    if self.authorizing.known.len() >= CACHED_MAX {
                        self.authorizing.known.clear();
                    }
                    self.authorizing.known.insert(question, (allow, until));
                }
                if allow {
                    self.dispatch(now, message);
                } else {
                    self.deny(&message, NOT_AUTHORIZED);
                }
            }
        }
    }

    /// Whoever should have answered did not.
    pub(super) fn give_up_authorizer(&mut self, now: Instant) {
        if self.authorizing.deadline().is_some_and(|at| now >= at) {
            self.authorized(now, self.authorizing.last, Authorized::Failed);
        }
    }

    fn deny(&mut self, message: &Message, (uri, why): (&str, &str)) {
        let (request_type, request) = match message {
            Message::Publish {
                request, options, ..
            } => {
                if !self.is_next(*request) {
                    return;
                }
                if options.flag("acknowledge") != Ok(Some(true)) {
                    self.tally.refused_unheard += 1;
                    return;
                }
                (code::PUBLISH, *request)
            }
            Message::Call { request, .. } => {
                let turn = self.requests.turn(*request, self.ids_ascend());
                if turn == Turn::Wrong {
                    return self.violate("request ids ascend by one");
                }
                (code::CALL, *request)
            }
            Message::Subscribe { request, .. } if self.is_next(*request) => {
                (code::SUBSCRIBE, *request)
            }
            Message::Register { request, .. } if self.is_next(*request) => {
                (code::REGISTER, *request)
            }
            _ => return,
        };
        self.refuse(request_type, request, uri, why);
    }
}

const NOT_AUTHORIZED: (&str, &str) = (
    "wamp.error.not_authorized",
    "the realm's authorizer does not allow that",
);
const NOT_SUBSCRIBED: (&str, &str) = (
    "wamp.error.not_authorized",
    "with an authorizer in the realm, a history is told to subscribers only",
);
const FAILED: (&str, &str) = (
    "wamp.error.authorization_failed",
    "the realm's authorizer is not there, or did not answer as it should",
);

/// What the authorizer is to be asked about a message; none: nothing.
fn question(message: &Message) -> Option<Question> {
    let how = |options: &restante_proto::wamp::Dict| {
        let name = options.text("match").ok().flatten();
        name.and_then(Match::named).unwrap_or_default()
    };
    let (action, uri, how) = match message {
        Message::Publish { topic, .. } => ("publish", topic, Match::Exact),
        Message::Subscribe { topic, options, .. } => ("subscribe", topic, how(options)),
        Message::Register {
            procedure, options, ..
        } => ("register", procedure, how(options)),
        Message::Call { procedure, .. } if procedure != RECEIVED => {
            ("call", procedure, Match::Exact)
        }
        _ => return None,
    };
    (!is_reserved(uri)).then(|| Question {
        action,
        uri: uri.clone(),
        how,
    })
}
