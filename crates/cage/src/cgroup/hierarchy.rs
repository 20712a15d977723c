//! Which control groups this host has, where our own process is in them, and what we may enforce there.

use std::fmt;
use std::path::{Path, PathBuf};

use super::node::Place;
use super::{CgroupError, files};

/// Where to look; tests point it at trees of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The proc file system.
    pub proc: PathBuf,
    /// The directory that exists exactly when systemd runs the host.
    pub systemd: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), systemd: "/run/systemd/system".into() }
    }
}

/// The interface that limits are set through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller; also when a v2 hierarchy without controllers is mounted beside them.
    V1,
    /// One hierarchy for all controllers.
    V2,
    /// None that we can use.
    None,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::None => "none",
        })
    }
}

/// What a hierarchy can control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Controller {
    /// Limits memory.
    Memory,
    /// Limits processes and threads.
    Pids,
    /// Limits processor time.
    Cpu,
    /// Counts processor time.
    CpuAccounting,
    /// Stops all processes of a group, so that none escapes a kill by forking.
    Freezer,
    /// Kills a group at one stroke.
    Kill,
}

impl Controller {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Memory, Self::Pids, Self::Cpu, Self::CpuAccounting, Self::Freezer, Self::Kill];

    fn v1_name(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("memory"),
            Self::Pids => Some("pids"),
            Self::Cpu => Some("cpu"),
            Self::CpuAccounting => Some("cpuacct"),
            Self::Freezer => Some("freezer"),
            Self::Kill => None,
        }
    }

    /// Returns the name by which v2 switches it on; nothing for what v2 has everywhere.
    pub(super) fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("memory"),
            Self::Pids => Some("pids"),
            Self::Cpu => Some("cpu"),
            Self::CpuAccounting | Self::Freezer | Self::Kill => None,
        }
    }

    /// Returns the controller that v2 calls so.
    pub(super) fn from_v2_name(name: &str) -> Option<Self> {
        match name {
            "memory" => Some(Self::Memory),
            "pids" => Some(Self::Pids),
            "cpu" => Some(Self::Cpu),
            _ => None,
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpu accounting",
            Self::Freezer => "freezer",
            Self::Kill => "kill",
        })
    }
}

/// Whether a controller serves us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControllerState {
    /// It does.
    Works,
    /// It does not.
    Missing {
        /// The reason.
        why: String,
        /// What a person can do about it.
        mend: String,
    },
}

/// One line of `reckon doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerReport {
    /// The controller.
    pub controller: Controller,
    /// Whether it serves us.
    pub state: ControllerState,
}

/// The control groups of this host as our own process sees them.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    pub(super) version: Version,
    pub(super) roots: Roots,
    /// Our own group: per usable hierarchy on v1, one place on v2 whether it can be written or not.
    pub(super) own: Vec<Place>,
    /// The mount point of v2, above which no ancestor is looked for.
    pub(super) mount: PathBuf,
    reports: Vec<ControllerReport>,
}

impl Hierarchy {
    /// Reads what this host has.
    pub fn detect() -> Result<Self, CgroupError> {
        Self::detect_in(&Roots::default())
    }

    /// Reads what the given roots show.
    pub fn detect_in(roots: &Roots) -> Result<Self, CgroupError> {
        let mounts = mounts(&files::read(&roots.proc.join("self/mountinfo"))?);
        let own = files::read(&roots.proc.join("self/cgroup"))?;
        let unified = unified(&mounts, &own);
        let v1_serves = |mount: &Mount| mount.file_system == "cgroup" && mount.has_limits();
        match unified {
            // A v2 hierarchy beside those of v1 has what they leave over: on a hybrid host, nothing that we need.
            Some(unified) if unified.has_limits || !mounts.iter().any(v1_serves) => {
                Ok(Self::v2(roots, unified))
            }
            unified => Ok(Self::v1(roots, &mounts, &own, unified.is_some())),
        }
    }

