//! The broker's own count of syncs and records, from its metrics.

use super::target::Target;
use crate::cli::http;

/// Names that a count of syncs may have: with `sync: always` each commit is one.
const SYNCS: [&str; 2] = ["restante_log_syncs_total", "restante_log_commits_total"];
const RECORDS: &str = "restante_log_records_total";

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scrape {
    pub(super) syncs: f64,
    pub(super) records: f64,
}

impl Scrape {
    /// Asks the broker; none: it does not say.
    pub(super) async fn take(target: &Target) -> Option<Scrape> {
        let url = format!("{}/metrics", target.admin_url.trim_end_matches('/'));
        let options = target.options();
        let answer = http::get(&url, &options.credentials, &options.tls)
            .await
            .ok()?;
        Scrape::parse(std::str::from_utf8(&answer).ok()?)
    }

    fn parse(text: &str) -> Option<Scrape> {
        let syncs = SYNCS.into_iter().find_map(|name| sum(text, name))?;
        let records = sum(text, RECORDS)?;
        Some(Scrape { syncs, records })
    }
}

/// The sum of a counter over its labels; none: there is no such counter.
fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_with_and_without_labels() {
        let text = "\
# TYPE restante_log_commits_total counter
restante_log_commits_total 7
restante_log_records_total{kind=\"a\"} 10
restante_log_records_total{kind=\"b\"} 5
restante_log_records_total_else 99
";
        let scrape = Scrape {
            syncs: 7.0,
            records: 15.0,
        };
        assert_eq!(Scrape::parse(text), Some(scrape));
        assert_eq!(Scrape::parse(""), None);
    }
}
