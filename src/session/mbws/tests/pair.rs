//! A session, a client that writes text frames, a broker that is told what to say, and a clock that is moved by hand.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use restante_proto::mbws::{Code, Frame, Limits, decode_text};
use restante_storage::UnixMillis;
use uuid::Uuid;

use crate::broker::{Attached, Call, Event};
use crate::refusal::Refusal;
use crate::session::mbws::{AttachWish, Binding, NotAttached, Session, Settings, Wish};

/// The time of day at which all events come.
pub(super) const WALL: UnixMillis = UnixMillis::new(1_000_000);
pub(super) const SESSION: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
pub(super) const WINDOW: u32 = 4;

pub(super) struct Pair {
    pub(super) session: Session,
    now: Instant,
}

pub(super) fn settings() -> Settings {
    Settings {
        broker: "b1".to_owned(),
        server: "restante/test".to_owned(),
        window: WINDOW,
        frame_bytes_max: 1024,
        heartbeat: Duration::from_secs(30),
        open_within: Duration::from_secs(10),
        publish_rate: None,
    }
}

pub(super) fn attached() -> Attached {
    Attached {
        session: SESSION,
        resumed: false,
        confirmed: 0,
        failed: Vec::new(),
        expiry: Duration::ZERO,
        mqtt: None,
    }
}

pub(super) fn frame(text: &str) -> Frame {
    let decoded = decode_text(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default());
    decoded.unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

/// A `send` with that seq.
pub(super) fn send(seq: u64) -> String {
    format!("send\nseq:{seq}\naddress:a\n\nx")
}

impl Pair {
    pub(super) fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Pair {
            session: Session::new(Arc::new(settings), now),
            now,
        }
    }

    /// Before `open`.
    pub(super) fn connected() -> Self {
        Self::with(settings())
    }

    /// After `opened`, with a client that accepts both bindings.
    pub(super) fn running() -> Self {
        Self::connected().start("")
    }

    pub(super) fn with_publish_rate(per_second: u32) -> Self {
        let publish_rate = NonZeroU32::new(per_second);
        Self::with(Settings {
            publish_rate,
            ..settings()
        })
        .start("")
    }

    /// After an `open` with such fields and its `opened`.
    pub(super) fn start(mut self, fields: &str) -> Self {
        self.client(&format!("open\nversion:1\n{fields}\n"));
        self.expect_attach();
        self.session.handle_attached(Ok(attached()));
        assert!(matches!(self.poll(), Some((Frame::Opened(_), _))));
        self
    }

    pub(super) fn client(&mut self, text: &str) {
        self.client_in(Binding::Text, text);
    }

    pub(super) fn client_in(&mut self, binding: Binding, text: &str) {
        self.client_frame(binding, frame(text));
    }

    pub(super) fn client_frame(&mut self, binding: Binding, frame: Frame) {
        self.session.handle_frame(self.now, frame, binding);
    }

    /// As many `send`s, each called.
    pub(super) fn client_sends(&mut self, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            self.client(&send(seq));
            assert!(matches!(self.expect_call(seq), Call::Publish(_)));
        }
    }

    pub(super) fn attach(&mut self, attached: Result<Attached, NotAttached>) {
        self.session.handle_attached(attached);
    }

    pub(super) fn broker(&mut self, event: Event) {
        self.session.handle_event(WALL, event);
    }

    pub(super) fn broker_confirms(&mut self, upto: u64, failed: &[(u64, Refusal)]) {
        let failed = failed.to_vec();
        self.broker(Event::Confirmed { upto, failed });
    }

    pub(super) fn shut_down(&mut self, within: Duration) {
        self.session.handle_shutdown(self.now + within);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now);
    }

    pub(super) fn poll(&mut self) -> Option<(Frame, Binding)> {
        self.session.poll_frame()
    }

    pub(super) fn expect(&mut self, text: &str) {
        assert_eq!(self.poll().map(|(frame, _)| frame), Some(frame(text)));
    }

    pub(super) fn expect_silence(&mut self) {
        assert_eq!(self.poll(), None);
        assert_eq!(self.session.poll_call(), None);
    }

    pub(super) fn expect_wish(&mut self) -> Wish {
        self.session.poll_call().expect("a wish")
    }

    pub(super) fn expect_attach(&mut self) -> AttachWish {
        match self.expect_wish() {
            Wish::Attach(wish) => *wish,
            other => panic!("not an attach: {other:?}"),
        }
    }

    pub(super) fn expect_call(&mut self, expected_tag: u64) -> Call {
        match self.expect_wish() {
            Wish::Call { tag, call } if tag == expected_tag => call,
            other => panic!("not a call of tag {expected_tag}: {other:?}"),
        }
    }

    /// An `error` of that code is the last frame, and the socket is closed with that close code.
    pub(super) fn expect_fatal(&mut self, code: Code, close_code: u16) {
        let reason = self.session.closing().expect("closing").reason.clone();
        let error = frame(&format!("error\ncode:{code}\nreason:{reason}\n\n"));
        assert_eq!(self.poll().map(|(frame, _)| frame), Some(error));
        self.expect_silence();
        assert!(!self.session.wants_frames());
        assert_eq!(
            self.session.closing().map(|it| it.close_code),
            Some(close_code)
        );
    }
}
