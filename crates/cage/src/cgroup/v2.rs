//! The words of cgroup v2: the files of limits, and the rule that a group with processes passes no controllers on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::base::BaseRequest;
use super::group::{GroupLimits, LimitWrite};
use super::hierarchy::{Controller, ControllerReport, ControllerState, Hierarchy, Version, not_passed_on};
use super::node::{Node, Place};
use super::owner::Owner;
use super::v1::{SwapAccounting, quota_us};
use super::{CgroupError, files};

/// The leaf into which our own processes step, so that the group they were in may pass controllers on.
pub(super) const SUPERVISOR: &str = "reckon-supervisor";

/// Returns the writes that lead from one set of limits (none: a fresh group) to the next, in their order.
///
/// `memory.oom.group` stays 0: a room's group holds its init and all its contexts, and one context that asks for too
/// much must not take the others with it.
pub(super) fn limit_writes(
    before: Option<&GroupLimits>,
    after: &GroupLimits,
    swap: SwapAccounting,
) -> Vec<LimitWrite> {
    let mut writes = Vec::with_capacity(4);
    let swap_differs = before.is_none_or(|before| before.swap_bytes != after.swap_bytes);
    // Swap first: with memory lowered before it, the excess would be pushed out to swap instead of being felt.
    if swap_differs && swap == SwapAccounting::Present {
        writes.push(LimitWrite::new(Controller::Memory, "memory.swap.max", after.swap_bytes.to_string()));
    }
    if before.is_none_or(|before| before.memory_bytes != after.memory_bytes) {
        writes.push(LimitWrite::new(Controller::Memory, "memory.max", after.memory_bytes.to_string()));
    }
    if before.is_none_or(|before| before.pids != after.pids) {
        writes.push(LimitWrite::new(Controller::Pids, "pids.max", after.pids.to_string()));
    }
    if before.and_then(|before| before.cpu_millis) != after.cpu_millis {
        let quota = after.cpu_millis.map_or_else(|| "max".to_owned(), |millis| quota_us(millis).to_string());
        writes.push(LimitWrite::new(Controller::Cpu, "cpu.max", format!("{quota} 100000")));
    }
    writes
}

/// The group below which a base may be made, because it passes controllers on.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) parent: PathBuf,
    /// What the rooms will have.
    pub(super) controllers: Vec<Controller>,
    /// The controllers that we switched on in it, to be switched off again.
    switched_on: Vec<Controller>,
    /// Whether our own processes stepped into a leaf of it.
    stepped_aside: bool,
}

/// Finds or makes the ground for a base.
pub(super) fn ground(
    hierarchy: &Hierarchy,
    owner: Owner,
    request: &BaseRequest<'_>,
) -> Result<Ground, CgroupError> {
    let own = own_directory(hierarchy)?;
    let systemd_rules = hierarchy.roots.systemd.exists();
    if !systemd_rules {
        return below_own(&own, request.family).or_else(|error| beside_own(hierarchy, &own).ok_or(error));
    }
    // A delegated group may still be one that we share, such as the scope of a terminal.
    if let Some(ground) = is_delegated(&own).then(|| below_own(&own, request.family).ok()).flatten() {
        return Ok(ground);
    }
    match request.systemd.delegate(&owner.to_string(), request.family, &hierarchy.roots.proc) {
        Ok(()) => {
            let scope = own_directory(&Hierarchy::detect_in(&hierarchy.roots)?)?;
            below_own(&scope, request.family)
        }
        // Root can do without systemd's blessing; an ordinary user cannot.
        Err(refused) => beside_own(hierarchy, &own).ok_or(CgroupError::Unavailable {
            why: refused.to_string(),
            mend: "log in so that `systemctl --user status` works (packages dbus-user-session and \
                   libpam-systemd, `loginctl enable-linger`), run reckon as a service with Delegate=yes, or as root"
                .to_owned(),
        }),
    }
}

