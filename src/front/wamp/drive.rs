//! The loop of one WAMP connection: messages → session → broker, and back, for one session after the other.
//!
//! ```text
//! wire.turn()  ─▶ decode ─▶ session.handle_message ─▶ port.call, port.wamp … port.flush
//! port.ready() ─▶ port.drain ─▶ session.handle_event ─▶ session.poll_message ─▶ wire.write
//! ```
//!
//! The guards are the backpressure, as in `front/drive.rs`: no read while the session wants no messages, the broker has no room, or the
//! peer does not read; no drain while the peer does not read, and no deliveries while the session has enough of them.
//!
//! Always, with a test of its name below:
//! - `an_idle_client_costs_little`: what happens once is in boxes that are dropped.
//!
//! Not here: bytes (wire), decisions about messages (session), who somebody is (prove), and what a call does (broker).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::TryRng as _;
use rand::rngs::SysRng;
use restante_proto::wamp::decode;
use tokio::sync::watch;
use tokio::time::timeout_at;
use tracing::info;

use super::super::attach::{Wish as Attach, attach};
use super::super::clock::{Alarm, down, now};
use super::super::door::Client;
use super::super::drive::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DRAIN_BYTES_MAX};
use super::super::newcomers::Newcomer;
use super::super::port::{Inside, News, Port, heard_of, lets_go};
use super::super::pulse::{Beat, Pulse};
use super::super::wamp_prove::{Prover, Shown, Step};
use super::super::{CLOSE_WITHIN, Front, metrics};
use super::{Lost, Turn, Wire};
use crate::access::Principal;
use crate::access::wamp::{Hello, Method, Refusal, Welcome};
use crate::broker::WampClient;
use crate::logs::seldom;
use crate::session::NotAttached;
use crate::session::wamp::{Known, Opening, Proved, Session, Settings, Transport, Wish};
use crate::wamp::json;

/// Why a connection comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session says why.
    Over,
    /// Nothing comes any more.
    Lost(Lost),
    /// Nothing was heard for too long.
    Silent,
    /// It took nothing for too long.
    Stalled,
}

struct Driver<P> {
    client: Client,
    wire: Wire,
    session: Session,
    settings: Arc<Settings>,
    /// The client inside the broker, while a session runs.
    port: Option<Box<P>>,
    pulse: Pulse,
    alarm: Alarm,
    shutdown: watch::Receiver<bool>,
    /// Whether the session knows of the shutdown.
    told: bool,
    /// Who the client was found to be, until it is attached.
    proved: Option<Box<Principal>>,
    prover: Option<Box<Prover>>,
    newcomer: Option<Newcomer>,
}

/// Serves a client, by whatever transport, to its end. Once it has said who it is, it is no `newcomer` any more.
///
/// No `async fn`: what such a one is given it keeps twice, and an idle connection costs what its future does.
pub(in crate::front) fn drive<B: Inside>(
    front: &Front<B>,
    client: Client,
    wire: Wire,
    began: Instant,
    newcomer: Newcomer,
) -> impl Future<Output = ()> + Send {
    let driver = Driver::new(front, client, wire, began, newcomer);
    async move {
        if let Some(driver) = driver {
            driver.run(front).await;
        }
    }
}

impl<P: Port> Driver<P> {
    /// None where the WAMP door is closed.
    fn new<B: Inside<Port = P>>(
        front: &Front<B>,
        client: Client,
        wire: Wire,
        began: Instant,
        newcomer: Newcomer,
    ) -> Option<Box<Self>> {
        let settings = Arc::clone(front.wamp.as_ref()?);
        let ping_interval = front.settings.wamp.as_ref()?.ping_interval;
        let transport = Transport {
            name: wire.transport().as_str(),
            serializer: wire.serializer(),
            keeps_order: wire.transport().keeps_order(),
        };
        let seed = SysRng.try_next_u64().unwrap_or_default();
        Some(Box::new(Driver {
            session: Session::new(Arc::clone(&settings), transport, seed, began),
            settings,
            pulse: Pulse::new(ping_interval, now()),
            client,
            wire,
            port: None,
            alarm: Alarm::new(),
            shutdown: front.shutdown.clone(),
            told: false,
            proved: None,
            prover: None,
            newcomer: Some(newcomer),
        }))
    }

