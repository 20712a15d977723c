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
    /// Wall time of one execution in milliseconds, unless the request asks for less or more.
    pub timeout_ms: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Size of one file in bytes.
    pub file_bytes: u64,
    /// Size of `/tmp` in bytes; it is memory.
    pub tmp_bytes: u64,
    /// Bytes of stdout and stderr kept per execution; what is beyond is drained, counted and cut.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1024 * MIB,
            pids: 256,
            cpu_millis: 0,
            timeout_ms: 120_000,
            open_files: 4096,
            file_bytes: 1024 * MIB,
            tmp_bytes: 256 * MIB,
            output_bytes: 8 * MIB,
        }
    }
}

/// The largest value that a request or a configuration may ask for, field by field.
pub const MAXIMA: Limits = Limits {
    memory_bytes: 64 * 1024 * MIB,
    pids: 4096,
    cpu_millis: 64_000,
    timeout_ms: 24 * 3_600_000,
    open_files: 16_384,
    file_bytes: 64 * 1024 * MIB,
    tmp_bytes: 16 * 1024 * MIB,
    output_bytes: 64 * MIB,
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
        let rows: [(&'static str, u64, u64, u64); 8] = [
            // Below this an interpreter with pandas loaded cannot run a cell.
            ("memory_bytes", self.memory_bytes, 64 * MIB, MAXIMA.memory_bytes),
            ("pids", self.pids.into(), 8, MAXIMA.pids.into()),
            ("cpu_millis", self.cpu_millis.into(), 0, MAXIMA.cpu_millis.into()),
            ("timeout_ms", self.timeout_ms, 1, MAXIMA.timeout_ms),
            // The driver keeps its channel out of the way of user code, at descriptor 100.
            ("open_files", self.open_files, 128, MAXIMA.open_files),
            ("file_bytes", self.file_bytes, 4096, MAXIMA.file_bytes),
            ("tmp_bytes", self.tmp_bytes, MIB, MAXIMA.tmp_bytes),
            ("output_bytes", self.output_bytes, 1024, MAXIMA.output_bytes),
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
