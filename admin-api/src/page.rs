//! Listing by pages: `limit` items with the smallest keys behind the cursor `after`.
//!
//! A cursor is the key of the last item that was shown, not a position: whatever comes or goes meanwhile, an item that is
//! there all the time is shown once. It is base64 so that nobody builds one by hand; what is in it is no secret.
//!
//! Always, each with a test of its name below:
//! - `pages_together_are_all_items`, whatever the limit.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::params::Params;

/// Keeps an answer in the hundreds of kilobytes.
const LIMIT_MAX: usize = 500;
const LIMIT_DEFAULT: usize = 100;

/// What items are ordered by, and what no two have in common: realm and name.
pub(crate) type Key<'a> = (&'a str, &'a str);

/// Which page is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    limit: usize,
    after: Option<(String, String)>,
}

/// A page, as it is sent.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// The cursor of the next page. None: this is the last.
    next: Option<String>,
}

impl Wanted {
    /// Takes `limit` and `after`.
    pub(crate) fn take(params: &mut Params) -> Wanted {
        let limit = params.number("limit", 1..=LIMIT_MAX, LIMIT_DEFAULT);
        let after = params.text("after").and_then(|cursor| {
            let key = decode(&cursor);
            if key.is_none() {
                params.fault("after", "is no cursor: take one from `next`");
            }
            key
        });
        Wanted { limit, after }
    }

    /// This page of all `items`, which may be in any order.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, key: fn(&T) -> Key<'_>) -> Page<T> {
        if let Some((realm, name)) = &self.after {
            items.retain(|item| key(item) > (realm.as_str(), name.as_str()));
        }
        let more = items.len() > self.limit;
        if more {
            // Only a page is sorted, not all that follows it.
            items.select_nth_unstable_by(self.limit, |a, b| key(a).cmp(&key(b)));
            items.truncate(self.limit);
        }
        items.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let next = items.last().filter(|_| more).map(|item| encode(key(item)));
        Page { items, next }
    }
}

/// Both parts behind the length of the first, for names may have any characters.
fn encode((realm, name): Key<'_>) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{realm}{name}", realm.len()))
}

fn decode(cursor: &str) -> Option<(String, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (len, both) = text.split_once(':')?;
    let (realm, name) = both.split_at_checked(len.parse().ok()?)?;
    Some((realm.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item = (String, String);

    fn key(item: &Item) -> Key<'_> {
        (&item.0, &item.1)
    }

    fn items() -> Vec<Item> {
        // Out of order; the realm `a` before `a:` before `ä`, and an empty name.
        let realms = ["ä", "a", "a:", "b"];
        let names = ["", "z", "ü/1", "1:x", "#"];
        let mut all = Vec::new();
        for name in names {
            all.extend(realms.map(|realm| (realm.to_owned(), name.to_owned())));
        }
        all
    }

    #[test]
    fn pages_together_are_all_items() {
        let mut sorted = items();
        sorted.sort();
        for limit in 1..=sorted.len() + 1 {
            let mut seen: Vec<Item> = Vec::new();
            let mut after = None;
            loop {
                let page = Wanted { limit, after }.page(items(), key);
                assert!(page.items.len() <= limit);
                seen.extend(page.items);
                let Some(next) = page.next else { break };
                after = Some(decode(&next).unwrap());
            }
            assert_eq!(seen, sorted, "limit {limit}");
        }
    }

    #[test]
    fn an_item_that_stays_is_shown_once_though_others_go() {
        let wanted = |after| Wanted { limit: 5, after };
        let first = wanted(None).page(items(), key);
        let gone = |item: &Item| first.items.contains(item);
        let left: Vec<Item> = items().into_iter().filter(|item| !gone(item)).collect();
        let second = wanted(decode(&first.next.unwrap())).page(left, key);
        let mut sorted = items();
        sorted.sort();
        assert_eq!(second.items, sorted[5..10]);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = encode(("default", "orders"));
        assert_eq!(decode(&good).unwrap(), ("default".into(), "orders".into()));
        let bad = [
            "",
            "!",
            "0",
            &URL_SAFE_NO_PAD.encode("99:ab"),
            &URL_SAFE_NO_PAD.encode("1:ä"),
        ];
        for cursor in bad {
            assert_eq!(decode(cursor), None, "{cursor}");
        }
    }
}
