//! From HELLO to WELCOME, or to ABORT.
//!
//! Rules: the WAMP specification, "Session Establishment", "Authentication Methods".

use std::sync::Arc;

use restante_proto::wamp::{Dict, Message, Value, WrongType};

use super::wish::{Known, Opening, Proved, Wish};
use super::{Me, Session, State, features, reason};
use crate::broker::WampClient;
use crate::router::{Features, Match};
use crate::session::NotAttached;

/// A HELLO that is being answered.
#[derive(Debug)]
pub(super) struct Hello {
    realm: String,
    session: u64,
    features: Features,
    publishes_opaque: bool,
}

/// One whose client is known.
#[derive(Debug)]
pub(super) struct Opened {
    hello: Hello,
    known: Known,
}

impl Session {
    pub(super) fn opening_message(&mut self, message: Message) {
        match message {
            Message::Hello { realm, details } => self.hello(realm, &details),
            Message::Abort { .. } => self.close("aborted", false, "the client aborted"),
            other => {
                let why = format!("a session begins with HELLO, not with {}", other.name());
                self.violate(&why);
            }
        }
    }

    pub(super) fn proving_message(&mut self, message: Message) {
        match message {
            Message::Authenticate { signature, extra } if !self.requests.waits_for_driver => {
                self.requests.waits_for_driver = true;
                self.wishes.push_back(Wish::Answer { signature, extra });
            }
            Message::Abort { .. } => self.close("aborted", false, "the client aborted"),
            other => {
                let why = format!("{} may not come before WELCOME", other.name());
                self.violate(&why);
            }
        }
    }

    fn hello(&mut self, realm: String, details: &Dict) {
        if !self.is_uri(&realm, Match::Exact) {
            let why = format!("{realm:?} is no name of a realm");
            self.abort("wamp.error.invalid_uri", &why, Dict::new());
            return self.close("bad-realm", false, &why);
        }
        let read = self.read_hello(realm, details);
        let (hello, opening) = match read {
            Ok(read) => read,
            Err(why) => return self.violate(&why),
        };
        let State::Opening { deadline } = self.state else {
            return;
        };
        self.requests.waits_for_driver = true;
        self.wishes.push_back(Wish::Begin(Box::new(opening)));
        let hello = Box::new(hello);
        self.state = State::Proving { deadline, hello };
    }

    fn read_hello(&mut self, realm: String, details: &Dict) -> Result<(Hello, Opening), String> {
        let wrong = |error: WrongType| format!("HELLO.details.{error}");
        let roles = details.dict("roles").map_err(wrong)?;
        let roles = roles.ok_or("HELLO.details has no roles")?;
        let features = features::of_client(roles)
            .ok_or("HELLO.details.roles names none of publisher, subscriber, caller and callee")?;
        let methods = details.list("authmethods").map_err(wrong)?;
        let methods = methods.unwrap_or_default().iter();
        let methods: Option<Vec<String>> =
            methods.map(|it| it.as_str().map(str::to_owned)).collect();
        let session = self.random_id();
        let text =
            |key: &str| Ok::<_, String>(details.text(key).map_err(wrong)?.map(str::to_owned));
        let opening = Opening {
            realm: realm.clone(),
            session,
            authmethods: methods
                .ok_or("HELLO.details.authmethods has something that is no string")?,
            authid: text("authid")?,
            authrole: text("authrole")?,
            authextra: details
                .dict("authextra")
                .map_err(wrong)?
                .cloned()
                .unwrap_or_default(),
        };
        let hello = Hello {
            realm,
            session,
            features,
            publishes_opaque: features::publishes_opaque(roles),
        };
        Ok((hello, opening))
    }

    /// What became of [`Wish::Begin`] or [`Wish::Answer`].
    pub fn handle_proved(&mut self, proved: Proved) {
        self.requests.waits_for_driver = false;
        if !matches!(self.state, State::Proving { .. }) {
            return;
        }
        match proved {
            Proved::Challenge { method, extra } => self.output.message(Message::Challenge {
                authmethod: method.to_owned(),
                extra,
            }),
            Proved::Known(known) => self.attach(*known),
            Proved::Refused {
                reason,
                message,
                extra,
            } => {
                self.abort(reason, &message, extra);
                self.close("refused", false, &message);
            }
        }
    }

    fn attach(&mut self, known: Known) {
        // Replaced below.
        let State::Proving { hello, .. } = std::mem::replace(&mut self.state, State::Running)
        else {
            return;
        };
        let client = WampClient {
            session: hello.session,
            authid: Arc::clone(&known.authid),
            authrole: Arc::clone(&known.authrole),
            authmethod: known.authmethod,
            authprovider: known.authprovider,
            transport: self.transport.name,
            serializer: self.transport.serializer.subprotocol(false),
            features: hello.features,
        };
        self.wishes.push_back(Wish::Attach {
            realm: hello.realm.clone(),
            client: Box::new(client),
        });
        let hello = *hello;
        self.state = State::Attaching(Box::new(Opened { hello, known }));
    }

    /// What became of [`Wish::Attach`].
    pub fn handle_attached(&mut self, attached: Result<(), NotAttached>) {
        if !matches!(self.state, State::Attaching(_)) {
            return;
        }
        let State::Attaching(opened) = std::mem::replace(&mut self.state, State::Running) else {
            return;
        };
        if let Err(why) = attached {
            let (uri, word) = refusal(&why);
            let text = why.to_string();
            self.abort(uri, &text, Dict::new());
            return self.close(word, false, &text);
        }
        let Opened { hello, known } = *opened;
        self.attached = true;
        // Many do nothing from here on.
        self.rest();
        self.me = Some(Box::new(Me {
            session: hello.session,
            authid: Arc::clone(&known.authid),
            authrole: Arc::clone(&known.authrole),
            announced: hello.features,
            publishes_opaque: hello.publishes_opaque,
        }));
        let mut details = Dict::new()
            .with("roles", features::announced())
            .with("realm", hello.realm.as_str())
            .with("agent", self.settings.agent.as_str())
            .with("authid", &*known.authid)
            .with("authrole", &*known.authrole)
            .with("authmethod", known.authmethod)
            .with("authprovider", known.authprovider);
        if !known.authextra.is_empty() {
            details.insert("authextra", Value::Dict(known.authextra));
        }
        self.output.message(Message::Welcome {
            session: hello.session,
            details,
        });
    }
}

/// Why a client that is known is not attached, as WAMP says it; and a word for metrics.
fn refusal(why: &NotAttached) -> (&'static str, &'static str) {
    match why {
        NotAttached::Unauthorized => ("wamp.error.authentication_denied", "refused"),
        NotAttached::Throttled => ("wamp.error.authentication_denied", "throttled"),
        NotAttached::Busy => ("wamp.error.authentication_failed", "busy"),
        _ => (reason::SYSTEM_SHUTDOWN, "not-attached"),
    }
}
