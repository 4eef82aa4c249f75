//! What goes wrong when: single failures, the machine's stop, syncs that lie.

use std::io;

use rustix::io::Errno;

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// A file is opened.
    Open,
    /// A folder is listed.
    List,
    /// A file is read.
    Read,
    /// A file is created.
    Create,
    /// A file is written to.
    Write,
    /// A file's length is set.
    SetLen,
    /// `sync_data`.
    SyncData,
    /// `sync_all`.
    SyncAll,
    /// `sync_dir`.
    SyncDir,
    /// A file is renamed; the path is the new one.
    Rename,
    /// A file is removed.
    Remove,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// EIO, and nothing happens.
    Broken,
    /// ENOSPC, and nothing happens.
    Full,
    /// A write gets half of its bytes down, then EIO. Another operation: as `Broken`.
    Short,
}

/// Makes some operations fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operation.
    pub op: Op,
    /// Only on paths that contain this.
    pub path: String,
    /// So many such operations still go well.
    pub after: u64,
    /// So many fail then.
    pub times: u64,
    /// How.
    pub why: Why,
}

/// What is to happen instead of an operation.
pub(super) enum Course {
    Whole,
    /// Nothing, silently.
    Skip,
    /// Half of it, then the error.
    Part(io::Error),
    Fail(io::Error),
}

/// Whether to lie about a sync, by the operation and its line in the trace.
pub(super) type Ignore = Box<dyn Fn(Op, &str) -> bool + Send>;

#[derive(Default)]
pub(super) struct Plan {
    pub(super) faults: Vec<Fault>,
    pub(super) ignored: Option<Ignore>,
    pub(super) halt_at: Option<u64>,
    pub(super) n_operations: u64,
    pub(super) trace: Vec<String>,
    pub(super) halted: bool,
}

impl Op {
    fn changes(self) -> bool {
        !matches!(self, Op::Open | Op::List | Op::Read)
    }
}

impl Plan {
    /// `what`: the path, and for a sync what it follows.
    pub(super) fn begin(&mut self, op: Op, what: &str) -> Course {
        if op.changes() && !self.halted {
            self.n_operations += 1;
            self.halted = self.halt_at.is_some_and(|n| self.n_operations >= n);
            self.trace
                .push(format!("{} {op:?} {what}", self.n_operations));
        }
        if self.halted {
            return Course::Fail(eio());
        }
        if self.ignored.as_ref().is_some_and(|ignore| ignore(op, what)) {
            return Course::Skip;
        }
        for fault in self
            .faults
            .iter_mut()
            .filter(|fault| fault.op == op && what.contains(fault.path.as_str()))
        {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                return match fault.why {
                    Why::Broken => Course::Fail(eio()),
                    Why::Full => Course::Fail(enospc()),
                    Why::Short => Course::Part(eio()),
                };
            }
        }
        Course::Whole
    }
}

pub(super) fn eio() -> io::Error {
    Errno::IO.into()
}

pub(super) fn enospc() -> io::Error {
    Errno::NOSPC.into()
}
