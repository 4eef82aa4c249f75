//! An engine that begins with what the state store holds.

use prost::Message;
use restante_storage::{Lsn, Offset, QueueId, SessionNo};
use uuid::Uuid;

use super::{
    CKPT_KEY, CheckpointRow, Damage, PAGE, QueueRow, SessionRow, UnixMillis, chunk_key, row_sum,
};
use crate::engine::chunk::{Chunk, Damaged, SLOTS, read_varint};
use crate::engine::queue::{Queue, arm, offset_of};
use crate::engine::session::Session;
use crate::engine::{Bodies, Engine};

/// The prefixes of rows that the sum covers, in the order in which they are to be read.
const SUMMED: [&[u8; 2]; 6] = [b"q/", b"i/", b"s/", b"c/", b"g/", b"r/"];

/// Of these the sum's parts are not kept in memory.
const RETAINED: &[u8; 2] = b"r/";

/// Calls its second argument with key and value of every row whose key begins with the first.
pub type Scan<'a> = dyn FnMut(&[u8], &mut dyn FnMut(&[u8], &[u8])) + 'a;

impl Engine {
    /// An engine that begins with what the state store holds, read through `scan(prefix, visit)` and `get`; none if the
    /// store is empty. Replay goes on from [`Engine::applied`].
    ///
    /// # Errors
    /// [`Damage`]: throw the store away and begin from the log alone.
    pub fn load(
        node: Uuid,
        segment_bytes: u64,
        bodies: Box<dyn Bodies>,
        scan: &mut Scan<'_>,
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Self>, Damage> {
        let Some(row) = get(CKPT_KEY) else {
            let mut empty = true;
            for prefix in SUMMED {
                scan(prefix, &mut |_, _| empty = false);
            }
            return if empty { Ok(None) } else { Err(Damage::Sum) };
        };
        let row = CheckpointRow::decode(row.as_slice()).map_err(|_malformed| Damage::Row)?;
        if row.node != node.as_bytes() || row.segment_bytes != segment_bytes {
            return Err(Damage::Foreign);
        }
        let mut engine = Engine::new(segment_bytes, bodies);
        engine.applied = Lsn::new(row.lsn);
        engine.dirty.generation = row.generation;
        for prefix in SUMMED {
            engine.load_rows(prefix, scan, get)?;
        }
        if engine.dirty.sum.wrapping_add(row.own_sum()) != row.sum {
            return Err(Damage::Sum);
        }
        engine.remember_needed(engine.applied);
        Ok(Some(engine))
    }

    fn load_rows(
        &mut self,
        prefix: &[u8; 2],
        scan: &mut Scan<'_>,
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<(), Damage> {
        let mut result = Ok(());
        scan(prefix, &mut |key, value| {
            let sum = row_sum(key, value);
            if prefix != RETAINED {
                self.dirty.sums.insert(key.to_vec(), sum);
            }
            self.dirty.sum = self.dirty.sum.wrapping_add(sum);
            if result.is_ok() {
                result = self.load_row(prefix, key, value, get).ok_or(Damage::Row);
            }
        });
        result
    }

    fn load_row(
        &mut self,
        prefix: &[u8; 2],
        key: &[u8],
        value: &[u8],
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<()> {
        if prefix == b"c/" {
            return self.load_config(key, value);
        }
        if prefix == RETAINED {
            return self.retained.load(key, value);
        }
        let mut numbers = key.get(2..)?;
        let first = take_u64(&mut numbers)?;
        match prefix {
            b"q/" => self.load_queue(QueueId::new(first), value),
            b"i/" => self.load_page(QueueId::new(first), take_u64(&mut numbers)?, value, get),
            b"s/" => self.load_session(SessionNo::new(first), value),
            _ => self.segments.load(value),
        }
    }

    fn load_queue(&mut self, id: QueueId, value: &[u8]) -> Option<()> {
        let row = QueueRow::decode(value).ok()?;
        let mut queue = Queue::durable(id);
        queue.home = Lsn::new(row.home);
        queue.next = Offset::new(row.next);
        queue.n_messages = row.n_messages;
        queue.bytes = row.bytes;
        let head = (row.head > 0).then(|| (Offset::new(row.head), UnixMillis::new(row.oldest)));
        queue.load_head(head);
        self.queues.insert(id, queue);
        self.set_definition(id, row.def?);
        Some(())
    }

    fn load_page(
        &mut self,
        id: QueueId,
        page: u64,
        mut value: &[u8],
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<()> {
        while !value.is_empty() {
            let in_page = read_varint(&mut value).filter(|number| *number < PAGE)?;
            let number = page.checked_mul(PAGE)?.checked_add(in_page)?;
            number.checked_add(1)?.checked_mul(SLOTS)?; // every offset in it is a number
            let body_crc = u32::try_from(read_varint(&mut value)?).ok()?;
            let marks_crc = u32::try_from(read_varint(&mut value)?).ok()?;
            let expires = read_varint(&mut value)?;
            let expires_min = (expires > 0).then(|| UnixMillis::new(expires));
            let marks = get(&chunk_key(b"a/", id, number))?;
            let stored = Chunk::stored(&marks, marks_crc, body_crc, expires_min);
            let mut chunk = stored.map_err(|Damaged| ()).ok()?;
            if let Some(at) = expires_min {
                arm(&mut chunk, id, number, at, &mut self.expiries);
            }
            for (slot, mark) in chunk.marks() {
                if mark.dying.is_some() {
                    self.dying.insert((id, offset_of(number, slot)));
                }
            }
            let chunks = self.queues.get_mut(&id)?.chunks_mut()?;
            chunks.insert(number, chunk);
        }
        Some(())
    }

    fn load_session(&mut self, number: SessionNo, value: &[u8]) -> Option<()> {
        let row = SessionRow::decode(value).ok()?;
        let mut session = Session::unknown(number);
        session.define(row.whole?, Lsn::new(row.home));
        self.session_ids.insert(session.uuid()?, number);
        self.sessions.insert(number, session);
        Some(())
    }
}

fn take_u64(input: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_be_bytes(*bytes))
}
