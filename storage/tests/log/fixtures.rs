//! Folders that released formats left: each still opens, with what is in it. Made once, never again.

use std::path::{Path, PathBuf};

use restante_storage::sim::SimDisk;
use restante_storage::{Disk, Kind, Lsn, Offset};

use crate::world::{DIR, body, open};

/// A fixture's files on a disk of its own.
fn fixture(name: &str) -> SimDisk {
    let disk = SimDisk::new();
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    for folder in ["", "wal"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let path = Path::new(DIR).join(folder).join(entry.file_name());
                disk.create_new(&path).unwrap();
                disk.set_bytes(&path, std::fs::read(entry.path()).unwrap())
                    .unwrap();
            }
        }
    }
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(&Path::new(DIR).join("wal")).unwrap();
    disk
}

/// Three records in a first segment that was sealed, two in a second that was killed.
#[test]
fn format_1_opens() {
    let disk = fixture("v1");
    let (mut world, found) = open(&disk).unwrap();
    let bodies: Vec<_> = found
        .records
        .iter()
        .map(|record| record.body.clone())
        .collect();
    assert_eq!(
        bodies,
        [
            body(1, 9),
            body(2, 100),
            body(3, 1000),
            body(4, 64),
            body(5, 65)
        ]
    );
    let lsns: Vec<_> = found
        .records
        .iter()
        .map(|record| record.lsn.get())
        .collect();
    assert_eq!(lsns, [4096, 4184, 4360, 20480, 20616]);
    assert!(
        found
            .records
            .iter()
            .all(|record| record.kind == Kind::Enqueue)
    );
    assert_eq!(found.tail.end, Lsn::new(20760));
    let next = world.keep(&[body(6, 8)]);
    assert_eq!(
        (next[0].offsets[0], next[0].lsn),
        (Offset::new(6), Lsn::new(2 * 16384 + 4096))
    );
}
