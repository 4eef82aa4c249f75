//! Authentication in more than one step (MQTT 5.0 §4.12): whose turn it is. The one method is SCRAM-SHA-256.
//!
//! ```text
//! CONNECT, method ─▶ First ─ AUTH ─▶ (asks) ─ challenge ─▶ Last ─ AUTH ─▶ (asks) ─ believed ─▶ attached, CONNACK ─▶ Rest
//!                                                                                                  AUTH 0x19 │ ▲ AUTH 0x00
//!                                                                                                            ▼ │
//!                                                                                 First ▶ Last, as above, in between all else
//! ```
//!
//! What the client says is the method's business, and goes to whoever knows credentials as [`Wish::Prove`]. The client speaks first in
//! SCRAM; one that connects without data is asked for it.
//!
//! Who fails is told 0x87, Not authorized: §4.12 names that code, and 0x86 is for the user name and the password of a CONNECT, at which
//! nobody looks where there is a method. Neither does a failure quote SCRAM's `e=`, which could tell more than that.
//!
//! Always, each with a test of its name in `tests::auth`:
//! - `only_auth_and_a_goodbye_may_come_before_the_connack`.
//! - `who_does_not_prove_it_is_not_attached`.
//! - `all_else_goes_on_while_a_client_authenticates_anew`.
//!
//! Not here: SCRAM itself (access), who the client is then (front).

use std::time::Instant;

use bytes::Bytes;
use restante_proto::mqtt::{
    Auth, AuthProperties, Connect, Packet, PacketType, ReasonCode, Secret, Str,
};

use super::connect::{Denied, Wanted};
use super::reasons;
use super::{NotAttached, Session, State, Wish};

/// The name of the method.
const METHOD: &str = "SCRAM-SHA-256";

/// Longer data is not looked at: SCRAM's messages have some hundred bytes.
const DATA_BYTES_MAX: usize = 4096;

/// Which step of a method it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The client's first message.
    First,
    /// Its last one.
    Last,
}

/// What becomes of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proved {
    /// The client is to answer this.
    Challenge(Secret),
    /// It is who it says it is, and is to be told this.
    Believed(Secret),
}

/// What an AUTH of the client may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Turn {
    /// Nothing: its CONNECT had no method.
    #[default]
    Never,
    /// The beginning of another authentication.
    Rest,
    /// The next message.
    Client(Step),
    /// Nothing until the last one is answered.
    Ours,
}

/// What a CONNECT says of a method.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    data: Option<Secret>,
}

/// The method that a CONNECT asks for, if any.
///
/// # Errors
/// [`Denied`]: it is not known here.
pub(super) fn begun(connect: &Connect) -> Result<Option<Begun>, Denied> {
    let properties = &connect.properties;
    match &properties.authentication_method {
        None => Ok(None),
        Some(method) if method.as_str() == METHOD => Ok(Some(Begun {
            data: properties.authentication_data.clone(),
        })),
        Some(_) => Err((
            ReasonCode::BadAuthenticationMethod,
            "the one authentication method that is known here is SCRAM-SHA-256",
        )),
    }
}

pub(super) fn method() -> Str {
    Str::from_static(METHOD)
}

impl Session {
    /// A CONNECT had a method: nobody is attached before that is through.
    pub(super) fn authenticate(&mut self, deadline: Instant, wanted: Box<Wanted>, begun: Begun) {
        self.state = State::Authenticating { deadline, wanted };
        self.turn = Turn::Client(Step::First);
        match begun.data.filter(|data| !data.0.is_empty()) {
            Some(data) => self.ask(Step::First, data),
            None => self.say(ReasonCode::ContinueAuthentication, None),
        }
    }

    /// What became of [`Wish::Prove`].
    pub fn handle_proved(&mut self, now: Instant, proved: Result<Proved, NotAttached>) {
        let is_connecting = match &self.state {
            State::Authenticating { .. } => true,
            State::Running => false,
            _ => return,
        };
        if self.turn != Turn::Ours {
            return;
        }
        self.heard = now;
        match proved {
            Ok(Proved::Challenge(data)) => {
                self.turn = Turn::Client(Step::Last);
                self.say(ReasonCode::ContinueAuthentication, Some(data));
            }
            Ok(Proved::Believed(data)) if is_connecting => self.believed(data),
            Ok(Proved::Believed(data)) => {
                self.turn = Turn::Rest;
                self.say(ReasonCode::Success, Some(data));
            }
            Err(why) => self.fail(reasons::of_attach(why, false), why.to_string()),
        }
    }

    /// An AUTH came, while there may be one.
    pub(super) fn auth(&mut self, auth: Auth) {
        let Auth { reason, properties } = auth;
        let step = match (self.turn, reason) {
            (Turn::Never, _) => {
                let why = "an AUTH, and CONNECT had no authentication method";
                return self.fail(ReasonCode::ProtocolError, why);
            }
            (Turn::Client(step), ReasonCode::ContinueAuthentication) => step,
            (Turn::Rest, ReasonCode::Reauthenticate) => Step::First,
            _ => {
                let why = "this AUTH is out of turn";
                return self.fail(ReasonCode::ProtocolError, why);
            }
        };
        if properties.authentication_method.as_deref() != Some(METHOD) {
            // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
            let why = "the authentication method is that of CONNECT for good";
            return self.fail(ReasonCode::ProtocolError, why);
        }
        let data = properties.authentication_data.unwrap_or_default();
        if step == Step::First && data.0.is_empty() && self.turn == Turn::Rest {
            self.turn = Turn::Client(Step::First);
            return self.say(ReasonCode::ContinueAuthentication, None);
        }
        self.ask(step, data);
    }

    fn ask(&mut self, step: Step, data: Secret) {
        if data.0.len() > DATA_BYTES_MAX {
            let why = "authentication data has 4096 bytes at most";
            return self.fail(ReasonCode::NotAuthorized, why);
        }
        self.turn = Turn::Ours;
        // A copy: a slice would keep all that was read with it.
        let data = Secret(Bytes::copy_from_slice(&data.0));
        self.wishes.push_back(Wish::Prove { step, data });
    }

    fn say(&mut self, reason: ReasonCode, data: Option<Secret>) {
        let packet = Packet::Auth(Auth {
            reason,
            properties: AuthProperties {
                authentication_method: Some(method()),
                authentication_data: data,
                ..AuthProperties::default()
            },
        });
        debug_assert!(reason.fits(PacketType::Auth));
        if !self.output.fits(&packet) {
            let why = "the maximum packet size is too small for an AUTH";
            return self.fail(ReasonCode::PacketTooLarge, why);
        }
        self.output.packet(packet);
    }

    /// The client is who it says it is: what CONNECT asks for follows, and the data goes into the CONNACK.
    fn believed(&mut self, data: Secret) {
        let state = std::mem::replace(&mut self.state, State::Running);
        if let State::Authenticating { mut wanted, .. } = state {
            self.turn = Turn::Rest;
            wanted.proved(data);
            self.attach(wanted);
        }
    }
}
