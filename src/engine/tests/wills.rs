//! Wills: when they are due, that each is handed out once, and what ends them.

use restante_storage::{Lsn, SessionNo, Source};

use super::rig::Rig;
use crate::engine::{DueWill, Errand, Left};

/// A session that outlives its socket by five seconds, with a will of that delay for `q`.
fn mortal(rig: &mut Rig, delay_ms: u64) -> SessionNo {
    rig.define("q");
    let session = rig.mqtt_session(1, 5000);
    rig.change_session(session, 5000, Some(("q", delay_ms)));
    session
}

fn lose(rig: &mut Rig, session: SessionNo) {
    let expiry = rig.engine.session(session).unwrap().expiry_ms;
    let at = rig.time().saturating_add(expiry);
    rig.detach(session, at);
}

/// What is handed out now, and not written.
fn due(rig: &mut Rig) -> Vec<DueWill> {
    let errands = rig.engine.take_errands(rig.time(), 16).into_iter();
    errands
        .map(|errand| match errand {
            Errand::Will(it) => *it,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn n_waiting(rig: &mut Rig) -> usize {
    rig.errands();
    rig.waiting("q").len()
}

#[test]
fn a_will_is_handed_out_once_when_its_delay_is_over() {
    for delay_ms in [0, 2000] {
        let mut rig = Rig::new();
        let session = mortal(&mut rig, delay_ms);
        assert_eq!(due(&mut rig), [], "its client is there");
        lose(&mut rig, session);
        if delay_ms > 0 {
            rig.now += delay_ms - 1;
            assert_eq!(due(&mut rig), []);
            rig.now += 1;
        }
        let due_now = due(&mut rig);
        let [it] = &due_now[..] else {
            panic!("{due_now:?}")
        };
        assert!(!it.given_up);
        assert_eq!(it.source.will().unwrap().0, session);
        rig.now += 9000;
        assert_eq!(due(&mut rig), [], "it was handed out");
        rig.write_will(it);
        assert_eq!(n_waiting(&mut rig), 1);
        assert!(rig.engine.session(session).is_none(), "then it ends");
    }
}

#[test]
fn a_session_ends_after_its_will() {
    let mut rig = Rig::new();
    let session = mortal(&mut rig, 60_000);
    lose(&mut rig, session);
    rig.now += 4999;
    assert_eq!(n_waiting(&mut rig), 0);
    rig.now += 1;
    let errands = rig.errands();
    assert!(
        matches!(&errands[..], [Errand::Will(_), Errand::End(_)]),
        "{errands:?}"
    );
    assert_eq!(rig.waiting("q").len(), 1);
}

#[test]
fn whoever_comes_back_in_time_is_not_mourned() {
    let mut rig = Rig::new();
    let session = mortal(&mut rig, 2000);
    lose(&mut rig, session);
    rig.now += 1000;
    rig.engine.attach(session);
    rig.now += 9000;
    assert_eq!(n_waiting(&mut rig), 0);
    // With another will by now: the first is not its.
    let old = rig.engine.session(session).unwrap().will.unwrap().id;
    rig.change_session(session, 5000, Some(("q", 0)));
    rig.engine.fire_will(session, Lsn::new(old));
    assert_eq!(n_waiting(&mut rig), 0);
    lose(&mut rig, session);
    assert_eq!(n_waiting(&mut rig), 1);
}

#[test]
fn a_goodbye_gives_a_will_up() {
    let mut rig = Rig::new();
    let session = mortal(&mut rig, 1000);
    let (now, at) = (rig.time(), rig.time().saturating_add(5000));
    rig.engine.detach(session, Left::WithGoodbye, now, at);
    assert!(rig.engine.has_errands());
    let errands = rig.errands();
    assert!(
        matches!(&errands[..], [Errand::Will(it)] if it.given_up),
        "{errands:?}"
    );
    assert_eq!(rig.engine.session(session).unwrap().will, None);
    rig.restart();
    rig.now += 1000;
    assert_eq!(n_waiting(&mut rig), 0);
}

#[test]
fn a_will_survives_until_its_record_is_applied() {
    let mut rig = Rig::new();
    let session = mortal(&mut rig, 1000);
    rig.checkpoint();
    // A crash while its client is there, then one after it was handed out: its delay begins anew with each start.
    for _ in 0..2 {
        rig.restart();
        assert_eq!(due(&mut rig), []);
        rig.now += 1000;
        assert_eq!(due(&mut rig).len(), 1);
    }
    rig.restart();
    rig.now += 1000;
    assert_eq!(n_waiting(&mut rig), 1);
    for _ in 0..2 {
        rig.restart();
        rig.now += 1000;
        assert_eq!(n_waiting(&mut rig), 1, "once");
        rig.checkpoint();
    }
    let session = rig.engine.session(session).unwrap();
    assert_eq!(session.will, None);
}

#[test]
fn what_was_published_already_does_not_end_the_will_that_came_since() {
    let mut rig = Rig::new();
    let session = mortal(&mut rig, 0);
    lose(&mut rig, session);
    let first = due(&mut rig);
    rig.engine.attach(session);
    rig.change_session(session, 5000, Some(("q", 0)));
    first.iter().for_each(|it| rig.write_will(it));
    assert!(rig.engine.session(session).unwrap().will.is_some());
    lose(&mut rig, session);
    assert_eq!(n_waiting(&mut rig), 2);
}

#[test]
fn a_change_of_expiry_keeps_the_will() {
    let mut rig = Rig::new();
    let session = mortal(&mut rig, 1000);
    let mut def = rig.engine.session(session).unwrap();
    let id = def.will.take().unwrap().id;
    (def.keeps_will, def.expiry_ms) = (true, 1);
    rig.run(&Errand::Session(Box::new(def)));
    let changed = rig.engine.session(session).unwrap();
    assert_eq!(changed.will.unwrap().id, id);
    assert_eq!(
        Source::of_will(session, Lsn::new(id)).will(),
        Some((session, Lsn::new(id)))
    );
}