    async fn run<B: Inside<Port = P>>(mut self: Box<Self>, front: &Front<B>) {
        let end = loop {
            if let Err(end) = self.step(front).await {
                break end;
            }
        };
        self.flush();
        Box::pin(self.finish(end)).await;
    }

    /// Writes what is ready, and waits for one thing to happen.
    async fn step<B: Inside<Port = P>>(&mut self, front: &Front<B>) -> Result<(), End> {
        self.write()?;
        let blocked = self.wire.is_blocked();
        let has_room = self.port.as_ref().is_none_or(|port| port.has_room());
        let reading = !blocked && self.session.wants_messages() && has_room;
        let open = self.session.closing().is_none();
        let wanted = match (blocked, self.session.wants_deliveries()) {
            (true, _) => News::Alarms,
            (false, false) => News::AllButDeliveries,
            (false, true) => News::All,
        };
        self.pulse.look(now(), reading, blocked);
        let beat = self.pulse.next();
        let wake = self.session.poll_timeout().map_or(beat, |it| it.min(beat));
        tokio::select! {
            turn = self.wire.turn(reading) => self.read(turn)?,
            () = heard_of_if(&mut self.port, wanted), if open => self.take(wanted)?,
            () = self.alarm.reach(wake) => self.beat()?,
            () = down(&mut self.shutdown), if !self.told => {
                self.told = true;
                self.session.handle_shutdown(now(), now() + front.settings.drain);
            }
        }
        // Rare, and long: in a box that is dropped.
        while let Some(wish) = self.grant_all() {
            Box::pin(self.come_in(front, wish)).await;
        }
        self.flush();
        Ok(())
    }

    /// Takes a message and all that came with it, as one batch.
    fn read(&mut self, mut turn: Turn) -> Result<(), End> {
        let now = now();
        let (mut n_messages, mut n_bytes) = (0, 0);
        loop {
            match turn {
                Turn::Written => {}
                Turn::Alive => self.pulse.heard(now),
                Turn::Ended(lost) => {
                    self.flush();
                    return Err(End::Lost(lost));
                }
                Turn::Message(bytes) => {
                    self.pulse.heard(now);
                    n_messages += 1;
                    n_bytes += bytes.len();
                    self.hear(now, &bytes);
                    if let Some(wish) = self.grant_all() {
                        // It waits for the driver: nothing more is taken.
                        self.session.put_back(wish);
                        return Ok(());
                    }
                }
            }
            let has_room = self.port.as_ref().is_none_or(|port| port.has_room());
            let is_full = n_messages >= BATCH_MESSAGES_MAX || n_bytes >= BATCH_BYTES_MAX;
            if is_full || !has_room || !self.session.wants_messages() {
                return Ok(());
            }
            match self.wire.turn_now() {
                Some(next) => turn = next,
                None => return Ok(()),
            }
        }
    }

    fn hear(&mut self, now: Instant, bytes: &Bytes) {
        match decode(self.wire.serializer(), bytes, &self.settings.limits) {
            Ok(message) => self.session.handle_message(now, message),
            Err(error) => self.session.handle_decode_error(&error),
        }
    }

    /// Grants what the session wishes, up to what has to be waited for.
    fn grant_all(&mut self) -> Option<Wish> {
        while let Some(wish) = self.session.poll_wish() {
            match (wish, &mut self.port) {
                (Wish::Call { tag, call }, Some(port)) => port.call(tag, call),
                (Wish::Ask(ask), Some(port)) => port.wamp(*ask),
                (Wish::Credit { consumer, limit }, Some(port)) => port.credit(&consumer, limit),
                (Wish::Call { .. } | Wish::Ask(_) | Wish::Credit { .. }, None) => {}
                (Wish::Detach, _) => {
                    self.flush();
                    self.port = None;
                }
                (wish @ (Wish::Begin(_) | Wish::Answer { .. } | Wish::Attach { .. }), _) => {
                    return Some(wish);
                }
            }
        }
        None
    }

    fn flush(&mut self) {
        if let Some(port) = &mut self.port {
            port.flush();
        }
    }

