//! The filters that end with `TEXT#` below one node of the trie.
//!
//! However many they are, an address is looked up once for each length that any of them has: those longer than its segment, and
//! those that would cut a character in two, cannot be its beginning. A length is a part of a filter's shape, so that
//! their number is bounded as that of shapes is.

use super::targets::Targets;
use super::texts::Texts;

/// The texts in front of `#`, each with what is bound there.
#[derive(Clone)]
pub(super) struct Prefixes<T> {
    texts: Texts<Targets<T>>,
    /// Their lengths in bytes, ascending, each with how many have it.
    lengths: Vec<(usize, usize)>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self {
            texts: Texts::default(),
            lengths: Vec::new(),
        }
    }
}

impl<T: Clone + Ord> Prefixes<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(super) fn get(&self, text: &str) -> Option<&Targets<T>> {
        self.texts.get(text)
    }

    /// In no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Targets<T>)> {
        self.texts.iter()
    }

    /// Adds `target` to `text`, where it is not yet.
    pub(super) fn add(&mut self, text: &str, target: T) {
        if let Some(targets) = self.texts.get_mut(text) {
            targets.insert(target);
            return;
        }
        self.texts.get_or_insert_with(text, || Targets::One(target));
        match self.place_of(text.len()) {
            Ok(place) => {
                if let Some((_, n)) = self.lengths.get_mut(place) {
                    *n += 1;
                }
            }
            Err(place) => self.lengths.insert(place, (text.len(), 1)),
        }
    }

    /// Takes `target` from `text`, where it is.
    pub(super) fn take(&mut self, text: &str, target: &T) {
        match self.texts.get_mut(text) {
            None => return,
            Some(targets) if targets.len() > 1 => return targets.remove(target),
            Some(_) => self.texts.remove(text),
        }
        let place = self.place_of(text.len());
        let Ok(place) = place else { return };
        match self.lengths.get_mut(place) {
            Some((_, n)) if *n > 1 => *n -= 1,
            _ => drop(self.lengths.remove(place)),
        }
    }

    fn place_of(&self, bytes: usize) -> Result<usize, usize> {
        self.lengths
            .binary_search_by_key(&bytes, |(bytes, _)| *bytes)
    }

    /// Shows `visit` what is bound to each text that `segment` begins with, shortest first. Returns how many lengths it tried.
    pub(super) fn matches<'a>(
        &'a self,
        segment: &str,
        visit: &mut impl FnMut(&'a Targets<T>),
    ) -> usize {
        let lengths = self.lengths.iter().map(|(bytes, _)| *bytes);
        let mut n_tried = 0;
        for bytes in lengths.take_while(|bytes| *bytes <= segment.len()) {
            n_tried += 1;
            let beginning = segment.get(..bytes);
            let found = beginning.and_then(|text| self.texts.get(text));
            found.into_iter().for_each(&mut *visit);
        }
        n_tried
    }
}
