//! What is wrong with a document, collected with places.

pub(super) use restante_admin_api::Invalid;

/// All that is wrong, and where one is looking just now.
#[derive(Debug, Default)]
pub(super) struct Faults {
    found: Vec<Invalid>,
    at: String,
}

impl Faults {
    /// Looks at what `name` names in it.
    pub(super) fn within(&mut self, name: &str, look: impl FnOnce(&mut Faults)) {
        let before = self.at.len();
        self.at.push('/');
        self.at.push_str(&token(name));
        look(self);
        self.at.truncate(before);
    }

    /// Looks at each of the items of the list `name`.
    pub(super) fn each<T>(&mut self, name: &str, items: &[T], look: impl Fn(&mut Faults, &T)) {
        self.within(name, |faults| {
            for (index, item) in items.iter().enumerate() {
                faults.within(&index.to_string(), |faults| look(faults, item));
            }
        });
    }

    /// What is here is wrong.
    pub(super) fn here(&mut self, detail: impl Into<String>) {
        self.found.push(Invalid {
            pointer: self.at.clone(),
            detail: detail.into(),
        });
    }

    /// What `name` names here is wrong.
    pub(super) fn field(&mut self, name: &str, detail: impl Into<String>) {
        self.within(name, |faults| faults.here(detail));
    }

    /// All that was found, in the order that it was looked at.
    pub(super) fn into_found(self) -> Vec<Invalid> {
        self.found
    }
}

/// A key as a part of a JSON pointer (RFC 6901 §3).
pub(super) fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
