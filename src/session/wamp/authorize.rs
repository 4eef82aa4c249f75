//! The dynamic authorizer: a procedure of the realm that is asked whether a session may do what rules let it do.
//!
//! It can only narrow what rules allow. While it is asked, nothing else of the session is taken, so that order is kept; its answers are
//! remembered for a while. Whoever answers it is not asked about, nor is who registers it, nor what concerns the router's own space: there
//! rules alone decide. But the events of a history are told to those only who are subscribed to it, and so were let in, and for a
//! testament's topic it is asked as for one that is published to.
//!
//! The procedure gets `(session's details, URI, action, {match})`, where the action is `publish`, `subscribe`, `register` or `call`, and answers
//! with a bool, or a dict with `allow` and, if that is not to be remembered, `cache: false`. Any other answer, an error, or none in
//! time: `wamp.error.authorization_failed`. What has a `_reply_to` may become a call: then both are asked, `publish` first.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use restante_proto::wamp::{Dict, Message, Payload, Value};

use super::requests::Turn;
use super::rpc::RECEIVED;
use super::{Session, Wish};
use crate::broker::{Authorized, WampAsk};
use crate::router::{Match, is_reserved};
use crate::wamp::event::{self, ADD_TESTAMENT};
use crate::wamp::history::{GET_EVENTS, Wanted};
use crate::wamp::{code, json};

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
    /// The registration by which it is the authorizer, or one of them.
    is_it: Option<u64>,
}

/// What the authorizer is asked just now.
#[derive(Debug)]
struct Asked {
    message: Message,
    question: Question,
    /// What is to be asked besides, the next one last.
    rest: Vec<Question>,
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
            procedure, options, ..
        } = &message
            && is_authorizer(authorizer, procedure, how(options))
        {
            return self.dispatch(now, message);
        }
        if self.authorizing.is_it.is_some() {
            return self.dispatch(now, message);
        }
        if self.asks_for_others_history(&message) {
            return self.deny(&message, NOT_SUBSCRIBED);
        }
        let questions = questions(&message);
        self.take_if_allowed(now, message, questions);
    }

    /// Takes a message once all of that is allowed, of which the last one is asked first.
    fn take_if_allowed(&mut self, now: Instant, message: Message, mut questions: Vec<Question>) {
        while let Some(question) = questions.pop() {
            let known = self.authorizing.known.get(&question);
            match known.filter(|(_, until)| now < *until) {
                Some((true, _)) => {}
                Some((false, _)) => return self.deny(&message, NOT_AUTHORIZED),
                None => return self.ask_authorizer(now, message, question, questions),
            }
        }
        self.dispatch(now, message);
    }

    fn ask_authorizer(
        &mut self,
        now: Instant,
        message: Message,
        question: Question,
        rest: Vec<Question>,
    ) {
        self.authorizing.last += 1;
        let ask = WampAsk::Authorize {
            question: self.authorizing.last,
            authorizer: self.settings.authorizer.clone().unwrap_or_default(),
            action: question.action,
            uri: question.uri.clone(),
            how: question.how,
        };
        self.wishes.push_back(Wish::Ask(Box::new(ask)));
        self.authorizing.asked = Some(Box::new(Asked {
            message,
            question,
            rest,
            deadline: now + ANSWER_WITHIN,
        }));
    }

    /// The client is a callee of that now.
    pub(super) fn has_registered(&mut self, registration: u64, procedure: &str, how: Match) {
        let authorizer = self.settings.authorizer.as_deref();
        if authorizer.is_some_and(|it| is_authorizer(it, procedure, how)) {
            self.authorizing.is_it = Some(registration);
        }
    }

    /// The client has given up a registration, or it was taken away.
    pub(super) fn has_lost_registration(&mut self, registration: u64) {
        self.authorizing.is_it.take_if(|it| *it == registration);
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
            message,
            question,
            rest,
            ..
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
                    self.take_if_allowed(now, message, rest);
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

/// Whether what is registered so is the authorizer, and no pattern that is spelled as it is.
fn is_authorizer(authorizer: &str, procedure: &str, how: Match) -> bool {
    procedure == authorizer && how == Match::Exact
}

/// How it is to be matched. What is none of these is refused where it is read.
fn how(options: &Dict) -> Match {
    let name = options.text("match").ok().flatten();
    name.and_then(Match::named).unwrap_or_default()
}

/// What the authorizer is to be asked about a message, the first question last.
fn questions(message: &Message) -> Vec<Question> {
    match message {
        Message::Publish { topic, options, .. } => {
            let is_request = options
                .get("_reply_to")
                .is_some_and(|it| *it != Value::Null);
            of_publication(topic, is_request)
        }
        Message::Subscribe { topic, options, .. } => of("subscribe", topic, how(options)),
        Message::Register {
            procedure, options, ..
        } => of("register", procedure, how(options)),
        Message::Call {
            procedure, payload, ..
        } if procedure == ADD_TESTAMENT => of_testament(payload),
        Message::Call { procedure, .. } if procedure != RECEIVED => {
            of("call", procedure, Match::Exact)
        }
        _ => Vec::new(),
    }
}

fn of(action: &'static str, uri: &str, how: Match) -> Vec<Question> {
    let uri = (!is_reserved(uri)).then(|| uri.to_owned());
    let question = uri.map(|uri| Question { action, uri, how });
    question.into_iter().collect()
}

/// A request is a call, where nobody but a procedure takes it.
fn of_publication(topic: &str, is_request: bool) -> Vec<Question> {
    let actions = if is_request {
        &["call", "publish"][..]
    } else {
        &["publish"]
    };
    let all = actions.iter();
    all.flat_map(|action| of(action, topic, Match::Exact))
        .collect()
}

/// What the session wants published when it ends. It is read as the router reads it, which refuses what it cannot.
fn of_testament(payload: &Payload) -> Vec<Question> {
    let (Ok(args), Ok(kwargs)) = (payload.args(), payload.kwargs()) else {
        return Vec::new();
    };
    let args: Vec<_> = args.into_iter().map(json::of_value).collect();
    let kwargs = json::of_dict(kwargs);
    let Some((topic, options)) = event::testament(&args, &kwargs) else {
        return Vec::new();
    };
    let reply_to = options.and_then(|it| it.get("_reply_to"));
    of_publication(topic, reply_to.is_some_and(|it| !it.is_null()))
}
