//! Which patterns match a URI: all of them (subscriptions), or the best one (registrations).
//!
//! ```text
//! exact     a hash table: one look-up
//! prefix    an ordered map: from the URI downwards, each step to a shorter common beginning
//! wildcard  a trie of components; literal ones before the wildcard, so that the first found is the best
//! ```
//!
//! **The best one** (wamp.md §7.9): exact, else the longest prefix, else the wildcard pattern whose runs of literal components, from
//! left to right, are the longest: the first run decides, then the second. Where two patterns that match the same URI first
//! differ, one has a literal and the other a wildcard, so the one's run is longer: to look below the literal before the wildcard *is*
//! the comparison. Two patterns are never equally good.
//!
//! The work does not depend on how many patterns there are. A prefix takes at most a step for each byte of the URI. A node of
//! the trie is looked at only if the URI fits its path, so those of one level differ only in which components are
//! wildcards: at most levels × *shapes* are, and [`PatternIndex::shapes_with`] lets the caller bound these.
//!
//! Always, each with a test of its name: `the_best_is_what_the_rule_says`, `all_are_those_that_match`,
//! `what_was_removed_leaves_nothing_behind` (src/router/tests/patterns.rs).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::uri::Match;

/// The deepest wildcard pattern: a shape is a bit for each component, and the trie is as deep as patterns are.
pub(super) const COMPONENTS_MAX: usize = 127;

/// Patterns, each with a small value.
///
/// Texts are hashed with a key made at start, so that nobody can choose URIs that collide; no result depends on it.
#[derive(Debug)]
pub(super) struct PatternIndex<T> {
    exact: HashMap<Arc<str>, T>,
    prefix: BTreeMap<Arc<str>, T>,
    wildcard: Node<T>,
    /// How many wildcard patterns there are of each shape.
    shapes: HashMap<u128, usize>,
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            prefix: BTreeMap::new(),
            wildcard: Node::default(),
            shapes: HashMap::new(),
        }
    }
}

impl<T: Copy> PatternIndex<T> {
    /// Adds a pattern that is not there yet; of a wildcard pattern, at most [`COMPONENTS_MAX`] components.
    pub(super) fn insert(&mut self, pattern: &Arc<str>, how: Match, value: T) {
        match how {
            Match::Exact => drop(self.exact.insert(Arc::clone(pattern), value)),
            Match::Prefix => drop(self.prefix.insert(Arc::clone(pattern), value)),
            Match::Wildcard => {
                *self.shapes.entry(shape(pattern)).or_default() += 1;
                self.wildcard.insert(pattern, value);
            }
        }
    }

    /// Takes out a pattern that is there.
    pub(super) fn remove(&mut self, pattern: &str, how: Match) {
        match how {
            Match::Exact => drop(self.exact.remove(pattern)),
            Match::Prefix => drop(self.prefix.remove(pattern)),
            Match::Wildcard => {
                self.wildcard.remove(&mut pattern.split('.'));
                self.discount(shape(pattern));
            }
        }
    }

    /// What that very pattern has.
    pub(super) fn get(&self, pattern: &str, how: Match) -> Option<T> {
        match how {
            Match::Exact => self.exact.get(pattern).copied(),
            Match::Prefix => self.prefix.get(pattern).copied(),
            Match::Wildcard => self.wildcard.get(&mut pattern.split('.')),
        }
    }

    /// The one pattern that a call of `uri` goes by.
    pub(super) fn best(&self, uri: &str) -> Option<T> {
        if let Some(value) = self.exact.get(uri) {
            return Some(*value);
        }
        if let Some(value) = self.prefixes(uri).next() {
            return Some(value);
        }
        let mut best = None;
        let mut found = |value| {
            best = Some(value);
            Walk::Enough
        };
        self.wildcard.walk(Some(uri), &mut found);
        best
    }

    /// Shows `visit` what every pattern that matches `uri` has.
    pub(super) fn all(&self, uri: &str, visit: &mut impl FnMut(T)) {
        self.exact
            .get(uri)
            .copied()
            .into_iter()
            .for_each(&mut *visit);
        self.prefixes(uri).for_each(&mut *visit);
        let mut found = |value| {
            visit(value);
            Walk::On
        };
        self.wildcard.walk(Some(uri), &mut found);
    }

    /// How many shapes there would be with this wildcard pattern among the others.
    pub(super) fn shapes_with(&self, pattern: &str) -> usize {
        let is_new = !self.shapes.contains_key(&shape(pattern));
        self.shapes.len() + usize::from(is_new)
    }

