//! The few styles in use. Meaning never hangs on them alone; anstream removes them where they are not wanted.

/// Before the word `error:`.
pub(crate) const ERROR: &str = "\x1b[1;31m";
/// Before the word `warning:`.
pub(crate) const WARNING: &str = "\x1b[1;33m";
/// Before the word `hint:`.
pub(crate) const HINT: &str = "\x1b[1;36m";
/// What stands.
pub(crate) const GOOD: &str = "\x1b[32m";
/// What is beside the point: gutters, notes.
pub(crate) const DIM: &str = "\x1b[2m";
/// Names and headings.
pub(crate) const BOLD: &str = "\x1b[1m";
/// Keywords of code.
pub(crate) const KEYWORD: &str = "\x1b[35m";
/// Strings of code.
pub(crate) const STRING: &str = "\x1b[32m";
/// Numbers of code.
pub(crate) const NUMBER: &str = "\x1b[36m";
/// Back to normal.
pub(crate) const END: &str = "\x1b[0m";
