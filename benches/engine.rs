//! What a message costs in the engine, by queues and depth: `cargo bench --bench engine`.
//!
//! An item is a message's whole life: its record applied, handed out, and the record that settles it applied; the
//! records are encoded beforehand; parsing them and a grant of credit are included.  With a million waiting it must cost the same as with none.

use std::cell::RefCell;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use restante::engine::{Bodies, ConsumerId, Effect, Engine};
use restante_storage::payload::{DefineQueue, Envelope, Settle};
use restante_storage::sim::Tape;
use restante_storage::{Draft, Kind, Lsn, Offset, Origin, QueueId, Seq, SessionNo, UnixMillis};

const SEGMENT_BYTES: u64 = 64 << 20;
const NOW: UnixMillis = UnixMillis::new(1_700_000_000_000);
/// Messages in a sample.
const MESSAGES: u64 = 16_384;
const WAITING: [u64; 2] = [0, 1_000_000];

fn main() {
    divan::main();
}

struct NoStore;

impl Bodies for NoStore {
    fn body(&self, _queue: QueueId, _chunk: u64) -> Vec<u8> {
        unreachable!("nothing leaves memory here")
    }

    fn damaged(&self, queue: QueueId, chunk: u64) -> ! {
        panic!("chunk {chunk} of queue {queue}")
    }
}

/// An engine with consumers, and the log it follows.
struct Bench {
    tape: Tape,
    engine: Engine,
    queues: Vec<QueueId>,
    consumers: Vec<ConsumerId>,
    /// Deliveries that every consumer may have been sent.
    credit: u64,
    /// Messages that every queue had so far, and how many of them are settled.
    enqueued: u64,
    settled: u64,
    seq: u64,
    session: Option<SessionNo>,
}

impl Bench {
    fn new(n_queues: u64, waiting: u64) -> Self {
        let mut bench = Bench {
            tape: Tape::new(SEGMENT_BYTES),
            engine: Engine::new(SEGMENT_BYTES, Box::new(NoStore)),
            queues: Vec::new(),
            consumers: Vec::new(),
            credit: 0,
            enqueued: 0,
            settled: 0,
            seq: 0,
            session: None,
        };
        bench.engine.finish_replay(NOW);
        for n in 0..n_queues {
            let def = DefineQueue {
                realm: "default".into(),
                name: format!("queue/{n}"),
                ..DefineQueue::default()
            };
            let lsn = bench.tape.append(&Draft::new(Kind::DefineQueue, NOW, &def));
            bench.queues.push(QueueId::new(lsn.get()));
        }
        bench.apply_from(Lsn::ZERO);
        for _ in 0..waiting / n_queues {
            bench.enqueue_each();
            if bench.enqueued.is_multiple_of(1024) {
                bench.apply_new();
            }
        }
        bench.apply_new();
        for queue in bench.queues.clone() {
            let consumer = bench
                .engine
                .add_consumer(queue, false, None)
                .expect("the queue is there");
            bench.consumers.push(consumer);
        }
        bench
    }

    fn origin(&mut self) -> Option<Origin> {
        let session = self.session?;
        self.seq += 1;
        Some(Origin {
            session,
            seq: Seq::new(self.seq),
        })
    }

    fn enqueue_each(&mut self) {
        let envelope = Envelope {
            address: "orders/eu".into(),
            uuid: Bytes::from_static(&[7; 16]),
            ..Envelope::default()
        };
        for queue in self.queues.clone() {
            let draft = Draft {
                targets: &[queue],
                body: &[0; 100],
                origin: self.origin(),
                ..Draft::new(Kind::Enqueue, NOW, &envelope)
            };
            self.tape.append(&draft);
        }
        self.enqueued += 1;
    }

    /// Settles `n` messages of each queue.
    fn settle_each(&mut self, n: u64) {
        for queue in self.queues.clone() {
            let settle = Settle {
                queue: queue.get(),
                accepted: vec![self.settled + 1, self.settled + n],
                ..Settle::default()
            };
            let draft = Draft {
                origin: self.origin(),
                ..Draft::new(Kind::Settle, NOW, &settle)
            };
            self.tape.append(&draft);
        }
        self.settled += n;
    }

    /// What a sample applies: `batch` messages to each queue, then a settlement of as many.
    fn prepare(&mut self, batch: u64) -> Lsn {
        self.tape.cut_before(self.tape.end());
        let from = self.tape.end();
        for _ in 0..MESSAGES / batch / self.queues.len() as u64 {
            for _ in 0..batch {
                self.enqueue_each();
            }
            self.settle_each(batch);
        }
        from
    }

    fn apply_from(&mut self, from: Lsn) -> usize {
        let mut delivered = 0;
        let n_queues = self.queues.len();
        let mut n_enqueued = 0;
        for record in self.tape.records(from) {
            let refusal = self.engine.apply(&record);
            assert!(refusal.is_none(), "{refusal:?}");
            if record.kind() == Kind::Enqueue {
                if let Some(consumer) = self.consumers.get(n_enqueued % n_queues) {
                    if n_enqueued % n_queues == 0 {
                        self.credit += 1;
                    }
                    self.engine.credit(*consumer, self.credit);
                }
                n_enqueued += 1;
                self.engine.dispatch(NOW);
                let effects = self.engine.take_effects();
                delivered += effects
                    .iter()
                    .filter(|effect| matches!(effect, Effect::Deliver { .. }))
                    .count();
            }
        }
        delivered
    }

    fn apply_new(&mut self) {
        self.apply_from(self.engine.applied());
        self.tape.cut_before(self.tape.end());
    }
}

fn lives(bencher: Bencher<'_, '_>, n_queues: u64, waiting: u64, batch: u64) {
    let bench = RefCell::new(Bench::new(n_queues, waiting));
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| bench.borrow_mut().prepare(batch))
        .bench_local_values(|from| bench.borrow_mut().apply_from(from));
    assert_eq!(
        Offset::new(bench.borrow().enqueued + 1),
        bench
            .borrow()
            .engine
            .next_offsets()
            .map(|(_, next)| next)
            .max()
            .unwrap_or_default()
    );
}

#[divan::bench(args = WAITING)]
fn one_queue(bencher: Bencher<'_, '_>, waiting: u64) {
    lives(bencher, 1, waiting, 1);
}

#[divan::bench(args = WAITING)]
fn one_queue_in_batches(bencher: Bencher<'_, '_>, waiting: u64) {
    lives(bencher, 1, waiting, 64);
}

#[divan::bench(args = WAITING)]
fn a_thousand_queues(bencher: Bencher<'_, '_>, waiting: u64) {
    lives(bencher, 1024, waiting, 1);
}
