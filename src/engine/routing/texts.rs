//! What is behind each of some texts, such as the segments below a node: small when small, and its structure shared when large.

use std::sync::Arc;

/// Up to here a list, searched from end to end.
const FEW_MAX: usize = 8;

/// A map from texts.
#[derive(Clone)]
pub(super) enum Texts<V> {
    Few(Vec<(Arc<str>, V)>),
    /// Boxed, for there are a hundred of the others for each of these.
    Many(Box<imbl::HashMap<Arc<str>, V>>),
}

impl<V> Default for Texts<V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<V> Texts<V> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn get(&self, text: &str) -> Option<&V> {
        match self {
            Self::Few(few) => few
                .iter()
                .find(|(name, _)| **name == *text)
                .map(|(_, value)| value),
            Self::Many(many) => many.get(text),
        }
    }

    /// In no order that means anything.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (&str, &V)> + '_> {
        match self {
            Self::Few(few) => Box::new(few.iter().map(|(name, value)| (name.as_ref(), value))),
            Self::Many(many) => Box::new(many.iter().map(|(name, value)| (name.as_ref(), value))),
        }
    }
}

impl<V: Clone> Texts<V> {
    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut V> {
        match self {
            Self::Few(few) => few
                .iter_mut()
                .find(|(name, _)| **name == *text)
                .map(|(_, value)| value),
            Self::Many(many) => many.get_mut(text),
        }
    }

    pub(super) fn get_or_insert_with(&mut self, text: &str, make: impl FnOnce() -> V) -> &mut V {
        if let Self::Few(few) = self
            && few.len() == FEW_MAX
            && few.iter().all(|(name, _)| **name != *text)
        {
            *self = Self::Many(Box::new(few.drain(..).collect()));
        }
        match self {
            Self::Few(few) => {
                let known = few.iter().position(|(name, _)| **name == *text);
                let place = known.unwrap_or_else(|| {
                    few.push((text.into(), make()));
                    few.len() - 1
                });
                #[expect(clippy::indexing_slicing, reason = "found, or pushed, one line up")]
                &mut few[place].1
            }
            Self::Many(many) => many.entry(text.into()).or_insert_with(make),
        }
    }

    pub(super) fn remove(&mut self, text: &str) {
        match self {
            Self::Few(few) => few.retain(|(name, _)| **name != *text),
            Self::Many(many) => {
                many.remove(text);
                // Half way down, so that one text that comes and goes does not rebuild the whole each time.
                if many.len() <= FEW_MAX / 2 {
                    *self = Self::Few(many.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
                }
            }
        }
    }
}
