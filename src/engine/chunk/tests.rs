//! Rows read back, damage is found.

use super::*;

fn reference(lsn: u64, expires: Option<u64>) -> Ref {
    Ref {
        lsn: Lsn::new(lsn),
        bytes: 300,
        time: UnixMillis::new(1_700_000_000_000 + lsn),
        expires: expires.map(UnixMillis::new),
    }
}

fn sample() -> Chunk {
    let mut chunk = Chunk::new();
    chunk.set(3, reference(4096, None));
    chunk.set(4, reference(9000, Some(1_800_000_000_000)));
    chunk.set(1023, reference(5000, None)); // relocated messages lie out of order
    chunk.mark_mut(4).failed = 2;
    chunk.mark_mut(4).dying = Some(Dying {
        cause: Cause::Rejected,
        reason: Some("no such customer".into()),
    });
    chunk
}

#[test]
fn a_body_reads_back_as_it_was_written() {
    let chunk = sample();
    let row = chunk.body_row();
    let refs = Refs::read(&row).unwrap();
    for slot in 0..SLOTS as usize {
        assert_eq!(refs.get(slot), chunk.get(slot as u64), "slot {slot}");
    }
}

#[test]
fn marks_read_back_as_they_were_written() {
    let mut chunk = sample();
    chunk.clear(3);
    let row = chunk.marks_row();
    let read = Chunk::stored(&row, crc32fast::hash(&row), 0, None).unwrap();
    assert_eq!(
        (read.pending, read.n_pending, &read.marks),
        (chunk.pending, 2, &chunk.marks)
    );
}

#[test]
fn damaged_rows_are_told_from_good_ones() {
    let row = sample().marks_row();
    let crc = crc32fast::hash(&row);
    for at in 0..row.len() {
        let mut bad = row.clone();
        bad[at] ^= 1;
        assert!(Chunk::stored(&bad, crc, 0, None).is_err());
    }
    assert!(Refs::read(&sample().body_row()[..7]).is_none());
}

#[test]
fn the_next_pending_slot_is_found_over_empty_words() {
    let mut chunk = sample();
    assert_eq!(chunk.next_pending(0), Some(3));
    assert_eq!(chunk.next_pending(5), Some(1023));
    chunk.clear(1023);
    assert_eq!(chunk.next_pending(5), None);
    assert_eq!(chunk.n_pending(), 2);
}

#[test]
fn what_is_given_up_does_not_expire() {
    let mut chunk = sample();
    chunk.set(5, reference(9500, Some(1_700_000_000_001)));
    let first = UnixMillis::new(1_700_000_000_001);
    assert_eq!(chunk.expires_min(), Some(first));
    assert_eq!(chunk.expiring().collect::<Vec<_>>(), [(5, first)]);
    chunk.clear(5);
    assert_eq!(chunk.expiring().next(), None);
}
