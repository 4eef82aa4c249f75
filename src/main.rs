//! The `restante` program.
fn main() {}
