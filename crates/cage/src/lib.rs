//! cage
pub mod cgroup;
pub mod seccomp;
