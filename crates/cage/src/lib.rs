//! cage
pub mod cgroup;
