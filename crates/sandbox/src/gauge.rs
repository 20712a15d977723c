//! What a workspace takes. Where the disk limits it the kernel's account is read; else, and for the number of files,
//! which no kernel here limits, its tree is walked now and then while code runs.

use std::time::Duration;

use reckon_cage::disk::Meter;
use reckon_protocol::{LimitHit, Limits};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    census::{self, Census},
    files::Workspace,
};

/// Between two looks, at least.
const PERIOD: Duration = Duration::from_millis(250);
/// A walk may take one part in so many of one processor.
const SHARE: u32 = 20;
/// A write that does not fit stops this short of the limit at most; the kernel keeps a part for its own use.
const MARGIN: u64 = 256 * 1024;
/// What a file takes of the kernel's account at the very least, by names, inode and directory entries; about 370 bytes
/// were measured (ADR 0005).
const INODE: u64 = 256;

/// The measure of one workspace.
#[derive(Debug)]
pub(crate) struct Gauge {
    workspace: Workspace,
    limits: Limits,
    /// `None` where the disk does not limit the workspace.
    meter: Option<Meter>,
    /// What may be there: the limits, or what was there already when less was wanted.
    allowed: Census,
    next: Instant,
    walk: Option<(Instant, JoinHandle<Option<Census>>)>,
    /// Whether it stood at its limit when the last execution ended.
    was_full: bool,
}

impl Gauge {
    pub(crate) fn new(workspace: Workspace, limits: &Limits) -> Self {
        Self {
            meter: workspace.meter(),
            allowed: Census { bytes: limits.disk_bytes, inodes: limits.disk_inodes },
            workspace,
            limits: limits.clone(),
            next: Instant::now() + PERIOD,
            walk: None,
            was_full: false,
        }
    }

    /// Returns whether the workspace came to stand at the limit that the kernel holds, since this was asked last.
    pub(crate) fn filled_up(&mut self) -> bool {
        let Some(used) = self.meter.as_ref().and_then(|meter| meter.bytes().ok()) else { return false };
        let margin = MARGIN.min(self.limits.disk_bytes / 8);
        let full = used.saturating_add(margin) >= self.limits.disk_bytes;
        // What was full already may have been emptied meanwhile: the kernel counts anew only every few seconds.
        let was_full = std::mem::replace(&mut self.was_full, full);
        full && !was_full
    }

    /// Waits until the workspace takes more than it may and the kernel does not stop it. Cancel-safe.
    pub(crate) async fn exceeded(&mut self) -> LimitHit {
        loop {
            let census = self.count().await;
            let Some(census) = census else { continue };
            if census.bytes > self.allowed.bytes {
                return LimitHit::Disk;
            }
            if census.inodes > self.allowed.inodes {
                return LimitHit::Files;
            }
            self.allow(census);
        }
    }

    /// Takes what is there now, after whoever wrote it was stopped, for what may be there: who looks at it and removes
    /// some is not stopped again.
    pub(crate) async fn pardon(&mut self) {
        self.walk = None;
        self.next = Instant::now();
        // What cannot be counted even now is too much of a tree to be allowed more.
        let everything = Census { bytes: u64::MAX, inodes: u64::MAX };
        self.allowed = everything;
        if let Some(census) = self.count().await {
            self.allow(census);
        }
    }

    fn allow(&mut self, census: Census) {
        self.allowed = Census {
            bytes: census.bytes.max(self.limits.disk_bytes),
            inodes: census.inodes.max(self.limits.disk_inodes),
        };
    }

    /// Looks once, when it is time. Cancel-safe: a walk under way is awaited by the next call.
    async fn count(&mut self) -> Option<Census> {
        if self.walk.is_none() {
            tokio::time::sleep_until(self.next).await;
            if let Some(meter) = &self.meter {
                // Counted on disk every few seconds only, so what is under way counts too.
                let used = meter.bytes_at_most().unwrap_or(u64::MAX);
                if used / INODE <= self.allowed.inodes {
                    self.next = Instant::now() + PERIOD;
                    return None;
                }
            }
            let (workspace, allowed) = (self.workspace.clone(), self.allowed);
            let walk = tokio::task::spawn_blocking(move || census::of(&workspace, allowed));
            self.walk = Some((Instant::now(), walk));
        }
        let (began, walk) = self.walk.as_mut()?;
        let counted = walk.await;
        let now = Instant::now();
        self.next = now + PERIOD.max((now - *began) * SHARE);
        self.walk = None;
        let mut census = counted.ok().flatten()?;
        if self.meter.is_some() {
            // Those are the kernel's.
            census.bytes = 0;
        }
        Some(census)
    }
}
