//! Who may do what. (Interface; the module is written in its own change.)

use std::sync::Arc;

/// Somebody authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its name.
    pub name: Arc<str>,
    /// Its roles.
    pub roles: Arc<[Arc<str>]>,
}
