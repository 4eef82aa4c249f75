//! A client in the text binding that does exactly what its test says: nothing is resumed, settled or granted by itself.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::server::Server;
use crate::wait;

/// A frame from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) verb: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Frame {
    fn parse(text: &str) -> Frame {
        let (head, body) = text.split_once("\n\n").expect("an empty line");
        let mut lines = head.split('\n');
        let verb = lines.next().expect("a verb").to_owned();
        let fields = lines.map(|line| line.split_once(':').expect("a field"));
        Frame {
            verb,
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().expect("a number")
    }

    pub(crate) fn offset(&self) -> u64 {
        self.number("offset")
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Of the `error` before the close; empty: there was none.
    pub(crate) code: String,
    /// Of the WebSocket's close; 0: there was none.
    pub(crate) close: u16,
}

pub(crate) struct Script {
    ws: WebSocket<TcpStream>,
    pub(crate) opened: Frame,
    /// The last seq that was sent.
    pub(crate) seq: u64,
    pub(crate) confirmed: u64,
    pub(crate) failed: BTreeMap<u64, String>,
    pub(crate) deliveries: VecDeque<Frame>,
    pub(crate) cancels: Vec<Frame>,
    error: Option<Frame>,
    end: Option<End>,
}

impl Script {
    /// Connects and opens; `fields` are those of `open` beside the version, a line each.
    pub(crate) fn open(server: &Server, fields: &str) -> Script {
        Script::open_as(server, &server.token(), fields)
    }

    pub(crate) fn open_as(server: &Server, token: &str, fields: &str) -> Script {
        let mut script = Script::dial(server, &format!("authorization: Bearer {token}\r\n"));
        script.hello(fields);
        script
    }

    /// Connects, with some headers of its own, and does not open.
    pub(crate) fn dial(server: &Server, headers: &str) -> Script {
        Script::try_dial(server, headers)
            .unwrap_or_else(|answer| panic!("the upgrade was answered {answer}"))
    }

    /// As `dial`; the answer where it is no upgrade.
    pub(crate) fn try_dial(server: &Server, headers: &str) -> Result<Script, String> {
        let stream = connect(server.clients());
        Script::upgrade(stream, &upgrade_request("/mbws", headers))
    }

    /// The socket of a connection that was granted `request`.
    fn upgrade(mut stream: TcpStream, request: &str) -> Result<Script, String> {
        let failed = |error: std::io::Error| error.to_string();
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).map_err(failed)? == 0 {
                break;
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if !head.starts_with("HTTP/1.1 101") {
            return Err(head);
        }
        Ok(Script {
            ws: WebSocket::from_raw_socket(stream, Role::Client, None),
            opened: Frame {
                verb: String::new(),
                fields: BTreeMap::new(),
                body: String::new(),
            },
            seq: 0,
            confirmed: 0,
            failed: BTreeMap::new(),
            deliveries: VecDeque::new(),
            cancels: Vec::new(),
            error: None,
            end: None,
        })
    }

    /// Sends `open` and waits for its answer.
    pub(crate) fn hello(&mut self, fields: &str) {
        self.frame("open", &format!("version:1\naccept:text\n{fields}"), "");
        self.wait_for("opened", |it| !it.opened.verb.is_empty());
        self.confirmed = self.opened.number("confirmed");
        self.seq = self.confirmed;
    }

    pub(crate) fn session(&self) -> String {
        self.opened.text("session").to_owned()
    }

    /// What `open` needs to go on with this session.
    pub(crate) fn resume_fields(&self) -> String {
        format!(
            "session:{}\nexpiry:{}\n",
            self.session(),
            self.opened.text("expiry")
        )
    }

    /// Sends a frame; `fields` are whole lines.
    pub(crate) fn frame(&mut self, verb: &str, fields: &str, body: &str) {
        self.text(&format!("{verb}\n{fields}\n{body}"));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.try_text(text).expect("a frame is taken");
    }

    pub(crate) fn try_text(&mut self, text: &str) -> Result<(), Error> {
        self.ws.send(Message::text(text.to_owned()))
    }

    /// Bytes past the WebSocket's own frames.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.ws.get_mut().write_all(bytes)
    }

    /// Sends a sequenced frame; gives its seq.
    pub(crate) fn call(&mut self, verb: &str, fields: &str, body: &str) -> u64 {
        self.seq += 1;
        self.frame(verb, &format!("seq:{}\n{fields}", self.seq), body);
        self.seq
    }

    pub(crate) fn send(&mut self, address: &str, body: &str) -> u64 {
        self.call("send", &format!("address:{address}\n"), body)
    }

    pub(crate) fn consume(&mut self, consumer: &str, address: &str, fields: &str) -> u64 {
        self.call(
            "consume",
            &format!("consumer:{consumer}\naddress:{address}\n{fields}"),
            "",
        )
    }

    pub(crate) fn settle(&mut self, consumer: &str, fields: &str) -> u64 {
        self.call("settle", &format!("consumer:{consumer}\n{fields}\n"), "")
    }

    pub(crate) fn credit(&mut self, consumer: &str, limit: u64) {
        self.frame(
            "credit",
            &format!("consumer:{consumer}\nlimit:{limit}\n"),
            "",
        );
    }

    pub(crate) fn hold(&mut self, consumer: &str, offsets: &str) {
        self.frame(
            "hold",
            &format!("consumer:{consumer}\noffsets:{offsets}\n"),
            "",
        );
    }

    /// Waits until all that was sent is confirmed; none of it may have failed.
    pub(crate) fn all_confirmed(&mut self) {
        self.confirmed_up_to(self.seq);
        assert!(self.failed.is_empty(), "failed: {:?}", self.failed);
    }

    pub(crate) fn confirmed_up_to(&mut self, seq: u64) {
        self.wait_for("a confirm", |it| it.confirmed >= seq);
    }

    /// Waits for the answer to `seq`; its code, where it failed.
    pub(crate) fn outcome(&mut self, seq: u64) -> Option<String> {
        self.confirmed_up_to(seq);
        self.failed.remove(&seq)
    }

    /// Waits for the answer to the frame sent last, which must be a failure.
    pub(crate) fn refused(&mut self) -> String {
        let outcome = self.outcome(self.seq);
        outcome.unwrap_or_else(|| panic!("frame {} was not refused", self.seq))
    }

    pub(crate) fn delivery(&mut self) -> Frame {
        self.wait_for("a delivery", |it| !it.deliveries.is_empty());
        self.deliveries.pop_front().expect("a delivery")
    }

    /// The bodies of the next `n` deliveries.
    pub(crate) fn bodies(&mut self, n: usize) -> Vec<String> {
        (0..n).map(|_| self.delivery().body).collect()
    }

    pub(crate) fn no_delivery(&mut self) {
        self.read_for(wait::quiet(), |it| !it.deliveries.is_empty());
        assert!(self.deliveries.is_empty(), "{:?}", self.deliveries);
    }

    /// Waits until the broker has ended a consumer.
    pub(crate) fn cancelled(&mut self) -> Frame {
        self.wait_for("a cancel", |it| !it.cancels.is_empty());
        self.cancels.remove(0)
    }

    /// Waits for the end of the connection.
    pub(crate) fn end(&mut self) -> End {
        let last = Instant::now() + wait::deadline();
        while self.end.is_none() {
            assert!(Instant::now() < last, "the connection did not end");
            self.read(last);
        }
        self.end.clone().expect("an end")
    }

    pub(crate) fn error_reason(&self) -> &str {
        self.error.as_ref().map_or("", |it| it.text("reason"))
    }

    /// Ends the session in good order.
    pub(crate) fn close(mut self) {
        self.frame("close", "", "");
        let end = self.end();
        assert_eq!((end.code.as_str(), end.close), ("", 1000));
    }

    /// Breaks the connection, as a network does.
    pub(crate) fn cut(self) {
        self.ws.get_ref().shutdown(Shutdown::Both).ok();
    }

    fn wait_for(&mut self, what: &str, done: impl Fn(&Script) -> bool) {
        self.read_for(wait::deadline(), &done);
        assert!(
            done(self),
            "no {what}; confirmed {}, failed {:?}, error {:?}, end {:?}",
            self.confirmed,
            self.failed,
            self.error,
            self.end
        );
    }

    /// Reads until it is done, `most` is over or the connection ends.
    pub(crate) fn read_for(&mut self, most: Duration, done: impl Fn(&Script) -> bool) {
        let last = Instant::now() + most;
        while !done(self) && self.end.is_none() && Instant::now() < last {
            self.read(last);
        }
    }

    /// Takes one message, if one comes before `last`.
    fn read(&mut self, last: Instant) {
        let left = last.saturating_duration_since(Instant::now());
        let timeout = left.max(Duration::from_millis(1));
        self.ws
            .get_ref()
            .set_read_timeout(Some(timeout))
            .expect("a timeout");
        match self.ws.read() {
            Ok(Message::Text(text)) => self.heard(Frame::parse(&text)),
            Ok(Message::Close(frame)) => {
                self.ended(frame.map_or(1005, |it| u16::from(it.code)));
                // Sends the answer to the close.
                self.ws.flush().ok();
            }
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.ended(0),
        }
    }

    fn ended(&mut self, close: u16) {
        let code = self.error.as_ref().map_or("", |it| it.text("code"));
        let code = code.to_owned();
        self.end.get_or_insert(End { code, close });
    }

    fn heard(&mut self, frame: Frame) {
        match frame.verb.as_str() {
            "opened" => self.opened = frame,
            "confirm" => {
                self.confirmed = self.confirmed.max(frame.number("upto"));
                for failure in frame.get("failed").unwrap_or_default().split(", ") {
                    if let Some((seq, code)) = failure.split_once(' ') {
                        let seq = seq.parse().expect("a seq");
                        self.failed.insert(seq, code.to_owned());
                    }
                }
            }
            "deliver" => self.deliveries.push_back(frame),
            "cancel" => self.cancels.push(frame),
            "error" => self.error = Some(frame),
            _ => panic!("unexpected: {frame:?}"),
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(wait::deadline()))
        .expect("a timeout");
    stream
        .set_write_timeout(Some(wait::deadline()))
        .expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A proper upgrade, with some headers more.
pub(crate) fn upgrade_request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: MBWS.huawei.com\r\n{headers}\r\n"
    )
}
