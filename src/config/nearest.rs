//! "Did you mean …?": the known name that a mistyped one is closest to.

/// The name that is the fewest slips away from `wanted`, if that is at most one for every three letters.
pub(super) fn nearest<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let letters = |name: &str| wanted.chars().count().max(name.chars().count());
    let close = |name: &&str| slips(wanted, name) * 3 <= letters(name);
    names
        .into_iter()
        .filter(close)
        .min_by_key(|name| slips(wanted, name))
}

/// How many letters to insert, delete, replace or swap with the next to get from `from` to `to` (optimal string
/// alignment), `-` and `_` being alike.
fn slips(from: &str, to: &str) -> usize {
    let plain = |c: char| {
        if c == '_' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    };
    let from: Vec<char> = from.chars().map(plain).collect();
    let to: Vec<char> = to.chars().map(plain).collect();
    // What it takes from the first i - 2, i - 1 and i letters of `from` to each beginning of `to`.
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut least = at(&last, j) + usize::from(a != b);
            least = least.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            if swapped {
                least = least.min(at(&before_last, j - 1) + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["segment-bytes", "sync", "sync-interval"];
        assert_eq!(nearest("segment_bytes", names), Some("segment-bytes"));
        assert_eq!(nearest("segmnt-byte", names), Some("segment-bytes"));
        assert_eq!(nearest("Sync", names), Some("sync"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("snyc", names), Some("sync"));
        assert_eq!(slips("kitten", "sitting"), 3);
        assert_eq!(slips("", "ab"), 2);
    }
}
