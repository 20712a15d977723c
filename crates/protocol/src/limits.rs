//! The limits of a sandbox with their defaults and maxima: the one table (SPECIFICATION, *Limits*).

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// Limits of one sandbox. Every field is enforced by the kernel where it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory of all processes of the sandbox together, in bytes, page cache and tmpfs included.
    pub memory_bytes: u64,
    /// Processes and threads together.
    pub pids: u32,
    /// CPU in thousandths of a core; 0 for no limit.
    pub cpu_millis: u32,
    /// Processor time of one execution in milliseconds, of all processes of the sandbox together; 0 for no limit.
    pub cpu_ms: u64,
    /// Wall time of one execution in milliseconds, unless the request asks for less or more.
    pub timeout_ms: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Size of one file in bytes.
    pub file_bytes: u64,
    /// What the workspace may take on disk in bytes, metadata included.
    pub disk_bytes: u64,
    /// Files and directories of the workspace together.
    pub disk_inodes: u64,
    /// Size of `/tmp` in bytes; it is memory. `/dev/shm` and HOME may be as large.
    pub tmp_bytes: u64,
    /// Files and directories of `/tmp`, and as many of `/dev/shm` and of HOME.
    pub tmp_inodes: u64,
    /// Bytes of stdout and stderr kept per execution; what is beyond is drained, counted and cut.
    pub output_bytes: u64,
    /// Live interpreters of the sandbox.
    pub contexts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1024 * MIB,
            pids: 256,
            cpu_millis: 0,
            cpu_ms: 0,
            timeout_ms: 120_000,
            open_files: 4096,
            file_bytes: 1024 * MIB,
            disk_bytes: 4096 * MIB,
            disk_inodes: 1_000_000,
            tmp_bytes: 256 * MIB,
            tmp_inodes: 100_000,
            output_bytes: 8 * MIB,
            contexts: 1,
        }
    }
}

/// The largest value that a request or a configuration may ask for, field by field.
pub const MAXIMA: Limits = Limits {
    memory_bytes: 64 * 1024 * MIB,
    pids: 4096,
    cpu_millis: 64_000,
    cpu_ms: 64 * 24 * 3_600_000,
    timeout_ms: 24 * 3_600_000,
    open_files: 16_384,
    file_bytes: 64 * 1024 * MIB,
    disk_bytes: 1024 * 1024 * MIB,
    disk_inodes: 100_000_000,
    tmp_bytes: 16 * 1024 * MIB,
    tmp_inodes: 10_000_000,
    output_bytes: 64 * MIB,
    // A sandbox has one context today.
    contexts: 1,
};

/// A limit outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit `{field}` is {value}; it must be between {minimum} and {maximum}")]
pub struct LimitError {
    /// The field's name.
    pub field: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least that works.
    pub minimum: u64,
    /// The most that is allowed.
    pub maximum: u64,
}

impl Limits {
    /// Checks every field against its range.
    pub fn check(&self) -> Result<(), LimitError> {
        let rows: [(&'static str, u64, u64, u64); 13] = [
            // Below this an interpreter with pandas loaded cannot run a cell.
            ("memory_bytes", self.memory_bytes, 64 * MIB, MAXIMA.memory_bytes),
            ("pids", self.pids.into(), 8, MAXIMA.pids.into()),
            ("cpu_millis", self.cpu_millis.into(), 0, MAXIMA.cpu_millis.into()),
            ("cpu_ms", self.cpu_ms, 0, MAXIMA.cpu_ms),
            ("timeout_ms", self.timeout_ms, 1, MAXIMA.timeout_ms),
            // The driver keeps its channel out of the way of user code, at descriptor 100.
            ("open_files", self.open_files, 128, MAXIMA.open_files),
            ("file_bytes", self.file_bytes, 4096, MAXIMA.file_bytes),
            // The kernel keeps some tens of KiB back for what it has to write about what it writes.
            ("disk_bytes", self.disk_bytes, MIB, MAXIMA.disk_bytes),
            ("disk_inodes", self.disk_inodes, 100, MAXIMA.disk_inodes),
            ("tmp_bytes", self.tmp_bytes, MIB, MAXIMA.tmp_bytes),
            // Some libraries need files of their own there before user code has any.
            ("tmp_inodes", self.tmp_inodes, 100, MAXIMA.tmp_inodes),
            ("output_bytes", self.output_bytes, 1024, MAXIMA.output_bytes),
            ("contexts", self.contexts.into(), 1, MAXIMA.contexts.into()),
        ];
        for (field, value, minimum, maximum) in rows {
            if value < minimum || value > maximum {
                return Err(LimitError { field, value, minimum, maximum });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_maxima_are_within_range() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert_eq!(MAXIMA.check(), Ok(()));
    }

    #[test]
    fn a_limit_beyond_its_maximum_is_named() {
        let limits = Limits { memory_bytes: u64::MAX, ..Limits::default() };
        assert_eq!(limits.check().expect_err("too large").field, "memory_bytes");
    }
}
