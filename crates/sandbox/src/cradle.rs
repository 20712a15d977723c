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
    room::Parked,
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
        let id = SandboxId::new();
        let nest = self.trash.nest(self.site.path().join(id.as_str()));
        let files = make_directory(&self.site, &id, self.owner)?;
        let cwd = match self.isolation {
            Isolation::Room => reckon_cage::WORKSPACE.to_owned(),
            Isolation::Process => {
                self.directory.join(id.as_str()).join("files").to_string_lossy().into_owned()
            }
        };
        let mut parked = Parked::build(&self.warden, limits, demand).await?;
        parked.room.identify(id.as_str(), limits).await?;
        context::adopt(&mut parked.connection, &cwd, &BTreeMap::new()).await?;
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