    fn v2(roots: &Roots, unified: Unified) -> Self {
        let directory = &unified.place.directory;
        let report = |controller| {
            let state = match (controller, files::writable(directory)) {
                (Controller::Memory | Controller::Pids | Controller::Cpu, _)
                    if !unified.place.controllers.contains(&controller) =>
                {
                    not_passed_on(controller, directory)
                }
                (_, Err(error)) => ControllerState::Missing {
                    why: format!("{} cannot be written: {error}", directory.display()),
                    mend: "reckon asks systemd for a delegated scope when it starts; without systemd, run it as \
                           root or mount /sys/fs/cgroup writable"
                        .to_owned(),
                },
                (_, Ok(())) => ControllerState::Works,
            };
            ControllerReport { controller, state }
        };
        let reports = Controller::ALL.map(report).to_vec();
        let mount = unified.mount;
        Self { version: Version::V2, roots: roots.clone(), own: vec![unified.place], mount, reports }
    }

    fn v1(roots: &Roots, mounts: &[Mount], own: &str, has_unified: bool) -> Self {
        let mut places: Vec<Place> = Vec::new();
        let mut reports = Vec::new();
        for controller in Controller::ALL {
            let state = match controller.v1_name() {
                Some(name) => match v1_directory(mounts, own, name, has_unified) {
                    Ok(directory) => {
                        add_place(&mut places, directory, controller);
                        ControllerState::Works
                    }
                    Err(missing) => missing,
                },
                // v1 kills process by process, which works wherever a group can be made.
                None if !places.is_empty() => ControllerState::Works,
                None => ControllerState::Missing {
                    why: "no control group can be made".to_owned(),
                    mend: "see the lines above".to_owned(),
                },
            };
            reports.push(ControllerReport { controller, state });
        }
        let version = if places.is_empty() { Version::None } else { Version::V1 };
        Self { version, roots: roots.clone(), own: places, mount: PathBuf::new(), reports }
    }

    /// Returns the interface in use.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns what each controller can do before a base is opened; [`super::Base::reports`] has the last word, since
    /// opening one may ask systemd for more.
    pub fn reports(&self) -> &[ControllerReport] {
        &self.reports
    }

    /// Tells whether a controller serves us.
    pub fn enforces(&self, controller: Controller) -> bool {
        let report = self.reports.iter().find(|report| report.controller == controller);
        report.is_some_and(|report| report.state == ControllerState::Works)
    }

    /// Returns our own directory in the v2 hierarchy, whether or not it has controllers.
    #[cfg(test)]
    pub(super) fn unified_directory(roots: &Roots) -> Result<Option<PathBuf>, CgroupError> {
        let mounts = mounts(&files::read(&roots.proc.join("self/mountinfo"))?);
        let own = files::read(&roots.proc.join("self/cgroup"))?;
        Ok(unified(&mounts, &own).map(|unified| unified.place.directory))
    }

    /// Returns the first reason why something is missing, for the refusal to open a base.
    pub(super) fn unavailable(&self) -> CgroupError {
        let first = self.reports.iter().find_map(|report| match &report.state {
            ControllerState::Missing { why, mend } => Some((why.clone(), mend.clone())),
            ControllerState::Works => None,
        });
        let (why, mend) = first.unwrap_or_default();
        CgroupError::Unavailable { why, mend }
    }
}

pub(super) fn not_passed_on(controller: Controller, directory: &Path) -> ControllerState {
    ControllerState::Missing {
        why: format!("{} has no {controller} controller", directory.display()),
        mend: format!(
            "pass it on: `systemctl edit user@.service` with [Service] Delegate=cpu memory pids, then log in again; \
             without systemd, write `+{controller}` to cgroup.subtree_control of each group above"
        ),
    }
}

fn add_place(places: &mut Vec<Place>, directory: PathBuf, controller: Controller) {
    match places.iter_mut().find(|place| place.directory == directory) {
        Some(place) => place.controllers.push(controller),
        None => places.push(Place { directory, controllers: vec![controller] }),
    }
}

/// Our own group in the v2 hierarchy, with the controllers that it may use.
struct Unified {
    place: Place,
    mount: PathBuf,
    /// Whether the hierarchy can limit memory or pids at all, be it that nobody passed that on to us.
    has_limits: bool,
}

