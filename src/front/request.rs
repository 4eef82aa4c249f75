//! What an HTTP request must be to become a connection (RFC 6455 §4.2.1; MBWS.md §3; MQTT 5.0 §6): a pure check, and the
//! answer to what is.
//!
//! The path tells the door and the realm, and the door which subprotocols there are. Of those that a client offers the
//! first that is known counts. MQTT's do not tell its version: the CONNECT does. WAMP's tell how messages are written, and
//! its HELLO names the realm.

use std::borrow::Cow;
use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};
use restante_proto::mbws::SUBPROTOCOL;
use restante_proto::sp::{self, Name, Offer, Options, Target};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::door::{Door, REALM_DEFAULT};
use super::refused::Refused;
use super::wamp::{Transport, Way};
use super::{Settings, origin, wamp};
use crate::engine::address::{escape_first_segment, escape_segment};
use crate::session;

/// MBWS's own path; those of MQTT and WAMP are settings.
const MBWS: &str = "/mbws";
/// In front of SP's addresses.
const SP: &str = "/sp/";
/// Subprotocols of MQTT: since 3.1.1 (MQTT-6.0.0-3), and before.
const MQTT_SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Registered too, but published nowhere that we could read.
const SUBPROTOCOL_UNKNOWN: &str = "MBLWS.huawei.com";

/// A request that may become a connection, if its realm exists and its credentials are good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) door: Door,
    pub(super) realm: String,
    /// Who an SP client is.
    pub(super) sp: Option<Box<session::sp::Client>>,
    subprotocol: Cow<'static, str>,
    accept_key: String,
}

/// Why a request is refused, and for people what is wrong with it, if that can be said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: Refused,
    pub(super) detail: String,
}

impl From<Refused> for Refusal {
    fn from(why: Refused) -> Self {
        Refusal {
            why,
            detail: String::new(),
        }
    }
}

impl Wanted {
    /// Reads the head of a request that came over TLS or not.
    pub(super) fn read(head: &Parts, settings: &Settings, tls: bool) -> Result<Self, Refusal> {
        let (at, realm) = destination(head.uri.path(), settings).ok_or(Refused::NoSuchPath)?;
        if !is_upgrade(head) {
            return Err(Refused::NotAnUpgrade.into());
        }
        if text(&head.headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(Refused::BadVersion.into());
        }
        let accept_key = accept_key(&head.headers).ok_or(Refused::BadKey)?;
        let mut sp = None;
        let (door, subprotocol) = match at {
            At::Mbws => (Door::Mbws, mbws_subprotocol(&head.headers)?.into()),
            At::Mqtt => {
                let subprotocol = mqtt_subprotocol(&head.headers)?;
                (Door::MqttOverWebSocket, subprotocol.into())
            }
            At::Wamp => {
                let (door, subprotocol) = wamp_subprotocol(&head.headers, settings)?;
                (door, subprotocol.into())
            }
            At::Sp => {
                let (token, client) = sp_client(head)?;
                sp = client.map(Box::new);
                (Door::Sp, token.into())
            }
        };
        check_origin(&head.headers, &settings.origins, tls)?;
        Ok(Wanted {
            door,
            realm,
            sp,
            subprotocol,
            accept_key,
        })
    }

    /// `101 Switching Protocols`, without any extension.
    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(subprotocol) = HeaderValue::from_str(&self.subprotocol) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        if let Ok(key) = HeaderValue::from_str(&self.accept_key) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
        }
        answer
    }
}

/// What is spoken at a path.
#[derive(Debug, Clone, Copy)]
enum At {
    Mbws,
    Mqtt,
    Wamp,
    Sp,
}

/// The door and the realm that a path means; none where it means nothing.
fn destination(path: &str, settings: &Settings) -> Option<(At, String)> {
    if settings.sp.is_some() && path.starts_with(SP) {
        return Some((At::Sp, REALM_DEFAULT.to_owned()));
    }
    let mqtt = settings.mqtt.iter().flat_map(|mqtt| &mqtt.paths);
    let wamp = settings.wamp.iter().flat_map(|wamp| &wamp.paths);
    let mqtt = mqtt.map(|path| (At::Mqtt, path.as_str()));
    let wamp = wamp.map(|path| (At::Wamp, path.as_str()));
    let doors = [(At::Mbws, MBWS)].into_iter().chain(mqtt).chain(wamp);
    if let Some((door, _)) = doors.clone().find(|(_, of_door)| *of_door == path) {
        return Some((door, REALM_DEFAULT.to_owned()));
    }
    let mut doors = doors;
    doors.find_map(|(door, of_door)| Some((door, realm(path.strip_prefix(of_door)?)?)))
}

