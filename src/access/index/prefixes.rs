//! The rules whose filters end with `TEXT#` below one node, by that text.
//!
//! An address is looked up once for each length that some text here has, however many texts there are.

use rustc_hash::FxHashMap;

use super::NONE;

/// Texts in front of `#`, each with the number of its `Ends`.
#[derive(Default)]
pub(super) struct Prefixes {
    ends: FxHashMap<Box<str>, u32>,
    /// Lengths of texts in bytes, ascending.
    lengths: Vec<usize>,
}

impl Prefixes {
    /// Where the number for `text` is; `NONE` in one that is new.
    pub(super) fn entry(&mut self, text: &str) -> &mut u32 {
        if let Err(place) = self.lengths.binary_search(&text.len()) {
            self.lengths.insert(place, text.len());
        }
        self.ends.entry(text.into()).or_insert(NONE)
    }

    /// Those whose text `segment` begins with.
    pub(super) fn of<'a>(&'a self, segment: &'a str) -> impl Iterator<Item = u32> + 'a {
        let lengths = self.lengths.iter();
        lengths
            .take_while(|bytes| **bytes <= segment.len())
            .filter_map(|bytes| self.ends.get(segment.get(..*bytes)?).copied())
    }

    /// Those that stand for something of what `prefix` with a `#` stands for.
    pub(super) fn meeting<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = u32> + 'a {
        let meets = move |text: &str| text.starts_with(prefix) || prefix.starts_with(text);
        let met = self.iter().filter(move |(text, _)| meets(text));
        met.map(|(_, ends)| ends)
    }

    /// All of them, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.ends.iter().map(|(text, ends)| (&**text, *ends))
    }
}