    /// What takes its time: finding out who somebody is, and attaching them.
    async fn come_in<B: Inside<Port = P>>(&mut self, front: &Front<B>, wish: Wish) {
        let deadline = now() + self.settings.open_within;
        let client = &mut self.client;
        match wish {
            Wish::Begin(opening) => {
                let hello = hello(&opening, self.wire.channel());
                let prover = self.prover.get_or_insert_with(|| {
                    Box::new(Prover::new(
                        Arc::clone(&front.auth),
                        client.peer,
                        client.door.protocol(),
                        Shown {
                            header: None,
                            certificate: client.certificate.as_deref().map(<[u8]>::to_vec),
                        },
                    ))
                });
                client.realm = opening.realm.as_str().into();
                let step = match client.principal.clone().filter(|_| hello.offers_nothing()) {
                    Some(principal) => {
                        let wish = hello.authrole.as_deref();
                        match Welcome::new(principal, Method::Http, wish) {
                            Ok(welcome) => Some(Step::Welcome(Box::new(welcome))),
                            Err(why) => Some(Step::Refused(why)),
                        }
                    }
                    None => timeout_at(deadline.into(), prover.begin(&hello)).await.ok(),
                };
                self.proved(step, front.broker.has_realm(&opening.realm));
            }
            Wish::Answer { signature, extra } => {
                let extra = json::of_dict(extra);
                let step = match &mut self.prover {
                    Some(prover) => timeout_at(deadline.into(), prover.answer(&signature, &extra))
                        .await
                        .ok(),
                    None => None,
                };
                let has_realm = front.broker.has_realm(&self.client.realm);
                self.proved(step, has_realm);
            }
            Wish::Attach { realm, client: who } => {
                client.realm = realm.into();
                self.attach(front, who, deadline).await;
            }
            _ => {}
        }
    }

    /// Who the client is, is known, or what it is to answer. Whether there is the realm is told to nobody who might be anybody.
    fn proved(&mut self, step: Option<Step>, has_realm: bool) {
        let proved = match step {
            Some(Step::Welcome(_)) if !has_realm => {
                let why = Refusal::NoSuchRealm;
                refused(why.uri(), &why.to_string())
            }
            None => refused("wamp.error.authentication_failed", "not found out in time"),
            Some(Step::Challenge(challenge)) => Proved::Challenge {
                method: challenge.method.as_str(),
                extra: json::to_dict(&challenge.extra),
            },
            Some(Step::Refused(why)) => refused(why.uri(), &why.to_string()),
            Some(Step::Welcome(welcome)) => {
                let known = Known {
                    authid: welcome.authid.as_str().into(),
                    authrole: welcome.authrole.as_str().into(),
                    authmethod: welcome.authmethod.as_str(),
                    authprovider: welcome.authprovider,
                    authextra: json::to_dict(&welcome.authextra),
                };
                self.proved = Some(Box::new(welcome.principal));
                Proved::Known(Box::new(known))
            }
        };
        self.session.handle_proved(proved);
    }

    async fn attach<B: Inside<Port = P>>(
        &mut self,
        front: &Front<B>,
        who: Box<WampClient>,
        deadline: Instant,
    ) {
        let Some(principal) = self.proved.take() else {
            return self.session.handle_attached(Err(NotAttached::Unauthorized));
        };
        let session = who.session;
        let wish = Attach::of_wamp(*principal, who);
        match attach(front, &self.client, wish, deadline).await {
            Ok((port, attached)) => {
                self.port = Some(port);
                self.newcomer = None;
                self.prover = None;
                self.wire.admit();
                let (realm, conn, peer) = (&self.client.realm, self.client.conn, self.client.peer);
                info!(%realm, %conn, session = %attached.session, wamp = session, %peer, "attached");
                self.session.handle_attached(Ok(()));
            }
            Err(why) => self.session.handle_attached(Err(why)),
        }
    }

    /// Takes what the broker has. Who is let go while they read nothing is not waited for.
    fn take(&mut self, wanted: News) -> Result<(), End> {
        let bytes_max = if wanted == News::All {
            DRAIN_BYTES_MAX
        } else {
            0
        };
        let Some(port) = &mut self.port else {
            return Ok(());
        };
        let (mut is_let_go, now) = (false, now());
        for event in port.drain(bytes_max) {
            is_let_go |= lets_go(&event);
            self.session.handle_event(now, event);
        }
        if is_let_go && wanted == News::Alarms {
            return Err(End::Over);
        }
        Ok(())
    }