/// Returns our own group, or the one above when we are in the leaf into which we once stepped.
fn own_directory(hierarchy: &Hierarchy) -> Result<PathBuf, CgroupError> {
    let own = hierarchy.own.first().ok_or_else(|| hierarchy.unavailable())?;
    let above = own.directory.parent().filter(|_| own.directory.ends_with(SUPERVISOR));
    Ok(above.unwrap_or(&own.directory).to_owned())
}

/// Tells whether systemd gave a group to us: it marks it for root, and lets an ordinary user write to it.
fn is_delegated(directory: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return files::writable(&directory.join("cgroup.subtree_control")).is_ok();
    }
    let marked = |name: &str| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(directory, name, &mut value).is_ok_and(|length| &value[..length] == b"1")
    };
    marked("trusted.delegate") || marked("user.delegate")
}

/// Makes our own group the ground, stepping aside when it holds nobody but us.
fn below_own(own: &Path, family: &[u32]) -> Result<Ground, CgroupError> {
    let offered = controllers_in(own, "cgroup.controllers")?;
    let passed = controllers_in(own, "cgroup.subtree_control")?;
    if !offered.iter().any(|controller| matches!(controller, Controller::Memory | Controller::Pids)) {
        return Err(unavailable(own, "offers neither memory nor pids"));
    }
    let switched_on: Vec<_> = offered.iter().copied().filter(|one| !passed.contains(one)).collect();
    let mut ground =
        Ground { parent: own.to_owned(), controllers: complete(offered), switched_on, stepped_aside: false };
    if ground.switched_on.is_empty() {
        files::writable(own).map_err(|error| CgroupError::io("make a group below", own, error))?;
        return Ok(ground);
    }
    // Only the root of all groups may hold processes and pass controllers on; it is known by lacking this file.
    let is_root = !own.join("cgroup.events").exists();
    let aside = if is_root { Ok(()) } else { ground.step_aside(family) };
    if let Err(error) = aside.and_then(|()| pass_on(own, &ground.switched_on)) {
        ground.switched_on.clear();
        // The first error is the one to tell.
        let _ = ground.put_back();
        return Err(error);
    }
    Ok(ground)
}

/// Finds the nearest group above our own that passes controllers on already and that we may write to.
fn beside_own(hierarchy: &Hierarchy, own: &Path) -> Option<Ground> {
    let above = own.ancestors().skip(1).take_while(|above| above.starts_with(&hierarchy.mount));
    above.filter(|above| files::writable(above).is_ok()).find_map(|above| {
        let passed = controllers_in(above, "cgroup.subtree_control").ok()?;
        let serves = passed.contains(&Controller::Memory) && passed.contains(&Controller::Pids);
        serves.then(|| Ground {
            parent: above.to_owned(),
            controllers: complete(passed),
            switched_on: Vec::new(),
            stepped_aside: false,
        })
    })
}

impl Ground {
    fn step_aside(&mut self, family: &[u32]) -> Result<(), CgroupError> {
        let inside = files::processes(&self.parent)?;
        let is_ours = |pid: &i32| u32::try_from(*pid).is_ok_and(|pid| family.contains(&pid));
        if !inside.iter().all(is_ours) {
            return Err(unavailable(&self.parent, "holds processes that are not ours to move"));
        }
        if inside.is_empty() {
            return Ok(());
        }
        let leaf = self.parent.join(SUPERVISOR);
        files::make_directory(&leaf)?;
        self.stepped_aside = true;
        inside.iter().try_for_each(|pid| files::write(&leaf.join("cgroup.procs"), &pid.to_string()))
    }

    /// Undoes what was done to our own group, as far as no other server depends on it.
    pub(super) fn put_back(&self) -> Result<(), CgroupError> {
        if !self.stepped_aside {
            return Ok(());
        }
        if !self.switched_on.is_empty() {
            let text = signed('-', &self.switched_on);
            match files::write(&self.parent.join("cgroup.subtree_control"), &text) {
                // Another server has its rooms here: it will put back.
                Err(CgroupError::Write { source, .. }) if source.kind() == ErrorKind::ResourceBusy => {
                    return Ok(());
                }
                other => other?,
            }
        }
        let leaf = self.parent.join(SUPERVISOR);
        for pid in files::processes(&leaf)? {
            files::write(&self.parent.join("cgroup.procs"), &pid.to_string())?;
        }
        Node::new(Version::V2, vec![Place { directory: leaf, controllers: Vec::new() }]).remove()
    }

