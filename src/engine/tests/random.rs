//! Random scripts. A failure names its seed: `RESTANTE_SEED=n cargo test engine::` runs that one alone,
//! `RESTANTE_SEEDS=n` as many times more of them.

use std::collections::BTreeMap;

use restante_storage::payload::DefineQueue;
use restante_storage::{Lsn, Offset, QueueId};

use super::model::Model;
use super::rig::{Rig, Rows, Store, durable_rows};
use super::script::Script;
use crate::engine::Engine;
use crate::refusal::Refusal;

/// Runs `script` with many seeds.
fn each_seed(seeds: u64, run: impl Fn(Script)) {
    let only = std::env::var("RESTANTE_SEED").ok();
    let only: Option<u64> = only.map(|seed| seed.parse().unwrap());
    let times = std::env::var("RESTANTE_SEEDS").map_or(1, |times| times.parse().unwrap());
    for seed in only.map_or(0..seeds * times, |seed| seed..seed + 1) {
        let told = Told(seed);
        run(Script::new(seed));
        std::mem::forget(told);
    }
}

/// Says which seed it was when a test fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("the seed was {}", self.0);
    }
}

#[test]
fn what_is_pending_agrees_with_a_model() {
    each_seed(30, |mut script| {
        for step in 0..400 {
            script.step();
            script.check_live();
            if step % 40 == 39 {
                script.rig.checkpoint();
            }
            if step % 90 == 89 {
                script.restart();
            }
            assert_eq!(script.rig.engine.pending(), script.model.pending());
        }
    });
}

#[test]
fn fold_is_deterministic() {
    each_seed(15, |mut script| {
        let mut checkpoints: Vec<Rows> = Vec::new();
        for step in 0..300 {
            script.step();
            if step % 10 == 0 {
                script.rig.checkpoint();
                let rows = script.rig.store.rows();
                assert_eq!(durable_rows(&rows), script.rig.engine.all_rows());
                checkpoints.push(rows);
            }
        }
        let live = script.rig.engine.all_rows();
        assert_eq!(script.rig.rebuilt().all_rows(), live, "from the beginning");
        for rows in checkpoints {
            let engine = Store::of(rows).load().unwrap().unwrap();
            let from = engine.applied();
            let mut replayed = script.rig.replayed(engine);
            assert_eq!(replayed.all_rows(), live, "from the checkpoint at {from}");
        }
    });
}

#[test]
fn a_log_whose_beginning_is_gone_folds_to_the_same_queues() {
    each_seed(60, |mut script| {
        // Where a frame's first copy is gone, its second one cannot be told from it.
        script.resends = false;
        let mut cuts = 0;
        for step in 0..600 {
            script.step();
            if step % 15 == 7 {
                script.rig.checkpoint();
            }
            if step % 20 == 3 {
                let before = script.rig.tape.oldest();
                script.rig.cut();
                cuts += u64::from(script.rig.tape.oldest() != before);
            }
            if step % 10 == 9 {
                assert_same_queues(&mut script.rig, &script.model);
            }
            if step % 200 == 150 {
                script.lose_store();
            }
            assert_eq!(script.rig.engine.pending(), script.model.pending());
        }
        assert!(cuts > 0, "nothing was ever cut");
    });
}

#[test]
fn needed_from_never_passes_a_live_message() {
    each_seed(10, |mut script| {
        for step in 0..300 {
            script.step();
            if step % 15 == 7 {
                script.rig.checkpoint();
            }
            let needed = script.rig.engine.needed_from(script.rig.checkpointed);
            let first_live = script.model.live_lsns().first().copied();
            assert!(first_live.is_none_or(|lsn| needed <= Lsn::new(lsn)));
            assert!(needed <= script.rig.checkpointed);
        }
    });
}

/// Definitions, and the offsets given next, by queue.
fn definitions(engine: &Engine) -> BTreeMap<QueueId, (DefineQueue, Offset)> {
    let next: BTreeMap<QueueId, Offset> = engine.next_offsets().collect();
    let queues = engine.queues.values();
    queues
        .map(|queue| {
            let def = DefineQueue::clone(queue.def.as_ref().unwrap());
            (queue.id, (def, next[&queue.id]))
        })
        .collect()
}

/// What is left of the log, without a state store, makes what the engine has.
fn assert_same_queues(rig: &mut Rig, model: &Model) {
    let mut rebuilt = rig.rebuilt();
    let oldest = rig.tape.oldest();
    let live = &mut rig.engine;
    assert_eq!(rebuilt.pending(), live.pending(), "{oldest:?}");
    assert_eq!(definitions(&rebuilt), definitions(live), "{oldest:?}");
    assert_eq!(rebuilt.all_retained(), live.all_retained(), "{oldest:?}");
    let mut numbers: Vec<_> = rebuilt.sessions.keys().collect();
    numbers.sort_unstable();
    let mut known: Vec<_> = live.sessions.keys().collect();
    known.sort_unstable();
    assert_eq!(numbers, known);
    for number in known {
        let (mut was, mut is) = (
            live.session(*number).unwrap(),
            rebuilt.session(*number).unwrap(),
        );
        was.failures.clear();
        let has = std::mem::take(&mut is.failures);
        assert_eq!(is, was);
        // A settlement of what was settled before the log begins may have been the first one, and is taken for it.
        let had = model.failures(*number);
        assert!(has.iter().all(|it| had.contains(it)), "{has:?} of {had:?}");
        for lost in had.iter().filter(|it| !has.contains(it)) {
            assert_eq!(lost.refusal, Refusal::NoSuchDelivery.number(), "{oldest:?}");
        }
    }
}
