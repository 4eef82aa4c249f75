//! A file: what a process sees, what is synced, and what lies between.

use std::io;

use super::fault::{Course, enospc};
use super::{InodeNo, Op, SimDisk, State};
use crate::DiskFile;

/// What a power cut keeps or loses as a whole.
pub(super) const SECTOR_BYTES: usize = 512;

/// A file's bytes.
#[derive(Clone, Default)]
pub(super) struct Inode {
    live: Vec<u8>,
    pub(super) synced: Vec<u8>,
    /// What leads from `synced` to `live`, in order.
    pub(super) pending: Vec<Pending>,
}

/// A change that is not synced.
#[derive(Clone)]
pub(super) enum Pending {
    Write {
        number: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    SetLen(usize),
}

impl Pending {
    fn describe(&self) -> String {
        match self {
            Pending::Write { at, bytes, .. } => format!("write {at}+{}", bytes.len()),
            Pending::SetLen(len) => format!("set length {len}"),
        }
    }
}

impl Inode {
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Inode {
            live: bytes.clone(),
            synced: bytes,
            pending: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.live
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Pending::Write { at, bytes, .. } => write(&mut self.synced, at, &bytes),
                Pending::SetLen(len) => self.synced.resize(len, 0),
            }
        }
    }
}

/// Writes, with zeros where the file did not reach.
pub(super) fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

pub(super) struct SimFile {
    disk: SimDisk,
    inode: InodeNo,
}

impl SimFile {
    pub(super) fn new(disk: &SimDisk, inode: InodeNo) -> Self {
        SimFile {
            disk: disk.clone(),
            inode,
        }
    }

    fn sync(&self, op: Op) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let last = state
            .inode(self.inode)
            .pending
            .last()
            .map_or("nothing".to_owned(), Pending::describe);
        let what = format!("{} after {last}", state.name(self.inode));
        if state.begin(op, &what)? {
            state.inode(self.inode).sync();
        }
        Ok(())
    }
}

impl State {
    /// What the file is called now, whatever it was opened as.
    fn name(&self, inode: InodeNo) -> String {
        let named = self.names.iter().find(|(_, named)| **named == inode);
        named.map_or("a removed file".into(), |(path, _)| {
            path.display().to_string()
        })
    }

    fn inode(&mut self, inode: InodeNo) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    fn write(&mut self, inode: InodeNo, at: usize, bytes: &[u8]) -> io::Result<()> {
        let growth = (at + bytes.len()).saturating_sub(self.inode(inode).live.len());
        if growth as u64 > self.free_bytes() {
            return Err(enospc());
        }
        let number = self.next_write;
        self.next_write += 1;
        let inode = self.inode(inode);
        write(&mut inode.live, at, bytes);
        inode.pending.push(Pending::Write {
            number,
            at,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        let name = state.name(self.inode);
        state.begin(Op::Read, &name)?;
        let from = state
            .inode(self.inode)
            .live
            .get(at as usize..)
            .unwrap_or_default();
        let n = from.len().min(buffer.len());
        buffer
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = *from);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let name = state.name(self.inode);
        match state.plan.begin(Op::Write, &name) {
            Course::Whole => state.write(self.inode, at as usize, bytes),
            Course::Skip => Ok(()),
            Course::Part(error) => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                state.write(self.inode, at as usize, half)?;
                Err(error)
            }
            Course::Fail(error) => Err(error),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(Op::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(Op::SyncAll)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        let mut state = self.disk.state.lock();
        let name = state.name(self.inode);
        state.begin(Op::Read, &name)?;
        Ok(state.inode(self.inode).live.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let name = state.name(self.inode);
        state.begin(Op::SetLen, &name)?;
        let growth = bytes.saturating_sub(state.inode(self.inode).live.len() as u64);
        if growth > state.free_bytes() {
            return Err(enospc());
        }
        let inode = state.inode(self.inode);
        inode.live.resize(bytes as usize, 0);
        inode.pending.push(Pending::SetLen(bytes as usize));
        Ok(())
    }
}