    /// Notes for whoever adds this wildcard pattern that its shape is new, if it is; false, and nothing changes, if `mine` has `n_max`
    /// shapes already that are still there.
    pub(super) fn take_shape(&self, pattern: &str, mine: &mut Vec<u128>, n_max: usize) -> bool {
        let shape = shape(pattern);
        if self.shapes.contains_key(&shape) {
            return true;
        }
        mine.retain(|it| self.shapes.contains_key(it));
        let has_room = mine.len() < n_max;
        if has_room {
            mine.push(shape);
        }
        has_room
    }

    /// What the prefixes of `uri` have, the longest first.
    fn prefixes<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = T> + 'a {
        let mut rest = (!self.prefix.is_empty()).then_some(uri);
        std::iter::from_fn(move || {
            while let Some(longest) = rest {
                let range = (Bound::Unbounded, Bound::Included(longest));
                let (prefix, value) = self.prefix.range::<str, _>(range).next_back()?;
                let shared = common_beginning(prefix, longest);
                if shared.len() == prefix.len() {
                    rest = shorter(shared);
                    return Some(*value);
                }
                // It is the greatest that is not above `longest`, and not a prefix: whatever shares more with `longest` than this
                // one does, and is not longer, would lie between the two.
                rest = Some(shared);
            }
            None
        })
    }

    fn discount(&mut self, shape: u128) {
        if let Some(n_patterns) = self.shapes.get_mut(&shape) {
            *n_patterns -= 1;
            if *n_patterns == 0 {
                self.shapes.remove(&shape);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.prefix.is_empty()
            && self.wildcard.is_empty()
            && self.shapes.is_empty()
    }
}

/// A place in the trie: the pattern that ends here, and where it goes on.
#[derive(Debug)]
struct Node<T> {
    here: Option<T>,
    any: Option<Box<Node<T>>>,
    literals: HashMap<Box<str>, Node<T>>,
}

/// Whether to look further.
#[derive(PartialEq, Eq)]
enum Walk {
    On,
    Enough,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            here: None,
            any: None,
            literals: HashMap::new(),
        }
    }
}

impl<T: Copy> Node<T> {
    fn insert(&mut self, pattern: &str, value: T) {
        let mut node = self;
        for component in pattern.split('.') {
            node = match component {
                "" => node.any.get_or_insert_default(),
                literal => node.literals.entry(literal.into()).or_default(),
            };
        }
        node.here = Some(value);
    }

    fn get<'a>(&self, components: &mut impl Iterator<Item = &'a str>) -> Option<T> {
        let mut node = self;
        for component in components {
            node = match component {
                "" => node.any.as_deref()?,
                literal => node.literals.get(literal)?,
            };
        }
        node.here
    }

    fn remove<'a>(&mut self, components: &mut impl Iterator<Item = &'a str>) {
        match components.next() {
            None => self.here = None,
            Some("") => {
                if let Some(node) = &mut self.any {
                    node.remove(components);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(literal) => {
                if let Some(node) = self.literals.get_mut(literal) {
                    node.remove(components);
                    if node.is_empty() {
                        self.literals.remove(literal);
                    }
                }
            }
        }
    }

    /// Shows `visit` what matches, the best first; `rest` is what of the URI is below this node.
    fn walk(&self, rest: Option<&str>, visit: &mut impl FnMut(T) -> Walk) -> Walk {
        let Some(rest) = rest else {
            return self.here.map_or(Walk::On, visit);
        };
        let (component, rest) = match rest.split_once('.') {
            Some((component, rest)) => (component, Some(rest)),
            None => (rest, None),
        };
        let literal = self.literals.get(component);
        for node in literal.into_iter().chain(self.any.as_deref()) {
            if node.walk(rest, visit) == Walk::Enough {
                return Walk::Enough;
            }
        }
        Walk::On
    }

    fn is_empty(&self) -> bool {
        self.here.is_none() && self.any.is_none() && self.literals.is_empty()
    }
}

/// Which components of a wildcard pattern are wildcards, a bit for each; the bit above them says how many there are.
fn shape(pattern: &str) -> u128 {
    let bit = |shape: u128, component: &str| shape << 1 | u128::from(component.is_empty());
    pattern.split('.').fold(1, bit)
}

fn common_beginning<'a>(one: &str, other: &'a str) -> &'a str {
    let same = |(one, other): &(u8, u8)| one == other;
    let mut n_bytes = one.bytes().zip(other.bytes()).take_while(same).count();
    while !other.is_char_boundary(n_bytes) {
        n_bytes -= 1;
    }
    other.get(..n_bytes).unwrap_or("")
}

/// Without its last character; none if there is none.
fn shorter(text: &str) -> Option<&str> {
    let last = text.chars().next_back()?;
    text.get(..text.len() - last.len_utf8())
}