    /// Returns the group that holds our scope, when systemd gave us one: scopes of earlier servers are in it.
    pub(super) fn neighbourhood(&self) -> Option<Node> {
        let name = self.parent.file_name()?.to_str()?;
        let is_scope = Owner::from_name(name).is_some_and(|owner| name == format!("{owner}.scope"));
        let directory = self.parent.parent().filter(|_| is_scope)?.to_owned();
        Some(Node::new(Version::V2, vec![Place { directory, controllers: self.controllers.clone() }]))
    }
}

/// Lets a group's children have these controllers.
pub(super) fn pass_on(directory: &Path, controllers: &[Controller]) -> Result<(), CgroupError> {
    files::write(&directory.join("cgroup.subtree_control"), &signed('+', controllers))
}

/// Returns what each controller does on this ground.
pub(super) fn reports(ground: &Ground) -> Vec<ControllerReport> {
    let report = |controller| {
        let state = if ground.controllers.contains(&controller) {
            ControllerState::Works
        } else {
            not_passed_on(controller, &ground.parent)
        };
        ControllerReport { controller, state }
    };
    Controller::ALL.map(report).to_vec()
}

/// Adds what every group of v2 has without being asked.
fn complete(mut controllers: Vec<Controller>) -> Vec<Controller> {
    controllers.extend([Controller::CpuAccounting, Controller::Freezer, Controller::Kill]);
    controllers
}

fn signed(sign: char, controllers: &[Controller]) -> String {
    let named = controllers.iter().filter_map(|controller| controller.v2_name());
    named.map(|name| format!("{sign}{name}")).collect::<Vec<_>>().join(" ")
}

fn controllers_in(directory: &Path, file: &str) -> Result<Vec<Controller>, CgroupError> {
    let names = files::read(&directory.join(file))?;
    Ok(names.split_whitespace().filter_map(Controller::from_v2_name).collect())
}

fn unavailable(directory: &Path, what: &str) -> CgroupError {
    CgroupError::Unavailable {
        why: format!("{} {what}", directory.display()),
        mend: "run reckon as a service with Delegate=yes, by `systemd-run --user --scope -p Delegate=yes`, or in a \
               container whose control groups are its own and writable"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARKED: GroupLimits = GroupLimits { memory_bytes: 100, swap_bytes: 0, pids: 10, cpu_millis: None };

    fn plan(before: Option<&GroupLimits>, after: &GroupLimits, swap: SwapAccounting) -> Vec<String> {
        limit_writes(before, after, swap)
            .iter()
            .map(|write| format!("{}={}", write.file, write.value))
            .collect()
    }

    #[test]
    fn a_fresh_group_forbids_swap_before_it_limits_memory() {
        assert_eq!(
            plan(None, &PARKED, SwapAccounting::Present),
            ["memory.swap.max=0", "memory.max=100", "pids.max=10"]
        );
        assert_eq!(plan(None, &PARKED, SwapAccounting::Absent), ["memory.max=100", "pids.max=10"]);
    }

    #[test]
    fn only_what_differs_is_written() {
        let adopted = GroupLimits { pids: 20, cpu_millis: Some(1500), ..PARKED };
        assert_eq!(
            plan(Some(&PARKED), &adopted, SwapAccounting::Present),
            ["pids.max=20", "cpu.max=150000 100000"]
        );
        assert_eq!(
            plan(Some(&adopted), &PARKED, SwapAccounting::Present),
            ["pids.max=10", "cpu.max=max 100000"]
        );
        assert!(plan(Some(&adopted), &adopted, SwapAccounting::Present).is_empty());
    }
}
