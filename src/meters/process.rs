//! The process as the system sees it, under Prometheus' standard names. Read anew at each scrape, from `/proc`; where there is none, these
//! metrics are missing.
//!
//! Tests below.

use std::fs;
use std::path::Path;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::exposition::{Families, Value};

/// Appends what can be told.
pub(crate) fn append(text: &mut String) {
    let mut families = Families::new(text);
    if let Some(stat) = Stat::read() {
        families.one("process_cpu_seconds_total", Value::Real(stat.cpu_seconds));
        families.one(
            "process_resident_memory_bytes",
            Value::Whole(stat.resident_bytes),
        );
        families.one(
            "process_virtual_memory_bytes",
            Value::Whole(stat.virtual_bytes),
        );
        families.one("process_threads", Value::Whole(stat.threads));
        if let Some(booted) = boot_time() {
            let started = booted + stat.started_after;
            families.one("process_start_time_seconds", Value::Real(started));
        }
    }
    if let Some(open) = open_files() {
        families.one("process_open_fds", Value::Whole(open));
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        families.one("process_max_fds", Value::Whole(max));
    }
}

#[derive(Debug)]
struct Stat {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    /// Seconds from the machine's start to the process's.
    started_after: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// proc(5), `/proc/pid/stat`. The second field is the program's name in brackets, with whatever in it.
    fn parse(text: &str) -> Option<Stat> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // What stands behind the name is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = clock_ticks_per_second() as f64;
        Some(Stat {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
            threads: field(20)?,
            started_after: field(22)? as f64 / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.saturating_mul(page_size() as u64),
        })
    }
}

/// When the machine was started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_files() -> Option<u64> {
    let folder = Path::new("/proc/self/fd");
    // Since Linux 6.2 the folder's size is the answer; to list a hundred thousand names takes its time.
    let size = fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    let listed = fs::read_dir(folder).ok()?.count() as u64;
    // Without the one that lists.
    Some(listed.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let text = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1000 4096000 25 18446744073709551615 1";
        let stat = Stat::parse(text).unwrap();
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!(stat.cpu_seconds, 200.0 / ticks);
        assert_eq!((stat.threads, stat.virtual_bytes), (7, 4_096_000));
        assert_eq!(stat.resident_bytes, 25 * page_size() as u64);
        assert_eq!(stat.started_after, 1000.0 / ticks);
        for bad in ["", "1 (x)", "1 (x) S", "1 (x) S 1 2 x"] {
            assert!(Stat::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_told_of() {
        let mut text = String::new();
        append(&mut text);
        let value = |name: &str| -> f64 {
            let lead = format!("{name} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&lead));
            line.unwrap_or_else(|| panic!("no {name} in {text}"))
                .parse()
                .unwrap()
        };
        let since_1970 = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let started = value("process_start_time_seconds");
        // The system counts it in whole seconds since its start.
        assert!(
            (since_1970 - 86_400.0..since_1970 + 5.0).contains(&started),
            "{started}"
        );
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!((3.0..value("process_max_fds")).contains(&value("process_open_fds")));
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
