//! What recovery makes of bytes that are wrong: cut, flipped, stale, foreign, missing.

use std::sync::Arc;

use restante_storage::sim::{Keep, SimDisk};
use restante_storage::{Damage, Disk, Kind, LogError, Lsn, verify};

use crate::world::{DIR, Found, Kept, SEGMENT_BYTES, body, open, segment, wal};

/// A log of three segments that was killed, and the records of its commits.
fn killed() -> (SimDisk, Vec<Vec<Kept>>) {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    let mut commits = Vec::new();
    for n in 0..8 {
        commits.push(world.keep(&[body(n * 2, 1201), body(n * 2 + 1, 2203)]));
        world.log.wait_for_housekeeping();
    }
    commits.push(world.keep(&[body(100, 31), body(101, 44), body(102, 600)]));
    assert_eq!(commits.last().unwrap()[0].lsn.get() / SEGMENT_BYTES, 2);
    (disk.crash(0, Keep::Nothing), commits)
}

fn all(commits: &[Vec<Kept>]) -> Vec<Kept> {
    commits.concat()
}

/// Starts a copy of `disk` with `bytes` as segment `number`.
fn start_with(disk: &SimDisk, number: u64, bytes: Vec<u8>) -> Result<Found, LogError> {
    let copy = disk.crash(0, Keep::All);
    copy.set_bytes(&segment(number), bytes).unwrap();
    open(&copy).map(|(_, found)| found)
}

#[test]
fn a_torn_tail_is_dropped_wherever_it_is_cut() {
    let (disk, commits) = killed();
    let last = commits.last().unwrap();
    let before = all(&commits[..commits.len() - 1]);
    let newest = disk.bytes(&segment(2)).unwrap();
    let place = |lsn: Lsn| (lsn.get() % SEGMENT_BYTES) as usize;
    let start = place(last[0].lsn);
    let end = place(last[2].lsn) + (last[2].len as usize).next_multiple_of(8);
    for cut in start..=end {
        // Cut as a file that ends there, and as a write that stopped there.
        let mut zeroed = newest.clone();
        zeroed[cut..].fill(0);
        for bytes in [newest[..cut].to_vec(), zeroed] {
            let found =
                start_with(&disk, 2, bytes).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            let whole = found.records.len() - before.len();
            assert_eq!(found.records[..before.len()], before, "cut at {cut}");
            assert_eq!(found.records[before.len()..], last[..whole], "cut at {cut}");
            let reached = last[whole - usize::from(whole > 0)..]
                .first()
                .map(|record| place(record.lsn))
                .unwrap();
            assert!(
                whole == 3 || cut < place(last[whole].lsn) + last[whole].len as usize + 8,
                "cut at {cut}: {reached}"
            );
        }
    }
}

