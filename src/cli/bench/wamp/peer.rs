//! A client of WAMP, as far as load needs one: messages in and out of a socket, in large pieces.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::BytesMut;
use restante_proto::wamp::rawsocket::{FRAME_BYTES_MAX, Frame};
use restante_proto::wamp::{Dict, Limits, Message, Payload, Value, decode, encode};
use tokio::net::TcpStream;

use super::super::bytes as wire;
use super::carrier::Carrier;
use super::door::Entrance;
use super::template::Template;

/// Until the router has answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Requests on the way while a session is set up.
const ASKED_AT_ONCE: usize = 100;

/// A topic or procedure, and how it is matched.
pub(super) type Pattern = (String, &'static str);

/// What a pattern is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Subscription,
    Registration,
}

/// One session.
pub(super) struct Peer {
    stream: TcpStream,
    carrier: Carrier,
    serializer: restante_proto::wamp::Serializer,
    limits: Limits,
    input: BytesMut,
    output: BytesMut,
    last_request: u64,
}

impl Peer {
    /// Connects, and opens a session.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn connect(entrance: &Entrance) -> anyhow::Result<Peer> {
        let mut stream = TcpStream::connect(entrance.address)
            .await
            .with_context(|| format!("cannot connect to {}", entrance.address))?;
        stream.set_nodelay(true)?;
        entrance.carrier.shake_hands(&mut stream, entrance).await?;
        let mut peer = Peer {
            stream,
            carrier: entrance.carrier,
            serializer: entrance.serializer,
            limits: Limits {
                bytes_max: FRAME_BYTES_MAX,
                ..Limits::default()
            },
            input: BytesMut::new(),
            output: BytesMut::new(),
            last_request: 0,
        };
        peer.put_message(&hello(entrance))?;
        peer.flush().await?;
        loop {
            match peer.answer().await? {
                Message::Welcome { .. } => return Ok(peer),
                Message::Challenge { authmethod, .. } => {
                    let ticket = entrance.ticket.clone();
                    let signature = ticket
                        .filter(|_| authmethod == "ticket")
                        .with_context(|| format!("the router asks for {authmethod}"))?;
                    let extra = Dict::new();
                    peer.put_message(&Message::Authenticate { signature, extra })?;
                    peer.flush().await?;
                }
                other => bail!("not let in: {}", told(&other)),
            }
        }
    }

    /// Subscribes to, or registers, all of them.
    ///
    /// # Errors
    /// One is refused.
    pub(super) async fn offer(&mut self, what: Offer, all: &[Pattern]) -> anyhow::Result<()> {
        for some in all.chunks(ASKED_AT_ONCE) {
            for (uri, how) in some {
                let request = self.next_request();
                let options = Dict::new().with("match", *how);
                let uri = uri.clone();
                self.put_message(&match what {
                    Offer::Subscription => Message::Subscribe {
                        request,
                        options,
                        topic: uri,
                    },
                    Offer::Registration => Message::Register {
                        request,
                        options,
                        procedure: uri,
                    },
                })?;
            }
            self.flush().await?;
            for _ in some {
                match self.answer().await? {
                    Message::Subscribed { .. } | Message::Registered { .. } => {}
                    other => bail!("refused: {}", told(&other)),
                }
            }
        }
        Ok(())
    }

    /// The id of the next request.
    pub(super) fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// Puts the next request, sent at `nanos`, to what is to be written.
    pub(super) fn put(&mut self, template: &mut Template, nanos: u64) {
        template.stamp(self.next_request(), nanos);
        self.output.extend_from_slice(&template.bytes);
    }

    /// Puts the result of an invocation to what is to be written: what it was given.
    ///
    /// # Errors
    /// Never, with what is there.
    pub(super) fn put_yield(&mut self, request: u64, payload: Payload) -> anyhow::Result<()> {
        self.put_message(&Message::Yield {
            request,
            options: Dict::new(),
            payload,
        })
    }

    fn put_message(&mut self, message: &Message) -> anyhow::Result<()> {
        let mut body = BytesMut::new();
        encode(self.serializer, message, &mut body)?;
        self.put_frame(&Frame::Message(body.freeze()))
    }

    fn put_frame(&mut self, frame: &Frame) -> anyhow::Result<()> {
        self.carrier.put(self.serializer, frame, &mut self.output)
    }

    /// Writes what is to be written.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        wire::flush(&self.stream, &mut self.output).await
    }

    /// Waits for bytes, and takes what is there. Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn hear(&mut self) -> anyhow::Result<()> {
        wire::hear(&self.stream, &mut self.input).await
    }

    /// The next message of those that are here.
    ///
    /// # Errors
    /// What came is none, or says that something failed.
    pub(super) fn take(&mut self) -> anyhow::Result<Option<Message>> {
        while let Some(frame) = self.carrier.split(&mut self.input)? {
            match frame {
                Frame::Message(bytes) => {
                    let message = decode(self.serializer, &bytes, &self.limits)?;
                    if let Message::Error { .. } | Message::Abort { .. } | Message::Goodbye { .. } =
                        message
                    {
                        bail!("refused: {}", told(&message));
                    }
                    return Ok(Some(message));
                }
                Frame::Ping(bytes) => self.put_frame(&Frame::Pong(bytes))?,
                Frame::Pong(_) => {}
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Ok(None)
    }

    /// The next message that is no event.
    async fn answer(&mut self) -> anyhow::Result<Message> {
        let answer = async {
            loop {
                while let Some(message) = self.take()? {
                    if !matches!(message, Message::Event { .. }) {
                        return Ok(message);
                    }
                }
                self.flush().await?;
                self.hear().await?;
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .context("no answer")?
    }
}

fn hello(entrance: &Entrance) -> Message {
    let role = || Value::Dict(Dict::new());
    let roles = Dict::new()
        .with("publisher", role())
        .with("subscriber", role())
        .with("caller", role())
        .with("callee", role());
    let methods = entrance.ticket.iter().map(|_| "ticket");
    let methods = methods.chain(["anonymous"]).map(Value::from).collect();
    let mut details = Dict::new()
        .with("roles", Value::Dict(roles))
        .with("authmethods", Value::List(methods));
    if let Some(user) = &entrance.user {
        details.insert("authid", user.as_str());
    }
    Message::Hello {
        realm: entrance.realm.clone(),
        details,
    }
}

/// What a message says that was not hoped for.
fn told(message: &Message) -> String {
    match message {
        Message::Abort {
            details, reason, ..
        }
        | Message::Goodbye { details, reason } => {
            let text = details.text("message").ok().flatten();
            format!("{reason} {}", text.unwrap_or_default())
        }
        Message::Error { error, payload, .. } => {
            let args = payload.args().unwrap_or_default();
            let text = args.first().and_then(Value::as_str);
            format!("{error} {}", text.unwrap_or_default())
        }
        other => format!("a {}", other.name()),
    }
}
