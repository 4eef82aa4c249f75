//! Whole-program tests.

mod readme;
mod tidy;
