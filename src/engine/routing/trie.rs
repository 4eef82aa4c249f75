//! The filters that have wildcards, segment by segment.
//!
//! ```text
//! orders ─┬─ eu ─── #            orders/eu/#
//!         ├─ + ─┬─ new           orders/+/new
//!         │     └─ #             orders/+/#
//!         └─ {e, eu-}            orders/e#, orders/eu-#: no nodes, but a table beside
//! ```
//!
//! A change copies the nodes on its path that a snapshot still holds, and no others. A node whose last filter went is
//! taken out with it: every node lies on the path of some filter. Recursion is as deep as a filter has segments, which
//! `AddressLimits::SEGMENTS_CEILING` bounds; matching does not recurse.

use std::ptr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::prefixes::Prefixes;
use super::targets::Targets;
use super::texts::Texts;
use crate::engine::address::{FilterSegment, Space, space};

/// A place in the trie: what is bound here, and where it goes on.
pub(super) struct Node<T> {
    /// Bound to the filter that ends here.
    here: Option<Targets<T>>,
    /// Bound to the filter that ends with `#` below here.
    rest: Option<Targets<T>>,
    /// Below `+`.
    any: Option<Arc<Node<T>>>,
    /// Below literal segments.
    literals: Texts<Arc<Node<T>>>,
    /// Bound to the filters that end with `TEXT#` below here. Boxed, for few nodes have any.
    prefixes: Option<Box<Prefixes<T>>>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            here: None,
            rest: None,
            any: None,
            literals: Texts::default(),
            prefixes: None,
        }
    }
}

impl<T: Clone> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self {
            here: self.here.clone(),
            rest: self.rest.clone(),
            any: self.any.clone(),
            literals: self.literals.clone(),
            prefixes: self.prefixes.clone(),
        }
    }
}

