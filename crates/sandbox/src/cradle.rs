//! Where sandboxes come from: a directory, a room with a context in it, and the identity that joins the two.
//! Done ahead of demand by the pool, and on demand when none is waiting.

use std::{
    collections::BTreeMap, fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc,
};

use reckon_protocol::{Limits, SandboxId};

use crate::{
    context,
    engine::Isolation,
    error::EngineError,
    room::{Connection, Parked, Room},
    site::Site,
    trash::{Nest, Trash},
    warden::Warden,
};

/// Makes sandboxes that nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct Cradle {
    pub(crate) warden: Warden,
    pub(crate) trash: Arc<Trash>,
    /// Holds the sandboxes' directories.
    pub(crate) site: Site,
    /// The path to it where code sees the host's paths.
    pub(crate) directory: PathBuf,
    /// Who must own workspaces on disk; `u32::MAX` where that is whoever writes them.
    pub(crate) owner: (u32, u32),
    pub(crate) isolation: Isolation,
}

/// A sandbox that waits for somebody to ask for one. Dropped, it is ended and removed.
#[derive(Debug)]
pub(crate) struct Newborn {
    pub(crate) id: SandboxId,
    pub(crate) parked: Parked,
    /// Where its files are on the host.
    pub(crate) files: PathBuf,
    /// Where its code finds them.
    pub(crate) cwd: String,
    pub(crate) nest: Nest,
}

/// The same without a context.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) id: SandboxId,
    pub(crate) room: Room,
    /// What it was built with.
    limits: Limits,
    files: PathBuf,
    nest: Nest,
}

/// Whether there is time to warm a context up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nobody waits: the context runs a warm-up cell.
    Ahead,
    /// Somebody waits for it.
    Now,
}

impl Cradle {
    /// Makes a sandbox with these limits.
    pub(crate) async fn bear(&self, limits: &Limits, demand: Demand) -> Result<Newborn, EngineError> {
        let spare = self.room(limits).await?;
        self.furnish(spare, limits, demand).await
    }

    /// Makes everything of a sandbox but its context.
    pub(crate) async fn room(&self, limits: &Limits) -> Result<Spare, EngineError> {
        let id = SandboxId::new();
        let nest = self.trash.nest(self.site.path().join(id.as_str()));
        let files = make_directory(&self.site, &id, self.owner)?;
        let room = Room::build(&self.warden, limits).await?;
        room.identify(id.as_str(), limits).await?;
        Ok(Spare { id, room, limits: limits.clone(), files, nest })
    }

    /// Makes the context of a sandbox whose room is there.
    pub(crate) async fn furnish(
        &self,
        spare: Spare,
        limits: &Limits,
        demand: Demand,
    ) -> Result<Newborn, EngineError> {
        let Spare { id, room, limits: built, files, nest } = spare;
        if built != *limits {
            room.limit(limits).await?;
        }
        let cwd = match self.isolation {
            Isolation::Room => reckon_cage::WORKSPACE.to_owned(),
            Isolation::Process => {
                self.directory.join(id.as_str()).join("files").to_string_lossy().into_owned()
            }
        };
        let mut connection = Connection::open(&self.warden, room.number, limits, demand).await?;
        context::adopt(&mut connection, &cwd, &BTreeMap::new()).await?;
        let parked = Parked { room, connection, limits: limits.clone() };
        Ok(Newborn { id, parked, files, cwd, nest })
    }
}

/// Makes a sandbox's directory and returns where its files are, or will be: on the disk the warden makes them.
fn make_directory(site: &Site, id: &SandboxId, owner: (u32, u32)) -> Result<PathBuf, EngineError> {
    let directory = site.path().join(id.as_str());
    let files = directory.join("files");
    let made = || -> std::io::Result<()> {
        DirBuilder::new().mode(0o711).create(&directory)?;
        if site.is_disk() {
            return Ok(());
        }
        DirBuilder::new().mode(0o755).create(&files)?;
        if owner.0 != u32::MAX {
            std::os::unix::fs::chown(&files, Some(owner.0), Some(owner.1))?;
        }
        Ok(())
    };
    made().map_err(|source| EngineError::Io { act: format!("make {}", files.display()), source })?;
    Ok(files)
}
