//! What a workspace takes on the disk, as the kernel counts it. Needs no right but that of its reader.

use std::{fmt::Write as _, fs, io, os::fd::BorrowedFd, path::PathBuf};

use crate::sys;

/// The kernel's account of one workspace.
#[derive(Debug, Clone)]
pub struct Meter {
    account: PathBuf,
}

impl Meter {
    /// Finds the account of the workspace that is this directory.
    ///
    /// # Errors
    /// The directory is on no btrfs with quotas, or this process sees no `/sys`.
    pub fn of(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let identity = sys::btrfs_identity(directory)?;
        let subvolume = sys::btrfs_subvolume(directory)?;
        let account = PathBuf::from(format!("/sys/fs/btrfs/{}/qgroups/0_{subvolume}", hyphened(identity)));
        fs::metadata(&account).map(|_| Self { account })
    }

    /// Returns the bytes that are in use: those on disk and those that are on their way there.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.number("referenced")?.saturating_add(self.number("rsv_data")?))
    }

    /// Returns the bytes that may be in use once the kernel has written down what it has set aside for changes under
    /// way, which is much more than they will need.
    pub fn bytes_at_most(&self) -> io::Result<u64> {
        let aside = [self.number("rsv_meta_pertrans")?, self.number("rsv_meta_prealloc")?];
        Ok(aside.into_iter().fold(self.bytes()?, u64::saturating_add))
    }

    fn number(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(self.account.join(name))?;
        text.trim().parse().map_err(io::Error::other)
    }
}

/// Writes an identity as the kernel does in the names of directories.
fn hyphened(identity: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in identity.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_as_the_kernel_writes_it() {
        let identity: [u8; 16] = std::array::from_fn(|index| index as u8 * 16 + 1);
        assert_eq!(hyphened(identity), "01112131-4151-6171-8191-a1b1c1d1e1f1");
    }
}
