//! What a CONNECT asks for, checked; and the CONNACK that grants it (MQTT 5.0 §3.1, §3.2).

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use restante_proto::mqtt::{
    Connack, ConnackProperties, Connect, PayloadFormat, ReasonCode, Rule, Secret, Str, Version,
    Will,
};
use uuid::Uuid;

use super::wish::Settings;
use super::{topic, translate};
use crate::broker::{Attached, NewWill, SessionWish};
use crate::session::Credentials;

/// Longer client identifiers are not taken: one is a segment of its queue's name, three times as long where it is escaped.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// How the broker's own API tokens begin.
const TOKEN_MARK: &str = "rst_";
/// 5.0's session expiry that says "never", in seconds.
const NEVER_SECS: u32 = u32::MAX;

/// What the driver needs to attach a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachWish {
    /// The client identifier: what it has sent, or one made up.
    pub client: Arc<str>,
    /// Whether it was made up.
    pub assigned: bool,
    /// Credentials from CONNECT; none where the transport is to have shown them.
    pub credentials: Option<Credentials>,
    /// REALM of a user name `REALM:USER`. It is part of the user name where there is no such realm; where there is one, see
    /// [`take_realm`](Self::take_realm).
    pub realm_hint: Option<String>,
    /// The session wished for. Its id is the broker's to tell: it follows from realm and client identifier.
    pub session: SessionWish,
    /// The version that it speaks.
    pub version: Version,
    /// What is to be published when it is gone without a goodbye.
    pub will: Option<Box<NewWill>>,
}

impl AttachWish {
    /// There is a realm of the hint's name: takes it, and takes it off the user name. `REALM:` with no user and no password is
    /// a hint alone: then there are no credentials.
    pub fn take_realm(&mut self) -> Option<String> {
        let realm = self.realm_hint.take()?;
        if let Some(Credentials::Password { user, password }) = &mut self.credentials {
            user.drain(..(realm.len() + 1).min(user.len()));
            if user.is_empty() && password.is_empty() {
                self.credentials = None;
            }
        }
        Some(realm)
    }
}

/// A CONNECT that is not granted: code, and why for people.
pub(super) type Denied = (ReasonCode, &'static str);

/// What an accepted CONNECT says that the session needs later.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) attach: AttachWish,
    /// Response information is wanted.
    wants_response_information: bool,
    /// What the client thinks its session's expiry is.
    expiry_secs: Option<u32>,
    pub(super) keep_alive: Option<Duration>,
    /// Told if it is not the client's.
    server_keep_alive: Option<u16>,
}

impl Wanted {
    /// What the client asks for.
    ///
    /// # Errors
    /// What it cannot have, in the code of a CONNACK.
    pub(super) fn read(connect: &Connect, settings: &Settings) -> Result<Self, Denied> {
        check_method(connect)?;
        let (client, assigned) = client_id(connect)?;
        let (keep_alive, server_keep_alive) = keep_alive(connect, settings);
        let user_name = connect.user_name.as_ref().map(Str::as_str);
        let attach = AttachWish {
            client,
            assigned,
            credentials: credentials(user_name, connect.password.as_ref())?,
            realm_hint: user_name.and_then(realm_hint),
            session: SessionWish {
                id: None,
                expiry: expiry(connect).min(settings.session_expiry_max),
                fresh: connect.clean_start,
            },
            version: connect.version,
            will: connect.will.as_ref().map(will).transpose()?,
        };
        let properties = &connect.properties;
        Ok(Wanted {
            attach,
            wants_response_information: properties.request_response_information == Some(true),
            expiry_secs: properties.session_expiry_secs,
            keep_alive,
            server_keep_alive,
        })
    }

    /// The CONNACK of a client that was attached.
    pub(super) fn connack(&self, attached: &Attached, settings: &Settings) -> Connack {
        let mut connack = Connack {
            session_present: attached.resumed,
            ..Connack::default()
        };
        if self.attach.version == Version::V5 {
            connack.properties = self.connack_properties(attached, settings);
        }
        connack
    }

    /// Told is only what differs from what a client assumes.
    fn connack_properties(&self, attached: &Attached, settings: &Settings) -> ConnackProperties {
        let expiry_secs = seconds(attached.expiry);
        let expiry_differs = expiry_secs != self.expiry_secs.unwrap_or(0);
        let client = &self.attach.client;
        ConnackProperties {
            session_expiry_secs: expiry_differs.then_some(expiry_secs),
            receive_maximum: Some(settings.receive_maximum).filter(|it| *it != NonZeroU16::MAX),
            maximum_packet_size: settings.limits.packet_bytes_max.try_into().ok(),
            assigned_client_id: self.assigned_id(),
            topic_alias_maximum: Some(settings.topic_alias_max).filter(|it| *it > 0),
            server_keep_alive_secs: self.server_keep_alive,
            response_information: self
                .wants_response_information
                .then(|| response_information(&settings.response_prefix, client))
                .flatten(),
            ..ConnackProperties::default()
        }
    }

