//! The order of what comes back from a consumer that is gone.

use super::rig::Rig;

#[test]
fn nothing_overtakes_what_is_coming_back() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 4);
    let gone = rig.consumer(queue, 2);
    assert_eq!(rig.offsets(), [1, 2]);
    rig.engine.remove_consumer(gone);
    rig.consumer(queue, 4);
    assert!(rig.offsets().is_empty(), "3 and 4 wait for 1 and 2");
    rig.errands();
    assert_eq!(rig.offsets(), [1, 2, 3, 4]);
}

#[test]
fn what_is_settled_on_its_way_back_holds_nothing_up() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 3);
    let gone = rig.consumer(queue, 2);
    assert_eq!(rig.offsets(), [1, 2]);
    rig.engine.remove_consumer(gone);
    rig.consumer(queue, 4);
    rig.accept(queue, 1, 2);
    assert_eq!(rig.offsets(), [3]);
}
