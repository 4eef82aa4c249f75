//! What a power cut leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::file::{Inode, Pending, SECTOR_BYTES, write};
use super::{InodeNo, NameChange, SimDisk, State};

/// What a crash keeps of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Everything, and it is durable afterwards. For the death of the process alone see [`SimDisk::fork`].
    All,
    /// Any sectors of any writes, any lengths, and of each file's names the older ones.
    Some,
    /// Everything, except that the last write of all stops at some byte.
    TornLast,
}

impl SimDisk {
    /// The disk as it is after a crash: without faults, locks or limits. The same seed keeps the same things. The old one
    /// lives on by itself; [`SimDisk::halt_at`] it first if its process should not.
    #[must_use]
    pub fn crash(&self, seed: u64, keep: Keep) -> SimDisk {
        let state = self.state.lock();
        let mut dice = Dice::new(seed);
        let names = state.names_kept(keep, &mut dice);
        let last_write = state.next_write.checked_sub(1);
        let mut inodes = BTreeMap::new();
        for (number, inode) in &state.inodes {
            let bytes = inode.kept(keep, last_write, &mut dice);
            if names.values().any(|named| named == number) {
                inodes.insert(*number, Inode::durable(bytes));
            }
        }
        let after = State {
            inodes,
            names: names.clone(),
            durable_names: names,
            next_inode: state.next_inode,
            ..State::default()
        };
        SimDisk {
            state: Arc::new(parking_lot::Mutex::new(after)),
        }
    }
}

impl State {
    fn names_kept(&self, keep: Keep, dice: &mut Dice) -> BTreeMap<std::path::PathBuf, InodeNo> {
        let mut names = self.durable_names.clone();
        let mut of_file: BTreeMap<InodeNo, Vec<&NameChange>> = BTreeMap::new();
        for change in &self.pending_names {
            of_file.entry(change.inode).or_default().push(change);
        }
        let mut kept: BTreeMap<InodeNo, usize> = of_file
            .iter()
            .map(|(inode, changes)| {
                let n = match keep {
                    Keep::Nothing => 0,
                    Keep::All | Keep::TornLast => changes.len(),
                    Keep::Some => dice.below(changes.len() as u64 + 1) as usize,
                };
                (*inode, n)
            })
            .collect();
        for change in &self.pending_names {
            if let Some(left) = kept.get_mut(&change.inode).filter(|left| **left > 0) {
                *left -= 1;
                change.apply(&mut names);
            }
        }
        names
    }
}

impl Inode {
    fn kept(&self, keep: Keep, last_write: Option<u64>, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        // Mostly lost, half and half, mostly kept: each finds other faults.
        let chance = [1, 4, 7].get(dice.below(3) as usize).copied().unwrap_or(4);
        for change in &self.pending {
            match (change, keep) {
                (_, Keep::Nothing) => {}
                (
                    Pending::Write {
                        number,
                        at,
                        bytes: new,
                    },
                    Keep::TornLast,
                ) if Some(*number) == last_write => {
                    let end = dice.below(new.len() as u64 + 1) as usize;
                    write(&mut bytes, *at, new.get(..end).unwrap_or(new));
                }
                (Pending::Write { at, bytes: new, .. }, Keep::All | Keep::TornLast) => {
                    write(&mut bytes, *at, new)
                }
                (Pending::SetLen(len), Keep::All | Keep::TornLast) => bytes.resize(*len, 0),
                (Pending::Write { at, bytes: new, .. }, Keep::Some) => {
                    write_some(&mut bytes, *at, new, || dice.below(8) < chance);
                }
                (Pending::SetLen(len), Keep::Some) => {
                    if dice.below(8) < chance {
                        bytes.resize(*len, 0);
                    }
                }
            }
        }
        bytes
    }
}

/// Writes the sectors that `keep` says.
fn write_some(file: &mut Vec<u8>, at: usize, mut bytes: &[u8], mut keep: impl FnMut() -> bool) {
    let mut place = at;
    while !bytes.is_empty() {
        let in_sector = (SECTOR_BYTES - place % SECTOR_BYTES).min(bytes.len());
        let (sector, rest) = bytes.split_at(in_sector);
        if keep() {
            write(file, place, sector);
        }
        place += in_sector;
        bytes = rest;
    }
}

/// Chance that can be had again: splitmix64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}
