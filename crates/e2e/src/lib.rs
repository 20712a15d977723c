//! Tests only: what every crate's tests may share, and nothing that ships.
//!
//! The tests themselves are in `tests/`. This library depends on no other crate of
//! ours, so that any of them can take it as a dev-dependency without a cycle.

pub mod binary;
pub mod serving;
mod skip;

pub use skip::skip;