impl<T: Clone + Ord> Node<T> {
    /// What is bound to the filter of these segments, if it is known.
    pub(super) fn find<'a>(
        &self,
        segments: impl Iterator<Item = FilterSegment<'a>>,
    ) -> Option<&Targets<T>> {
        let mut node = self;
        for segment in segments {
            node = match segment {
                FilterSegment::Rest => return node.rest.as_ref(),
                FilterSegment::Prefix(text) => return node.prefixes.as_ref()?.get(text),
                FilterSegment::One => node.any.as_ref()?,
                FilterSegment::Literal(literal) => node.literals.get(literal)?,
            };
        }
        node.here.as_ref()
    }

    /// Adds `target` to the filter of these segments, where it is not yet.
    pub(super) fn insert<'a>(
        &mut self,
        segments: impl Iterator<Item = FilterSegment<'a>>,
        target: T,
    ) {
        let mut node = self;
        for segment in segments {
            let below = match segment {
                FilterSegment::Rest => return add(&mut node.rest, target),
                FilterSegment::Prefix(text) => {
                    return node.prefixes.get_or_insert_default().add(text, target);
                }
                FilterSegment::One => node.any.get_or_insert_default(),
                FilterSegment::Literal(literal) => {
                    node.literals.get_or_insert_with(literal, Arc::default)
                }
            };
            node = Arc::make_mut(below);
        }
        add(&mut node.here, target);
    }

    /// Takes `target` from the filter of these segments, where it is, and all nodes that lead nowhere then.
    pub(super) fn remove<'a>(
        &mut self,
        mut segments: impl Iterator<Item = FilterSegment<'a>>,
        target: &T,
    ) {
        match segments.next() {
            None => take(&mut self.here, target),
            Some(FilterSegment::Rest) => take(&mut self.rest, target),
            Some(FilterSegment::Prefix(text)) => {
                if let Some(prefixes) = &mut self.prefixes {
                    prefixes.take(text, target);
                    if prefixes.is_empty() {
                        self.prefixes = None;
                    }
                }
            }
            Some(FilterSegment::One) => {
                if let Some(below) = &mut self.any {
                    let node = Arc::make_mut(below);
                    node.remove(segments, target);
                    if node.leads_nowhere() {
                        self.any = None;
                    }
                }
            }
            Some(FilterSegment::Literal(literal)) => {
                if let Some(below) = self.literals.get_mut(literal) {
                    let node = Arc::make_mut(below);
                    node.remove(segments, target);
                    if node.leads_nowhere() {
                        self.literals.remove(literal);
                    }
                }
            }
        }
    }

    fn leads_nowhere(&self) -> bool {
        self.here.is_none()
            && self.rest.is_none()
            && self.any.is_none()
            && self.literals.is_empty()
            && self.prefixes.is_none()
    }

    /// Shows `visit` what is bound to each filter that matches `address`, in an order that depends on nothing else.
    /// Returns how many nodes and prefixes it looked at: the work done.
    pub(super) fn matches<'a>(
        &'a self,
        address: &str,
        visit: &mut impl FnMut(&'a Targets<T>),
    ) -> usize {
        let guarded = space(address) != Space::Ordinary;
        // The branches put aside: at most one for each level, on the heap only past 32 levels.
        let mut aside: SmallVec<[(&Node<T>, Option<&str>); 32]> = SmallVec::new();
        let mut next = Some((self, Some(address)));
        let mut n_visited = 0;
        while let Some((node, segments)) = next.take().or_else(|| aside.pop()) {
            n_visited += 1;
            let wild = !(guarded && ptr::eq(node, self));
            if wild {
                node.rest.iter().for_each(&mut *visit);
            }
            let Some(segments) = segments else {
                node.here.iter().for_each(&mut *visit);
                continue;
            };
            let (segment, below) = match segments.split_once('/') {
                Some((segment, below)) => (segment, Some(below)),
                None => (segments, None),
            };
            if let Some(prefixes) = &node.prefixes {
                n_visited += prefixes.matches(segment, visit);
            }
            if wild && let Some(any) = &node.any {
                aside.push((any, below));
            }
            next = node
                .literals
                .get(segment)
                .map(|node| (node.as_ref(), below));
        }
        n_visited
    }

    /// All filters from here down, `path` being the text that leads here, each with what is bound to it.
    pub(super) fn filters(
        &self,
        path: String,
    ) -> Box<dyn Iterator<Item = (String, &Targets<T>)> + '_> {
        let here = self.here.iter().map({
            let path = path.clone();
            move |targets| (path.clone(), targets)
        });
        let rest = self.rest.iter().map({
            let path = path.clone();
            move |targets| (join(&path, "#"), targets)
        });
        let prefixes = self.prefixes.iter().flat_map(|prefixes| prefixes.iter());
        let prefixes = prefixes.map({
            let path = path.clone();
            move |(text, targets)| (join(&path, text) + "#", targets)
        });
        let any = self.any.iter().map(|node| ("+", node));
        let literals = self.literals.iter();
        let below = (any.chain(literals))
            .flat_map(move |(segment, node)| node.filters(join(&path, segment)));
        Box::new(here.chain(rest).chain(prefixes).chain(below))
    }

    /// The nodes from here down, this one included.
    #[cfg(test)]
    pub(super) fn n_nodes(&self) -> usize {
        let any = self.any.iter().map(|node| node.n_nodes());
        let literals = self.literals.iter().map(|(_, node)| node.n_nodes());
        1 + any.chain(literals).sum::<usize>()
    }
}

/// Adds to what is bound to a filter, which may be nothing yet.
fn add<T: Clone + Ord>(bound: &mut Option<Targets<T>>, target: T) {
    match bound {
        Some(targets) => {
            targets.insert(target);
        }
        None => *bound = Some(Targets::One(target)),
    }
}

/// Takes from what is bound to a filter, of which `target` is one.
fn take<T: Clone + Ord>(bound: &mut Option<Targets<T>>, target: &T) {
    match bound {
        Some(targets) if targets.len() > 1 => targets.remove(target),
        _ => *bound = None,
    }
}

/// The text of a path with one more segment.
fn join(path: &str, segment: &str) -> String {
    match path {
        "" => segment.into(),
        _ => format!("{path}/{segment}"),
    }
}
