//! The parent of our rooms' groups: made at start, swept of what dead owners left, removed at the end.

use std::path::{Path, PathBuf};

use super::delegation::Systemd;
use super::group::{Group, GroupLimits};
use super::hierarchy::{Controller, ControllerReport, ControllerState, Hierarchy, Roots, Version};
use super::node::{Node, Place};
use super::owner::Owner;
use super::v1::SwapAccounting;
use super::v2::{self, Ground, SUPERVISOR};
use super::{CgroupError, v1};

/// The longest name of a room's group; the kernel takes 255.
const NAME_MAXIMUM: usize = 100;

/// How a base is to be made.
#[derive(Debug, Clone)]
pub struct BaseRequest<'a> {
    /// Tells several bases of one process apart.
    pub label: &'a str,
    /// The processes of this server, the caller included (and the init of a container that exists for it). Only these are ever moved: v2 lets no group pass controllers
    /// on while processes are in it.
    pub family: &'a [u32],
    /// The way to systemd, asked on hosts that run it when our own group is not delegated to us.
    pub systemd: Systemd,
}

/// The directory (per hierarchy on v1) below which our rooms have their groups.
///
/// Dropping it kills what is left in it and removes it.
#[derive(Debug)]
pub struct Base {
    node: Node,
    roots: Roots,
    ground: Option<Ground>,
    swap: SwapAccounting,
    cpu_ceiling: Option<u32>,
    reports: Vec<ControllerReport>,
    removed: bool,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// The bases of dead owners that are gone now.
    pub removed: Vec<String>,
    /// What could not be removed.
    pub failures: Vec<CgroupError>,
}

impl Hierarchy {
    /// Makes the parent of our rooms' groups below our own group.
    pub fn open_base(&self, request: &BaseRequest<'_>) -> Result<Base, CgroupError> {
        check_name(request.label)?;
        let owner = Owner::of_self(&self.roots.proc)?;
        let name = format!("{owner}-{}", request.label);
        match self.version {
            Version::V1 => Base::on_v1(self, &name),
            Version::V2 => Base::on_v2(self, &name, owner, request),
            Version::None => Err(self.unavailable()),
        }
    }
}

impl Base {
    fn on_v1(hierarchy: &Hierarchy, name: &str) -> Result<Self, CgroupError> {
        let own = Node::new(Version::V1, hierarchy.own.clone());
        let node = own.child(name);
        let swap = swap_accounting(&own, "memory.memsw.limit_in_bytes");
        let cpu_ceiling = own.directory_of(Controller::Cpu).and_then(v1::cpu_ceiling);
        let base = Self {
            node,
            roots: hierarchy.roots.clone(),
            ground: None,
            swap,
            cpu_ceiling,
            reports: hierarchy.reports().to_vec(),
            removed: false,
        };
        base.node.make()?;
        Ok(base)
    }

    fn on_v2(
        hierarchy: &Hierarchy,
        name: &str,
        owner: Owner,
        request: &BaseRequest<'_>,
    ) -> Result<Self, CgroupError> {
        let ground = v2::ground(hierarchy, owner, request)?;
        let controllers = ground.controllers.clone();
        let node = Node::new(
            Version::V2,
            vec![Place { directory: ground.parent.join(name), controllers: controllers.clone() }],
        );
        let reports = v2::reports(&ground);
        let mut base = Self {
            node,
            roots: hierarchy.roots.clone(),
            ground: Some(ground),
            swap: SwapAccounting::Present,
            cpu_ceiling: None,
            reports,
            removed: false,
        };
        base.node.make()?;
        v2::pass_on(base.path(), &controllers)?;
        base.swap = swap_accounting(&base.node, "memory.swap.max");
        Ok(base)
    }

    /// Makes the group of a room with its limits set.
    pub fn create(&self, room: &str, limits: &GroupLimits) -> Result<Group, CgroupError> {
        check_name(room)?;
        Group::make(self.node.child(room), limits, self.swap, self.cpu_ceiling)
    }

    /// Returns what each controller does for the rooms of this base.
    pub fn reports(&self) -> &[ControllerReport] {
        &self.reports
    }

    /// Tells whether a controller serves the rooms of this base.
    pub fn enforces(&self, controller: Controller) -> bool {
        let state = self.reports.iter().find(|report| report.controller == controller);
        state.is_some_and(|report| report.state == ControllerState::Works)
    }

    /// Returns the interface in use.
    pub fn version(&self) -> Version {
        self.node.version()
    }

    /// Returns the (first) directory of the base, for messages.
    pub fn path(&self) -> &Path {
        self.node.path()
    }

    /// Kills and removes the bases beside this one whose owners are dead. Names without our mark are not touched.
    pub fn sweep(&self) -> Result<Swept, CgroupError> {
        let parents = self.node.places().iter().map(|place| Place {
            directory: place.directory.parent().map_or_else(PathBuf::new, Path::to_owned),
            controllers: place.controllers.clone(),
        });
        let mut swept = Swept::default();
        let mut grounds = vec![Node::new(self.version(), parents.collect())];
        // A scope of ours has the scopes of earlier servers beside it, not inside.
        grounds.extend(self.ground.as_ref().and_then(Ground::neighbourhood));
        for ground in grounds {
            for name in ground.children()? {
                self.sweep_one(&ground.child(&name), name, &mut swept)?;
            }
        }
        Ok(swept)
    }

    fn sweep_one(&self, node: &Node, name: String, swept: &mut Swept) -> Result<(), CgroupError> {
        let Some(owner) = Owner::from_name(&name) else { return Ok(()) };
        // A scope is named after the warden that asked for it; while the server lives on in it, it is not left over.
        if !owner.is_gone(&self.roots.proc)? || !node.child(SUPERVISOR).is_empty()? {
            return Ok(());
        }
        match node.remove_tree() {
            Ok(()) => swept.removed.push(name),
            Err(error) => swept.failures.push(error),
        }
        Ok(())
    }

    /// Kills what is left in the base, removes it, and puts our own group back as it was found.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<(), CgroupError> {
        if std::mem::replace(&mut self.removed, true) {
            return Ok(());
        }
        self.node.remove_tree()?;
        self.ground.as_ref().map_or(Ok(()), Ground::put_back)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // What stays carries our mark, and the next server sweeps it.
        let _ = self.take_down();
    }
}

fn swap_accounting(node: &Node, file: &str) -> SwapAccounting {
    match node.directory_of(Controller::Memory) {
        Some(directory) if directory.join(file).exists() => SwapAccounting::Present,
        _ => SwapAccounting::Absent,
    }
}

/// Refuses what could leave the base or be taken for an interface file (all of those but v1's `tasks`, which `mkdir`
/// itself refuses, hold a dot).
fn check_name(name: &str) -> Result<(), CgroupError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.len() <= NAME_MAXIMUM && name.bytes().all(plain) && name != "tasks" {
        return Ok(());
    }
    Err(CgroupError::Name { name: name.to_owned() })
}