/// The realm that stands behind a door's path, in one segment.
fn realm(rest: &str) -> Option<String> {
    percent_decoded(rest.strip_prefix('/')?).filter(|realm| !realm.is_empty())
}

/// RFC 3986 §2.1, of one path segment; none if there are more, or if it is not UTF-8.
fn percent_decoded(segment: &str) -> Option<String> {
    if segment.contains('/') {
        return None;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        decoded.push(u8::from_str_radix(digits, 16).ok().filter(|_| hex)?);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

fn is_upgrade(head: &Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && tokens(&head.headers, &header::UPGRADE).any(|it| it.eq_ignore_ascii_case("websocket"))
        && tokens(&head.headers, &header::CONNECTION).any(|it| it.eq_ignore_ascii_case("upgrade"))
}

fn accept_key(headers: &HeaderMap) -> Option<String> {
    let key = text(headers, &header::SEC_WEBSOCKET_KEY)?;
    let nonce = STANDARD.decode(key).ok()?;
    (nonce.len() == 16).then(|| derive_accept_key(key.as_bytes()))
}

// Tokens are compared as they are registered: the registry calls them case-sensitive (RFC 6455 §11.5).

fn mbws_subprotocol(headers: &HeaderMap) -> Result<&'static str, Refused> {
    let offers =
        |token: &str| tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|it| it == token);
    if offers(SUBPROTOCOL) {
        Ok(SUBPROTOCOL)
    } else if offers(SUBPROTOCOL_UNKNOWN) {
        Err(Refused::UnknownSubprotocol)
    } else {
        Err(Refused::NoSubprotocol)
    }
}

fn mqtt_subprotocol(headers: &HeaderMap) -> Result<&'static str, Refused> {
    let known = |offered: &str| MQTT_SUBPROTOCOLS.into_iter().find(|it| *it == offered);
    let mut offered = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    offered.find_map(known).ok_or(Refused::NoMqttSubprotocol)
}

fn wamp_subprotocol(
    headers: &HeaderMap,
    settings: &Settings,
) -> Result<(Door, &'static str), Refused> {
    let mut offered = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let legacy = settings.wamp.as_ref().is_some_and(|it| it.ubjson_legacy);
    let known = |offered: &str| wamp::spoken(offered, legacy);
    let (serializer, batched) = offered.find_map(known).ok_or(Refused::NoWampSubprotocol)?;
    let way = Way {
        transport: Transport::WebSocket,
        serializer,
        batched,
        peer_bytes_max: None,
    };
    Ok((Door::Wamp(way), serializer.subprotocol(batched)))
}

/// What an SP client's token and path say of it: which token is echoed, and who the client is; none: its token is none that is spoken.
fn sp_client(head: &Parts) -> Result<(String, Option<session::sp::Client>), Refusal> {
    let said = |why: Refused, detail: String| Refusal { why, detail };
    let offered = head.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let (role, token) = match sp::offered(offered.filter_map(|line| line.to_str().ok())) {
        Offer::Spoken { client, token } => (client, token),
        Offer::Unknown { token } => return Ok((token.to_owned(), None)),
        Offer::Nothing => return Err(Refused::NoSpSubprotocol.into()),
    };
    let target = head.uri.path_and_query().map_or("", |it| it.as_str());
    let target = Target::parse(target.as_bytes())
        .map_err(|error| said(Refused::BadSpPath, error.to_string()))?;
    let options = Options::parse(target.query, role)
        .map_err(|error| said(Refused::BadSpOption, error.to_string()))?;
    let client = session::sp::Client {
        role,
        address: spelled(&target.name).into(),
        options,
    };
    Ok((token.to_owned(), Some(client)))
}

/// A name as the broker spells addresses.
fn spelled(name: &Name) -> String {
    let mut address = String::new();
    for (n, segment) in name.segments().enumerate() {
        if n > 0 {
            address.push('/');
        }
        match segment.strip_prefix('$') {
            Some(rest) if n == 0 && name.is_brokers() => {
                address.push('$');
                if !rest.is_empty() {
                    address.push_str(&escape_segment(rest));
                }
            }
            _ if n == 0 => address.push_str(&escape_first_segment(segment)),
            _ => address.push_str(&escape_segment(segment)),
        }
    }
    address
}

/// Whether a page of the request's origin may be answered.
pub(super) fn check_origin(
    headers: &HeaderMap,
    origins: &[String],
    tls: bool,
) -> Result<(), Refused> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(()); // no browser
    }
    let host = text(headers, &header::HOST);
    let origin = text(headers, &header::ORIGIN).ok_or(Refused::BadOrigin)?;
    if origin::may_connect(origin, host, tls, origins) {
        Ok(())
    } else {
        Err(Refused::BadOrigin)
    }
}

/// The value of a header that is there once and is visible ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok().map(str::trim)
}

/// The items of a header that is a list between commas, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}