fn unified(mounts: &[Mount], own: &str) -> Option<Unified> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut of_v2 = mounts.iter().rev().filter(|mount| mount.file_system == "cgroup2");
    let (mount, directory) = of_v2.find_map(|mount| Some((mount, mount.resolve(path)?)))?;
    let offered = |directory: &Path| -> Vec<Controller> {
        // Unreadable is as good as empty: the reports then say that it has no controllers.
        let names = files::read(&directory.join("cgroup.controllers")).unwrap_or_default();
        names.split_whitespace().filter_map(Controller::from_v2_name).collect()
    };
    let limits = |one: &Controller| matches!(one, Controller::Memory | Controller::Pids);
    let mut controllers = offered(&directory);
    let has_limits = offered(&mount.point).iter().chain(&controllers).any(limits);
    controllers.extend([Controller::CpuAccounting, Controller::Freezer, Controller::Kill]);
    Some(Unified { place: Place { directory, controllers }, mount: mount.point.clone(), has_limits })
}

fn v1_directory(
    mounts: &[Mount],
    own: &str,
    name: &str,
    has_unified: bool,
) -> Result<PathBuf, ControllerState> {
    let missing = |why: String, mend: &str| ControllerState::Missing { why, mend: mend.to_owned() };
    let names_it = |list: &str| list.split(',').any(|part| part == name);
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields.next().filter(|list| names_it(list)).and_then(|_| fields.next())
    });
    let mut of_name =
        mounts.iter().rev().filter(|mount| mount.file_system == "cgroup" && names_it(&mount.options));
    let directory = match path {
        Some(path) => of_name.find_map(|mount| mount.resolve(path)),
        None => None,
    };
    let Some(directory) = directory else {
        return Err(missing(
            format!("no {name} controller is mounted where this process can see its own group"),
            if has_unified {
                "boot with `cgroup_no_v1=all`, or with systemd.unified_cgroup_hierarchy=1, so that v2 has it; in a \
                 container, mount /sys/fs/cgroup"
            } else {
                "mount it below /sys/fs/cgroup; in a container, run it with its own control groups writable"
            },
        ));
    };
    match files::writable(&directory) {
        Ok(()) => Ok(directory),
        Err(error) => Err(missing(
            format!("{} cannot be written: {error}", directory.display()),
            "run reckon as root, or boot with systemd.unified_cgroup_hierarchy=1 so that systemd can delegate; in a \
             container, mount /sys/fs/cgroup writable",
        )),
    }
}

/// A line of mountinfo that concerns us.
struct Mount {
    root: PathBuf,
    point: PathBuf,
    file_system: String,
    /// Of the super block: the controllers of a v1 hierarchy are among them.
    options: String,
}

impl Mount {
    /// Tells whether this is v1's hierarchy for memory or pids.
    fn has_limits(&self) -> bool {
        self.options.split(',').any(|option| option == "memory" || option == "pids")
    }

    /// Returns where a group's path is to be seen below this mount, if it is.
    fn resolve(&self, group: &str) -> Option<PathBuf> {
        let below = Path::new(group).strip_prefix(&self.root).ok()?;
        // `/../x` names a group outside of our cgroup namespace: not ours to touch.
        let outside = below.components().any(|part| part == std::path::Component::ParentDir);
        (!outside).then(|| if below == Path::new("") { self.point.clone() } else { self.point.join(below) })
    }
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).filter(|mount| mount.file_system.starts_with("cgroup")).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (mounted, system) = line.split_once(" - ")?;
    let mut mounted = mounted.split(' ').skip(3);
    let mut system = system.split(' ');
    Some(Mount {
        root: unescape(mounted.next()?).into(),
        point: unescape(mounted.next()?).into(),
        file_system: system.next()?.to_owned(),
        options: system.nth(1)?.to_owned(),
    })
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_sees_its_group_at_the_mount_point() {
        let line =
            "33 30 0:28 /docker/abc /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory";
        let mount = mount(line).expect("a mount");
        assert_eq!(mount.resolve("/docker/abc"), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(mount.resolve("/docker/abc/x"), Some("/sys/fs/cgroup/memory/x".into()));
        assert_eq!(mount.resolve("/docker/other"), None);
    }

    #[test]
    fn a_group_outside_of_the_namespace_is_not_resolved() {
        let line = "33 30 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let mount = mount(line).expect("a mount");
        assert_eq!(mount.resolve("/../outside"), None);
        assert_eq!(mount.resolve("/"), Some("/sys/fs/cgroup".into()));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/plain"), "/plain");
    }
}
