//! What our WebSocket layer makes of what clients of SP send, and of messages in fragments: the vectors of
//! `proto/vectors/sp`, in memory. SP has no frames of its own: this is why.

use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use restante_proto::sp::{CloseCode, Fragment, fragments};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_tungstenite::tungstenite::{Error as WsError, WebSocket};

use super::super::socket::{Fault, Heard, bad, config};

/// The longest message that is taken of SP.
const BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Frames {
    frames: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    frames: String,
    messages: Vec<String>,
    answer: String,
    close: Option<u16>,
}

#[derive(Deserialize)]
struct Captured {
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
struct Session {
    name: String,
    request: Option<String>,
    response: Option<String>,
    from_client: Vec<String>,
}

#[derive(Deserialize)]
struct Messages {
    to_client: Vec<OnTheWire>,
}

#[derive(Deserialize)]
struct OnTheWire {
    name: String,
    header: String,
    body: String,
    frames: String,
}

/// What came of some bytes of a client, behind which it ended the connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    /// What was written without being told to.
    answer: Vec<u8>,
    /// With what the connection is to be closed.
    close: Option<u16>,
}

/// Bytes to read, and what was written.
#[derive(Default)]
struct Wire {
    input: io::Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn frames_of_clients_are_read_by_the_book() {
    let Frames { frames } = read("frames.json");
    for case in &frames {
        let wanted = Outcome {
            messages: case.messages.iter().map(|it| unhex(it)).collect(),
            answer: unhex(&case.answer),
            close: case.close,
        };
        assert_eq!(heard(unhex(&case.frames)), wanted, "{}", case.name);
    }
}

#[test]
fn captured_sessions_break_no_rule_and_only_their_close_is_answered() {
    let Captured { sessions } = read("captured.json");
    for session in &sessions {
        let sent: Vec<u8> = session
            .from_client
            .iter()
            .flat_map(|it| unhex(it))
            .collect();
        let outcome = heard(sent);
        let closes = session.from_client.iter().any(|it| it.starts_with("88"));
        let answer = if closes {
            unhex("880203e8")
        } else {
            Vec::new()
        };
        assert_eq!(
            (outcome.close, outcome.answer),
            (None, answer),
            "{}",
            session.name
        );
        let n_messages = session.from_client.len() - usize::from(closes);
        assert_eq!(outcome.messages.len(), n_messages, "{}", session.name);
    }
}

#[test]
fn captured_keys_are_answered_as_the_libraries_answer_them() {
    let field = |head: &str, name: &str| {
        let lines = head.lines().find_map(|line| line.strip_prefix(name));
        lines.unwrap().to_owned()
    };
    let Captured { sessions } = read("captured.json");
    let mut n_keys = 0;
    for session in &sessions {
        if let (Some(request), Some(response)) = (&session.request, &session.response) {
            let key = field(request, "Sec-WebSocket-Key: ");
            let accept = field(response, "Sec-WebSocket-Accept: ");
            assert_eq!(
                derive_accept_key(key.as_bytes()),
                accept,
                "{}",
                session.name
            );
            n_keys += 1;
        }
    }
    assert_eq!(n_keys, 21);
}

#[test]
fn messages_are_written_as_the_libraries_write_them() {
    let Messages { to_client } = read("messages.json");
    for vector in &to_client {
        let written = served(&unhex(&vector.header), unhex(&vector.body).into());
        assert_eq!(written, unhex(&vector.frames), "{}", vector.name);
    }
}

#[test]
fn a_long_message_arrives_whole_in_frames_of_64_kib() {
    let header = [0x81, 0x23, 0x45, 0x67];
    for bytes in [65_531, 65_532, 65_533, 200_000] {
        let body: Bytes = (0..bytes).map(|n: usize| n.to_le_bytes()[0]).collect();
        let written = served(&header, body.clone());
        let cut = fragments(&header, body.clone());
        assert_eq!(written.len(), cut.map(|it| it.wire_bytes()).sum::<usize>());
        let frame_bytes_max = config(BYTES_MAX, 8192).max_frame_size(Some(64 * 1024));
        let wire = Wire {
            input: io::Cursor::new(written),
            ..Wire::default()
        };
        let mut client = WebSocket::from_raw_socket(wire, Role::Client, Some(frame_bytes_max));
        let whole = [&header[..], &body].concat();
        assert_eq!(client.read().unwrap(), Message::binary(whole));
    }
}

#[test]
fn nothing_is_written_to_a_client_that_is_given_up() {
    let mut wire = Wire::default();
    let mut ws = WebSocket::from_raw_socket(&mut wire, Role::Server, Some(config(BYTES_MAX, 8192)));
    assert!(ws.read().is_err());
    drop(ws);
    assert!(wire.output.is_empty());
}

fn heard(sent: Vec<u8>) -> Outcome {
    let wire = Wire {
        input: io::Cursor::new(sent),
        ..Wire::default()
    };
    let mut ws = WebSocket::from_raw_socket(wire, Role::Server, Some(config(BYTES_MAX, 8192)));
    let mut outcome = Outcome::default();
    loop {
        match ws.read() {
            Ok(Message::Text(text)) => outcome.messages.push(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => outcome.messages.push(bytes.to_vec()),
            Ok(_) => {}
            Err(WsError::ConnectionClosed) => break,
            Err(error) => {
                outcome.close = code(&bad(error));
                break;
            }
        }
    }
    outcome.answer.clone_from(&ws.get_ref().output);
    outcome
}

/// With what a connection is closed that ends so. None: there is nobody to tell.
fn code(heard: &Heard) -> Option<u16> {
    let Heard::Bad(fault, _) = heard else {
        assert!(matches!(heard, Heard::Gone), "{heard:?}");
        return None;
    };
    let code = match fault {
        Fault::NotUtf8 => CloseCode::NotUtf8,
        Fault::TooBig => CloseCode::TooBig,
        Fault::Protocol => CloseCode::Protocol,
    };
    Some(code.number())
}

/// What is written of a message.
fn served(header: &[u8], body: Bytes) -> Vec<u8> {
    let config = config(BYTES_MAX, 8192);
    let mut ws = WebSocket::from_raw_socket(Wire::default(), Role::Server, Some(config));
    for fragment in fragments(header, body) {
        ws.write(frame(fragment)).unwrap();
    }
    ws.flush().unwrap();
    ws.get_ref().output.clone()
}

fn frame(fragment: Fragment) -> Message {
    let data = if fragment.is_first {
        Data::Binary
    } else {
        Data::Continue
    };
    Message::Frame(Frame::message(
        fragment.payload,
        OpCode::Data(data),
        fragment.is_last,
    ))
}

fn read<T: DeserializeOwned>(file: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/vectors/sp");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2));
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}
