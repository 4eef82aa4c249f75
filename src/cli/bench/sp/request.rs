//! One question at a time: through the broker, and without one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_proto::sp::{Role, Stack};
use tokio::sync::watch;

use super::super::pool::{Meter, Pool, Times};
use super::Sp;
use super::door::{Door, Place};
use super::nng::Nng;
use super::peer::{Peer, frame};
use super::push::connect;
use super::row::{Round, Row};

/// Rounds of each: our REQ and REP, our REQ and nng's REP, both of nng; the last two with a broker in between and without.
#[derive(Debug, Default)]
struct Rounds {
    ours: Vec<Round>,
    ours_to_nng: Vec<Round>,
    nng: Vec<Round>,
    nng_to_nng: Vec<Round>,
}

/// Rounds of each.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Sp) -> anyhow::Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    let nng = args.nng.as_deref().map(Nng::new);
    for number in 0..args.rounds {
        let place = |by| {
            let address = format!("bench/{}/{by}/{number}", std::process::id());
            door.place(&address, "")
        };
        rounds.ours.push(through(pool, args, &place("ours")).await?);
        if let Some(nng) = &nng {
            let time = (args.warm_up, args.seconds);
            let (running, direct) = nng.rep().await?;
            rounds.ours_to_nng.push(ask(pool, args, &direct).await?);
            rounds
                .nng_to_nng
                .push(nng.ask(&direct, args.size, time).await?);
            drop(running);
            let place = place("nng");
            let worker = nng.worker(&place).await?;
            rounds.nng.push(nng.ask(&place, args.size, time).await?);
            drop(worker);
        }
    }
    let row = |by, rounds: &[Round]| {
        let mut row = Row::new("request", by, args.size, rounds);
        (row.senders, row.takers) = (Some(1), Some(1));
        row
    };
    let Rounds {
        ours,
        ours_to_nng,
        nng,
        nng_to_nng,
    } = rounds;
    if nng.is_empty() {
        return Ok(vec![row("sp", &ours)]);
    }
    Ok(vec![
        row("sp", &ours).by_time(&ours, &ours_to_nng),
        row("sp to nng's REP, direct", &ours_to_nng),
        row("nng by the broker", &nng).by_time(&nng, &nng_to_nng),
        row("nng, direct", &nng_to_nng),
    ])
}

/// With a REP of our own.
async fn through(pool: &Pool, args: &Sp, place: &Place) -> anyhow::Result<Round> {
    let over = watch::Sender::new(false);
    let peer = connect(pool, 0, place, Role::Rep).await?;
    let answering = pool.spawn(0, answer(peer, over.subscribe()));
    let round = ask(pool, args, place).await;
    over.send_replace(true);
    answering.await??;
    round
}

async fn ask(pool: &Pool, args: &Sp, place: &Place) -> anyhow::Result<Round> {
    let meter = Meter::new();
    let peer = connect(pool, 0, place, Role::Req).await?;
    let asking = pool.spawn(0, ask_on(peer, args.size, Arc::clone(&meter)));
    let counted = meter.count(args.warm_up, args.seconds, None).await?;
    meter.stop();
    asking.await??;
    Ok(Round::counted(&counted, &meter.latency(), 0))
}

async fn ask_on(mut peer: Peer, size: u32, meter: Arc<Meter>) -> anyhow::Result<()> {
    let stop = meter.stopped();
    let mut times = Times::new();
    let body = vec![b'x'; size as usize];
    let mut id = 0;
    while !*stop.borrow() {
        let counting = meter.is_counting();
        let header = Stack::of(id).to_bytes();
        id = id.wrapping_add(1);
        let question = [&header, &*body].concat();
        let began = meter.nanos();
        peer.put(&frame(&question)?);
        peer.flush().await?;
        loop {
            if let Some(answer) = peer.take()? {
                anyhow::ensure!(answer == question, "another answer");
                break;
            }
            peer.hear().await?;
        }
        if counting {
            times.record(meter.nanos() - began);
        }
        meter.delivered.fetch_add(1, Ordering::Relaxed);
    }
    meter.add(&times);
    Ok(())
}

/// Gives back what it is asked, until it is over.
async fn answer(mut peer: Peer, mut over: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut answers = Vec::new();
    loop {
        tokio::select! {
            heard = peer.hear() => heard?,
            _ = over.wait_for(|over| *over) => return Ok(()),
        }
        while let Some(question) = peer.take()? {
            answers.push(frame(question)?);
        }
        for answer in answers.drain(..) {
            peer.put(&answer);
        }
        peer.flush().await?;
    }
}
