//! Listing by pages: `limit` items behind the cursor `after`, in the order that `sort` names.
//!
//! A cursor is the place of the last item that was shown, not a position: whatever comes or goes meanwhile, an item that is
//! there all the time is shown once. It belongs to its list and its order. It is base64 so that nobody builds one by hand;
//! what is in it is no secret, and one that somebody did build says no more than where to begin.
//!
//! Always, each with a test of its name below:
//! - `pages_together_are_all_items`, whatever the limit and the order.
//! - `what_is_no_cursor_is_refused`, and one of another list or order is none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::params::Params;

/// Keeps an answer in the hundreds of kilobytes.
pub(crate) const LIMIT_MAX: usize = 500;
pub(crate) const LIMIT_DEFAULT: usize = 100;

/// What can be listed, and how.
#[derive(Debug)]
pub(crate) struct List {
    /// In cursors: no two lists have the same.
    pub(crate) name: &'static str,
    /// Of how many parts the key of an item is.
    pub(crate) key_parts: usize,
    pub(crate) limit_max: usize,
    /// Fields that items can be sorted by, besides by their key.
    pub(crate) sorts: &'static [&'static str],
}

/// What items are ordered by, and what no two have in common.
pub(crate) type Key = Vec<String>;

/// What a field has that items are sorted by. Nothing comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Nothing,
    Number(u64),
    Text(String),
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Value {
        number.map_or(Value::Nothing, Value::Number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

/// Where an item stands in its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    value: Value,
    key: Key,
}

/// Which page is wanted.
#[derive(Debug)]
pub(crate) struct Wanted {
    list: &'static List,
    pub(crate) limit: usize,
    /// As it was given; empty for the order of keys.
    sort: String,
    after: Option<Place>,
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(crate) struct Page<T> {
    /// What is listed.
    items: Vec<T>,
    /// The cursor of the next page: what `after` takes. Null: this is the last.
    next: Option<String>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub(crate) fn try_map<U, E>(self, map: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        let items: Result<Vec<U>, E> = self.items.into_iter().map(map).collect();
        Ok(Page {
            items: items?,
            next: self.next,
        })
    }
}

impl Wanted {
    /// Takes `limit`, `sort` and `after`.
    pub(crate) fn take(params: &mut Params, list: &'static List) -> Wanted {
        let limit = params.number("limit", 1..=list.limit_max, LIMIT_DEFAULT);
        let mut wanted = Wanted {
            list,
            limit,
            sort: String::new(),
            after: None,
        };
        if !list.sorts.is_empty()
            && let Some(sort) = params.text("sort")
        {
            if list.sorts.contains(&sort.trim_start_matches('-')) && !sort.starts_with("--") {
                wanted.sort = sort;
            } else {
                let known = list.sorts.join("`, `");
                params.fault("sort", format!("is one of `{known}`, perhaps behind a `-`"));
            }
        }
        if let Some(cursor) = params.text("after") {
            wanted.after = wanted.decode(&cursor);
            if wanted.after.is_none() {
                params.fault(
                    "after",
                    "is no cursor of this list and order: take one from `next`",
                );
            }
        }
        wanted
    }

    /// Whether items come in the order of their keys.
    pub(crate) fn is_by_key(&self) -> bool {
        self.sort.is_empty()
    }

    /// The key that the page begins behind, in the order of keys.
    pub(crate) fn after_key(&self) -> Option<Key> {
        let after = self.after.as_ref().filter(|_| self.is_by_key());
        after.map(|place| place.key.clone())
    }

    /// The number that the page begins behind, in a list that is ordered by one.
    pub(crate) fn after_number(&self) -> Option<u64> {
        match self.after {
            Some(Place {
                value: Value::Number(number),
                ..
            }) => Some(number),
            _ => None,
        }
    }

    /// This page of all `items`, which may be in any order. `value`: what an item has in a field of the list's `sorts`.
    pub(crate) fn page<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> Key,
        value: impl Fn(&T, &str) -> Value,
    ) -> Page<T> {
        let field = self.sort.trim_start_matches('-');
        let place = |item: &T| Place {
            value: if field.is_empty() {
                Value::Nothing
            } else {
                value(item, field)
            },
            key: key(item),
        };
        let mut placed: Vec<(Place, T)> = items
            .into_iter()
            .map(|item| (place(&item), item))
            .filter(|(place, _)| {
                let mut after = self.after.iter();
                after.all(|after| self.compare(place, after).is_gt())
            })
            .collect();
        let more = placed.len() > self.limit;
        if more {
            // Only a page is sorted, not all that follows it.
            placed.select_nth_unstable_by(self.limit, |(a, _), (b, _)| self.compare(a, b));
            placed.truncate(self.limit);
        }
        placed.sort_unstable_by(|(a, _), (b, _)| self.compare(a, b));
        let next = placed.last().filter(|_| more);
        Page {
            next: next.map(|(place, _)| self.encode(place)),
            items: placed.into_iter().map(|(_, item)| item).collect(),
        }
    }

    /// A page that the broker has cut, of a list that is ordered by a number: what is behind it begins behind `next`.
    pub(crate) fn numbered<T>(&self, items: Vec<T>, next: Option<u64>) -> Page<T> {
        let place = |number| Place {
            value: Value::Number(number),
            key: Key::new(),
        };
        Page {
            items,
            next: next.map(|number| self.encode(&place(number))),
        }
    }

    /// Items of the same value are in the order of their keys, whichever way values go.
    fn compare(&self, a: &Place, b: &Place) -> std::cmp::Ordering {
        let mut by_value = a.value.cmp(&b.value);
        if self.sort.starts_with('-') {
            by_value = by_value.reverse();
        }
        by_value.then_with(|| a.key.cmp(&b.key))
    }

    fn encode(&self, place: &Place) -> String {
        let cursor = (self.list.name, &self.sort, &place.value, &place.key);
        // Strings and numbers: there is nothing that JSON lacks.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).expect("a cursor is JSON"))
    }

    fn decode(&self, cursor: &str) -> Option<Place> {
        let json = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (list, sort, value, key): (String, String, Value, Key) =
            serde_json::from_slice(&json).ok()?;
        let place = Place { value, key };
        let ours = list == self.list.name
            && sort == self.sort
            && place.key.len() == self.list.key_parts
            && self.encode(&place) == cursor;
        ours.then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LIST: List = List {
        name: "things",
        key_parts: 2,
        limit_max: 50,
        sorts: &["length", "name"],
    };
    static OTHER: List = List {
        name: "others",
        ..LIST
    };

    type Item = (String, String);

    fn key(item: &Item) -> Key {
        vec![item.0.clone(), item.1.clone()]
    }

    fn value(item: &Item, field: &str) -> Value {
        match field {
            "length" => (item.1.len() as u64).into(),
            _ => item.1.as_str().into(),
        }
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

    fn wanted(list: &'static List, query: &str) -> Wanted {
        let mut params = Params::parse(query);
        let wanted = Wanted::take(&mut params, list);
        params.finish().unwrap();
        wanted
    }

    fn is_refused(list: &'static List, query: &str) -> bool {
        let mut params = Params::parse(query);
        Wanted::take(&mut params, list);
        params.finish().is_err()
    }

    #[test]
    fn pages_together_are_all_items() {
        for sort in [
            "",
            "&sort=length",
            "&sort=-length",
            "&sort=name",
            "&sort=-name",
        ] {
            let all = wanted(&LIST, &format!("limit=50{sort}"));
            let sorted = all.page(items(), key, value).items;
            assert_eq!(sorted.len(), items().len());
            for limit in 1..=sorted.len() + 1 {
                let mut seen: Vec<Item> = Vec::new();
                let mut after = String::new();
                loop {
                    let query = format!("limit={limit}{sort}{after}");
                    let page = wanted(&LIST, &query).page(items(), key, value);
                    assert!(page.items.len() <= limit);
                    seen.extend(page.items);
                    let Some(next) = page.next else { break };
                    after = format!("&after={next}");
                }
                assert_eq!(seen, sorted, "limit {limit} {sort}");
            }
        }
    }

    #[test]
    fn items_are_in_the_order_that_is_asked_for() {
        let mut by_key = items();
        by_key.sort();
        let first = |query| wanted(&LIST, query).page(items(), key, value).items;
        assert_eq!(first("limit=50"), by_key);
        let lengths = |query| -> Vec<usize> { first(query).iter().map(|it| it.1.len()).collect() };
        assert!(lengths("limit=50&sort=length").is_sorted());
        assert!(lengths("limit=50&sort=-length").is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn an_item_that_stays_is_shown_once_though_others_go() {
        let first = wanted(&LIST, "limit=5").page(items(), key, value);
        let gone = |item: &Item| first.items.contains(item);
        let left: Vec<Item> = items().into_iter().filter(|item| !gone(item)).collect();
        let after = format!("limit=5&after={}", first.next.unwrap());
        let second = wanted(&LIST, &after).page(left, key, value);
        let mut sorted = items();
        sorted.sort();
        assert_eq!(second.items, sorted[5..10]);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let page = wanted(&LIST, "limit=5&sort=length").page(items(), key, value);
        let cursor = page.next.unwrap();
        assert!(!is_refused(&LIST, &format!("sort=length&after={cursor}")));
        assert!(is_refused(&LIST, &format!("after={cursor}")));
        assert!(is_refused(&LIST, &format!("sort=-length&after={cursor}")));
        assert!(is_refused(&OTHER, &format!("sort=length&after={cursor}")));
        let encoded = |json: &str| URL_SAFE_NO_PAD.encode(json);
        assert!(!is_refused(
            &LIST,
            &format!("after={}", encoded(r#"["things","",null,["a","b"]]"#))
        ));
        let bad = [
            "",
            "!",
            "0",
            &cursor[1..],
            &format!("{cursor}="),
            &encoded(""),
            &encoded("7"),
            &encoded(r#"["things","",null,["a"]]"#),
            &encoded(r#"["things","",null,["a","b","c"]]"#),
            &encoded(r#"["things","",null, ["a","b"]]"#),
            &encoded(r#"["things","",1.5,["a","b"]]"#),
            &encoded(r#"["things","",null,["a","b"],1]"#),
        ];
        for cursor in bad {
            assert!(is_refused(&LIST, &format!("after={cursor}")), "{cursor}");
        }
    }

    #[test]
    fn only_known_fields_are_sorted_by() {
        for bad in ["", "-", "--name", "size", "name,length", "Name"] {
            assert!(is_refused(&LIST, &format!("sort={bad}")), "{bad}");
        }
        for bad in ["0", "51", "-1", "x", ""] {
            assert!(is_refused(&LIST, &format!("limit={bad}")), "{bad}");
        }
    }
}
