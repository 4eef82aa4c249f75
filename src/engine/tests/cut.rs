//! Logs whose beginning is gone, one case each; `random` has all of them mixed.

use super::rig::{Rig, origin};
use crate::engine::{Cause, Errand};

#[test]
fn offsets_are_not_given_twice_though_nothing_waits() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 5);
    rig.accept(queue, 1, 5);
    rig.rewrite_and_cut();
    assert!(!rig.has_before(restante_storage::Lsn::new(8192)));
    let next: Vec<_> = rig.rebuilt().next_offsets().map(|it| it.1.get()).collect();
    assert_eq!(next, [6]);
}

/// A definition without the next offset let go of the one that had it.
#[test]
fn a_changed_definition_without_a_floor_does_not_let_the_log_go() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 5);
    rig.accept(queue, 1, 5);
    let home = rig.engine.needed_now();
    rig.next_segment();
    let def = rig.definition(queue);
    rig.write(restante_storage::Kind::DefineQueue, None, &def);
    assert_eq!(rig.engine.needed_now(), home);
    rig.write_definition(&def);
    assert!(rig.engine.needed_now() > home);
}

#[test]
fn a_home_never_moves_back() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let rewrites = rig.rewrites();
    rig.next_segment();
    rig.redefine(queue, |def| def.ttl_ms = 7);
    let home = rig.engine.needed_now();
    rewrites.iter().for_each(|errand| rig.run(errand));
    assert_eq!(rig.engine.needed_now(), home);
    assert_eq!(rig.definition(queue).ttl_ms, 7);
    rig.checkpoint();
    rig.cut();
    let rebuilt = rig.rebuilt();
    assert_eq!(
        rebuilt.queues.get(&queue).unwrap().def.as_deref(),
        Some(&rig.definition(queue))
    );
}

/// The very first record after the state that was written again was taken to be in it.
#[test]
fn what_follows_at_once_on_the_state_that_is_written_again_changes_it() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    let rewrites = rig.rewrites();
    assert_eq!(rig.engine.applied(), rig.tape.end());
    rig.bind(queue, "a/+", true);
    rewrites.iter().for_each(|errand| rig.run(errand));
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(restante_storage::Lsn::new(8192)));
    let rebuilt = rig.rebuilt();
    assert_eq!(
        rebuilt.queues.get(&queue).unwrap().def.as_deref(),
        Some(&rig.definition(queue))
    );

    let rewrites = rig.rewrites();
    assert_eq!(rig.engine.applied(), rig.tape.end());
    rig.write_consume(session, 1, "x", queue);
    rewrites.iter().for_each(|errand| rig.run(errand));
    rig.checkpoint();
    rig.cut();
    assert_eq!(rig.rebuilt().session(session), rig.engine.session(session));
}

/// Whether it was dropped depended on a definition that stands behind it in the log by now.
#[test]
fn what_is_given_up_is_not_lost_though_its_definition_stands_behind_it() {
    let mut rig = Rig::new();
    let queue = rig.define_with("q", |def| {
        def.dead_letter = Some("dead".into());
        def.max_attempts = 1;
    });
    rig.next_segment();
    rig.enqueue(queue, 2);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    rig.settle(queue, |it| it.released = vec![2, 2]);
    rig.rewrite_and_cut();
    assert!(!rig.has_before(restante_storage::Lsn::new(8192)));
    let mut rebuilt = rig.rebuilt();
    assert_eq!(rebuilt.pending(), rig.engine.pending());
    let errands = rebuilt.take_errands(rig.time(), 16);
    assert!(
        errands
            .iter()
            .any(|it| matches!(it, Errand::Move(it) if it.cause == Cause::Rejected))
    );
    assert!(
        errands
            .iter()
            .any(|it| matches!(it, Errand::Settle(it) if it.exhausted == [2, 2]))
    );
}

/// A definition that had lost its name to another was taken for the first, and its queue's heir for a loser: what was
/// sent to that was lost.
#[test]
fn a_definition_that_lost_does_not_win_when_the_winner_is_gone() {
    let mut rig = Rig::new();
    let winner = rig.define("q");
    let stays = rig.define("stays");
    rig.next_segment();
    rig.enqueue(stays, 1);
    rig.define_with("q", |def| def.ttl_ms = 5); // two clients at once
    rig.delete(winner);
    let heir = rig.define("q");
    rig.enqueue(heir, 1);
    rig.rewrite_and_cut();
    assert!(!rig.has_before(restante_storage::Lsn::new(8192)));
    let mut rebuilt = rig.rebuilt();
    assert_eq!(rebuilt.pending(), rig.engine.pending());
    assert!(rebuilt.queue(heir).is_some());
}

/// What was settled well before the log's beginning was told to have failed.
#[test]
fn a_settlement_of_what_the_log_no_longer_has_is_no_failure() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    rig.enqueue(queue, 3);
    rig.next_segment();
    let settled = |rig: &mut Rig, seq, last| {
        let origin = Some(origin(session, seq));
        rig.settle_from(queue, origin, |it| it.accepted = vec![1, last])
    };
    settled(&mut rig, 1, 1);
    rig.enqueue(queue, 1);
    settled(&mut rig, 2, 4); // the first one in vain
    rig.rewrite_and_cut();
    assert!(!rig.has_before(restante_storage::Lsn::new(8192)));
    assert_eq!(rig.rebuilt().session(session), rig.engine.session(session));
}

/// So it was even where the session had been written again since, and its first definition was not gone yet.
#[test]
fn a_session_written_again_knows_better_which_frames_failed() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 1);
    rig.accept(queue, 1, 1);
    rig.rewrite_and_cut();
    let session = rig.session(1, 1000);
    let origin = Some(origin(session, 1));
    let refusal = rig.settle_from(queue, origin, |it| it.accepted = vec![1, 1]);
    assert!(refusal.is_some());
    for errand in rig.rewrites() {
        rig.run(&errand);
    }
    assert_eq!(rig.rebuilt().session(session), rig.engine.session(session));
}

#[test]
fn a_session_that_ended_before_the_log_begins_does_not_come_back() {
    let mut rig = Rig::new();
    let session = rig.session(1, 1000);
    let rewrites = rig.rewrites();
    rig.end(session);
    rig.next_segment();
    rig.checkpoint();
    rig.cut();
    rewrites.iter().for_each(|errand| rig.run(errand));
    assert_eq!(rig.rebuilt().n_sessions(), 0);
}

#[test]
fn a_change_of_a_session_is_kept_where_its_definition_stands_behind_it() {
    let mut rig = Rig::new();
    let session = rig.session(1, 1000);
    let rewrites = rig.rewrites();
    let mut changed = rig.engine.session(session).unwrap();
    changed.expiry_ms = 9000;
    rig.run(&Errand::Session(Box::new(changed)));
    rewrites.iter().for_each(|errand| rig.run(errand));
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(restante_storage::Lsn::new(8192)));
    let rebuilt = rig.rebuilt().session(session).unwrap();
    assert_eq!(rebuilt.expiry_ms, 9000);
}

#[test]
fn the_log_keeps_what_the_last_checkpoint_has_though_it_was_settled_since() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 1);
    let rewrites = rig.rewrites();
    rewrites.iter().for_each(|errand| rig.run(errand));
    rig.next_segment();
    rig.checkpoint();
    let before = rig.engine.needed_from(rig.checkpointed);
    rig.accept(queue, 1, 1); // a power cut may take that
    assert_eq!(rig.engine.needed_from(rig.checkpointed), before);
    assert!(rig.engine.needed_now() > before);
}
