//! The book of a trial: what subscribers tell, whatever process they are in, in the order in which it happened; and what must be
//! true of that.
//!
//! ```text
//! subscribers ── one datagram a line, before they go on ──▶ socket ──▶ Ledger::note
//! ```
//!
//! A datagram is there whole or not at all, whenever its sender is killed, and in the order in which it was sent among those of all.
//! So what stands in the book of a settlement stands before anything that a session tells that began after it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, spawn};

/// The line behind which there is none.
const OVER: &str = "over";
const LINE_BYTES_MAX: usize = 4096;

/// One of the publishes of a trial: which its publisher's message is, in which of its sessions, at which place there. The same message
/// is published again in the next session where its answer was not seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent {
    pub(super) publisher: String,
    pub(super) session: u64,
    pub(super) place: u64,
    pub(super) number: u64,
}

impl Sent {
    /// As the event says it.
    pub(super) fn text(&self) -> String {
        let Sent {
            publisher,
            session,
            place,
            number,
        } = self;
        format!("{publisher} {session} {place} {number}")
    }

    fn of(words: &[&str]) -> Option<Sent> {
        let &[publisher, session, place, number] = words else {
            return None;
        };
        Some(Sent {
            publisher: publisher.to_owned(),
            session: session.parse().ok()?,
            place: place.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// What one subscriber writes into the book.
pub(super) struct Pen {
    socket: UnixDatagram,
}

impl Pen {
    /// Fails the test where the book is closed: then nobody looks after this process any more.
    pub(super) fn of(book: &Path) -> Pen {
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.connect(book).expect("the book is open");
        Pen { socket }
    }

    /// A session is about to subscribe: no event of it is on its way yet.
    pub(super) fn begins(&self, session: &str) {
        self.write(&format!("begins {session}"));
    }

    /// A session has got an event, and has not acknowledged it.
    pub(super) fn gets(&self, session: &str, offset: u64, publication: u64, text: &str) {
        self.write(&format!("gets {session} {offset} {publication} {text}"));
    }

    /// A session was told that so much is settled.
    pub(super) fn settled(&self, session: &str, offsets: &[u64]) {
        let offsets: Vec<String> = offsets.iter().map(u64::to_string).collect();
        self.write(&format!("settled {session} {}", offsets.join(" ")));
    }

    /// A connection was cut by its own side.
    pub(super) fn is_cut(&self) {
        self.write("cut");
    }

    fn write(&self, line: &str) {
        assert!(line.len() <= LINE_BYTES_MAX, "a line is short");
        self.socket.send(line.as_bytes()).expect("the book is open");
    }
}

/// The book, while it is written.
pub(super) struct Book {
    path: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
    reader: JoinHandle<()>,
}

impl Book {
    pub(super) fn open(path: &Path) -> Book {
        let socket = UnixDatagram::bind(path).expect("a socket");
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let noted = Arc::clone(&ledger);
        let reader = spawn(move || {
            let mut line = [0; LINE_BYTES_MAX];
            loop {
                let n = socket.recv(&mut line).expect("a line");
                let line = line.get(..n).and_then(|it| str::from_utf8(it).ok());
                match line.expect("text") {
                    OVER => return,
                    line => lock(&noted).take(line),
                }
            }
        });
        Book {
            path: path.to_owned(),
            ledger,
            reader,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pen(&self) -> Pen {
        Pen::of(&self.path)
    }

    /// How many connections were cut by subscribers themselves; or the first thing that must not be.
    pub(super) fn n_cuts(&self) -> Result<u32, String> {
        let ledger = lock(&self.ledger);
        match &ledger.fault {
            None => Ok(ledger.n_cuts),
            Some(fault) => Err(fault.clone()),
        }
    }

    /// Nobody writes any more.
    pub(super) fn close(self) -> Ledger {
        self.pen().write(OVER);
        self.reader.join().expect("it only reads");
        std::mem::take(&mut lock(&self.ledger))
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("nobody panics with it")
}

/// What stands in the book.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    n_lines: u64,
    n_cuts: u32,
    /// The line in which each session begins.
    begun: BTreeMap<String, u64>,
    /// By its place in the queue: the publication, and which publish it was.
    events: BTreeMap<u64, (u64, Sent)>,
    /// By its place in the queue: who was told that it is settled, in which line.
    settled: BTreeMap<u64, (u64, String)>,
    /// The first line that must not be.
    fault: Option<String>,
}

impl Ledger {
    fn take(&mut self, line: &str) {
        self.n_lines += 1;
        if let Err(why) = self.note(line) {
            self.fault.get_or_insert_with(|| format!("{line}: {why}"));
        }
    }

    fn note(&mut self, line: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = line.split(' ').collect();
        match &words[..] {
            ["cut"] => self.n_cuts += 1,
            ["begins", session] => {
                self.begun.insert((*session).to_owned(), self.n_lines);
            }
            ["gets", session, offset, publication, sent @ ..] => {
                let (offset, publication) = (number(offset)?, number(publication)?);
                let sent = Sent::of(sent).ok_or("nobody has published that")?;
                self.gets(session, offset, (publication, sent))?;
            }
            ["settled", session, offsets @ ..] => {
                for offset in offsets {
                    self.is_settled(session, number(offset)?)?;
                }
            }
            _ => return Err("it is no line"),
        }
        Ok(())
    }

    fn gets(&mut self, session: &str, offset: u64, it: (u64, Sent)) -> Result<(), &'static str> {
        let begun = self.begun.get(session).ok_or("it has not begun")?;
        if let Some((line, by)) = self.settled.get(&offset) {
            // What was on its way to another session before may arrive late: its own connection is over, and it does not know yet.
            if line < begun || by == session {
                return Err("it was settled");
            }
        }
        match self.events.get(&offset) {
            Some(before) if *before != it => Err("it was another event before"),
            Some(_) => Ok(()),
            None => {
                self.events.insert(offset, it);
                Ok(())
            }
        }
    }

    fn is_settled(&mut self, session: &str, offset: u64) -> Result<(), &'static str> {
        if !self.events.contains_key(&offset) {
            return Err("nobody has got it");
        }
        let by = (self.n_lines, session.to_owned());
        match self.settled.insert(offset, by) {
            None => Ok(()),
            Some(_) => Err("it is settled once"),
        }
    }

    /// What is wrong, of all that was published and `answered` (the messages of each publisher), and of what was `sent`.
    pub(super) fn faults(
        &self,
        answered: &BTreeMap<String, u64>,
        sent: impl Fn(&Sent) -> bool,
    ) -> Vec<String> {
        let mut faults: Vec<String> = self.fault.iter().cloned().collect();
        let mut missing: Vec<(&str, u64)> = Vec::new();
        for (publisher, n) in answered {
            missing.extend((0..*n).map(|number| (publisher.as_str(), number)));
        }
        let there: BTreeSet<(&str, u64)> = (self.events.values())
            .map(|(_, it)| (it.publisher.as_str(), it.number))
            .collect();
        missing.retain(|it| !there.contains(it));
        faults.extend(
            missing
                .iter()
                .map(|(publisher, number)| format!("{publisher} {number} is lost")),
        );
        let mut last: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for (offset, (_, it)) in &self.events {
            if !sent(it) {
                faults.push(format!("{offset}: nobody has published {}", it.text()));
            }
            let before = last.insert((it.publisher.as_str(), it.session), it.place);
            if before.is_some_and(|before| before >= it.place) {
                faults.push(format!(
                    "{offset}: {} is out of order, or there twice",
                    it.text()
                ));
            }
        }
        faults
    }

    pub(super) fn summary(&self) -> String {
        format!(
            "{} events, {} told to be settled, {} sessions",
            self.events.len(),
            self.settled.len(),
            self.begun.len()
        )
    }
}

fn number(word: &str) -> Result<u64, &'static str> {
    word.parse().ok().ok_or("it is no number")
}

/// What a book with these lines has against it.
fn faults_of(lines: &[&str]) -> Vec<String> {
    let mut ledger = Ledger::default();
    for line in lines {
        ledger.take(line);
    }
    let answered = BTreeMap::from([("ann".to_owned(), 2)]);
    ledger.faults(&answered, |it| it.publisher == "ann")
}

#[test]
fn a_ledger_sees_what_must_not_be() {
    let good = [
        "begins 1.1",
        "gets 1.1 1 70 ann 1 0 0",
        "begins 2.1",
        "settled 1.1 1",
        // It was on its way to 2.1 before.
        "gets 2.1 1 70 ann 1 0 0",
        "gets 2.1 2 71 ann 1 1 1",
        "begins 1.2",
        "gets 1.2 2 71 ann 1 1 1",
        "cut",
        "gets 1.2 3 72 ann 2 0 1",
        "settled 1.2 2 3",
    ];
    assert_eq!(faults_of(&good), [""; 0]);
    assert_eq!(faults_of(&good[..5]), ["ann 1 is lost"]);
    for (line, fault) in [
        ("gets 1.2 2 71 ann 1 1 1", "it was settled"),
        ("gets 1.2 1 70 ann 1 0 0", "it was settled"),
        ("gets 2.1 3 73 ann 2 0 1", "it was another event before"),
        ("gets 2.1 3 72 ann 2 0 0", "it was another event before"),
        ("settled 1.2 3", "it is settled once"),
        ("settled 2.1 1", "it is settled once"),
        ("settled 2.1 4", "nobody has got it"),
        ("gets 3.1 4 73 ann 2 1 1", "it has not begun"),
        ("gets 2.1 4 73 ann", "nobody has published that"),
        ("what", "it is no line"),
    ] {
        let lines = [&good[..], &[line]].concat();
        assert_eq!(faults_of(&lines), [format!("{line}: {fault}")]);
    }
    let again = [&good[..], &["gets 2.1 4 74 ann 2 0 1"]].concat();
    let fault = "4: ann 2 0 1 is out of order, or there twice";
    assert_eq!(faults_of(&again), [fault]);
    let behind = [&good[..], &["gets 2.1 4 74 ann 1 0 0"]].concat();
    let fault = "4: ann 1 0 0 is out of order, or there twice";
    assert_eq!(faults_of(&behind), [fault]);
    let foreign = [&good[..], &["gets 2.1 4 74 eve 1 0 0"]].concat();
    assert_eq!(faults_of(&foreign), ["4: nobody has published eve 1 0 0"]);
}
