//! What waits in a queue, one after another.

use restante_storage::{Offset, QueueId, UnixMillis};

use super::Wanted;
use crate::engine::queue::{CLAIMED, NOBODY, Place, Queue, chunk_of};
use crate::engine::{Bodies, Engine};

/// A waiting message, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Its place in the queue.
    pub offset: Offset,
    /// Where it stands.
    pub standing: Standing,
    /// Deliveries that came back, for whatever reason.
    pub acquired: u32,
    /// Deliveries that a consumer gave back as failed.
    pub failed: u32,
    /// When it came to this queue.
    pub time: UnixMillis,
    /// When its sender wants it gone; none: never.
    pub expires: Option<UnixMillis>,
    /// Where its bytes are.
    pub place: Place,
}

/// Where a waiting message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Waits for a consumer.
    Ready,
    /// A consumer has it, or had it: then a record is being written that says so.
    Unsettled,
    /// On its way elsewhere: given up, or claimed by an administrator.
    Leaving,
}

/// A slice of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// By offset.
    pub sights: Vec<Sight>,
    /// Where to go on; none: nothing more waits of what was asked for.
    pub next: Option<Offset>,
}

impl Engine {
    /// What waits in a queue, of what is wanted; none: no such queue. Ends early where much is to be read from the state store.
    pub fn look(&mut self, id: QueueId, wanted: &Wanted) -> Option<Looked> {
        let queue = self.queues.get_mut(&id)?;
        let mut looking = Looking {
            bodies: &*self.bodies,
            borrowed: None,
            n_borrowed: 0,
            sights: Vec::new(),
        };
        let mut next = None;
        match wanted {
            Wanted::These(offsets) => {
                for offset in offsets {
                    if !looking.at(queue, *offset) {
                        next = Some(*offset);
                        break;
                    }
                }
            }
            Wanted::Range(from, upto, limit) => {
                let mut from = *from;
                while let Some(offset) = queue.next_pending(from).filter(|it| it <= upto) {
                    if looking.sights.len() >= *limit || !looking.at(queue, offset) {
                        next = Some(offset);
                        break;
                    }
                    from = offset.next();
                }
            }
        }
        queue.let_go(looking.borrowed);
        let sights = looking.sights;
        Some(Looked { sights, next })
    }
}

/// Chunks that one look reads from the state store.
const BORROWED_MAX: usize = 8;

/// A look, in ascending order.
struct Looking<'a> {
    bodies: &'a dyn Bodies,
    /// A chunk that was not in memory, and leaves it again.
    borrowed: Option<u64>,
    n_borrowed: usize,
    sights: Vec<Sight>,
}

impl Looking<'_> {
    /// Looks at a message; `false`: it would be one read of the state store too much.
    fn at(&mut self, queue: &mut Queue, offset: Offset) -> bool {
        let chunk = chunk_of(offset);
        if self.borrowed.is_some_and(|other| other != chunk) {
            queue.let_go(self.borrowed.take());
        }
        if !queue.is_resident(chunk) && queue.is_pending(offset) {
            if self.n_borrowed == BORROWED_MAX {
                return false;
            }
            self.n_borrowed += 1;
            self.borrowed = Some(chunk);
        }
        self.sights.extend(sight(queue, offset, self.bodies));
        true
    }
}

fn sight(queue: &mut Queue, offset: Offset, bodies: &dyn Bodies) -> Option<Sight> {
    let entry = queue.entry(offset, bodies)?;
    let standing = match queue.live.in_flight.get(offset) {
        _ if entry.dying => Standing::Leaving,
        None => Standing::Ready,
        Some(CLAIMED) => Standing::Leaving,
        Some(NOBODY) if !queue.live.coming_back.contains(&offset) => Standing::Leaving,
        Some(_) => Standing::Unsettled,
    };
    Some(Sight {
        offset,
        standing,
        acquired: entry.acquired,
        failed: entry.failed,
        time: entry.time,
        expires: entry.expires,
        place: entry.place,
    })
}
