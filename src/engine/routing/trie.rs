//! The filters that have wildcards, segment by segment.
//!
//! ```text
//! orders ─┬─ eu ─── #            orders/eu/#
//!         └─ + ─┬─ new           orders/+/new
//!               └─ #             orders/+/#
//! ```
//!
//! A change copies the nodes on its path that a snapshot still holds, and no others. A node whose last filter went is
//! taken out with it: every node lies on the path of some filter. Recursion is as deep as a filter has segments, which
//! `AddressLimits::SEGMENTS_CEILING` bounds; matching does not recurse.

use std::ptr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::targets::Targets;
use crate::engine::address::{FilterSegment, Space, space};

/// Up to here a node's literals are a list, searched from end to end.
const FEW_MAX: usize = 8;

/// A place in the trie: what is bound here, and where it goes on.
pub(super) struct Node<T> {
    /// Bound to the filter that ends here.
    here: Option<Targets<T>>,
    /// Bound to the filter that ends with `#` below here.
    rest: Option<Targets<T>>,
    /// Below `+`.
    any: Option<Arc<Node<T>>>,
    literals: Literals<T>,
}

/// The nodes below literal segments.
#[derive(Clone)]
enum Literals<T> {
    Few(Vec<(Arc<str>, Arc<Node<T>>)>),
    /// Boxed, for there are a hundred nodes without it for each one with it.
    Many(Box<imbl::HashMap<Arc<str>, Arc<Node<T>>>>),
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            here: None,
            rest: None,
            any: None,
            literals: Literals::Few(Vec::new()),
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
                FilterSegment::One => node.any.get_or_insert_default(),
                FilterSegment::Literal(literal) => node.literals.get_or_insert(literal),
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
        self.here.is_none() && self.rest.is_none() && self.any.is_none() && self.literals.is_empty()
    }

    /// Shows `visit` what is bound to each filter that matches `address`, in an order that depends on nothing else.
    /// Returns how many nodes it looked at: the work done.
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
        let any = self.any.iter().map(|node| ("+", node));
        let literals = self.literals.iter();
        let below = (any.chain(literals))
            .flat_map(move |(segment, node)| node.filters(join(&path, segment)));
        Box::new(here.chain(rest).chain(below))
    }

    /// The nodes from here down, this one included.
    #[cfg(test)]
    pub(super) fn n_nodes(&self) -> usize {
        let any = self.any.iter().map(|node| node.n_nodes());
        let literals = self.literals.iter().map(|(_, node)| node.n_nodes());
        1 + any.chain(literals).sum::<usize>()
    }
}

impl<T> Literals<T> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    fn get(&self, literal: &str) -> Option<&Arc<Node<T>>> {
        match self {
            Self::Few(few) => few
                .iter()
                .find(|(name, _)| **name == *literal)
                .map(|(_, node)| node),
            Self::Many(many) => many.get(literal),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (&str, &Arc<Node<T>>)> + '_> {
        match self {
            Self::Few(few) => Box::new(few.iter().map(|(name, node)| (name.as_ref(), node))),
            Self::Many(many) => Box::new(many.iter().map(|(name, node)| (name.as_ref(), node))),
        }
    }
}

impl<T: Clone> Literals<T> {
    fn get_mut(&mut self, literal: &str) -> Option<&mut Arc<Node<T>>> {
        match self {
            Self::Few(few) => few
                .iter_mut()
                .find(|(name, _)| **name == *literal)
                .map(|(_, node)| node),
            Self::Many(many) => many.get_mut(literal),
        }
    }

    fn get_or_insert(&mut self, literal: &str) -> &mut Arc<Node<T>> {
        if let Self::Few(few) = self
            && few.len() == FEW_MAX
            && few.iter().all(|(name, _)| **name != *literal)
        {
            *self = Self::Many(Box::new(few.drain(..).collect()));
        }
        match self {
            Self::Few(few) => {
                let known = few.iter().position(|(name, _)| **name == *literal);
                let place = known.unwrap_or_else(|| {
                    few.push((literal.into(), Arc::default()));
                    few.len() - 1
                });
                #[expect(clippy::indexing_slicing, reason = "found, or pushed, one line up")]
                &mut few[place].1
            }
            Self::Many(many) => many.entry(literal.into()).or_default(),
        }
    }

    fn remove(&mut self, literal: &str) {
        match self {
            Self::Few(few) => few.retain(|(name, _)| **name != *literal),
            Self::Many(many) => {
                many.remove(literal);
                // Half way down, so that one filter that comes and goes does not rebuild the node each time.
                if many.len() <= FEW_MAX / 2 {
                    *self = Self::Few(many.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
                }
            }
        }
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
