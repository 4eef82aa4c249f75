//! A state store that fails while the broker runs.

use super::*;

/// Enough that some of a queue's messages are in chunks that memory has let go of.
const N_MESSAGES: u64 = 5000;

/// The broker goes on with the log, and reads from the store what only the store has.
#[tokio::test]
async fn after_a_failed_checkpoint_all_messages_are_still_delivered() {
    let house = house();
    let (mut it, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    for tag in 1..=N_MESSAGES {
        it.call(tag, send("a", 1));
        it.flush();
    }
    assert_eq!(until(&mut it, N_MESSAGES).await.0, []);
    drop(it);
    house.started.stop().unwrap();
    let house = house_in(house.folder, LogOptions::default(), |settings| {
        settings.checkpoint_interval = Duration::ZERO;
    });
    let store = house.folder.path().join("state.sled");
    // Its listing is a part of every checkpoint.
    std::fs::remove_dir(store.join("blobs")).unwrap();
    let broker = &house.started.broker;
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, send("b", 1));
    it.flush();
    assert_eq!(until(&mut it, 1).await.0, []);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !store.join("BROKEN").exists() {
        assert!(std::time::Instant::now() < deadline, "no checkpoint fails");
        tokio::task::yield_now().await;
    }
    it.call(2, consume("a", false, N_MESSAGES));
    it.flush();
    let (_, mut found) = until(&mut it, 2).await;
    deliveries(&mut it, N_MESSAGES as usize, &mut found).await;
    let offsets: Vec<u64> = found.iter().map(|it| it.offset).collect();
    assert_eq!(offsets, (1..=N_MESSAGES).collect::<Vec<_>>());
    // The next start finds everything in the log alone.
    drop(it);
    let house = house.restarted();
    let (mut it, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, consume("a", false, N_MESSAGES));
    let (_, mut found) = until(&mut it, 1).await;
    deliveries(&mut it, N_MESSAGES as usize, &mut found).await;
}
