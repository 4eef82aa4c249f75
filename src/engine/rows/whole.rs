//! The whole state at once, to compare engines by.

use std::collections::BTreeMap;

use super::{chunk_key, is_transient, key, queue_row, session_row};
use crate::engine::Engine;

impl Engine {
    /// The whole durable state as rows, in order of keys: two engines that agree here agree in everything durable.
    pub fn all_rows(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.dig_all();
        let mut rows = BTreeMap::new();
        let bodies = &*self.bodies;
        for queue in self
            .queues
            .values_mut()
            .filter(|queue| !is_transient(queue.id))
        {
            let id = queue.id;
            rows.insert(key(b"q/", id.get()), queue_row(queue, bodies));
            let numbers: Vec<u64> = queue
                .chunks()
                .map_or_else(Vec::new, |chunks| chunks.keys().copied().collect());
            for number in numbers {
                let Some(chunk) = queue.resident(number, bodies) else {
                    continue;
                };
                rows.insert(chunk_key(b"b/", id, number), chunk.body_row());
                rows.insert(chunk_key(b"a/", id, number), chunk.marks_row());
            }
        }
        for session in self.sessions.values() {
            rows.extend(session_row(session).map(|row| (key(b"s/", session.number.get()), row)));
        }
        for document in self.config.keys() {
            rows.extend(
                self.config_row(document)
                    .map(|row| (document.row_key(), row)),
            );
        }
        rows.extend(self.retained.rows());
        for page in self.segments.pages() {
            let row = self.segments.row(page);
            rows.extend(row.map(|row| (key(b"g/", page), row)));
        }
        rows
    }
}