    fn assigned_id(&self) -> Option<Str> {
        let client = self.attach.assigned.then_some(&self.attach.client)?;
        Str::try_from(client.as_ref()).ok()
    }
}

/// Authentication in more than one step is not spoken here.
fn check_method(connect: &Connect) -> Result<(), Denied> {
    match connect.properties.authentication_method {
        None => Ok(()),
        Some(_) => Err((
            ReasonCode::BadAuthenticationMethod,
            "no authentication method is known here: send a user name and a password, or a token",
        )),
    }
}

/// A will as the broker keeps it. What its payload is said to be, it must be (5.0 §3.1.3.2.3).
fn will(will: &Will) -> Result<Box<NewWill>, Denied> {
    let is_text = will.properties.payload_format == Some(PayloadFormat::Utf8);
    if is_text && std::str::from_utf8(&will.payload).is_err() {
        let why = "the will's payload is not text in UTF-8, and is said to be";
        return Err((ReasonCode::PayloadFormatInvalid, why));
    }
    let address = topic::to_address(will.topic.as_str()).into_owned();
    Ok(Box::new(NewWill {
        message: translate::will(will, address),
        delay: of_seconds(will.properties.delay_secs.unwrap_or(0)),
    }))
}

fn client_id(connect: &Connect) -> Result<(Arc<str>, bool), Denied> {
    let id = connect.client_id.as_str();
    if connect.check_client_id().is_err() {
        return Err((
            Rule::EmptyClientId.reason(),
            "a session that goes on needs a client identifier",
        ));
    }
    if id.is_empty() {
        return Ok((format!("auto-{}", Uuid::new_v4().simple()).into(), true));
    }
    if id.len() > CLIENT_ID_BYTES_MAX {
        return Err((
            ReasonCode::ClientIdNotValid,
            "a client identifier may have 256 bytes",
        ));
    }
    Ok((id.into(), false))
}

/// How long the session is to outlive its connection.
fn expiry(connect: &Connect) -> Duration {
    match connect.version {
        Version::V5 => of_seconds(connect.properties.session_expiry_secs.unwrap_or(0)),
        Version::V31 | Version::V311 if connect.clean_start => Duration::ZERO,
        Version::V31 | Version::V311 => of_seconds(NEVER_SECS),
    }
}

/// A session expiry as a client tells it.
pub(super) fn of_seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn seconds(expiry: Duration) -> u32 {
    u32::try_from(expiry.as_secs()).unwrap_or(NEVER_SECS)
}

/// The time between packets after which the client is gone, and what to tell it if that is not what it asked for.
fn keep_alive(connect: &Connect, settings: &Settings) -> (Option<Duration>, Option<u16>) {
    let asked = connect.keep_alive_secs;
    let max = settings
        .keep_alive_max
        .map(|max| u16::try_from(max.as_secs()).unwrap_or(u16::MAX).max(1))
        .filter(|max| connect.version == Version::V5 && (asked == 0 || asked > *max));
    let granted = max.unwrap_or(asked);
    // One and a half times of it [MQTT-3.1.2-22].
    let patience = Duration::from_millis(u64::from(granted) * 1500);
    (Some(patience).filter(|it| !it.is_zero()), max)
}

/// The topic under which the client may be replied to.
fn response_information(prefix: &str, client: &str) -> Option<Str> {
    Str::try_from(format!("{prefix}/{}", topic::level_of(client))).ok()
}

fn realm_hint(user_name: &str) -> Option<String> {
    let (realm, _) = user_name.split_once(':')?;
    (!realm.is_empty()).then(|| realm.to_owned())
}

/// A token is known by its form, whatever the user name is: many a client cannot send one alone.
fn credentials(
    user: Option<&str>,
    password: Option<&Secret>,
) -> Result<Option<Credentials>, Denied> {
    let password = match password {
        None => None,
        Some(password) => Some(std::str::from_utf8(&password.0).map_err(|_| {
            let why = "a password or token is text in UTF-8";
            (ReasonCode::BadUserNameOrPassword, why)
        })?),
    };
    Ok(match (user, password) {
        (None, None) => None,
        (_, Some(token)) if is_token(token) => Some(Credentials::Token(token.to_owned())),
        (None, Some(token)) => Some(Credentials::Token(token.to_owned())),
        (Some(user), password) => Some(Credentials::Password {
            user: user.to_owned(),
            password: password.unwrap_or_default().to_owned(),
        }),
    })
}

/// Whether it has the form of an API token or of a JWT: three parts in base64url, the first of which begins as JSON does.
fn is_token(text: &str) -> bool {
    let is_part = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok();
    text.starts_with(TOKEN_MARK)
        || (text.starts_with("ey") && text.split('.').count() == 3 && text.split('.').all(is_part))
}
