//! The task of one client: owns the socket, reconnects, and tells everybody when it is over. No decisions about frames.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Connection;
use super::conversation::Conversation;
use super::dial::dial_until;
use super::error::{Broken, ClientError, Stop};
use super::opening::Opening;
use super::options::ClientOptions;
use super::outbox::{Command, Outbox, Wish};
use super::wire::{Incoming, Wire};

/// Messages read before what they caused is written.
const READ_BATCH: usize = 512;
/// How long the broker may take to answer the end of the session.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Runs until the application or an error ends it.
pub(super) async fn run(
    options: ClientOptions,
    outbox: Arc<Outbox>,
    mut wire: Wire,
    opening: Opening,
) {
    let mut conversation = Conversation::new(Arc::clone(&outbox), options.at_least_once, &opening);
    let mut heartbeat = heartbeat(&opening);
    let mut wish = outbox.wish.subscribe();
    let why = loop {
        let broken = match drive(&mut wire, &mut conversation, &outbox, &mut wish, heartbeat).await
        {
            Ok(()) => break Ok(()),
            Err(Stop::Fatal(error)) => break Err(error),
            Err(Stop::Broken(broken)) => broken,
        };
        if conversation.has_said_close() {
            break Ok(()); // the broker ended the socket after hearing it, or the expiry ends the session
        }
        match reconnect(&options, &outbox, &mut wish, conversation.session, broken).await {
            Ok(Some((new_wire, opening))) => {
                wire = new_wire;
                heartbeat = self::heartbeat(&opening);
                if let Err(error) = conversation.handle_opened(&opening) {
                    break Err(error);
                }
                let resumed = opening.resumed;
                outbox.connection.send_replace(Connection::Up { resumed });
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    conversation.end(why.as_ref().err().unwrap_or(&ClientError::Closed));
    outbox.connection.send_replace(match why {
        Ok(()) => Connection::Closed,
        Err(error) => Connection::Failed(error),
    });
}

fn heartbeat(opening: &Opening) -> Duration {
    Duration::from_secs(u64::from(opening.heartbeat.max(1)))
}

/// One socket, from open to broken. `Ok`: the application wished the end.
async fn drive(
    wire: &mut Wire,
    conversation: &mut Conversation,
    outbox: &Outbox,
    wish: &mut watch::Receiver<Wish>,
    heartbeat: Duration,
) -> Result<(), Stop> {
    let mut commands: Vec<Command> = Vec::new();
    let mut ticks = interval(heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut heard = Instant::now();
    loop {
        if wire.has_room() {
            // The wish first: what was asked for before it is then on the list.
            let now = *wish.borrow_and_update();
            outbox.take(&mut commands);
            for command in commands.drain(..) {
                conversation.handle_command(command);
            }
            match now {
                Wish::Run => {}
                Wish::Close => conversation.handle_close(),
                Wish::Detach => return Ok(()),
            }
            while wire.has_room()
                && let Some(frame) = conversation.poll_frame()
            {
                wire.queue(&frame);
            }
            if conversation.has_said_close() {
                return goodbye(wire).await;
            }
        }
        let room = wire.has_room();
        tokio::select! {
            incoming = wire.next() => {
                heard = Instant::now();
                read_batch(wire, conversation, incoming?)?;
            }
            () = outbox.filled(), if room => {}
            changed = wish.changed() => {
                if changed.is_err() || *wish.borrow() == Wish::Detach {
                    return Ok(());
                }
            }
            _ = ticks.tick() => {
                if heard.elapsed() >= heartbeat * 2 {
                    return Err(Stop::Broken(Broken::Silent(heartbeat * 2)));
                }
                wire.ping();
            }
        }
    }
}

/// Handles what came, and all else that has come meanwhile.
fn read_batch(
    wire: &mut Wire,
    conversation: &mut Conversation,
    first: Incoming,
) -> Result<(), Stop> {
    let mut outcome = handle(conversation, first);
    for _ in 1..READ_BATCH {
        if outcome.is_err() {
            break;
        }
        outcome = match wire.next().now_or_never() {
            Some(Ok(incoming)) => handle(conversation, incoming),
            Some(Err(broken)) => Err(Stop::Broken(broken)),
            None => break,
        };
    }
    conversation.announce();
    outcome
}

fn handle(conversation: &mut Conversation, incoming: Incoming) -> Result<(), Stop> {
    match incoming {
        Incoming::Frame(frame) => conversation.handle_frame(frame),
        Incoming::Sign | Incoming::Room => Ok(()),
    }
}

/// The session's end is queued: writes it, and waits a while for the broker to end the socket.
async fn goodbye(wire: &mut Wire) -> Result<(), Stop> {
    wire.goodbye();
    let ended = async { while wire.next().await.is_ok() {} };
    // Too late: the broker ends the session at its expiry.
    drop(timeout(GOODBYE_MAX, ended).await);
    Ok(())
}

/// Connects again. `Ok(None)`: the application does not want it any more.
async fn reconnect(
    options: &ClientOptions,
    outbox: &Outbox,
    wish: &mut watch::Receiver<Wish>,
    session: uuid::Uuid,
    broken: Broken,
) -> Result<Option<(Wire, Opening)>, ClientError> {
    tracing::debug!(%session, error = %broken, "connection lost");
    outbox.connection.send_replace(Connection::Down {
        why: Arc::new(broken),
    });
    let deadline = options
        .reconnect
        .give_up_after
        .map(|time| Instant::now() + time);
    let dialled = dial_until(options, session, deadline, |broken| {
        tracing::debug!(%session, error = %broken, "cannot connect");
    });
    tokio::select! {
        dialled = dialled => dialled.map(Some),
        _ = wish.wait_for(|wish| *wish == Wish::Detach) => Ok(None),
    }
}