#[test]
fn every_flipped_byte_is_corruption_or_a_torn_tail() {
    let (disk, commits) = killed();
    let records = all(&commits);
    let last = commits.last().unwrap()[0].lsn;
    let (mut torn, mut corrupt) = (0, 0);
    for number in 0..3 {
        let bytes = disk.bytes(&segment(number)).unwrap();
        let from = if number == 1 { 8 << 10 } else { 0 }; // the middle one is like the first
        for at in from..bytes.len() {
            // Flipping every byte of the header adds nothing; its own test does.
            if (64..4096).contains(&at) && at % 97 != 0 {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match start_with(&disk, number, flipped) {
                Err(LogError::Corrupt { segment, .. }) => {
                    assert_eq!(segment.get(), number, "byte {at} of {number}");
                    corrupt += 1;
                }
                Err(other) => panic!("byte {at} of {number}: {other}"),
                Ok(found) => {
                    // The rest of a segment holds nothing; only what came after the last sync can be taken for torn.
                    let n = found.records.len();
                    assert_eq!(found.records, records[..n], "byte {at} of {number}");
                    assert!(
                        n == records.len() || records[n].lsn >= last,
                        "byte {at} of {number}: {n} records"
                    );
                    torn += u32::from(n < records.len());
                }
            }
        }
    }
    assert!(torn > 600 && corrupt > 15_000, "{torn} {corrupt}");
}

#[test]
fn after_a_clean_stop_damage_even_in_the_last_commit_is_noticed() {
    let disk = SimDisk::new();
    let (mut world, _) = open(&disk).unwrap();
    let kept = world.keep(&[body(0, 100)]);
    world.log.close().unwrap();
    let bytes = disk.bytes(&segment(0)).unwrap();
    let place = kept[0].lsn.get() as usize;
    for at in place..place + kept[0].len as usize {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let error = start_with(&disk, 0, flipped).unwrap_err();
        assert!(
            matches!(
                error,
                LogError::Corrupt {
                    what: Damage::WasDurable { .. },
                    ..
                }
            ),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn stale_records_of_a_recycled_file_are_not_seen() {
    let (disk, commits) = killed();
    // The newest segment's free space holds another segment's records, at places where they would fit.
    let donor = disk.bytes(&segment(1)).unwrap();
    let mut bytes = disk.bytes(&segment(2)).unwrap();
    let last = commits.last().unwrap().last().unwrap();
    let end = (last.lsn.get() % SEGMENT_BYTES) as usize + (last.len as usize).next_multiple_of(8);
    let room = bytes.len() - end;
    bytes[end..].copy_from_slice(&donor[4096..][..room]);
    assert_eq!(
        start_with(&disk, 2, bytes.clone()).unwrap().records,
        all(&commits)
    );
    bytes[end..].copy_from_slice(&donor[end..]);
    assert_eq!(start_with(&disk, 2, bytes).unwrap().records, all(&commits));
}

#[test]
fn missing_foreign_and_exchanged_segments_are_refused() {
    let (disk, _) = killed();
    let damage = |change: &dyn Fn(&SimDisk)| {
        let copy = disk.crash(0, Keep::All);
        change(&copy);
        open(&copy).err().map(|error| error.to_string())
    };
    let missing = damage(&|disk| disk.remove(&segment(1)).unwrap());
    assert_eq!(
        missing.as_deref(),
        Some("segment 1 is corrupt at byte 0: the file is missing")
    );
    let empty = damage(&|disk| disk.set_bytes(&segment(1), Vec::new()).unwrap());
    assert_eq!(
        empty.as_deref(),
        Some("segment 1 is corrupt at byte 0: it does not begin as such a file does")
    );
    let exchanged = damage(&|disk| disk.rename(&segment(0), &segment(1)).unwrap());
    assert!(
        exchanged.unwrap().contains("segment 1 is corrupt"),
        "a copy of another segment"
    );
    let other = killed().0;
    let foreign = damage(&|disk| {
        disk.set_bytes(&segment(2), other.bytes(&segment(2)).unwrap())
            .unwrap()
    });
    assert_eq!(
        foreign.as_deref(),
        Some("segment 2 is corrupt at byte 0: its header belongs to another place or node")
    );
    let no_meta = damage(&|disk| {
        disk.remove(&std::path::Path::new(DIR).join("META"))
            .unwrap()
    });
    assert_eq!(
        no_meta.as_deref(),
        Some("data/META is unusable: the file is missing")
    );
}

#[test]
fn an_unfinished_segment_before_another_is_refused() {
    let (disk, commits) = killed();
    let last_of_first = all(&commits)
        .into_iter()
        .rfind(|record| record.lsn.get() < SEGMENT_BYTES)
        .unwrap();
    let end = last_of_first.lsn.get() as usize + (last_of_first.len as usize).next_multiple_of(8);
    let mut bytes = disk.bytes(&segment(0)).unwrap();
    bytes[end..].fill(0);
    let error = start_with(&disk, 0, bytes).unwrap_err();
    assert!(
        matches!(error, LogError::Corrupt { offset, what: Damage::Unfinished, .. } if offset == end as u64)
    );
}

/// The newest segment with its last record changed by `change` and given a right checksum again.
fn reforged(disk: &SimDisk, record: &Kept, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = disk.bytes(&segment(2)).unwrap();
    let salt = bytes[40..48].to_vec();
    let place = (record.lsn.get() % SEGMENT_BYTES) as usize;
    let record = &mut bytes[place..place + record.len as usize];
    change(record);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt);
    crc.update(&record[8..]);
    record[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
    bytes
}

#[test]
fn what_a_newer_version_wrote_is_refused_even_at_the_tail() {
    let (disk, commits) = killed();
    let last = commits.last().unwrap().last().unwrap();
    let same = start_with(&disk, 2, reforged(&disk, last, |_| {})).unwrap();
    assert_eq!(
        same.records.len(),
        all(&commits).len(),
        "the checksum is made as FORMAT.md says"
    );
    for (at, value, expected) in [
        (32, 16, Damage::Kind(16)),
        (33, 0x80, Damage::Flags(0x80)),
        (35, 3, Damage::Flags(3)),
    ] {
        let error =
            start_with(&disk, 2, reforged(&disk, last, |record| record[at] = value)).unwrap_err();
        assert!(
            matches!(error, LogError::Newer { what, .. } if what == expected),
            "{error}"
        );
    }
}

#[test]
fn replay_begins_where_it_is_told_and_knows_when_the_log_stops_before() {
    let (disk, commits) = killed();
    let records = all(&commits);
    let end = records
        .last()
        .unwrap()
        .lsn
        .advance(u64::from(records.last().unwrap().len).next_multiple_of(8));
    let replay = |from: Lsn| {
        let copy = disk.crash(0, Keep::All);
        let mut scan =
            restante_storage::Log::scan(Arc::new(copy), DIR.as_ref(), crate::world::small())
                .unwrap();
        let mut seen = Vec::new();
        scan.replay(from, &mut |record| seen.push(record.lsn()))
            .map(|tail| (seen, tail))
    };
    for (n, record) in records.iter().enumerate() {
        let (seen, tail) = replay(record.lsn).unwrap();
        assert_eq!(
            (seen.len(), seen[0], tail.end),
            (records.len() - n, record.lsn, end)
        );
    }
    assert_eq!(replay(end).unwrap().0, []);
    let past = end.advance(8);
    assert!(
        matches!(replay(past), Err(LogError::Corrupt { what: Damage::StopsBefore(lsn), .. }) if lsn == past)
    );
    assert!(matches!(
        replay(Lsn::new(10 * SEGMENT_BYTES)),
        Err(LogError::Corrupt { .. })
    ));
    let inside = records[0].lsn.advance(8);
    assert!(matches!(
        replay(inside),
        Err(LogError::Corrupt {
            what: Damage::Inside(_),
            ..
        })
    ));
    assert!(matches!(
        replay(Lsn::new(8)),
        Err(LogError::NoLongerThere { .. })
    ));
}

#[test]
fn a_mark_taken_right_after_a_start_is_a_place_to_replay_from() {
    let (disk, _) = killed();
    let (world, _) = open(&disk).unwrap();
    let mark = world.log.marks().durable;
    world.log.close().unwrap();
    let mut scan =
        restante_storage::Log::scan(Arc::new(disk.clone()), DIR.as_ref(), crate::world::small())
            .unwrap();
    assert_eq!(
        scan.replay(mark, &mut |_| panic!("nothing there"))
            .unwrap()
            .end,
        mark
    );
}

#[test]
fn verify_shows_what_is_there_and_the_place_that_stops_a_start() {
    let (disk, commits) = killed();
    let report = verify(Arc::new(disk.clone()), DIR.as_ref()).unwrap();
    assert!(report.damage.is_none() && report.torn.is_none(), "{report}");
    let counted: u64 = report
        .segments
        .iter()
        .filter_map(|segment| segment.kinds.get(&Kind::Enqueue))
        .sum();
    assert_eq!(counted as usize, all(&commits).len());
    assert_eq!(
        report
            .segments
            .iter()
            .map(|segment| segment.sealed)
            .collect::<Vec<_>>(),
        [true, true, false]
    );
    let mut bytes = disk.bytes(&segment(1)).unwrap();
    bytes[5000] ^= 1;
    disk.set_bytes(&segment(1), bytes).unwrap();
    let report = verify(Arc::new(disk.clone()), DIR.as_ref()).unwrap();
    let refused = open(&disk).err().unwrap();
    assert_eq!(
        report.damage.as_ref().unwrap().to_string(),
        refused.to_string()
    );
    assert!(
        report
            .to_string()
            .contains("segment 1 is corrupt at byte 4096"),
        "{report}"
    );
    assert!(disk.list(&wal()).unwrap().len() >= 3);
}
