//! The two tiny programs that the build script made, and the memory file that init runs from.

use std::{io::Write, os::fd::OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::{
    error::{Error, Named},
    without::Without,
};

/// Pid 1 of a room: a static executable.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reckon-init"));
/// The same without the act that closes it to the room's other processes: for tests that leave that wall out.
#[cfg(feature = "switchable-walls")]
const OPEN_INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reckon-init-open"));
/// The entering code: a shared object that the zygote loads.
pub(crate) const ENTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reckon-enter.so"));

/// Returns init in a sealed memory file: nothing that runs in a room can change what the next room executes.
pub(crate) fn init(without: &Without) -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("reckon-init", flags).named("memfd_create")?);
    file.write_all(chosen(without)).named("write init")?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).named("seal init")?;
    Ok(file.into())
}

fn chosen(without: &Without) -> &'static [u8] {
    #[cfg(feature = "switchable-walls")]
    if without.leaves_out("closed init") {
        return OPEN_INIT;
    }
    debug_assert!(!without.leaves_out("closed init"), "only such a build leaves it out");
    INIT
}
