//! Types of requests, as ERROR names them.

pub(crate) const PUBLISH: u16 = 16;
pub(crate) const SUBSCRIBE: u16 = 32;
pub(crate) const UNSUBSCRIBE: u16 = 34;
pub(crate) const CALL: u16 = 48;
pub(crate) const REGISTER: u16 = 64;
pub(crate) const UNREGISTER: u16 = 66;
pub(crate) const INVOCATION: u16 = 68;
pub(crate) const YIELD: u16 = 70;