    /// Writes what the session has, as far as the peer takes it; the end comes after the last of it.
    fn write(&mut self) -> Result<(), End> {
        let mut written = Ok(());
        if self.session.has_output() {
            let session = &mut self.session;
            let peer_max = self.wire.peer_bytes_max().unwrap_or(usize::MAX);
            written = self.wire.write(|room| session.poll_message(peer_max, room));
        }
        let tally = self.session.take_tally();
        metrics::wamp_unwritten(&tally);
        if tally.given_back > 0 {
            let (events, wamp) = (tally.given_back, self.session.id());
            seldom!(
                60,
                warn,
                events,
                wamp,
                "events of a queue that a client cannot be told go back, or are rejected"
            );
        }
        written.map_err(End::Lost)?;
        if tally.too_large + tally.unspeakable > 0 {
            // Whoever waits for what the client cannot take is to hear so now.
            if let Some(wish) = self.grant_all() {
                self.session.put_back(wish);
            }
            self.flush();
        }
        if self.session.closing().is_some() && !self.wire.is_blocked() {
            return Err(End::Over);
        }
        Ok(())
    }

    fn beat(&mut self) -> Result<(), End> {
        let now = now();
        match self.pulse.due(now) {
            Some(Beat::Ping) => self.wire.ping().map_err(End::Lost)?,
            Some(Beat::Silent) if self.wire.answers_pings() => return Err(End::Silent),
            Some(Beat::Silent) => self.pulse.heard(now),
            Some(Beat::Stalled) => return Err(End::Stalled),
            None => {}
        }
        self.session.handle_timeout(now);
        self.session.rest();
        Ok(())
    }

    /// Says good-bye, counts and logs it. The attachment is gone before: the broker does not wait for the peer.
    async fn finish(mut self: Box<Self>, end: End) {
        self.port = None;
        let Driver {
            wire,
            session,
            client,
            newcomer,
            ..
        } = *self;
        let closing = session.closing();
        let reason = match end {
            End::Over => closing.map_or("over", |it| it.reason),
            End::Lost(lost) => lost.as_str(),
            End::Silent => "silent",
            End::Stalled => "stalled",
        };
        let why = closing.map_or("", |it| it.text.as_str()).to_owned();
        metrics::wamp_disconnected(reason);
        let (realm, conn, peer) = (&client.realm, client.conn, client.peer);
        if newcomer.is_none() {
            info!(%realm, %conn, %peer, code = reason, why, "connection ended");
        } else {
            // Anybody can connect, and leave.
            seldom!(60, info, %realm, %conn, %peer, code = reason, why, "connection ended");
        }
        let is_violation = closing.is_some_and(|it| it.violation);
        let bye = async {
            match end {
                End::Over if is_violation => wire.close(1002, &short(&why)).await,
                End::Over => wire.close(1000, &short(&why)).await,
                End::Lost(Lost::Closed) => wire.see_out().await,
                End::Lost(lost) => {
                    if let Some((code, why)) = lost.told() {
                        wire.close(code, why).await;
                    }
                }
                End::Silent | End::Stalled => {}
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, bye).await.is_err() {
            tracing::debug!(conn = %client.conn, "the peer did not close in time");
        }
    }
}

async fn heard_of_if<P: Port>(port: &mut Option<Box<P>>, wanted: News) {
    match port {
        Some(port) => heard_of(&mut **port, wanted).await,
        None => std::future::pending().await,
    }
}

fn hello(opening: &Opening, channel: Option<[u8; 32]>) -> Hello {
    Hello {
        session: opening.session,
        authmethods: opening.authmethods.clone(),
        authid: opening.authid.clone(),
        authrole: opening.authrole.clone(),
        authextra: json::of_dict(opening.authextra.clone()),
        channel,
    }
}

fn refused(reason: &'static str, message: &str) -> Proved {
    Proved::Refused {
        reason,
        message: message.to_owned(),
        extra: restante_proto::wamp::Dict::new(),
    }
}

/// A close frame's reason is 123 bytes at most (RFC 6455 §5.5).
fn short(why: &str) -> String {
    let mut end = why.len().min(123);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    why.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Attachment, Broker};

    type Drive<F> = fn(&'static Front<Broker>, Client, Wire, Instant, Newcomer) -> F;

    fn size_of_future<F>(_: Drive<F>) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_client_costs_little() {
        let (future, driver) = (
            size_of_future(drive::<Broker>),
            size_of::<Driver<Attachment>>(),
        );
        assert!(future <= 1280 && driver <= 1280, "{future}, {driver}");
    }
}
