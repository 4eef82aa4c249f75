//! What stands in for a session: whatever comes goes out again.
//!
//! Some messages are heeded besides: `admit` makes the client known, `flood` sends for as long as the peer takes it, `large` sends
//! one message that no small peer takes, `limit` says what the peer takes, `bye` closes.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::front::clock::{Alarm, down, now};
use crate::front::door::Client;
use crate::front::newcomers::Newcomer;
use crate::front::pulse::{Beat, Pulse};
use crate::front::wamp::{Lost, Turn, Wire};
use crate::front::{CLOSE_WITHIN, Front};

/// Where it tells what it sees.
#[derive(Debug, Clone)]
pub(crate) struct Echo(pub(super) mpsc::UnboundedSender<Seen>);

/// As good as any.
impl PartialEq for Echo {
    fn eq(&self, _: &Echo) -> bool {
        true
    }
}

impl Eq for Echo {}

/// What it sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A client: transport, serializer and peer.
    Came(&'static str, &'static str, String),
    /// So many messages of a flood were taken when the peer of that transport took no more.
    Blocked(&'static str, u64),
    /// Its end, and why.
    Ended(&'static str),
}

/// Messages of a flood.
const FLOOD_BYTES: usize = 1000;
/// Longer than the peers with the smallest limit take.
pub(super) const LARGE_BYTES: usize = 5000;

struct Session {
    wire: Wire,
    output: Vec<Bytes>,
    floods: bool,
    flooded: u64,
    over: bool,
    told: mpsc::UnboundedSender<Seen>,
}

pub(in crate::front) async fn echo<B>(
    front: &Front<B>,
    (client, wire): (Client, Wire),
    (_, newcomer): (Instant, Newcomer),
    Echo(told): Echo,
) {
    let settings = front.settings.wamp.as_ref().unwrap();
    let mut pulse = Pulse::new(settings.ping_interval, now());
    let (mut alarm, mut shutdown) = (Alarm::new(), front.shutdown.clone());
    let mut newcomer = Some(newcomer);
    let (transport, serializer) = (wire.transport().as_str(), wire.serializer().name());
    let came = Seen::Came(transport, serializer, client.peer.ip().to_string());
    drop(told.send(came));
    let mut session = Session {
        wire,
        output: Vec::new(),
        floods: false,
        flooded: 0,
        over: false,
        told,
    };
    let end = loop {
        if let Err(lost) = session.write() {
            break Some(lost);
        }
        let blocked = session.wire.is_blocked();
        if session.over && !blocked {
            break None;
        }
        let listening = !blocked && session.wire.answers_pings();
        pulse.look(now(), listening, blocked);
        tokio::select! {
            turn = session.wire.turn(!blocked) => {
                pulse.heard(now());
                if let Err(lost) = session.read(turn, &mut newcomer) {
                    break Some(lost);
                }
            }
            () = alarm.reach(pulse.next()) => match pulse.due(now()) {
                Some(Beat::Ping) => session.wire.ping().unwrap(),
                Some(Beat::Silent) => break Some(Lost::Silent),
                Some(Beat::Stalled) => break Some(Lost::Gone),
                None => {}
            },
            () = down(&mut shutdown), if !session.over => session.over = true,
        }
    };
    session.finish(end).await;
}

impl Session {
    fn read(&mut self, mut turn: Turn, newcomer: &mut Option<Newcomer>) -> Result<(), Lost> {
        loop {
            match turn {
                Turn::Message(message) => self.take(message, newcomer),
                Turn::Written | Turn::Alive => {}
                Turn::Ended(lost) => return Err(lost),
            }
            match self.wire.turn_now() {
                Some(next) => turn = next,
                None => return Ok(()),
            }
        }
    }

    fn take(&mut self, message: Bytes, newcomer: &mut Option<Newcomer>) {
        let has = |word: &str| message.windows(word.len()).any(|it| it == word.as_bytes());
        if has("admit") {
            self.wire.admit();
            newcomer.take();
        }
        self.floods |= has("flood");
        self.over |= has("bye");
        if has("large") {
            self.output.push(vec![b'x'; LARGE_BYTES].into());
        }
        if has("limit") {
            let limit = format!("{:?}", self.wire.peer_bytes_max());
            self.output.push(limit.into());
        }
        self.output.push(message);
    }

    fn write(&mut self) -> Result<(), Lost> {
        let mut waiting = std::mem::take(&mut self.output).into_iter();
        let (floods, mut flooded) = (self.floods, 0);
        self.wire.write(|_| match waiting.next() {
            None if floods => {
                flooded += 1;
                Some(vec![b'x'; FLOOD_BYTES].into())
            }
            message => message,
        })?;
        self.output.extend(waiting);
        self.flooded += flooded;
        if self.floods && self.wire.is_blocked() {
            drop(
                self.told
                    .send(Seen::Blocked(self.wire.transport().as_str(), self.flooded)),
            );
        }
        Ok(())
    }

    async fn finish(self, end: Option<Lost>) {
        let reason = end.map_or("bye", Lost::as_str);
        drop(self.told.send(Seen::Ended(reason)));
        let wire = self.wire;
        let bye = async {
            match end.map(|lost| (lost, lost.told())) {
                None => wire.close(1000, "bye").await,
                Some((_, Some((code, why)))) => wire.close(code, why).await,
                Some((Lost::Closed, None)) => wire.see_out().await,
                Some(_) => {}
            }
        };
        drop(tokio::time::timeout(CLOSE_WITHIN, bye).await);
    }
}
