//! The vectors of `proto/vectors/sp`, tried on this codec; `proto/vectors/README.md` says how they are written.
//! `frames.json` is for what reads frames, which is not here.

use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::wire::{Sent, sent, served};
use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Captured {
    sessions: Vec<Session>,
    devices: Vec<Device>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    name: String,
    client: String,
    token: String,
    request: Option<String>,
    response: Option<String>,
    from_client: Vec<String>,
    to_client: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    name: String,
    client: String,
    asked: String,
    handed_on: String,
    answered: String,
    handed_back: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Messages {
    from_client: Vec<OnTheWire>,
    to_client: Vec<OnTheWire>,
    good: Vec<Good>,
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnTheWire {
    name: String,
    client: String,
    header: String,
    body: String,
    frames: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    name: String,
    client: String,
    header: String,
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    client: String,
    message: String,
    error: String,
    verdict: String,
}

#[test]
fn captured_sessions_are_what_their_names_say() {
    let captured: Captured = read("captured.json");
    let mut clients = Vec::new();
    for session in &captured.sessions {
        let Session { name, token, .. } = session;
        let client = role(&session.client);
        let offer = Offer::Spoken { client, token };
        assert_eq!(offered([token.as_str()]), offer, "{name}");
        if let (Some(request), Some(response)) = (&session.request, &session.response) {
            check_heads(session, request, response);
        }
        clients.push(client);
    }
    assert!(Role::ALL.iter().all(|role| clients.contains(role)));
}

/// The heads of an upgrade: the path is read, and the answer has the token that the client offered.
fn check_heads(session: &Session, request: &str, response: &str) {
    let offered = format!("\r\nSec-WebSocket-Protocol: {}\r\n", session.token);
    assert!(request.contains(&offered) && response.contains(&offered));
    assert!(response.len() < 200, "{}", session.name);
    let target = request.strip_prefix("GET ").unwrap();
    let (target, _) = target.split_once(" HTTP/1.1\r\n").unwrap();
    let target = Target::parse(target.as_bytes()).unwrap();
    assert_eq!(target.name.segments().collect::<Vec<_>>(), ["t1"]);
    assert_eq!(target.name.path(), "/sp/t1");
}

#[test]
fn captured_messages_are_read_and_written() {
    let captured: Captured = read("captured.json");
    for session in &captured.sessions {
        let client = role(&session.client);
        let (ours, theirs) = match client {
            Role::Req | Role::Surveyor => ("R1", "Q1"),
            Role::Rep | Role::Respondent => ("Q1", "R1"),
            Role::Bus => ("Bs", "Bc"),
            Role::Pair | Role::Pair1 => ("Ps", "Pc"),
            Role::Push | Role::Pull | Role::Pub | Role::Sub => ("M1", "M1"),
        };
        let mut header = Vec::new();
        for frame in &session.from_client {
            match &sent(&unhex(frame))[..] {
                [Sent::Message(message)] => {
                    assert!(client.sends());
                    let (read, body) = split(client, message).unwrap();
                    assert_eq!(
                        (read.len(), &body[..]),
                        (header_bytes(client), theirs.as_bytes())
                    );
                    header = read;
                }
                [Sent::Close(1000)] => assert!(session.name.contains("pynng")),
                other => panic!("{}: {other:?}", session.name),
            }
        }
        let messages = session
            .to_client
            .iter()
            .filter(|frame| !frame.starts_with("88"));
        for frame in messages {
            assert!(client.receives());
            // Who asks gets its own words back; who answers answered the same ones.
            let written = served(&header, &Bytes::from(ours));
            assert_eq!(written, unhex(frame), "{}", session.name);
        }
    }
}

#[test]
fn a_device_s_words_go_there_and_back() {
    let captured: Captured = read("captured.json");
    for device in &captured.devices {
        let client = role(&device.client);
        let [asked, answered] = [&device.asked, &device.answered].map(|frame| message(frame));
        let (handed_on, handed_back) = match client.header() {
            HeaderKind::Hops => (hop_on(&asked), hop_on(&answered)),
            _ => through(&asked, &answered, &unhex(&device.handed_on)),
        };
        assert_eq!(handed_on, unhex(&device.handed_on), "{}", device.name);
        assert_eq!(handed_back, unhex(&device.handed_back), "{}", device.name);
    }
}

fn hop_on(message: &Bytes) -> Vec<u8> {
    let (hops, body) = Hops::split(message, HOPS_MAX).unwrap();
    served(&hops.next(HOPS_MAX).unwrap().to_bytes(), &body)
}

/// A request on its way to whoever answers, with the channel that the device took, and the answer on its way back.
fn through(asked: &Bytes, answered: &Bytes, handed_on: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let channel = u32::from_be_bytes(*handed_on[2..].first_chunk().unwrap());
    let (stack, body) = Stack::split(asked, HOPS_MAX).unwrap();
    let on = served(&stack.behind(channel).to_bytes(), &body);
    let (words, body) = Stack::split(answered, HOPS_MAX).unwrap();
    let (back_to, words) = words.split_first().unwrap();
    assert_eq!((back_to, &words), (channel, &stack));
    (on, served(&words.to_bytes(), &body))
}

#[test]
fn messages_are_read_and_written_as_they_are_on_the_wire() {
    let messages: Messages = read("messages.json");
    for vector in &messages.from_client {
        let (header, body) = split(role(&vector.client), &message(&vector.frames)).unwrap();
        assert_eq!(
            (header, body),
            (unhex(&vector.header), unhex(&vector.body).into()),
            "{}",
            vector.name
        );
    }
    for vector in &messages.to_client {
        let written = served(&unhex(&vector.header), &unhex(&vector.body).into());
        assert_eq!(written, unhex(&vector.frames), "{}", vector.name);
    }
}

#[test]
fn headers_at_their_limits_are_taken() {
    let messages: Messages = read("messages.json");
    for vector in &messages.good {
        let whole: Bytes = unhex(&(vector.header.clone() + &vector.body)).into();
        let (header, body) = split(role(&vector.client), &whole).unwrap();
        assert_eq!(
            (header, body),
            (unhex(&vector.header), unhex(&vector.body).into()),
            "{}",
            vector.name
        );
    }
}

#[test]
fn what_breaks_a_rule_is_dropped_or_closes() {
    let messages: Messages = read("messages.json");
    for vector in &messages.bad {
        let error = split(role(&vector.client), &unhex(&vector.message).into()).unwrap_err();
        let debug = format!("{error:?}");
        assert!(debug.starts_with(&vector.error), "{}: {debug}", vector.name);
        let verdict = match error.verdict() {
            Verdict::Drop => "drop",
            Verdict::Close(CloseCode::Protocol) => "close",
            Verdict::Close(other) => panic!("{other:?}"),
        };
        assert_eq!(verdict, vector.verdict, "{}", vector.name);
    }
}

/// The header's bytes, written anew, and the body.
fn split(client: Role, message: &Bytes) -> Result<(Vec<u8>, Bytes), HeaderError> {
    match client.header() {
        HeaderKind::None => Ok((Vec::new(), message.clone())),
        HeaderKind::Stack => {
            Stack::split(message, HOPS_MAX).map(|(stack, body)| (stack.to_bytes().to_vec(), body))
        }
        HeaderKind::Hops => {
            Hops::split(message, HOPS_MAX).map(|(hops, body)| (hops.to_bytes().to_vec(), body))
        }
    }
}

fn header_bytes(client: Role) -> usize {
    if client.header() == HeaderKind::None {
        0
    } else {
        4
    }
}

/// The one message of some frames.
fn message(frames: &str) -> Bytes {
    let mut sent = sent(&unhex(frames));
    match (sent.pop(), sent.pop()) {
        (Some(Sent::Message(message)), None) => message,
        other => panic!("{other:?}"),
    }
}

fn role(name: &str) -> Role {
    let named = |role: &Role| role.name() == name;
    Role::ALL.into_iter().find(named).unwrap()
}

fn read<T: DeserializeOwned>(file: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/sp");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2));
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}
